"""The token-classification head: a tag for every word."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...tasks.tagging import OUTSIDE, TaggingTask, entities_text
from ...tasks.task import Example
from .. import losses, sift
from ..batches import EncodedDataset
from ..config import FinetuneConfig
from ..losses import LossFunction
from ..outcomes import Outcome
from ..sift import Divergence
from .objective import Objective


class TaggingObjective(Objective[TaggingTask]):
    """A tag for every word.

    As in the official ``apps/models/ner.py`` only the first token of a word carries its tag. A sentence that
    is too long is cut into pieces between words, so every word is tagged once.
    """

    def encode(
        self, examples: Sequence[Example], tokenizer: Any, *, labels: Sequence[str], config: FinetuneConfig
    ) -> EncodedDataset:
        """Encode pieces of sentences; the first token of each word carries its tag, all others -100."""
        ids = {name: index for index, name in enumerate(labels)}
        features, origins = [], []
        for number, example in enumerate(examples):
            for first, stop in _pieces(example.texts, tokenizer, max_length=config.data.max_length):
                encoded = tokenizer(
                    list(example.texts[first:stop]),
                    is_split_into_words=True,
                    truncation=True,
                    max_length=config.data.max_length,
                )
                words = encoded.word_ids(0)
                tags = [
                    -100 if word is None or word == before else ids[example.label[first + word]]
                    for before, word in zip([None, *words], words, strict=False)
                ]
                inputs = {key: list(values) for key, values in encoded.items() if key != "attention_mask"}
                features.append({**inputs, "labels": tags})
                positions = [
                    (position, first + word)
                    for position, (before, word) in enumerate(zip([None, *words], words, strict=False))
                    if word is not None and word != before
                ]
                origins.append((number, positions))
        return EncodedDataset(features, origins=origins, examples=examples)

    def loss(
        self, examples: Sequence[Example], *, labels: Sequence[str], config: FinetuneConfig
    ) -> LossFunction:
        """Cross entropy over the first tokens of words."""
        weights = None
        if config.regularization.balance_classes:
            tags = [labels.index(tag) for example in examples for tag in example.label]
            weights = losses.balanced_weights(tags, len(labels))
        return losses.classification_loss(
            label_smoothing=config.regularization.label_smoothing, class_weights=weights
        )

    @property
    def divergence(self) -> Divergence:
        """Over the first tokens of words."""
        return sift.class_divergence

    def answers(
        self, predictions: Any, dataset: EncodedDataset, *, labels: Sequence[str]
    ) -> list[tuple[int, Any]]:
        """The tags of each example's words; ``O`` for a word that has no token."""
        tags = [[OUTSIDE] * len(example.texts) for example in dataset.examples]
        best = np.asarray(predictions).argmax(axis=-1)
        for row, (number, positions) in enumerate(dataset.origins):
            for position, word in positions:
                tags[number][word] = labels[best[row, position]]
        return list(enumerate(tags))

    def outcomes(
        self, predictions: object, dataset: EncodedDataset, *, labels: Sequence[str]
    ) -> list[Outcome]:
        """A sentence is right if all its tags are; it is the worse the more are not."""
        lengths = Counter[int]()
        for (number, _), length in zip(dataset.origins, dataset.lengths, strict=True):
            lengths[number] += length
        found = []
        for number, tags in self.answers(predictions, dataset, labels=labels):
            example = dataset.examples[number]
            wrong = sum(tag != gold for tag, gold in zip(tags, example.label, strict=True))
            found.append(
                Outcome(
                    example=number,
                    gold=entities_text(example.texts, example.label),
                    predicted=entities_text(example.texts, tags),
                    is_right=wrong == 0,
                    confidence=None,
                    badness=wrong,
                    tokens=lengths[number],
                )
            )
        return found


def _pieces(words: Sequence[str], tokenizer: Any, *, max_length: int) -> Iterator[tuple[int, int]]:
    """Cut a sentence between words into pieces that fit; a word that alone does not fit is its own piece."""
    encoded = tokenizer(list(words), is_split_into_words=True, truncation=False)
    sizes = Counter(word for word in encoded.word_ids(0) if word is not None)
    room = max_length - (len(encoded["input_ids"]) - sum(sizes.values()))
    first, used = 0, 0
    for word in range(len(words)):
        if used and used + sizes[word] > room:
            yield first, word
            first, used = word, 0
        used += sizes[word]
    yield first, len(words)
