"""Probabilities that mean something: a temperature, and thresholds of labels, fitted on the dev set."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..data.probabilities import LIKELY, Probabilities
from .outcomes import sigmoid, softmax

MIN_EXAMPLES = 20
"""Fewer say too little about a temperature."""
_RANGE = (0.25, 10.0)
_STEPS = 60
_BINS = 10
_GOLDEN = (math.sqrt(5) - 1) / 2
_FLOAT_MARGIN = 1e-6

Floats = npt.NDArray[np.floating]
Kind = Literal["one-label", "several-labels"]


@dataclass(frozen=True, kw_only=True)
class DevPredictions:
    """What a classifier said of a dev set. Shape letters: N rows, C labels.

    Attributes:
        logits_NC: the model's outputs.
        gold: ``(N,)`` label ids, or for several labels ``(N, C)`` zeros and ones.
        kind: whether one label holds or several may.
        labels: names, in the order of the outputs.
    """

    logits_NC: Floats
    gold: npt.NDArray[np.int64 | np.float64]
    kind: Kind
    labels: Sequence[str]

    def fit(self) -> Probabilities | None:
        """Find the temperature with the lowest cross-entropy and, for several labels, each one's threshold.

        Returns:
            None for too few examples to say.
        """
        if len(self.gold) < MIN_EXAMPLES:
            return None
        temperature = _minimum(self._loss)
        thresholds = {}
        if self.kind == "several-labels":
            shares_NC = sigmoid(self.logits_NC / temperature)
            thresholds = {
                name: best_threshold(shares_NC[:, column], self.gold[:, column])
                for column, name in enumerate(self.labels)
            }
        return Probabilities(temperature=temperature, thresholds=thresholds)

    def _loss(self, temperature: float) -> float:
        """Mean cross-entropy in nats, of rows or of rows by labels."""
        logits_NC = np.asarray(self.logits_NC, dtype=np.float64) / temperature
        if self.kind == "several-labels":
            return float(np.mean(np.logaddexp(0, logits_NC) - self.gold * logits_NC))
        highest_N1 = logits_NC.max(-1, keepdims=True)
        total_N = np.log(np.exp(logits_NC - highest_N1).sum(-1)) + highest_N1[:, 0]
        return float(np.mean(total_N - logits_NC[np.arange(len(self.gold)), self.gold]))

    def calibration_error(self, temperature: float = 1.0) -> float:
        """Expected calibration error in ten equal intervals (Guo et al. 2017); of several labels over all."""
        logits_NC = np.asarray(self.logits_NC, dtype=np.float64) / temperature
        if self.kind == "several-labels":
            shares = sigmoid(logits_NC).reshape(-1)
            right = (shares >= LIKELY) == self.gold.reshape(-1).astype(bool)
            confidence = np.maximum(shares, 1 - shares)
        else:
            shares = softmax(logits_NC)
            confidence, right = shares.max(-1), shares.argmax(-1) == self.gold
        bins = np.searchsorted(np.arange(1, _BINS) / _BINS, confidence, side="right")
        parts = [bins == number for number in np.unique(bins)]
        return float(sum(abs(confidence[part].mean() - right[part].mean()) * part.mean() for part in parts))

    def micro_f1(self, fitted: Probabilities) -> float:
        """F1 over all labels with a temperature and thresholds; for several labels."""
        limits_C = np.array([fitted.threshold(name) for name in self.labels])
        yes_NC = sigmoid(self.logits_NC / fitted.temperature) >= limits_C
        gold_NC = self.gold.astype(bool)
        return float(2 * (yes_NC & gold_NC).sum() / max(int(yes_NC.sum() + gold_NC.sum()), 1))


def best_threshold(shares_N: Floats, gold_N: npt.NDArray[np.int64 | np.float64]) -> float:
    """The probability from which saying yes gives the best F1, halfway to the next lower one.

    Where several are equally good the one nearest to 0.5 counts, and 0.5 where the label never holds.
    """
    order = np.argsort(-shares_N, kind="stable")
    shares, gold = np.asarray(shares_N, dtype=np.float64)[order], gold_N[order].astype(bool)
    if not gold.any():
        return LIKELY
    f1 = 2 * np.cumsum(gold) / (np.arange(1, len(gold) + 1) + gold.sum())
    below = np.append(shares[1:], 0.0)
    ends_tie = shares > below
    limits = (shares + below) / 2
    best = ends_tie & (f1 >= f1[ends_tie].max() - _FLOAT_MARGIN)
    # Any limit between two neighbouring probabilities decides alike: 0.5 itself, where it lies between them.
    limits = np.where((below < LIKELY) & (shares >= LIKELY), LIKELY, limits)
    return float(min(limits[best], key=lambda limit: abs(limit - LIKELY)))


def _minimum(loss: Callable[[float], float]) -> float:
    """The argument within `_RANGE` at which a function with one minimum has it, by golden section in logs."""
    low, high = (math.log(end) for end in _RANGE)
    for _ in range(_STEPS):
        width = (high - low) * _GOLDEN
        left, right = high - width, low + width
        if loss(math.exp(left)) <= loss(math.exp(right)):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


def describe(predictions: DevPredictions, fitted: Probabilities | None) -> dict[str, object]:
    """What ``metrics.json`` says of a set: calibration error before and after, and F1 with thresholds."""
    report: dict[str, object] = {"ece": predictions.calibration_error()}
    if fitted is None:
        return report
    report |= {
        "temperature": fitted.temperature,
        "ece_after": predictions.calibration_error(fitted.temperature),
    }
    if fitted.thresholds:
        report |= {
            "thresholds": dict(fitted.thresholds),
            "micro_f1": predictions.micro_f1(Probabilities()),
            "micro_f1_after": predictions.micro_f1(fitted),
        }
    return report


def in_words(report: dict[str, object]) -> str:
    """`describe` as a sentence; empty where nothing was fitted."""
    if "temperature" not in report:
        return ""
    text = (
        f"Expected calibration error {report['ece']:.4f}, and {report['ece_after']:.4f} with the temperature "
        f"{report['temperature']:.3f}, fitted on the first dev set and kept in probabilities.json."
    )
    if "thresholds" in report:
        text += (
            f" Micro F1 {report['micro_f1']:.4f} with 0.5 for every label, {report['micro_f1_after']:.4f} "
            "with a threshold for each."
        )
    return text
