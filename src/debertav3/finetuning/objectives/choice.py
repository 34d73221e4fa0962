"""The multiple-choice head: the best of several choices."""

from collections.abc import Mapping, Sequence

import numpy as np

from ...tasks.choice import ChoiceTask
from ...tasks.example import Example
from .. import losses, sift
from ..batches import EncodedDataset, Tokenizer, encode_texts
from ..config import FinetuneConfig
from ..losses import LossFunction
from ..outcomes import Outcome, softmax
from ..sift import Divergence
from .objective import Objective


class ChoiceObjective(Objective[ChoiceTask]):
    """The best of several choices, from one score for each."""

    def encode(
        self,
        examples: Sequence[Example],
        tokenizer: Tokenizer,
        *,
        labels: Sequence[str],
        config: FinetuneConfig,
    ) -> EncodedDataset:
        """Encode each choice with its context; the longer of the two is truncated first."""
        pairs = [(example.texts[0], choice) for example in examples for choice in example.texts[1:]]
        rows = iter(encode_texts(pairs, tokenizer, max_length=config.data.max_length))
        features = []
        for example in examples:
            choices = [next(rows) for _ in example.texts[1:]]
            columns = {key: [choice[key] for choice in choices] for key in choices[0]}
            features.append({**columns, "labels": int(example.label)})
        return EncodedDataset(features, origins=range(len(examples)), examples=examples)

    def loss(
        self, examples: Sequence[Example], *, labels: Sequence[str], config: FinetuneConfig
    ) -> LossFunction:
        """Cross entropy over the choices."""
        return losses.classification_loss(label_smoothing=config.regularization.label_smoothing)

    @property
    def divergence(self) -> Divergence:
        """Between distributions over the choices."""
        return sift.class_divergence

    def answers(
        self, predictions: object, dataset: EncodedDataset, *, labels: Sequence[str]
    ) -> list[tuple[int, int]]:
        """The index of the best choice."""
        return list(zip(dataset.origins, np.asarray(predictions).argmax(axis=-1).tolist(), strict=True))

    def details(
        self, predictions: object, dataset: EncodedDataset, *, labels: Sequence[str]
    ) -> Mapping[str, object]:
        """Confusion matrix of correct and chosen indices, including those that never occur."""
        found = np.array(super().details(predictions, dataset, labels=labels)["confusion"])
        missing = np.asarray(predictions).shape[-1] - len(found)
        return {"confusion": np.pad(found, (0, missing)).tolist()}

    def outcomes(
        self, predictions: object, dataset: EncodedDataset, *, labels: Sequence[str]
    ) -> list[Outcome]:
        """The chosen text and its probability among the choices."""
        shares, found = softmax(np.asarray(predictions)), []
        for row, (number, chosen) in enumerate(self.answers(predictions, dataset, labels=labels)):
            choices = dataset.examples[number].texts[1:]
            right = int(dataset.examples[number].label)
            found.append(
                Outcome(
                    example=number,
                    gold=choices[right],
                    predicted=choices[chosen],
                    is_right=right == chosen,
                    confidence=float(shares[row, chosen]),
                    badness=1 - float(shares[row, right]),
                    tokens=dataset.lengths[row],
                )
            )
        return found
