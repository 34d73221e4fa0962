"""The token-classification head: a tag for every word."""

import bisect
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from ...tasks.example import Example
from ...tasks.tagging import OUTSIDE, MarkedText, TaggingTask, entities_text
from .. import losses, sift
from ..batches import EncodedDataset, Features, Tokenizer
from ..config import FinetuneConfig
from ..losses import LossFunction
from ..outcomes import Outcome
from ..sift import Divergence
from .objective import Objective


class TaggingObjective(Objective[TaggingTask]):
    """A tag for every word.

    As in the official ``apps/models/ner.py`` only the first token of a word carries its tag. A sentence that
    is too long is cut into pieces between words, so every word is tagged once. Words that are cut from a text
    are encoded as they are in it, which is how `Predictor.ner` sees them; words of a list have spaces between
    them.
    """

    def encode(
        self,
        examples: Sequence[Example],
        tokenizer: Tokenizer,
        *,
        labels: Sequence[str],
        config: FinetuneConfig,
    ) -> EncodedDataset:
        """Encode pieces of sentences; the first token of each word carries its tag, all others -100."""
        ids = {name: index for index, name in enumerate(labels)}
        max_length = config.data.max_length
        features, origins = [], []
        for number, example in enumerate(examples):
            words = EncodedWords(example, tokenizer)
            for first, stop in words.pieces(max_length):
                inputs, positions = words.encode(first, stop, max_length)
                tags = [-100] * len(inputs["input_ids"])
                for position, word in positions:
                    tags[position] = ids[example.label[word]]
                features.append({**inputs, "labels": tags})
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
        self, predictions: object, dataset: EncodedDataset, *, labels: Sequence[str]
    ) -> list[tuple[int, list[str]]]:
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


class EncodedWords:
    """The words of one example as a tokenizer encodes them.

    Args:
        example: words of a list, or with a `MarkedText` those of a text.
        tokenizer: of a model.
    """

    def __init__(self, example: Example, tokenizer: Tokenizer) -> None:
        self._words = example.texts
        self._marked: MarkedText | None = example.extra
        self._tokenizer = tokenizer

    def encode(self, first: int, stop: int, max_length: int | None) -> tuple[Features, list[tuple[int, int]]]:
        """Inputs of the words from ``first`` to before ``stop``, and the position of each word's first token.

        A word without a token of its own has no position.
        """
        inputs, numbers = self._numbered(first, stop, max_length)
        pairs = enumerate(zip([None, *numbers], numbers, strict=False))
        positions = [(at, word) for at, (before, word) in pairs if word is not None and word != before]
        return inputs, positions

    def _numbered(self, first: int, stop: int, max_length: int | None) -> tuple[Features, list[int | None]]:
        """Inputs, and the word of each token."""
        given = {"truncation": max_length is not None, "max_length": max_length}
        if self._marked is None:
            encoded = self._tokenizer(list(self._words[first:stop]), is_split_into_words=True, **given)
            numbers = [None if word is None else first + word for word in encoded.word_ids(0)]
        else:
            text, spans = self._marked
            left, right = spans[first][0], spans[stop - 1][1]
            piece = text[left:right]
            encoded = self._tokenizer(piece, return_offsets_mapping=True, **given)
            starts = [start - left for start, _ in spans[first:stop]]
            numbers = []
            for (start, end), part in zip(encoded["offset_mapping"], encoded.sequence_ids(0), strict=True):
                start += len(piece[start:end]) - len(piece[start:end].lstrip())
                numbers.append(None if part is None else first + bisect.bisect_right(starts, start) - 1)
        dropped = ("attention_mask", "offset_mapping")
        return {key: list(values) for key, values in encoded.items() if key not in dropped}, numbers

    def pieces(self, max_length: int) -> Iterator[tuple[int, int]]:
        """Cut the words into pieces that fit; a word that alone does not fit is its own piece."""
        inputs, numbers = self._numbered(0, len(self._words), None)
        sizes = Counter(word for word in numbers if word is not None)
        room = max_length - (len(inputs["input_ids"]) - sum(sizes.values()))
        first, used = 0, 0
        for word in range(len(self._words)):
            if used and used + sizes[word] > room:
                yield first, word
                first, used = word, 0
            used += sizes[word]
        yield first, len(self._words)
