"""Scores that grow row by row, so that a file of any size is scored in flat memory.

Shares and F1 run from 0 to 1.
"""

from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ..data import scores
from ..data.scores import Entity
from .labels import ENTAILMENT, NOT_ENTAILMENT

FloatArray = npt.NDArray[np.float64]


class Scorer(Protocol):
    """Compares answers with the truth, one at a time."""

    def add(self, gold: Any, predicted: Any) -> None:
        """Take in one labelled row."""
        ...

    def result(self) -> dict[str, Any]:
        """The metrics of all rows so far; called only after at least one."""
        ...


class LabelScorer:
    """One label a row: accuracy, macro F1, Matthews' coefficient, a row for each label, the confusion matrix.

    Args:
        names: labels in the order of the report; others are added as they come.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = list(names)
        self.counts: Counter[tuple[str, str]] = Counter()

    def add(self, gold: str, predicted: str) -> None:
        """Take in one row."""
        self.counts[gold, predicted] += 1

    def result(self) -> dict[str, Any]:
        """The metrics so far."""
        names = list(dict.fromkeys([*self.names, *(name for pair in self.counts for name in pair)]))
        number = {name: place for place, name in enumerate(names)}
        confusion = np.zeros((len(names), len(names)), dtype=np.int64)
        for (gold, predicted), count in self.counts.items():
            confusion[number[gold], number[predicted]] += count
        per_label = scores.label_scores(confusion)
        return {
            "accuracy": scores.accuracy(confusion),
            "macro_f1": scores.macro_f1(confusion),
            "matthews_corrcoef": scores.matthews_corrcoef(confusion),
            "per_label": {
                name: {
                    "precision": float(per_label["precision"][place]),
                    "recall": float(per_label["recall"][place]),
                    "f1": float(per_label["f1"][place]),
                    "support": int(per_label["support"][place]),
                }
                for place, name in enumerate(names)
            },
            "confusion": {"labels": names, "gold_by_predicted": confusion.tolist()},
        }


class NLIScorer:
    """`LabelScorer` for entailment, also where the data have two labels and the model three, or the reverse.

    There all but entailment counts as not_entailment, on both sides.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.inner = LabelScorer(names)
        self.gold_names: set[str] = set()

    def add(self, gold: str, predicted: str) -> None:
        """Take in one row."""
        self.gold_names.add(gold)
        self.inner.add(gold, predicted)

    def result(self) -> dict[str, Any]:
        """The metrics so far."""
        known = self.gold_names.union(self.inner.names)
        is_mixed = NOT_ENTAILMENT in known and len(known) > 2
        return (self._two_way() if is_mixed else self.inner).result()

    def _two_way(self) -> LabelScorer:
        merged = LabelScorer((ENTAILMENT, NOT_ENTAILMENT))
        for (gold, predicted), count in self.inner.counts.items():
            sides = [name if name == ENTAILMENT else NOT_ENTAILMENT for name in (gold, predicted)]
            merged.counts[sides[0], sides[1]] += count
        return merged


class ChoiceScorer:
    """One place a row: the share of right ones."""

    def __init__(self) -> None:
        self.num_rows = self.num_right = 0

    def add(self, gold: int, predicted: int) -> None:
        """Take in one row."""
        self.num_rows += 1
        self.num_right += gold == predicted

    def result(self) -> dict[str, Any]:
        """The metrics so far."""
        return {"accuracy": self.num_right / self.num_rows}


class SetScorer:
    """Any number of labels a row: share of rows with all of them right, and F1 over all labels."""

    def __init__(self) -> None:
        self.num_rows = self.num_right = 0
        self.common = self.predicted = self.gold = 0

    def add(self, gold: Collection[str], predicted: Collection[str]) -> None:
        """Take in one row."""
        self.num_rows += 1
        self.num_right += set(gold) == set(predicted)
        self.common += len(set(gold) & set(predicted))
        self.predicted += len(set(predicted))
        self.gold += len(set(gold))

    def result(self) -> dict[str, Any]:
        """The metrics so far."""
        return {
            "accuracy": self.num_right / self.num_rows,
            "micro_f1": 2 * self.common / max(self.predicted + self.gold, 1),
        }


