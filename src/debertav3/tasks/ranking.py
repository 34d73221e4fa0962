"""Which text answers a query: one score for each pair, judged by the order that it gives a query's texts."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import UserError
from .example import Example
from .labels import label_text, relevance
from .metrics import MetricName
from .rows import Row
from .scorers import RankScorer, Relevance, Scorer
from .text import Target, TextTask


@dataclass(frozen=True, kw_only=True)
class RankingTask(TextTask):
    """How well a text answers a query: one score, trained as a yes or no, judged by the order it makes."""

    target: Target = "number"
    metrics: tuple[MetricName, ...] = ("mrr", "ndcg")
    """Means over the queries; texts of one query are those with an equal first text."""

    def _label(self, row: Row, value: object) -> float:
        value = self.label_map.get(label_text(value), value)
        found = relevance(value, what=f"{row.place}: the label")
        if found > 1:
            raise UserError(
                f"{row.place}: relevance must be between 0 and 1, got {value!r}. "
                "Divide grades by the highest."
            )
        return found

    def belongs_to(self, example: Example) -> tuple[str, ...]:
        """The query, whose texts are one ranking."""
        return example.texts[:1]

    def scorer(self, labels: Sequence[str]) -> Scorer:
        """How high the relevant texts of each query are."""
        return RankScorer()

    def gold(self, example: Example) -> Relevance:
        """Return query and relevance."""
        return Relevance(example.texts[0], example.label)

    def baseline(
        self, train: Sequence[Example], dev: Sequence[Example], *, labels: Sequence[str]
    ) -> dict[str, float]:
        """Longer texts first."""
        lengths = [float(len(example.texts[1])) for example in dev]
        return self.own(self.scores(dev, lengths, labels=labels))
