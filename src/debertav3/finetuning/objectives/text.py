"""The sequence-classification head: one label, several, a number, or the relevance of a text."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...json_types import JsonObject
from ...tasks.example import Example
from ...tasks.text import TextTask
from .. import losses, sift
from ..batches import EncodedDataset, Tokenizer, encode_texts
from ..config import FinetuneConfig
from ..losses import LossFunction
from ..outcomes import Outcome, sigmoid, softmax
from ..sift import Divergence
from .objective import Objective

Array = npt.NDArray[np.floating]


class TextObjective(Objective[TextTask]):
    """One label, several, or a number, from the sequence-classification head."""

    def encode(
        self,
        examples: Sequence[Example],
        tokenizer: Tokenizer,
        *,
        labels: Sequence[str],
        config: FinetuneConfig,
    ) -> EncodedDataset:
        """Encode texts or pairs; of a pair the longer text is cut first."""
        ids = {name: index for index, name in enumerate(labels)}
        features = encode_texts(
            [example.texts for example in examples], tokenizer, max_length=config.data.max_length
        )
        is_soft = any(example.shares for example in examples)
        for feature, example in zip(features, examples, strict=True):
            feature["labels"] = _shares_of(example, ids) if is_soft else self._target_of(example, ids)
        return EncodedDataset(features, origins=range(len(examples)), examples=examples)

    def _target_of(self, example: Example, ids: Mapping[str, int]) -> object:
        if self.task.target == "number":
            return example.label
        if self.task.target == "one-label":
            return ids[example.label]
        chosen = [0.0] * len(ids)
        for name in example.label:
            chosen[ids[name]] = 1.0
        return chosen

    def loss(
        self, examples: Sequence[Example], *, labels: Sequence[str], config: FinetuneConfig
    ) -> LossFunction:
        """Cross entropy, binary cross entropy, or squared error."""
        if self.task.target == "number":
            return losses.regression_loss
        if self.task.target == "several-labels":
            several = [[labels.index(name) for name in example.label] for example in examples]
            yes = (
                losses.balanced_yes_weights(several, len(labels))
                if config.regularization.balance_classes
                else None
            )
            return losses.several_labels_loss(yes_weights=yes)
        weights = None
        if config.regularization.balance_classes:
            weights = losses.balanced_weights(
                [labels.index(example.label) for example in examples], len(labels)
            )
        return losses.classification_loss(
            label_smoothing=config.regularization.label_smoothing, class_weights=weights
        )

    @property
    def divergence(self) -> Divergence:
        """Between distributions, or between numbers."""
        by_target: dict[str, Divergence] = {
            "one-label": sift.class_divergence,
            "several-labels": sift.label_divergence,
            "number": sift.score_divergence,
        }
        return by_target[self.task.target]

    def answers(
        self, predictions: object, dataset: EncodedDataset, *, labels: Sequence[str]
    ) -> list[tuple[int, object]]:
        """The likeliest label, the likely labels, or the number."""
        logits = np.asarray(predictions)
        decided: list[object]
        if self.task.target == "number":
            decided = logits.squeeze(-1).tolist()
        elif self.task.target == "several-labels":
            decided = [_chosen(row > 0, labels) for row in logits]
        else:
            decided = [labels[index] for index in logits.argmax(axis=-1)]
        return list(zip(dataset.origins, decided, strict=True))

    def outcomes(
        self, predictions: object, dataset: EncodedDataset, *, labels: Sequence[str]
    ) -> list[Outcome]:
        """Probability of the chosen label; distance for numbers."""
        found = []
        answers = self.answers(predictions, dataset, labels=labels)
        for row, ((number, answer), logits) in enumerate(zip(answers, np.asarray(predictions), strict=True)):
            gold = dataset.examples[number].label
            found.append(
                Outcome(
                    example=number,
                    gold=_readable(gold),
                    tokens=dataset.lengths[row],
                    **self._judged(logits, answer, gold, labels),
                )
            )
        return found

    def _judged(self, logits: Array, answer: Any, gold: Any, labels: Sequence[str]) -> JsonObject:
        """One row as the keys of an outcome that its kind of label decides."""
        if self.task.target == "number":
            error = abs(float(answer) - float(gold))
            return {"predicted": f"{answer:.3f}", "is_right": None, "confidence": None, "badness": error}
        if self.task.target == "several-labels":
            wanted = np.array([name in gold for name in labels], dtype=np.float64)
            return {
                "predicted": _readable(answer),
                "is_right": set(answer) == set(gold),
                "confidence": None,
                "badness": float(np.abs(sigmoid(logits) - wanted).max()),
            }
        shares = softmax(logits)
        return {
            "predicted": answer,
            "is_right": bool(answer == gold),
            "confidence": float(shares[labels.index(answer)]),
            "badness": 1 - float(shares[labels.index(gold)]),
        }


class RankingObjective(TextObjective):
    """How well a text answers a query, trained as a yes or no."""

    def loss(
        self, examples: Sequence[Example], *, labels: Sequence[str], config: FinetuneConfig
    ) -> LossFunction:
        """Binary cross entropy."""
        return losses.relevance_loss

    def _judged(self, logits: Array, answer: Any, gold: Any, labels: Sequence[str]) -> JsonObject:
        """The probability of a yes, which like the relevance is between 0 and 1."""
        relevance = float(sigmoid(logits).squeeze(-1))
        return {
            "predicted": f"{relevance:.3f}",
            "is_right": None,
            "confidence": None,
            "badness": abs(relevance - float(gold)),
        }


def _shares_of(example: Example, ids: Mapping[str, int]) -> list[float]:
    """The share of each label in id order; of an example with one label, 1 and 0."""
    shares = example.shares or {example.label: 1.0}
    return [shares.get(name, 0.0) for name in ids]


def _chosen(is_on: Array, labels: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name, on in zip(labels, is_on, strict=True) if on)


def _readable(label: object) -> str:
    return ", ".join(label) or "none" if isinstance(label, tuple) else str(label)
