"""A tag for every word: named entities from CoNLL files or JSON lines, scored by entities as seqeval does.

As in the official ``apps/models/ner.py`` only the first token of a word carries its tag. A sentence that is
too long is cut into pieces between words, so every word is tagged once.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.fields import column_of
from ..data.jsonl import read_lines
from ..data.scores import IntArray, count_entities, entity_scores, split_tag, tag_entities
from ..errors import UserError
from .fields import kept_examples
from .outcomes import Outcome
from .rows import Row, read_rows, suffix_of
from .task import Example, Head, Task

if TYPE_CHECKING:
    from .batches import EncodedDataset
    from .config import FinetuneConfig
    from .losses import LossFunction
    from .sift import Divergence

CONLL_SUFFIXES = (".conll", ".bio", ".iob", ".txt")
_OUTSIDE = "O"


@dataclass(frozen=True, kw_only=True)
class TaggingTask(Task):
    """Tags of words, in the BIO, BIOES or BILOU scheme where they name entities."""

    name: str
    words_column: tuple[str, ...] = ("tokens", "words")
    tags_column: tuple[str, ...] = ("ner_tags", "tags", "labels")
    head: Head = "token-classification"

    @property
    def best_metric(self) -> str:
        """Entity F1."""
        return "f1"

    def read(self, source: str) -> list[Example]:
        """Read sentences from a CoNLL file, or rows with a list of words and a list of tags."""
        sentences = (
            _conll_sentences(source) if suffix_of(source) in CONLL_SUFFIXES else self._row_sentences(source)
        )
        examples = [Example(texts=words, label=tags) for words, tags in sentences]
        return kept_examples(examples, 0, source=source, needs="one word and its tag in each line")

    def _row_sentences(self, source: str) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
        for row in read_rows(source):
            words = _list_in(row, column_of(row, self.words_column))
            tags = _list_in(row, column_of(row, self.tags_column))
            _check_names(row.place, tags)
            if len(words) != len(tags):
                raise UserError(
                    f"{row.place} has {len(words)} words and {len(tags)} tags; need one tag for each word."
                )
            if words:
                yield words, tags

    def choose_labels(self, examples: Sequence[Example], *, source: str) -> tuple[str, ...]:
        """All tags, ``O`` first, and for each type all prefixes of the scheme: every tag can be predicted."""
        seen = {tag for example in examples for tag in example.label}
        if len(seen) < 2:
            raise UserError(f"{source}: every word is tagged {', '.join(seen)}; need at least two tags.")
        kinds = sorted({tag[2:] for tag in seen if _has_prefix(tag)})
        others = sorted(tag for tag in seen if not _has_prefix(tag) and tag != _OUTSIDE)
        used = {tag[0] for tag in seen if _has_prefix(tag)}
        prefixes = "BI" + "".join(pair for pair in ("ES", "LU") if used & set(pair))
        return (_OUTSIDE, *(f"{prefix}-{kind}" for kind in kinds for prefix in prefixes), *others)

    def check_dev(self, examples: Sequence[Example], labels: Sequence[str], *, source: str) -> None:
        """Refuse tags that training does not know."""
        unknown = sorted({tag for example in examples for tag in example.label} - set(labels))
        if unknown:
            raise UserError(
                f"{source}: tag {unknown[0]!r} does not occur in training, which has {', '.join(labels)}."
            )

    def encode(
        self, examples: Sequence[Example], tokenizer: Any, *, labels: Sequence[str], config: "FinetuneConfig"
    ) -> "EncodedDataset":
        """Encode pieces of sentences; the first token of each word carries its tag, all others -100."""
        from .batches import EncodedDataset

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
                places = [
                    (place, first + word)
                    for place, (before, word) in enumerate(zip([None, *words], words, strict=False))
                    if word is not None and word != before
                ]
                origins.append((number, places))
        return EncodedDataset(features, origins=origins, examples=examples)

    def loss(
        self, examples: Sequence[Example], *, labels: Sequence[str], config: "FinetuneConfig"
    ) -> "LossFunction":
        """Cross entropy over the first tokens of words."""
        from . import losses

        weights = None
        if config.regularization.balance_classes:
            tags = [labels.index(tag) for example in examples for tag in example.label]
            weights = losses.balanced_weights(tags, len(labels))
        return losses.classification_loss(
            label_smoothing=config.regularization.label_smoothing, class_weights=weights
        )

    @property
    def divergence(self) -> "Divergence":
        """Over the first tokens of words."""
        from . import sift

        return sift.class_divergence

    def tags_of(
        self, predictions: Any, dataset: "EncodedDataset", *, labels: Sequence[str]
    ) -> list[list[str]]:
        """The predicted tags of each example's words; ``O`` for a word that no token stands for."""
        tags = [[_OUTSIDE] * len(example.texts) for example in dataset.examples]
        best = np.asarray(predictions).argmax(axis=-1)
        for row, (number, places) in enumerate(dataset.origins):
            for place, word in places:
                tags[number][word] = labels[best[row, place]]
        return tags

    def score(
        self, predictions: Any, dataset: "EncodedDataset", *, labels: Sequence[str]
    ) -> dict[str, float]:
        """Precision, recall and F1 of entities, and accuracy of tags."""
        return _scores(dataset.examples, self.tags_of(predictions, dataset, labels=labels))

    def baseline(
        self, train: Sequence[Example], dev: "EncodedDataset", *, labels: Sequence[str]
    ) -> dict[str, float]:
        """Always the commonest tag."""
        commonest = Counter(tag for example in train for tag in example.label).most_common(1)[0][0]
        return _scores(dev.examples, [[commonest] * len(example.texts) for example in dev.examples])

    def outcomes(
        self, predictions: Any, dataset: "EncodedDataset", *, labels: Sequence[str]
    ) -> list[Outcome]:
        """A sentence is right if all its tags are; it is the worse the more are not."""
        lengths = Counter[int]()
        for (number, _), length in zip(dataset.origins, dataset.lengths, strict=True):
            lengths[number] += length
        found = []
        for number, tags in enumerate(self.tags_of(predictions, dataset, labels=labels)):
            example = dataset.examples[number]
            wrong = sum(tag != gold for tag, gold in zip(tags, example.label, strict=True))
            found.append(
                Outcome(
                    example=number,
                    gold=_readable(example.texts, example.label),
                    predicted=_readable(example.texts, tags),
                    is_right=wrong == 0,
                    confidence=None,
                    badness=wrong,
                    tokens=lengths[number],
                )
            )
        return found

    def details(
        self, predictions: Any, dataset: "EncodedDataset", *, labels: Sequence[str]
    ) -> Mapping[str, Any]:
        """Scores of each type of entity."""
        counts = _count(dataset.examples, self.tags_of(predictions, dataset, labels=labels))
        table = {}
        for kind, numbers in sorted(counts.items()):
            table[kind] = {**entity_scores({kind: numbers}), "support": float(numbers[2])}
        return {"per_label": table}


