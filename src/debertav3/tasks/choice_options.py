"""Where the choices of a row are: a list, a column each, within the question; and what they are called."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..errors import UserError
from ..json_types import Json, JsonMapping
from .columns import actual_name
from .rows import Row, checked_text, is_missing, shortened, structured

LISTS = ("options", "choices")
_FAMILY = re.compile(
    r"(choice|option|opt|op|answer|ans|ending|end|sol|solution|alternative|candidate|)[ _.-]?([a-h]|\d)",
    re.IGNORECASE,
)
"""A column for each choice: ``option_a``, ``choice1``, ``A``."""
_INLINE = re.compile(r"(?:^|\s)\(([A-H]|\d)\)\s")
"""Before a choice that is written into the question: ``(A)``."""


class Options(NamedTuple):
    """The choices of a row."""

    texts: list[str]
    columns: tuple[str, ...]
    """Where they are; empty where they are a part of the question."""
    names: Sequence[str] = ()
    """What the row calls them; empty if they are counted."""


def options_in(row: Row, columns: Sequence[str]) -> Options | None:
    """The choices of a row; None if it has none.

    Args:
        row: the row.
        columns: a column for each choice, one that holds them all, or `LISTS`.

    Raises:
        UserError: if there are no choices in such columns.
    """
    if columns == LISTS:
        names = next(((name,) for name in columns if name in row.fields), family_of(row.fields))
        return _of_columns(row, names) if names else None
    found = [actual_name(row.fields, name) for name in columns]
    return None if None in found else _of_columns(row, tuple(map(str, found)))


def family_of(fields: JsonMapping) -> tuple[str, ...]:
    """Columns that are a choice each by their names: as many as are numbered without a gap; else none."""
    families: dict[str, dict[str, str]] = {}
    for name in fields:
        if match := _FAMILY.fullmatch(name):
            families.setdefault(match.group(1).lower(), {})[match.group(2).lower()] = name
    for found in families.values():
        for first in "a10":
            names: list[str] = []
            while (mark := chr(ord(first) + len(names))) in found:
                names.append(found[mark])
            if len(names) > 1:
                return tuple(names)
    return ()


def _of_columns(row: Row, columns: tuple[str, ...]) -> Options:
    if len(columns) > 1:
        cells = [row.fields[name] for name in columns]
        while len(cells) > 2 and is_missing(cells[-1]):  # a question with fewer choices than others
            cells.pop()
        named = zip(columns, cells, strict=False)
        return Options([checked_text(cell, what=f"{row.place}: {name}") for name, cell in named], columns)
    value = structured(row.fields[columns[0]])
    names: list[str] = []
    if isinstance(value, Mapping):
        value, names = _of_mapping(value, row.place)
    elif isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
        value, names = _of_objects(value, row.place)
    if not isinstance(value, list) or len(value) < 2 or not all(isinstance(one, str) for one in value):
        raise UserError(
            f"{row.place}: {columns[0]} must be a list of at least two texts; got {shortened(value)}."
        )
    texts = [checked_text(one, what=f"{row.place}: choice {index}") for index, one in enumerate(value)]
    return Options(texts, columns, names)


def _of_mapping(value: JsonMapping, place: str) -> tuple[Json, list[str]]:
    """ARC on the Hub: ``{"text": [...], "label": ["A", ...]}``; others: ``{"A": "...", "B": "..."}``."""
    if "text" not in value:
        return list(value.values()), [str(name).strip() for name in value]
    texts, given = value["text"], value.get("label")
    if given is None:
        return texts, []
    return texts, _checked_names(given, len(texts) if isinstance(texts, list) else 0, place)


def _of_objects(entries: Sequence[JsonMapping], place: str) -> tuple[Json, list[str]]:
    """A list of objects with a text and a name each."""
    texts = [one.get("text") for one in entries]
    given = [one.get("label") for one in entries]
    return texts, [] if not any(given) else _checked_names(given, len(texts), place)


def _checked_names(given: Json, count: int, place: str) -> list[str]:
    names = [str(name).strip() for name in given] if isinstance(given, list) else []
    if len(names) != count or len(set(names)) != count:
        raise UserError(
            f"{place}: choices.label must give each of the {count} choices a name of its own, got {given!r}."
        )
    return names


def nested_question(row: Row, column: str) -> tuple[str, Options] | None:
    """The question of the authors' files of ARC, OpenBookQA and CommonsenseQA: its stem and its choices.

    Raises:
        UserError: if its choices have another form.
    """
    question = structured(row.fields[column])
    if not isinstance(question, dict) or "stem" not in question:
        return None
    choices = question.get("choices")
    if not isinstance(choices, list) or not all(isinstance(one, dict) for one in choices):
        raise UserError(f"{row.place}: {column}.choices must be a list of objects with text and label.")
    stem = checked_text(question["stem"], what=f"{row.place}: {column}.stem")
    found = _of_columns(Row(row.place, {"choices": choices}), ("choices",))
    return stem, found._replace(columns=())


def inline_question(text: str) -> tuple[str, Options] | None:
    """A question with its choices in it, as ARC's CSV has them: ``What is it? (A) ice (B) steam``."""
    marks = list(_INLINE.finditer(text))
    names = [mark.group(1) for mark in marks]
    if len(names) < 2 or names not in ([*"ABCDEFGH"[: len(names)]], [*"12345678"[: len(names)]]):
        return None
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    texts = [text[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True)]
    stem = text[: marks[0].start()].strip()
    return (stem, Options(texts, (), names)) if stem and all(texts) else None
