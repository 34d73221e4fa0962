"""A task is data: which columns to read, what to predict, how it is scored."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .metrics import Metric


@dataclass(frozen=True, kw_only=True)
class Task:
    """Classification or regression of one text or a pair."""

    name: str
    columns: tuple[tuple[str, ...], ...]
    """For each text its column, the usual name first and the names of public copies after it."""
    label_column: tuple[str, ...] = ("label",)
    label_sets: tuple[tuple[str, ...], ...]
    """Class names in id order; the first set that has all training labels counts. Empty: regression."""
    label_aliases: Mapping[str, str] = field(default_factory=dict)
    """Other spellings, in lower case, of a label."""
    metrics: tuple[Metric, ...]
    """The first one selects the best checkpoint."""

    @property
    def is_regression(self) -> bool:
        """Whether the label is a real number."""
        return not self.label_sets

    @property
    def best_metric(self) -> str:
        """Name of the score that selects the best checkpoint."""
        return self.metrics[0].__name__

    def normal_label(self, value: Any) -> str:
        """The label as text in lower case, aliases resolved: True is ``true``, 1 and 1.0 are ``1``."""
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        text = str(value).strip().lower()
        return self.label_aliases.get(text, text)
