"""Scores of a dev set: pure functions, each named as it is keyed in ``metrics.json``.

For classification both arguments are label ids, for regression real numbers; both have shape ``(N,)``.
"""

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
