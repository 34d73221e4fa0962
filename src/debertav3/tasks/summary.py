"""What a set of examples has: which labels and how many, first rows; kept small, whatever the set's size."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from ..errors import UserError
from .example import Example

_MOST_NAMES = 100_000
"""More classes than a head has."""
_SHOWN = 2


@dataclass
class Summary:
    """Grows by one example after another, and keeps none but the first two."""

    num_examples: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    """How many examples count under each name."""
    names: dict[str, None] = field(default_factory=dict)
    """All names, those that have a share in a distribution among them."""
    num_texts: Counter[int] = field(default_factory=Counter)
    """How many examples have how many texts."""
    first: list[Example] = field(default_factory=list)
    least: float = math.inf
    """Of labels that are numbers."""
    most: float = -math.inf
    mean: float = 0.0
    _squares: float = 0.0
    """Sum of the squared distances from the mean."""

    @classmethod
    def of(cls, examples: Iterable[Example]) -> Self:
        """Of examples that count under their label, or under each of several."""
        found = cls()
        for example in examples:
            found.add(example)
        return found

    @property
    def has_numbers(self) -> bool:
        """Whether the labels are numbers."""
        return self.least <= self.most

    @property
    def deviation(self) -> float:
        """Standard deviation of labels that are numbers."""
        return math.sqrt(self._squares / self.num_examples)

    def add(self, example: Example, counted: Iterable[str] | None = None) -> None:
        """Take in an example.

        Args:
            example: the example.
            counted: names that it counts under, other than its label.

        Raises:
            UserError: if there are more names than a head can have.
        """
        self.num_examples += 1
        if len(self.first) < _SHOWN:
            self.first.append(example)
        self.num_texts[len(example.texts)] += 1
        label: Any = example.label
        if isinstance(label, float):
            self._add_number(label)
            return
        if counted is None:
            counted = label if isinstance(label, tuple) else (str(label),)
        for name in counted:
            self.labels[name] += 1
            self.names[name] = None
        self.names.update(dict.fromkeys(example.shares or ()))
        if len(self.names) > _MOST_NAMES:
            raise UserError(
                f"{example.place}: there are more than {_MOST_NAMES:,} different labels up to here, such as "
                f"{next(iter(self.names))!r}. Is it the column of the label? Say --label-column NAME."
            )

    def _add_number(self, value: float) -> None:
        self.least, self.most = min(self.least, value), max(self.most, value)
        step = value - self.mean
        self.mean += step / self.num_examples
        self._squares += step * (value - self.mean)
