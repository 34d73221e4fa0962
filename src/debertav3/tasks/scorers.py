"""Scores that grow row by row, so that a file of any size is scored in flat memory.

Training scores its dev sets by them, prediction and evaluation files, and the int8 gate its examples.
"""

from array import array
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from . import metrics
from .labels import ENTAILMENT, NOT_ENTAILMENT

FloatArray = npt.NDArray[np.float64]


class Scorer(Protocol):
    """Compares answers with the gold labels, one at a time."""

    @property
    def scale(self) -> float:
        """What a perfect share is: 1, or 100 for SQuAD."""
        ...

    def add(self, gold: Any, predicted: Any) -> None:
        """Take in one labelled row."""
        ...

    def result(self) -> dict[str, object]:
        """The metrics of all rows so far; called only after at least one."""
        ...


MAX_CONFUSION_LABELS = 200
"""Labels up to which a report holds the confusion matrix; it grows with their square (5,000: 300 MB)."""


class LabelScorer:
    """One label a row: accuracy, macro F1, Matthews' coefficient, a row for each label, the confusion matrix.

    With more than `MAX_CONFUSION_LABELS` labels the most often confused pairs replace the matrix.

    ``f1`` is that of the second label, where two are named.

    Args:
        names: labels in the order of the report; others are added as they come.
    """

    scale = 1.0

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = list(names)
        self.counts: Counter[tuple[str, str]] = Counter()

    def add(self, gold: str, predicted: str) -> None:
        """Take in one row."""
        self.counts[gold, predicted] += 1

    def result(self) -> dict[str, object]:
        """The metrics so far."""
        names = list(dict.fromkeys([*self.names, *(name for pair in self.counts for name in pair)]))
        number = {name: index for index, name in enumerate(names)}
        confusion = np.zeros((len(names), len(names)), dtype=np.int64)
        for (gold, predicted), count in self.counts.items():
            confusion[number[gold], number[predicted]] += count
        is_small = len(names) <= MAX_CONFUSION_LABELS
        return {
            "accuracy": metrics.accuracy(confusion),
            **({"f1": metrics.positive_f1(confusion)} if len(self.names) == len(names) == 2 else {}),
            "macro_f1": metrics.macro_f1(confusion),
            "matthews_corrcoef": metrics.matthews_corrcoef(confusion),
            "per_label": _per_label(metrics.label_scores(confusion), names),
            **(
                {"confusion": {"labels": names, "gold_by_predicted": confusion.tolist()}}
                if is_small
                else {"most_confused": self._most_confused()}
            ),
        }

    def _most_confused(self) -> list[dict[str, object]]:
        """The most frequent pairs of two labels, most first."""
        wrong = Counter({pair: count for pair, count in self.counts.items() if pair[0] != pair[1]})
        return [
            {"gold": gold, "predicted": predicted, "count": count}
            for (gold, predicted), count in wrong.most_common(MAX_CONFUSION_LABELS)
        ]


