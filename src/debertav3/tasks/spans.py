"""Answers as spans of a long text: windows for the encoder, the best spans back from its logits.

Used by SQuAD fine-tuning and by serving, so it needs numpy only. Positions of windows count tokens of the
context; positions of answers count characters of the original text. The scheme is that of BERT's SQuAD code
(arXiv:1810.04805, section 4.2 and 4.3): ``[CLS] question [SEP] part of the context [SEP]``, a span's score is
the sum of its start and end logit, and "no answer" is the span of [CLS] alone.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]
Offsets = Sequence[tuple[int, int]]


class ContextWindow(NamedTuple):
    """One encoder input: the question and a part of the context."""

    input_ids: list[int]
    token_type_ids: list[int]
    """0 for [CLS], question and first [SEP]; 1 for the rest."""
    prefix: int
    """Tokens before the first context token."""
    first: int
    """Which token of the whole context is at ``prefix``."""
    size: int
    """How many context tokens the window holds."""


class Span(NamedTuple):
    """A piece of the context."""

    start: int
    """First character."""
    end: int
    """One past the last character."""
    logit: float
    """Start logit plus end logit."""
    probability: float
    """Share among all admissible spans of all windows and "no answer"."""


class SpanDecoding(NamedTuple):
    """What the windows of one question say together."""

    spans: list[Span]
    """The best spans, best first; empty only for a context without tokens."""
    null_logit: float
    """Score of "no answer": the lowest over the windows, since an answer in any window is an answer."""
    null_probability: float

    def has_answer(self, null_threshold: float | None) -> bool:
        """Whether the best span stands: unless "no answer" leads it by more than ``null_threshold`` logits.

        ``None`` answers always.
        """
        if null_threshold is None or not self.spans:
            return bool(self.spans)
        return self.null_logit - self.spans[0].logit <= null_threshold


def token_windows(num_tokens: int, *, size: int, overlap: int) -> list[slice]:
    """Cut a token sequence into windows that cover it.

    Args:
        num_tokens: length of the sequence; 0 gives one empty window.
        size: most tokens of a window.
        overlap: tokens that neighbours share (Hugging Face calls this ``stride``).

    Raises:
        ValueError: if ``overlap`` leaves no progress.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"overlap must be at least 0 and below the window size {size}, got {overlap}")
    windows = [slice(0, min(size, num_tokens))]
    while windows[-1].stop < num_tokens:
        start = windows[-1].stop - overlap
        windows.append(slice(start, min(start + size, num_tokens)))
    return windows


def widest_context(windows: Sequence[slice], num_tokens: int) -> npt.NDArray[np.int64]:
    """For each token, the window that sees most on its poorer side: ``(num_tokens,)`` window numbers."""
    found = np.zeros(num_tokens, np.int64)
    most = np.full(num_tokens, -1)
    for number, window in enumerate(windows):  # each looks at its own tokens: texts may have any length
        place = np.arange(window.stop - window.start)
        room = np.minimum(place, place[::-1])
        is_more = room > most[window]
        found[window][is_more], most[window][is_more] = number, room[is_more]
    return found


