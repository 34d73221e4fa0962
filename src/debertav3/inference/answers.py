"""Logits to answers a person can read: probabilities by name, ranked labels, ranked texts, spans and words.

Pure functions over numpy arrays; keys are those of Hugging Face's pipelines, probabilities run from 0 to 1.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from typing_extensions import TypedDict  # pydantic, in the server, reads no other before Python 3.12

from ..errors import UserError
from ..tasks.labels import ENTAILMENT
from ..tasks.spans import Span as AnswerSpan
from ..tasks.spans import SpanDecoding
from ..tasks.words import Span, words_of_tokens
from .output_labels import NLIColumns

FloatArray = npt.NDArray[np.floating]


class Classification(TypedDict):
    """The answer of a sequence classification head."""

    label: str | None
    """The likeliest label; None for a regression head, or where that gives several numbers the largest."""
    score: float
    """Its probability; for a regression head the number itself."""
    scores: dict[str, float]
    """Every label's probability, or number, in the order of the head."""


class ZeroShotScores(TypedDict):
    """How well each label fits a text."""

    sequence: str
    labels: list[str]
    """Best first."""
    scores: list[float]
    """In the order of ``labels``."""


class Ranked(TypedDict):
    """One text of a ranking."""

    index: int
    """Its place among the texts given."""
    score: float
    text: str


class Chosen(TypedDict):
    """The best of several choices."""

    index: int
    """Its place among the choices given."""
    text: str
    score: float
    """Its probability among the choices."""
    scores: list[float]
    """Every choice's probability, in the order given."""


class Candidate(TypedDict):
    """One possible answer to a question."""

    answer: str
    """``context[start:end]``."""
    score: float
    """Its probability among all spans and "no answer"."""
    start: int
    end: int


class Answer(Candidate):
    """The answer to a question; where there is none ``""`` at 0 to 0, with the probability of that."""

    no_answer_score: float
    """Probability that the context does not answer the question."""
    candidates: list[Candidate]
    """The best spans, best first, whether or not they beat "no answer"."""


class Filled(TypedDict):
    """One way to fill a mask."""

    score: float
    token: int
    token_str: str
    sequence: str
    """The text with this mask filled."""


class SuspectWord(TypedDict):
    """One word and how likely it stands where another one should."""

    word: str
    score: float
    """Highest probability among its tokens of having been replaced."""
    start: int
    end: int