def _per_label(columns: Mapping[str, FloatArray], names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Scores of each label by name; ``support`` is a count."""
    return {
        name: {
            key: int(column[index]) if key == "support" else float(column[index])
            for key, column in columns.items()
        }
        for index, name in enumerate(names)
    }


class NLIScorer:
    """`LabelScorer` for entailment, also where the data have two labels and the model three, or the reverse.

    There all but entailment counts as not_entailment, on both sides.
    """

    scale = 1.0

    def __init__(self, names: Sequence[str]) -> None:
        self.inner = LabelScorer(names)
        self.gold_names: set[str] = set()

    def add(self, gold: str, predicted: str) -> None:
        """Take in one row."""
        self.gold_names.add(gold)
        self.inner.add(gold, predicted)

    def result(self) -> dict[str, object]:
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
    """One index a row: the share of right ones, and how often each index is right and chosen."""

    scale = 1.0

    def __init__(self) -> None:
        self.counts: Counter[tuple[int, int]] = Counter()

    def add(self, gold: int, predicted: int) -> None:
        """Take in one row."""
        self.counts[int(gold), int(predicted)] += 1

    def result(self) -> dict[str, object]:
        """The metrics so far."""
        size = 1 + max(max(pair) for pair in self.counts)
        confusion = np.zeros((size, size), dtype=np.int64)
        for pair, count in self.counts.items():
            confusion[pair] += count
        table = {"labels": [str(index) for index in range(size)], "gold_by_predicted": confusion.tolist()}
        return {"accuracy": metrics.accuracy(confusion), "confusion": table}


class SetScorer:
    """Any number of labels a row: share of rows with all of them right, and F1 over all labels.

    Args:
        names: all labels; with them come ``macro_f1`` and ``per_label``.
    """

    scale = 1.0

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = names
        self.num_rows = self.num_right = 0
        self.common: Counter[str] = Counter()
        self.predicted: Counter[str] = Counter()
        self.gold: Counter[str] = Counter()

    def add(self, gold: Collection[str], predicted: Collection[str]) -> None:
        """Take in one row."""
        own, given = set(gold), set(predicted)
        self.num_rows += 1
        self.num_right += own == given
        self.common.update(own & given)
        self.predicted.update(given)
        self.gold.update(own)

    def result(self) -> dict[str, object]:
        """The metrics so far."""
        total = self.predicted.total() + self.gold.total()
        result: dict[str, object] = {
            "accuracy": self.num_right / self.num_rows,
            "micro_f1": 2 * self.common.total() / max(total, 1),
        }
        if self.names:
            right, predicted, gold = (
                np.array([counts[name] for name in self.names], dtype=np.float64)
                for counts in (self.common, self.predicted, self.gold)
            )
            columns = {
                "precision": right / np.maximum(predicted, 1),
                "recall": right / np.maximum(gold, 1),
                "f1": 2 * right / np.maximum(predicted + gold, 1),
                "support": gold,
            }
            result["macro_f1"] = float(columns["f1"].mean())
            result["per_label"] = _per_label(columns, self.names)
        return result


class ValueScorer:
    """One number a row: correlations and errors."""

    scale = 1.0

    def __init__(self) -> None:
        self.gold, self.predicted = array("d"), array("d")

    def add(self, gold: float, predicted: float) -> None:
        """Take in one row."""
        self.gold.append(gold)
        self.predicted.append(predicted)

    def result(self) -> dict[str, object]:
        """The metrics so far."""
        both = np.asarray(self.gold), np.asarray(self.predicted)
        return {
            "pearson": metrics.pearson(*both),
            "spearman": metrics.spearman(*both),
            "rmse": metrics.rmse(*both),
            "mae": metrics.mae(*both),
        }


class EntityScorer:
    """Entities of a row, right if both ends and the type are: precision, recall, F1, also by type.

    Rows may also be tags, one for each word; with them comes ``accuracy``, the share of right tags.
    """

    scale = 1.0

    def __init__(self) -> None:
        self.counts: dict[str, metrics.IntArray] = {}
        self.num_tags = self.num_right = 0

    def add(self, gold: Sequence[Any], predicted: Sequence[Any]) -> None:
        """Take in one row: entities, or tags."""
        if gold and isinstance(gold[0], str):
            self.num_tags += len(gold)
            self.num_right += sum(own == given for own, given in zip(gold, predicted, strict=True))
            gold, predicted = metrics.tag_entities(gold), metrics.tag_entities(predicted)
        for kind, counts in metrics.count_entities(gold, predicted).items():
            self.counts[kind] = self.counts.get(kind, np.zeros(3, dtype=np.int64)) + counts

    def result(self) -> dict[str, object]:
        """The metrics so far."""
        per_label = {
            kind: {**metrics.entity_scores({kind: counts}), "support": int(counts[2])}
            for kind, counts in sorted(self.counts.items())
        }
        accuracy = {"accuracy": self.num_right / self.num_tags} if self.num_tags else {}
        return {**metrics.entity_scores(self.counts), **accuracy, "per_label": per_label}


class AnswerScorer:
    """Answers to questions: exact match and word F1 of 100, as SQuAD's official script has them.

    Both also for questions with an answer (``HasAns``) and without one (``NoAns``) apart.
    """

    scale = 100.0

    def __init__(self) -> None:
        self.sums = {True: np.zeros(3), False: np.zeros(3)}  # by "has an answer": exact, F1, questions

    def add(self, gold: Sequence[str], predicted: str) -> None:
        """Take in one row."""
        one = [metrics.exact_match(predicted, gold), metrics.answer_f1(predicted, gold), 1]
        self.sums[any(gold)] += one

    def result(self) -> dict[str, object]:
        """The metrics so far."""
        exact, f1, count = (self.sums[True] + self.sums[False]).tolist()
        result: dict[str, object] = {"exact_match": 100 * exact / count, "f1": 100 * f1 / count}
        for prefix, has_answer in (("HasAns", True), ("NoAns", False)):
            exact, f1, count = self.sums[has_answer].tolist()
            if count:
                result[f"{prefix}_exact"] = 100 * exact / count
                result[f"{prefix}_f1"] = 100 * f1 / count
                result[f"{prefix}_total"] = int(count)
        return result


class Relevance(NamedTuple):
    """The gold relevance of one text of a query that has others in other rows."""

    query: str
    value: float
    """0 for a text that does not answer the query."""


class RankScorer:
    """Rankings: how often the best text is a right one, mean of 1 / rank of the first right one, and nDCG.

    A row is a query with all its texts, or one text of a query: those of one query are then one ranking.
    """

    scale = 1.0

    def __init__(self) -> None:
        self.rows = np.zeros(4)  # accuracy, reciprocal rank, nDCG, rankings
        self.flat: dict[str, tuple[array[float], array[float]]] = {}

    def add(self, gold: Collection[int] | Relevance, predicted: Any) -> None:
        """Take in the indices of the right texts and the scores of all; or a text's relevance and score."""
        if isinstance(gold, Relevance):
            own_scores, values = self.flat.setdefault(gold.query, (array("d"), array("d")))
            own_scores.append(predicted)
            values.append(gold.value)
        else:
            relevance = np.array([float(index in gold) for index in range(len(predicted))])
            self.rows += _rank_scores(np.asarray(predicted, dtype=np.float64), relevance)

    def result(self) -> dict[str, object]:
        """The metrics so far."""
        total = self.rows.copy()
        for own_scores, values in self.flat.values():
            total += _rank_scores(np.asarray(own_scores), np.asarray(values))
        right, reciprocal_ranks, gains, count = total.tolist()
        return {
            "accuracy": right / count,
            "mrr": reciprocal_ranks / count,
            "ndcg": gains / count,
        }


def _rank_scores(own_scores: FloatArray, relevance: FloatArray) -> FloatArray:
    """One ranking as a row of `RankScorer.rows`."""
    rank = metrics.reciprocal_rank(own_scores, relevance)
    return np.array([float(rank == 1), rank, metrics.ndcg(own_scores, relevance), 1.0])
