"""What is wrong with a body, in one line for a person: what was got and what is needed, where.

Pydantic names the branches of a union in its places and reports every branch; here the one that the client
most likely meant is reported, by the names that the client wrote.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pydantic_core import ErrorDetails

from ..json_types import Json
from .schemas import PATTERNS

_NEEDS = {
    "string_type": "a text",
    "list_type": "a list",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "an object",
    "model_type": "an object",
}
"""By pydantic's names of errors: what a value of another type should have been."""


class _Fault(NamedTuple):
    """One error of one branch."""

    path: str
    """Where, without branches: ``documents.0.text``; empty for the whole body."""
    depth: int
    branch: tuple[str, ...]
    value: object
    error: ErrorDetails

    @property
    def is_of_type(self) -> bool:
        """Whether the value is of another type, so that the branch was hardly meant."""
        return self.error["type"] in _NEEDS


def describe(errors: Sequence[ErrorDetails], content: Mapping[str, object]) -> str:
    """One sentence on the errors of a body.

    Args:
        errors: what pydantic found, at least one.
        content: the body.
    """
    faults = [_located(error, content) for error in errors]
    faults = [one for one in faults if not one.is_of_type] or faults
    depth = max(one.depth for one in faults)
    first: dict[tuple[str, ...], _Fault] = {}  # of each branch
    for one in faults:
        if one.depth == depth:
            first.setdefault(one.branch, one)
    told = list(first.values())
    if missing := [one.path for one in told if one.error["type"] == "missing"]:
        return f"need {' or '.join(dict.fromkeys(missing))}."
    path, value = told[0].path, told[0].value
    if told[0].error["type"] == "extra_forbidden":
        return f"{path}: this route has no such field."
    needs = dict.fromkeys(_needed(one.error) for one in told if one.path == path)
    return f"{path or 'the body'}: got {_got(value)}; need {' or '.join(needs)}."


def _located(error: ErrorDetails, content: Mapping[str, object]) -> _Fault:
    value: Json = content
    path: list[str] = []
    branch: list[str] = []
    for part in error["loc"]:
        is_entry = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if is_entry or (isinstance(value, dict) and part in value):
            value = value[part]
        elif error["type"] != "missing" or part != error["loc"][-1]:
            branch.append(str(part))
            continue
        path.append(str(part))
    return _Fault(".".join(path), len(path), tuple(branch), value, error)


def _needed(error: ErrorDetails) -> str:
    kind, limits = error["type"], error.get("ctx", {})
    if kind in _NEEDS:
        return _NEEDS[kind]
    if kind == "string_pattern_mismatch":
        return PATTERNS[limits["pattern"]]
    if kind == "literal_error":
        return str(limits["expected"])
    if kind in ("too_short", "too_long"):
        side, count = (
            ("least", limits["min_length"]) if kind == "too_short" else ("most", limits["max_length"])
        )
        return f"at {side} {count} {'entry' if count == 1 else 'entries'}"
    if kind == "string_too_long":
        return f"at most {limits['max_length']} characters"
    if kind == "greater_than_equal":
        return f"at least {limits['ge']}"
    if kind == "less_than_equal":
        return f"at most {limits['le']}"
    return error["msg"]


def _got(value: object) -> str:
    if isinstance(value, str):
        return "a text" if value.strip() else "a blank text"
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, dict):
        return "an object"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value) if abs(value) < 10**15 else "a huge number"
    return f"{value:.6g}"