def _has_prefix(tag: str) -> bool:
    """Whether a tag is a prefix, a hyphen and a type."""
    return tag.startswith(f"{split_tag(tag)[0]}-")


def _readable(words: Sequence[str], tags: Sequence[str]) -> str:
    """The entities of a sentence with their types."""
    return (
        "; ".join(f"{' '.join(words[start:end])} ({kind})" for start, end, kind in tag_entities(tags))
        or "none"
    )


def _scores(examples: Sequence[Example], predicted: Sequence[Sequence[str]]) -> dict[str, float]:
    pairs = [
        pair
        for example, tags in zip(examples, predicted, strict=True)
        for pair in zip(example.label, tags, strict=True)
    ]
    right = sum(gold == guess for gold, guess in pairs)
    return {**entity_scores(_count(examples, predicted)), "accuracy": right / len(pairs)}


def _count(examples: Sequence[Example], predicted: Sequence[Sequence[str]]) -> dict[str, IntArray]:
    total: dict[str, IntArray] = {}
    for example, tags in zip(examples, predicted, strict=True):
        for kind, numbers in count_entities(tag_entities(example.label), tag_entities(tags)).items():
            total[kind] = total.get(kind, np.zeros(3, dtype=np.int64)) + numbers
    return total


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


def _conll_sentences(source: str) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Sentences of a file with one word a line, its tag in the last column, blank lines between sentences."""
    words: list[str] = []
    tags: list[str] = []
    for number, line in enumerate(read_lines(source), start=1):
        try:
            columns = line.decode("utf-8-sig").split()
        except UnicodeDecodeError as error:
            raise UserError(f"{source} line {number} is not UTF-8 text (byte {error.start + 1}).") from None
        if columns and columns[0] != "-DOCSTART-":
            if len(columns) < 2:
                raise UserError(
                    f"{source} line {number} has a word and no tag: {columns[0]!r}. Need 'word TAB tag'."
                )
            _check_names(f"{source} line {number}", columns[-1:])
            words.append(columns[0])
            tags.append(columns[-1])
        elif words:
            yield tuple(words), tuple(tags)
            words, tags = [], []
    if words:
        yield tuple(words), tuple(tags)


def _check_names(place: str, tags: Sequence[str]) -> None:
    """Refuse numbers, which do not say which of them stands for no entity, nor where entities begin."""
    for tag in tags:
        if tag.lstrip("-").isdecimal():
            raise UserError(
                f"{place}: the tags are numbers ({tag}); write their names, such as O, B-PER and I-PER."
            )


def _list_in(row: Row, column: str) -> tuple[str, ...]:
    values = row.fields[column]
    if isinstance(values, str):
        values = values.split()
    if not isinstance(values, list | tuple):
        raise UserError(f"{row.place}: {column} must be a list, got {type(values).__name__}.")
    return tuple(str(value) for value in values)


TAGGING_TASKS = (TaggingTask(name="ner"),)
