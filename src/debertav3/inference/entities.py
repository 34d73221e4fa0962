"""Token probabilities to named entities, with the places of their characters.

The ways to agree inside a word are those of transformers' token-classification pipeline, and so are the keys
of the answers. Deviation: words end where punctuation begins (see ``words``), there only at white space
(``test_entities_do_not_swallow_punctuation``).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from typing_extensions import TypedDict  # pydantic, in the server, reads no other before Python 3.12

from ..errors import UserError
from ..tasks.metrics import continues_entity, split_tag
from ..tasks.spans import trim
from ..tasks.words import Span, words_of_tokens

AGGREGATIONS = ("simple", "first", "average", "max")
"""``simple`` joins neighbouring tokens of one type. The others join words, where a word takes the tag of its
``first`` token, of its ``average`` probabilities, or of its surest token (``max``). Models are mostly
trained on first tokens only, so ``first`` is the default."""
WORD_AGGREGATIONS = ("first", "average", "max")


class Entity(TypedDict):
    """One entity of a text."""

    entity_group: str
    """The type, without B- or I-."""
    score: float
    """Mean probability of its tokens or words, 0 to 1."""
    word: str
    """``text[start:end]``."""
    start: int
    end: int


class WordTag(TypedDict):
    """The tag of one given word."""

    word: str
    entity: str
    """The tag as the model names it; ``O`` for a word without tokens."""
    score: float


class TokenTag(TypedDict):
    """The tag of one token."""

    entity: str
    """The tag as the model names it."""
    score: float
    index: int
    """Which token of the text, from 1."""
    word: str
    """``text[start:end]``."""
    start: int
    end: int


class _Tagged(NamedTuple):
    tag: str
    score: float
    start: int
    end: int


class TaggedText(NamedTuple):
    """What the model said about one text."""

    text: str
    words: list[Span]
    offsets: Sequence[Span]
    """Characters of every token, without special tokens."""
    probabilities: npt.NDArray[np.floating]
    """``(tokens, labels)``."""


def check_aggregation(aggregation: str) -> None:
    """Refuse an unknown name.

    Raises:
        UserError: if it is none of `AGGREGATIONS`.
    """
    if aggregation not in AGGREGATIONS:
        raise UserError(f"unknown aggregation {aggregation!r}. Choose one of: {', '.join(AGGREGATIONS)}.")


def tag_words(tagged: TaggedText, labels: Sequence[str], *, aggregation: str) -> list[WordTag]:
    """One tag for each word, in order.

    Raises:
        UserError: if ``aggregation`` is not one that makes words agree.
    """
    if aggregation not in WORD_AGGREGATIONS:
        raise UserError(
            f"given words need an aggregation of {', '.join(WORD_AGGREGATIONS)}; got {aggregation!r}."
        )
    found = _words(tagged, labels, aggregation)
    return [
        WordTag(
            word=tagged.text[start:end],
            entity=found[number].tag if number in found else "O",
            score=found[number].score if number in found else 1.0,
        )
        for number, (start, end) in enumerate(tagged.words)
    ]


def tag_tokens(tagged: TaggedText, labels: Sequence[str]) -> list[TokenTag]:
    """The tag of every token, in order."""
    return [
        TokenTag(
            entity=one.tag,
            score=one.score,
            index=number,
            word=tagged.text[one.start : one.end],
            start=one.start,
            end=one.end,
        )
        for number, one in enumerate(_tokens(tagged, labels), start=1)
    ]


def find_entities(tagged: TaggedText, labels: Sequence[str], *, aggregation: str) -> list[Entity]:
    """The entities of one text in order.

    Args:
        tagged: the text and its token probabilities.
        labels: names of the outputs: BIO, BIOES or BILOU tags, or plain types, which count as inside.
        aggregation: one of `AGGREGATIONS`.
    """
    is_simple = aggregation == "simple"
    units = _tokens(tagged, labels) if is_simple else list(_words(tagged, labels, aggregation).values())
    groups: list[list[_Tagged]] = []
    before = "O"
    for unit in units:
        if continues_entity(before, unit.tag):
            groups[-1].append(unit)
        elif unit.tag != "O":
            groups.append([unit])
        before = unit.tag
    return [entity for group in groups if (entity := _entity(group, tagged.text))["word"]]


def _tokens(tagged: TaggedText, labels: Sequence[str]) -> list[_Tagged]:
    best = tagged.probabilities.argmax(axis=-1) if len(tagged.offsets) else np.empty(0, np.int64)
    return [
        _Tagged(labels[label], float(row[label]), start, end)
        for label, row, (start, end) in zip(best, tagged.probabilities, tagged.offsets, strict=True)
    ]


def _words(tagged: TaggedText, labels: Sequence[str], aggregation: str) -> dict[int, _Tagged]:
    """The words that have tokens, by number."""
    numbers = words_of_tokens(tagged.offsets, tagged.words)
    edges = np.flatnonzero(np.diff(numbers, prepend=-2, append=len(tagged.words))).tolist()
    units = {}
    for first, last in pairwise(edges):
        rows = tagged.probabilities[first:last]
        if aggregation == "first":
            row = rows[0]
        elif aggregation == "average":
            row = rows.mean(axis=0)
        else:
            row = rows[rows.max(axis=-1).argmax()]
        label = int(row.argmax())
        start, end = tagged.offsets[first][0], tagged.offsets[last - 1][1]
        units[int(numbers[first])] = _Tagged(labels[label], float(row[label]), start, end)
    return units


def _entity(units: Sequence[_Tagged], text: str) -> Entity:
    start, end = trim(text, units[0].start, units[-1].end)
    return Entity(
        entity_group=split_tag(units[0].tag)[1],
        score=sum(unit.score for unit in units) / len(units),
        word=text[start:end],
        start=start,
        end=end,
    )
