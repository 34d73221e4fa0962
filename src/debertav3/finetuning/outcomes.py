"""What became of each dev example, and what that says: calibration, scores by length, worst errors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..json_types import JsonObject

_BINS = 10
_LENGTH_CLASSES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One dev example and its answer."""

    example: int
    """Its number in the dev set."""
    gold: str
    predicted: str
    is_right: bool | None
    """None where an answer is more or less right, as for numbers."""
    confidence: float | None
    """Probability that the model gives its answer, 0 to 1; None where it gives none."""
    badness: float
    """Larger is worse; comparable within a dev set."""
    tokens: int
    """Length of the input."""


def softmax(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Probabilities over the last axis."""
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = np.exp(shifted - shifted.max(axis=-1, keepdims=True))
    result: npt.NDArray[np.float64] = shifted / shifted.sum(axis=-1, keepdims=True)
    return result


def sigmoid(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Probability of a yes, for each logit."""
    result: npt.NDArray[np.float64] = 0.5 * (1 + np.tanh(0.5 * np.asarray(logits, dtype=np.float64)))
    return result


def calibration(outcomes: Sequence[Outcome]) -> dict[str, object] | None:
    """Compare confidence with being right, in ten equal intervals (Guo et al. 2017, arXiv:1706.04599).

    Returns:
        ``ece``, the mean distance of confidence and accuracy, weighed by the examples of each interval, and
        ``bins``; None where there is no confidence.
    """
    pairs = [
        (one.confidence, one.is_right)
        for one in outcomes
        if one.confidence is not None and one.is_right is not None
    ]
    if not pairs:
        return None
    confidences = np.array([confidence for confidence, _ in pairs])
    rights = np.array([is_right for _, is_right in pairs], dtype=np.float64)
    edges = np.arange(1, _BINS) / _BINS  # a confidence on an edge belongs to the interval above it
    places = np.searchsorted(edges, confidences, side="right")
    bins, distance = [], 0.0
    for number in range(_BINS):
        inside = places == number
        if not inside.any():
            continue
        confidence, accuracy = float(confidences[inside].mean()), float(rights[inside].mean())
        distance += abs(confidence - accuracy) * float(inside.mean())
        bins.append(
            {
                "from": number / _BINS,
                "to": (number + 1) / _BINS,
                "examples": int(inside.sum()),
                "confidence": confidence,
                "accuracy": accuracy,
            }
        )
    return {"ece": distance, "bins": bins}


def by_length(outcomes: Sequence[Outcome]) -> list[JsonObject]:
    """Share of right answers, or mean error of numbers, in up to four classes of length that do not overlap.

    They are about equally large; inputs of one length are in one class.
    """
    if not outcomes:
        return []
    lengths = np.array([one.tokens for one in outcomes])
    edges = np.unique(np.quantile(lengths, np.arange(1, _LENGTH_CLASSES) / _LENGTH_CLASSES, method="higher"))
    class_of = np.searchsorted(edges, lengths, side="right")
    table = []
    for number in np.unique(class_of):
        members = [one for one, its in zip(outcomes, class_of, strict=True) if its == number]
        rights = [one.is_right for one in members if one.is_right is not None]
        value = (
            {"right": float(np.mean(rights))}
            if rights
            else {"mean_error": float(np.mean([one.badness for one in members]))}
        )
        table.append(
            {
                "tokens_from": min(one.tokens for one in members),
                "tokens_to": max(one.tokens for one in members),
                "examples": len(members),
                **value,
            }
        )
    return table


def worst(outcomes: Sequence[Outcome], count: int) -> list[Outcome]:
    """The answers that are most wrong, worst first; right ones never."""
    wrong = [one for one in outcomes if not one.is_right]
    return sorted(wrong, key=lambda one: (-one.badness, one.example))[:count]