def question_windows(
    question_ids: Sequence[int],
    context_ids: Sequence[int],
    *,
    cls_id: int,
    sep_id: int,
    max_length: int,
    overlap: int,
) -> list[ContextWindow]:
    """Lay a question and each part of a long context out as encoder inputs.

    Args:
        question_ids: token ids without special tokens; cut to half of ``max_length`` if longer.
        context_ids: token ids of the whole context, without special tokens.
        cls_id: id of [CLS].
        sep_id: id of [SEP].
        max_length: most tokens of one input, at least 8.
        overlap: context tokens that neighbouring windows share; at most half a window is used.
    """
    if max_length < 8:
        raise ValueError(f"max_length must be at least 8 tokens, got {max_length}")
    question = list(question_ids[: max_length // 2 - 2])
    head = [cls_id, *question, sep_id]
    size = max_length - len(head) - 1
    windows = token_windows(len(context_ids), size=size, overlap=min(overlap, size // 2))
    return [
        ContextWindow(
            input_ids=[*head, *context_ids[part], sep_id],
            token_type_ids=[0] * len(head) + [1] * (part.stop - part.start + 1),
            prefix=len(head),
            first=part.start,
            size=part.stop - part.start,
        )
        for part in windows
    ]


def answer_positions(window: ContextWindow, offsets: Offsets, *, start: int, end: int) -> tuple[int, int]:
    """Training target of one window: the first and last token of the answer, counted in the input.

    Args:
        window: the input.
        offsets: characters ``(start, end)`` of every token of the whole context.
        start: first character of the answer.
        end: one past its last character.

    Returns:
        ``(0, 0)``, the place of [CLS], where the window does not hold the whole answer.
    """
    inside = [
        place
        for place in range(window.first, window.first + window.size)
        if offsets[place][0] < end and start < offsets[place][1]
    ]
    if not inside:
        return 0, 0
    before, after = inside[0] - 1, inside[-1] + 1  # tokens of the answer may lie outside the window
    is_cut_left = inside[0] == window.first and before >= 0 and offsets[before][1] > start
    is_cut_right = after == window.first + window.size and after < len(offsets) and offsets[after][0] < end
    if is_cut_left or is_cut_right:
        return 0, 0
    shift = window.prefix - window.first
    return inside[0] + shift, inside[-1] + shift


def decode_spans(
    windows: Sequence[ContextWindow],
    start_logits: Sequence[FloatArray],
    end_logits: Sequence[FloatArray],
    *,
    offsets: Offsets,
    text: str,
    n_best: int = 1,
    max_answer_tokens: int = 30,
) -> SpanDecoding:
    """Find the best answers of one question over all its windows.

    All spans of up to ``max_answer_tokens`` tokens compete, not only those of the best starts and ends. A
    span that several windows hold counts once, with its best score.

    Args:
        windows: the inputs of `question_windows`.
        start_logits: per window, one number for each token of its input (more, from padding, are ignored).
        end_logits: the same for the ends.
        offsets: characters ``(start, end)`` of every token of the context.
        text: the original context; spans are given without white space at their ends.
        n_best: most spans to return; spans of the same characters are given once.
        max_answer_tokens: most tokens of an answer; none is longer than its window.
    """
    width = min(max_answer_tokens, max((window.size for window in windows), default=1) or 1)
    scores = np.full((len(offsets), width), -np.inf)  # [first token, further tokens]
    null_logit = np.inf
    for window, starts, ends in zip(windows, start_logits, end_logits, strict=True):
        null_logit = min(null_logit, float(starts[0]) + float(ends[0]))
        part = slice(window.prefix, window.prefix + window.size)
        sums = _sums(np.asarray(starts[part], np.float64), np.asarray(ends[part], np.float64), width)
        held = scores[window.first : window.first + window.size]
        np.maximum(held, sums, out=held)
    peak = max(float(scores.max(initial=-np.inf)), null_logit)
    total = peak + float(np.log(np.exp(scores - peak).sum() + np.exp(null_logit - peak)))
    return SpanDecoding(
        spans=_best(scores, total, offsets=offsets, text=text, n_best=n_best),
        null_logit=null_logit,
        null_probability=float(np.exp(null_logit - total)),
    )


def _sums(starts: FloatArray, ends: FloatArray, width: int) -> FloatArray:
    """``[i, k] = starts[i] + ends[i + k]``, minus infinity past the end: ``(tokens, width)``."""
    padded = np.concatenate([ends, np.full(width, -np.inf)])
    sums: FloatArray = (
        starts[:, None] + np.lib.stride_tricks.sliding_window_view(padded, width)[: len(starts)]
    )
    return sums


def _best(scores: FloatArray, total: float, *, offsets: Offsets, text: str, n_best: int) -> list[Span]:
    """The highest scores as trimmed spans of different characters."""
    flat = scores.ravel()
    found: dict[tuple[int, int], Span] = {}
    wanted = min(4 * n_best, flat.size)  # different tokens can be the same characters once trimmed
    while True:
        top = np.argpartition(-flat, wanted - 1)[:wanted] if wanted else np.empty(0, np.int64)
        for place in top[np.argsort(-flat[top], kind="stable")]:
            first, further = divmod(int(place), scores.shape[1])
            if np.isneginf(flat[place]):
                break
            start, end = trim(text, offsets[first][0], offsets[first + further][1])
            if start < end and len(found) < n_best:
                logit = float(flat[place])
                found.setdefault((start, end), Span(start, end, logit, float(np.exp(logit - total))))
        if len(found) >= n_best or wanted == flat.size:
            return list(found.values())
        wanted = min(4 * wanted, flat.size)


def trim(text: str, start: int, end: int) -> tuple[int, int]:
    """Move both ends of a span inward past white space."""
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())