def softmax(logits: FloatArray) -> FloatArray:
    """Probabilities over the last axis."""
    logits = np.asarray(logits, dtype=np.float64)
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def sigmoid(logits: FloatArray) -> FloatArray:
    """``1 / (1 + exp(-x))`` without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * np.asarray(logits, dtype=np.float64)))


def classification(
    logits: FloatArray, labels: Sequence[str], *, is_multi_label: bool, raw: bool = False
) -> Classification:
    """One row of logits, ``(labels,)``, by name; ``raw`` leaves them as they are."""
    if len(labels) == 1 and not is_multi_label:
        value = float(logits[0])
        return Classification(label=None, score=value, scores={labels[0]: value})
    values = logits if raw else sigmoid(logits) if is_multi_label else softmax(logits)
    scores = dict(zip(labels, map(float, values), strict=True))
    best = max(scores, key=lambda name: scores[name])
    return Classification(label=best, score=scores[best], scores=scores)


def nli_probabilities(logits: FloatArray, columns: NLIColumns) -> dict[str, float]:
    """One row of logits as entailment, neutral, contradiction, whatever the order of the head."""
    probabilities = softmax(logits[list(columns.columns)])
    return dict(zip(columns.names, map(float, probabilities), strict=True))


def column_scores(logits: FloatArray, column: int, *, raw: bool = False) -> FloatArray:
    """What one output says of each input, all labels considered: ``(N, labels)`` to ``(N,)``.

    Of several outputs it is the probability of that one, of a single output its sigmoid; ``raw`` gives the
    logit.
    """
    if raw:
        return logits[:, column]
    return sigmoid(logits[:, 0]) if logits.shape[1] == 1 else softmax(logits)[:, column]


def zero_shot(
    logits: FloatArray, columns: NLIColumns, *, text: str, labels: Sequence[str], multi_label: bool
) -> ZeroShotScores:
    """Rank the labels of one text (Yin et al. 2019, arXiv:1909.00161, in Hugging Face's form).

    Args:
        logits: ``(labels, outputs)``, one row for each label's hypothesis.
        columns: which output is which.
        text: the text.
        labels: its candidate labels.
        multi_label: score each label for itself, entailment against contradiction; otherwise the labels
            share one probability, by their entailment logits. A single label is always scored for itself.
    """
    entailed = logits[:, columns.column(ENTAILMENT)]
    if multi_label or len(labels) == 1:
        against = logits[:, columns.column(columns.against)]
        scores = softmax(np.stack([against, entailed], axis=-1))[:, 1]
    else:
        scores = softmax(entailed)
    order = np.argsort(-scores, kind="stable").tolist()
    return ZeroShotScores(
        sequence=text,
        labels=[labels[place] for place in order],
        scores=[float(scores[place]) for place in order],
    )


def ranking(scores: FloatArray, texts: Sequence[str]) -> list[Ranked]:
    """The texts with the best first; equal scores keep their order."""
    order = np.argsort(-scores, kind="stable").tolist()
    return [Ranked(index=place, score=float(scores[place]), text=texts[place]) for place in order]


def chosen(logits: FloatArray, texts: Sequence[str]) -> Chosen:
    """The likeliest of the choices, ``(choices,)``; of equal ones the first."""
    probabilities = softmax(logits)
    best = int(probabilities.argmax())
    scores = [float(one) for one in probabilities]
    return Chosen(index=best, text=texts[best], score=scores[best], scores=scores)


def answer(decoding: SpanDecoding, context: str, *, null_threshold: float | None) -> Answer:
    """The best span, or no answer where that leads by more than ``null_threshold`` logits (None: never)."""
    candidates = [_candidate(span, context) for span in decoding.spans]
    no_answer = Candidate(answer="", score=decoding.null_probability, start=0, end=0)
    best = candidates[0] if decoding.has_answer(null_threshold) else no_answer
    return Answer(**best, no_answer_score=decoding.null_probability, candidates=candidates)


def _candidate(span: AnswerSpan, context: str) -> Candidate:
    return Candidate(
        answer=context[span.start : span.end], score=span.probability, start=span.start, end=span.end
    )


class FillableVocabulary(NamedTuple):
    """What a masked language model may say."""

    pieces: list[str]
    """Piece of every id; outputs past the last one are spare rows of the model."""
    special_ids: list[int]
    """Tokens that are not words."""


def fill(
    logits: FloatArray,
    vocabulary: FillableVocabulary,
    *,
    top_k: int,
    before: str,
    after: str,
    only: Sequence[int] = (),
) -> list[Filled]:
    """The likeliest tokens for one mask, best first.

    Args:
        logits: ``(outputs,)``, at least as many as there are pieces.
        vocabulary: the pieces.
        top_k: how many.
        before: the text before the mask.
        after: the text after it.
        only: tokens to choose from, with their probabilities among all; none takes all.

    Raises:
        UserError: if ``top_k`` is not within the vocabulary.
    """
    pieces = vocabulary.pieces
    if not 1 <= top_k <= len(pieces) - len(vocabulary.special_ids):
        raise UserError(f"top_k must be at least 1 and at most the vocabulary of {len(pieces)}, got {top_k}.")
    allowed = np.array(logits[: len(pieces)], dtype=np.float64)
    allowed[vocabulary.special_ids] = -np.inf
    probabilities = softmax(allowed)
    best = np.array(sorted(set(only))) if only else np.argpartition(-probabilities, top_k - 1)[:top_k]
    best = best[np.argsort(-probabilities[best], kind="stable")][:top_k]
    return [
        Filled(
            score=float(probabilities[token]),
            token=int(token),
            token_str=pieces[token].replace("▁", " ").strip(),
            sequence=_joined(before, pieces[token]) + after,
        )
        for token in best
    ]


def _joined(before: str, piece: str) -> str:
    left = before.rstrip()
    return left + piece.replace("▁", " " if left else "")


def suspect_words(
    probabilities: FloatArray, *, offsets: Sequence[Span], words: Sequence[Span], text: str
) -> list[SuspectWord]:
    """Every word of a text in order, with the highest probability among its tokens, ``(tokens,)``."""
    numbers = words_of_tokens(offsets, words)
    highest = np.zeros(len(words))
    inside = numbers >= 0
    np.maximum.at(highest, numbers[inside], probabilities[inside])
    return [
        SuspectWord(word=text[start:end], score=float(score), start=start, end=end)
        for (start, end), score in zip(words, highest, strict=True)
    ]
