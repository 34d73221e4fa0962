"""Scores of a dev set: pure functions, each named as it is keyed in ``metrics.json``.

For classification both arguments are label ids, for regression real numbers; both have shape ``(N,)``.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..data import scores

Array = npt.NDArray[Any]
Metric = Callable[[Array, Array], float]


def accuracy(predictions: Array, labels: Array) -> float:
    """Share of right predictions, 0 to 1."""
    return float(np.mean(predictions == labels))


def f1(predictions: Array, labels: Array) -> float:
    """F1 of label 1, as GLUE scores MRPC and QQP; 0 where label 1 is neither predicted nor true."""
    right = float(np.sum((predictions == 1) & (labels == 1)))
    total = float(np.sum(predictions == 1) + np.sum(labels == 1))
    return 2 * right / total if total else 0.0


def macro_f1(predictions: Array, labels: Array) -> float:
    """Plain mean of the F1 of all labels that occur, or of all columns of ``(N, num_labels)`` of 0 and 1."""
    if predictions.ndim == 2:
        return float(np.mean([f1(predictions[:, i], labels[:, i]) for i in range(labels.shape[1])]))
    return scores.macro_f1(_confusion(predictions, labels))


def micro_f1(predictions: Array, labels: Array) -> float:
    """F1 over all yes-or-no answers, ``(N, num_labels)`` of 0 and 1; 0 where there is no yes at all."""
    return f1(predictions.ravel(), labels.ravel())


def matthews_corrcoef(predictions: Array, labels: Array) -> float:
    """Matthews' correlation, -1 to 1, for any number of labels; 0 where one side is constant."""
    return scores.matthews_corrcoef(_confusion(predictions, labels))


def pearson(predictions: Array, labels: Array) -> float:
    """Linear correlation, -1 to 1; 0 where one side is constant."""
    return scores.pearson(labels, predictions)


def spearman(predictions: Array, labels: Array) -> float:
    """Correlation of ranks (ties share their mean rank), -1 to 1; 0 where one side is constant."""
    return scores.spearman(labels, predictions)


def rmse(predictions: Array, labels: Array) -> float:
    """Root of the mean squared error, in the labels' own unit; 0 is best."""
    return float(np.sqrt(np.mean((predictions - labels) ** 2)))


def mae(predictions: Array, labels: Array) -> float:
    """Mean absolute error, in the labels' own unit; 0 is best."""
    return float(np.mean(np.abs(predictions - labels)))


def reciprocal_rank(scores: Array, relevance: Array) -> float:
    """One over the place of a query's first relevant text, best score first; 0 without a relevant one.

    Texts of equal score stand in random order, and the mean over all orders counts: a model that scores all
    texts alike gains nothing by the order of the file.
    """
    is_relevant = relevance > 0
    if not is_relevant.any():
        return 0.0
    best = scores[is_relevant].max()
    above, tied = int(np.sum(scores > best)), int(np.sum(scores == best))
    right = int(np.sum(is_relevant & (scores == best)))
    orders = math.comb(tied, right)
    # The first relevant one of the tied is at place k in comb(tied - k, right - 1) of the orders.
    return sum(math.comb(tied - k, right - 1) / (above + k) for k in range(1, tied - right + 2)) / orders


def ndcg(scores: Array, relevance: Array, *, depth: int = 10) -> float:
    """Normalised discounted cumulative gain of a query's best ``depth`` texts; 0 without a relevant one.

    Texts of equal score share their mean relevance (McSherry and Najork 2008), as in scikit-learn.
    """
    discounts = np.zeros(len(scores))
    discounts[:depth] = 1 / np.log2(np.arange(2, len(scores) + 2))[:depth]
    _, group = np.unique(-scores, return_inverse=True)  # 0 has the best score
    shared = np.bincount(group, weights=relevance) / np.bincount(group)
    gain = float(shared[np.sort(group)] @ discounts)
    best = float(np.sort(relevance)[::-1] @ discounts)
    return gain / best if best > 0 else 0.0


def per_label(predictions: Array, labels: Array, *, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and number of true examples of each label, by name."""
    table = _confusion(predictions, labels, num_labels=len(names))
    columns = scores.label_scores(table)
    return {name: {key: float(column[i]) for key, column in columns.items()} for i, name in enumerate(names)}


def confusion(predictions: Array, labels: Array, *, num_labels: int) -> list[list[int]]:
    """Counts of (true label, predicted label) as rows of lists."""
    table: list[list[int]] = _confusion(predictions, labels, num_labels=num_labels).tolist()
    return table


def _confusion(predictions: Array, labels: Array, *, num_labels: int | None = None) -> scores.IntArray:
    """Rows are true labels, columns predicted ones; as many as occur, if ``num_labels`` is None."""
    num_labels = num_labels or int(max(predictions.max(), labels.max())) + 1
    return scores.confusion_matrix(labels.tolist(), predictions.tolist(), num_labels=num_labels)
