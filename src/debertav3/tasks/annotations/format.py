"""Formats of annotation tools: how their rows are recognized, read and written."""

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
    """Start and end (exclusive) of each word, in characters."""
    others: JsonMapping
    """The other fields of the input row."""


@dataclass(frozen=True, kw_only=True)
class RowFormat:
    """A tool whose export is a list of objects."""

    name: str
    """Its name for ``--as``."""
    title: str
    """Its name as its makers write it."""
    fits: Callable[[Fields], bool | None]
    """Whether a row has this format; None if later rows must decide."""
    read: Callable[[Fields, str, Notes], Iterator[JsonObject]]
    """The rows in one object, given its location: with ``text`` and ``entities`` (a list of `Mark`, None if
    nobody has annotated it), or with the label of a whole text."""
    is_one_to_one: bool = True
    """Whether an object is at most one row, so that `predict` can write it back unchanged."""
    write: Callable[[Marked], JsonObject] | None = None
    """Makes an object that the tool imports as a pre-annotation; None if it has no such format."""
