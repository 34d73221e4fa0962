"""One row of labelled data, and one value out of it, checked: an error names the row and its column."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..errors import UserError
from ..json_types import Json, JsonObject
from .python_cells import python_value


class Row(NamedTuple):
    """One row of a file."""

    place: str
    """File and line, for messages."""
    fields: JsonObject
    """By column, as a task reads them."""
    typed: dict[str, object] | None = None
    """As the file has them: a spreadsheet's numbers, which a task reads as text, or the form of an annotation
    tool; None where that is the same."""

    @property
    def original(self) -> dict[str, object]:
        """By column, as they are written again."""
        return self.fields if self.typed is None else self.typed


def is_missing(value: object) -> bool:
    """Whether a value says nothing: null, white space, or the NaN by which pandas marks a gap."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and not value.strip())


def column_of(row: Row, names: Sequence[str]) -> str:
    """Return the first of the names that the row has.

    Raises:
        UserError: if it has none of them.
    """
    for name in names:
        if name in row.fields:
            return name
    raise UserError(f"{row.place}: {lacks([(name,) for name in names], row.fields)}")


_CHOICES_SAID = 3


def lacks(choices: Sequence[Sequence[str]], fields: Mapping[str, object]) -> str:
    """What to say of a row that has none of some choices of fields.

    Args:
        choices: names of fields; any one choice would do, with all of its names.
        fields: the row.
    """
    needed = " or ".join(" and ".join(map(repr, names)) for names in choices[:_CHOICES_SAID])
    if len(choices) > _CHOICES_SAID:
        needed += ", or other usual names"
    word = "field" if all(len(names) == 1 for names in choices) else "fields"
    hint = " A file that marks entities in texts is for task ner." if "entities" in fields else ""
    return f"needs the {word} {needed}; it has {listed(fields)}.{hint}"


def nested_names(fields: Mapping[str, object], *, before: str = "") -> list[str]:
    """The names of columns, those within others with points: ``data.text``."""
    found: list[str] = []
    for name, value in fields.items():
        inner = value if isinstance(value, Mapping) and value else None
        found += [f"{before}{name}"] if inner is None else nested_names(inner, before=f"{before}{name}.")
    return found


def nested_value(fields: Mapping[str, object], name: str) -> Json:
    """What is under a name with points, such as ``data.text``; None if there is nothing."""
    value: Json = fields
    for part in name.split("."):
        value = structured(value)
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def listed(names: Sequence[str] | Mapping[str, object]) -> str:
    """Names of columns for a message."""
    return ", ".join(map(repr, names)) or "none"


def first_of(names: Sequence[str], *, most: int = 20) -> str:
    """Names for a line that stays readable with thousands of them."""
    left = len(names) - most
    return ", ".join(names) if left <= 0 else f"{', '.join(names[:most])} and {left:,} more"


def text_in(row: Row, names: Sequence[str]) -> str:
    """Return a text that is not empty.

    Raises:
        UserError: if there is no such column, no text in it, or only white space.
    """
    column = column_of(row, names)
    return checked_text(row.fields[column], what=f"{row.place}: {column}")


def checked_text(value: object, *, what: str) -> str:
    """Return a value that is a text and not empty; a number is its text.

    Raises:
        UserError: naming ``what`` otherwise.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and not is_missing(value):
        return str(value)
    if not isinstance(value, str):
        raise UserError(f"{what} must be a text, got {type(value).__name__}.")
    if not value.strip():
        raise UserError(f"{what} is empty. Fill it in or leave the row out.")
    return value


def structured(value: Json) -> Json:
    """A list or object that a cell of a table holds as JSON text, or as Python writes it; else the value."""
    start = value.lstrip()[:2] if isinstance(value, str) else ""
    if start[:1] not in ("[", "{") and start not in ("('", '("'):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        pass
    try:
        return python_value(value)
    except (ValueError, TypeError):  # TypeError: a list as the key of a dict
        return value


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def list_in(row: Row, names: Sequence[str], *, least: int = 1) -> list[str]:
    """The texts of a column that holds a list, in a table as JSON.

    Args:
        row: the row.
        names: the column, by any of its names.
        least: how many texts there must be.

    Raises:
        UserError: if there is no such column, or no such list in it.
    """
    column = column_of(row, names)
    values = structured(row.fields[column])
    if not isinstance(values, list) or len(values) < least or not all(_is_text(one) for one in values):
        needed = "at least two texts" if least > 1 else "texts, not empty"
        raise UserError(f"{row.place}: {column} must be a list of {needed}; got {shortened(values)}.")
    return values


def words_in(row: Row, column: str) -> list[str]:
    """Words or tags: a list, in a table as JSON, or a text with white space between them.

    Raises:
        UserError: if there is something else in the column.
    """
    try:
        values = structured(row.fields[column])
    except UserError as error:
        raise UserError(f"{row.place}: {column} {error}") from None
    if isinstance(values, str):
        return values.split()
    if not isinstance(values, list | tuple):
        raise UserError(f"{row.place}: {column} must be a list, got {type(values).__name__}.")
    return [str(value) for value in values]


def shortened(value: object) -> str:
    """A value on one line of at most 60 characters, for messages."""
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
