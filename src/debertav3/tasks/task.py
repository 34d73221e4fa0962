"""What every task has to say: how rows become examples, which head answers, how answers are scored."""

import logging
import random
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import UserError
from ..heads import HeadName
from ..json_types import JsonMapping
from .metrics import MetricName
from .scorers import Scorer

logger = logging.getLogger(__name__)


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


class Task(ABC):
    """One kind of data and answer. Knows neither model nor tokenizer."""

    name: str
    head: HeadName
    metrics: tuple[MetricName, ...]
    """Scores of a dev set."""

    @property
    def best_metric(self) -> MetricName:
        """The score that selects the best checkpoint, the first of the metrics; higher is better."""
        return self.metrics[0]

    @abstractmethod
    def read(self, source: str) -> list[Example]:
        """Read and check a source of rows.

        Raises:
            UserError: naming file and line, if a row cannot be used.
        """

    @abstractmethod
    def choose_labels(self, examples: Sequence[Example], *, source: str) -> tuple[str, ...]:
        """Return the class names in id order; empty where the head has none.

        Raises:
            UserError: if the examples cannot train.
        """

    def check_dev(self, examples: Sequence[Example], labels: Sequence[str], *, source: str) -> None:  # noqa: B027
        """Assert that a dev set fits the training labels.

        Raises:
            UserError: otherwise.
        """

    @abstractmethod
    def scorer(self, labels: Sequence[str]) -> Scorer:
        """Return what compares answers with `gold`.

        Args:
            labels: class names in id order.
        """

    def gold(self, example: Example) -> Any:
        """Return the right answer in the form of the scorer."""
        return example.label

    @abstractmethod
    def baseline(
        self, train: Sequence[Example], dev: Sequence[Example], *, labels: Sequence[str]
    ) -> dict[str, float]:
        """Return the scores of the best answer that needs no input, such as the commonest label."""

    def scores(
        self, examples: Sequence[Example], answers: Sequence[object], *, labels: Sequence[str]
    ) -> dict[str, object]:
        """Return all that the scorer says of one answer for each example."""
        scorer = self.scorer(labels)
        for example, answer in zip(examples, answers, strict=True):
            scorer.add(self.gold(example), answer)
        return scorer.result()

    def own(self, scores: JsonMapping) -> dict[str, float]:
        """Return the task's own metrics of all that a scorer says."""
        return {name: scores[name] for name in self.metrics}


def kept_examples(
    examples: list[Example], skipped: int, *, source: str, needs: str, empty: int = 0
) -> list[Example]:
    """Return the examples, and say how many rows are left out.

    Args:
        examples: what is kept.
        skipped: rows without a gold label.
        source: where they come from.
        needs: what a row must have.
        empty: rows without a text.

    Raises:
        UserError: if none is left.
    """
    if empty:
        logger.warning("%s: skipped %d rows without a text", source, empty)
    if skipped:
        logger.warning("%s: skipped %d rows without a gold label", source, skipped)
    if not examples:
        without = f" ({empty} have no text)" if empty else ""
        raise UserError(f"{source} has no labelled rows{without}. Need rows with {needs}.")
    return examples


def take_balanced(examples: Sequence[Example], limit: int | None, *, seed: int) -> list[Example]:
    """Draw ``limit`` examples, labels as balanced as the data allow; None means all."""
    if limit is None or limit >= len(examples):
        return list(examples)
    generator = random.Random(seed)
    shuffled = generator.sample(range(len(examples)), len(examples))
    by_label: dict[str, list[int]] = defaultdict(list)
    for index in shuffled:
        label = examples[index].label
        by_label[label if isinstance(label, str) else ""].append(index)
    turns = sorted(
        (turn, name, index) for name, group in by_label.items() for turn, index in enumerate(group)
    )
    return [examples[index] for index in sorted(index for _, _, index in turns[:limit])]
