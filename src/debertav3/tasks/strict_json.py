"""JSON as its standard has it, one document or several in a row, with errors that name the place."""

import json
import re
from collections import Counter
from collections.abc import Iterator

from ..errors import UserError
from ..json_types import Json, JsonObject

MAX_DEPTH = 64
"""Lists and objects within each other; deeper ones could not be written again."""


def parse_json(text: str, place: str, *, needed: str = "") -> Json:
    """JSON as JSON has it: NaN is null; numbers without end and half characters are refused.

    Args:
        text: one document.
        place: for messages.
        needed: what the message says is needed.

    Raises:
        UserError: naming the place.
    """
    try:
        value = _DECODER.decode(text)
        if "\\u" in text:  # the only way to half of a surrogate pair, which no UTF-8 can hold
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        is_deep = text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH
    except json.JSONDecodeError as error:
        where = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}"
        raise UserError(f"{place} is not valid JSON ({error.msg} at {where}). {needed}".rstrip()) from None
    except UnicodeEncodeError:
        raise UserError(
            f"{place} has half of a surrogate pair (such as \\ud800), which is not a character. Remove it."
        ) from None
    except ValueError as error:
        reason = "an integer of thousands of digits" if "digits" in str(error) else str(error)
        raise UserError(f"{place} is not usable: it contains {reason}.") from None
    except RecursionError:
        is_deep = True
    if is_deep:
        raise UserError(f"{place} is nested too deeply to read, beyond {MAX_DEPTH} levels. {needed}".rstrip())
    return value


def _constant(name: str) -> None:
    if name != "NaN":
        raise ValueError(f"the number {name}, which JSON does not have")


def _unique(pairs: list[tuple[str, Json]]) -> JsonObject:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the name {twice!r} twice in one object")
    return fields


_DECODER = json.JSONDecoder(parse_constant=_constant, object_pairs_hook=_unique)
_IN_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')


def _depth(text: str) -> int:
    depth = deepest = 0
    for mark in re.findall(r"[\[\]{}]", _IN_TEXT.sub("", text)):
        depth += 1 if mark in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


_BLANK = re.compile(r"\s*")


def parse_several(text: str, place: str) -> Iterator[Json]:
    """The JSON documents of a text, one after another, each on as many lines as it likes.

    Raises:
        UserError: as `parse_json`.
    """
    scanner = json.JSONDecoder()
    start = number = 0
    while (blank := _BLANK.match(text, start)) and (start := blank.end()) < len(text):
        number += 1
        try:
            _, end = scanner.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = len(text)  # `parse_json` says what is wrong
        yield parse_json(text[start:end], place if number == 1 else f"{place} document {number}")
        start = end
