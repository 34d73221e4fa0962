"""Which text answers a query: one score for each pair, judged by the order that it gives a query's texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data import scores
from ..errors import UserError
from .fields import number_in
from .metrics import Array, Metric
from .outcomes import sigmoid
from .rows import Row
from .task import Example
from .text import Target, TextTask

if TYPE_CHECKING:
    from .batches import EncodedDataset
    from .config import FinetuneConfig
    from .losses import LossFunction


@dataclass(frozen=True, kw_only=True)
class RankingTask(TextTask):
    """How well a text answers a query: one score, trained as a yes or no, judged by the order it makes."""

    target: Target = "number"
    metrics: tuple[Metric, ...] = ()

    @property
    def best_metric(self) -> str:
        """Mean reciprocal rank of the first relevant text."""
        return "mrr"

    def _label(self, row: Row, value: Any) -> float:
        number = number_in(row, value)
        if not 0 <= number <= 1:
            raise UserError(
                f"{row.place}: relevance must be between 0 and 1, got {value!r}. "
                "Divide grades by the highest."
            )
        return number

    def loss(
        self, examples: Sequence[Example], *, labels: Sequence[str], config: "FinetuneConfig"
    ) -> "LossFunction":
        """Binary cross entropy."""
        from . import losses

        return losses.relevance_loss

    def config_keys(self, labels: Sequence[str]) -> dict[str, Any]:
        """One output, a yes or no rather than a quantity."""
        return {"problem_type": "multi_label_classification"}

    def _answer(self, logits: Array, decided: Any, gold: Any, labels: Sequence[str]) -> dict[str, Any]:
        """The probability of a yes, which like the relevance is between 0 and 1."""
        relevance = float(sigmoid(logits).squeeze(-1))
        return {
            "predicted": f"{relevance:.3f}",
            "is_right": None,
            "confidence": None,
            "badness": abs(relevance - float(gold)),
        }

    def score(
        self, predictions: Any, dataset: "EncodedDataset", *, labels: Sequence[str]
    ) -> dict[str, float]:
        """Mean over queries of the reciprocal rank and of nDCG at 10."""
        return _ranking_scores(self.decide(np.asarray(predictions)), dataset)

    def baseline(
        self, train: Sequence[Example], dev: "EncodedDataset", *, labels: Sequence[str]
    ) -> dict[str, float]:
        """Longer texts first."""
        lengths = np.array([len(dev.examples[origin].texts[1]) for origin in dev.origins])
        return _ranking_scores(lengths.astype(np.float64), dev)


def _ranking_scores(given: Array, dataset: "EncodedDataset") -> dict[str, float]:
    """Mean over the queries; texts of one query are those with an equal first text."""
    rows: dict[str, list[int]] = {}
    for row, origin in enumerate(dataset.origins):
        rows.setdefault(dataset.examples[origin].texts[0], []).append(row)
    gold = dataset.labels()
    ranks = [scores.reciprocal_rank(given[mine], gold[mine]) for mine in rows.values()]
    gains = [scores.ndcg(given[mine], gold[mine]) for mine in rows.values()]
    return {"mrr": float(np.mean(ranks)), "ndcg": float(np.mean(gains))}
