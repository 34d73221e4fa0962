"""What a format of an annotation tool is: how its rows are recognised, read and written."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ...json_types import JsonMapping, JsonObject
from ..notes import Notes
from ..words import Span
from .marks import Fields, Mark


class Marked(NamedTuple):
    """A text and the entities that a model found in it."""

    text: str
    marks: Sequence[Mark]
    scores: Sequence[float]
    """The probability of each entity, 0 to 1."""
    words: Sequence[Span]
    """First character of each word and one past its last."""
    others: JsonMapping
    """What else the row of the input has."""


@dataclass(frozen=True, kw_only=True)
class RowFormat:
    """A tool whose export is a list of objects."""

    name: str
    """What ``--as`` calls it."""
    title: str
    """What its makers call it."""
    fits: Callable[[Fields], bool | None]
    """Whether a row is of this format; None if that depends on later rows."""
    read: Callable[[Fields, str, Notes], Iterator[JsonObject]]
    """The rows that one object holds, given where it is: with ``text`` and ``entities`` (a list of `Mark`, or
    None if nobody has looked at the text), or with the label of a whole text."""
    is_one_to_one: bool = True
    """Whether an object is one row, or none, so that `predict` writes it back as it is."""
    write: Callable[[Marked], JsonObject] | None = None
    """An object that the tool imports as pre-annotation; None if it has none."""
