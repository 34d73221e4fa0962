"""One value out of a row, checked: an error names the place, the column, and what the row has instead."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ..errors import UserError


class PlacedRow(Protocol):
    """One row and where it stands."""

    @property
    def place(self) -> str:
        """For messages."""
        ...

    @property
    def fields(self) -> Mapping[str, Any]:
        """By column."""
        ...


def column_of(row: PlacedRow, names: Sequence[str]) -> str:
    """Return the first of the names that the row has.

    Raises:
        UserError: if it has none of them.
    """
    for name in names:
        if name in row.fields:
            return name
    wanted, present = " or ".join(map(repr, names)), ", ".join(map(repr, row.fields)) or "none"
    raise UserError(f"{row.place} has no column {wanted}; it has {present}.")


def text_in(row: PlacedRow, names: Sequence[str]) -> str:
    """Return a text that is not empty.

    Raises:
        UserError: if there is no such column, no text in it, or only white space.
    """
    column = column_of(row, names)
    text = row.fields[column]
    if not isinstance(text, str):
        raise UserError(f"{row.place}: {column} must be a text, got {type(text).__name__}.")
    if not text.strip():
        raise UserError(f"{row.place}: {column} is empty. Fill it in or leave the row out.")
    return text


def is_missing(value: Any) -> bool:
    """Whether a value says nothing: null, white space, or the NaN by which pandas marks a gap."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and not value.strip())