class ValueScorer:
    """One number a row: correlations and mean squared error."""

    def __init__(self) -> None:
        self.gold, self.predicted = array("d"), array("d")

    def add(self, gold: float, predicted: float) -> None:
        """Take in one row."""
        self.gold.append(gold)
        self.predicted.append(predicted)

    def result(self) -> dict[str, Any]:
        """The metrics so far."""
        gold, predicted = np.asarray(self.gold), np.asarray(self.predicted)
        return {
            "pearson": scores.pearson(gold, predicted),
            "spearman": scores.spearman(gold, predicted),
            "mean_squared_error": float(((gold - predicted) ** 2).mean()),
        }


class EntityScorer:
    """Entities of a row, right if both ends and the type are: precision, recall, F1, also by type."""

    def __init__(self) -> None:
        self.counts: dict[str, scores.IntArray] = {}

    def add(self, gold: Iterable[Entity], predicted: Iterable[Entity]) -> None:
        """Take in one row."""
        for kind, counts in scores.count_entities(gold, predicted).items():
            self.counts[kind] = self.counts.get(kind, np.zeros(3, dtype=np.int64)) + counts

    def result(self) -> dict[str, Any]:
        """The metrics so far."""
        per_type = {kind: scores.entity_scores({kind: self.counts[kind]}) for kind in sorted(self.counts)}
        return {**scores.entity_scores(self.counts), "per_type": per_type}


class AnswerScorer:
    """Answers to questions: exact match and word F1 as in SQuAD's official script.

    Both also stand for questions with and without an answer apart.
    """

    def __init__(self) -> None:
        self.sums = {True: np.zeros(3), False: np.zeros(3)}  # by "has an answer": exact, F1, questions

    def add(self, gold: Sequence[str], predicted: str) -> None:
        """Take in one row."""
        one = [scores.exact_match(predicted, gold), scores.answer_f1(predicted, gold), 1]
        self.sums[any(gold)] += one

    def result(self) -> dict[str, Any]:
        """The metrics so far."""
        result: dict[str, Any] = {}
        total = self.sums[True] + self.sums[False]
        for prefix, (exact, f1, count) in (
            ("", total),
            ("answerable_", self.sums[True]),
            ("unanswerable_", self.sums[False]),
        ):
            if count:
                result |= {f"{prefix}exact_match": float(exact / count), f"{prefix}f1": float(f1 / count)}
        return result


class Relevance(NamedTuple):
    """The truth of one text of a query that has others in other rows."""

    query: str
    value: float
    """0 for a text that does not answer the query."""


class RankScorer:
    """Rankings: how often the best text is a right one, mean of 1 / rank of the first right one, and nDCG.

    A row is a query with all its texts, or one text of a query: those of one query are then one ranking.
    """

    def __init__(self) -> None:
        self.rows = np.zeros(4)  # accuracy, reciprocal rank, nDCG, rankings
        self.flat: dict[str, tuple[array[float], array[float]]] = {}

    def add(self, gold: Collection[int] | Relevance, predicted: Any) -> None:
        """Take in the places of the right texts and of all, best first; or one text's truth and score."""
        if isinstance(gold, Relevance):
            own_scores, values = self.flat.setdefault(gold.query, (array("d"), array("d")))
            own_scores.append(predicted)
            values.append(gold.value)
        else:
            self.rows += _rank_scores(
                np.arange(len(predicted), 0, -1.0), np.array([float(place in gold) for place in predicted])
            )

    def result(self) -> dict[str, Any]:
        """The metrics so far."""
        total = self.rows.copy()
        for own_scores, values in self.flat.values():
            total += _rank_scores(np.asarray(own_scores), np.asarray(values))
        right, reciprocal_ranks, gains, count = total.tolist()
        return {
            "accuracy": right / count,
            "mean_reciprocal_rank": reciprocal_ranks / count,
            "ndcg": gains / count,
        }


def _rank_scores(own_scores: FloatArray, relevance: FloatArray) -> FloatArray:
    """One ranking as a row of `RankScorer.rows`."""
    rank = scores.reciprocal_rank(own_scores, relevance)
    return np.array([float(rank == 1), rank, scores.ndcg(own_scores, relevance), 1.0])
