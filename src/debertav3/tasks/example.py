"""One labelled row as a task reads it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One row: its texts and the right answer."""

    texts: tuple[str, ...]
    label: Any
    """A class name, a number, a tuple of names (several labels, or tags of words), or an answer's text."""
    shares: Mapping[str, float] | None = None
    """Where the label is a distribution over class names: each one's share; `label` has the largest."""
    extra: Any = None
    """What else the task needs, such as the gold answers of a question."""
    place: str = field(default="", compare=False, repr=False)
    """File and line that it was read from; not part of what it says."""
