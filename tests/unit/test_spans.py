"""Windows cover a long context, and the best spans over all windows are those of a plain search."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from debertav3.tasks.spans import (
    ContextWindow,
    SpanDecoding,
    answer_positions,
    decode_spans,
    question_windows,
    token_windows,
    trim,
    widest_context,
)

QUESTION = [50, 51, 52]


def words_and_offsets(num_words: int) -> tuple[str, list[tuple[int, int]]]:
    """A text of words of different lengths, and a token for each."""
    words = [f"w{number}" * (1 + number % 3) for number in range(num_words)]
    ends = np.cumsum([len(word) + 1 for word in words]).tolist()
    return " ".join(words), [(end - 1 - len(word), end - 1) for word, end in zip(words, ends, strict=True)]


def windows_of(num_tokens: int, *, max_length: int = 20, overlap: int = 4) -> list[ContextWindow]:
    return question_windows(
        QUESTION,
        list(range(100, 100 + num_tokens)),
        cls_id=1,
        sep_id=2,
        max_length=max_length,
        overlap=overlap,
    )


@given(num_tokens=st.integers(0, 300), size=st.integers(1, 50), data=st.data())
def test_windows_cover_every_token_and_share_the_overlap(
    num_tokens: int, size: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, size - 1))
    windows = token_windows(num_tokens, size=size, overlap=overlap)
    assert windows[0].start == 0
    assert windows[-1].stop == num_tokens
    assert all(window.stop - window.start <= size for window in windows)
    assert all(right.start == left.stop - overlap for left, right in pairwise(windows))
    best = widest_context(windows, num_tokens)
    for token, window in enumerate(best.tolist()):
        room = [
            min(token - other.start, other.stop - 1 - token)
            for other in windows
            if other.start <= token < other.stop
        ]
        chosen = windows[window]
        assert min(token - chosen.start, chosen.stop - 1 - token) == max(room)


def test_an_overlap_without_progress_is_refused() -> None:
    with pytest.raises(ValueError, match="overlap"):
        token_windows(10, size=4, overlap=4)


def test_windows_are_laid_out_as_question_and_context() -> None:
    first, *_, last = windows_of(40)
    assert first.input_ids == [1, 50, 51, 52, 2, *range(100, 114), 2]
    assert first.token_type_ids == [0] * 5 + [1] * 15
    assert (first.prefix, first.first, first.size) == (5, 0, 14)
    assert last.input_ids[5:-1] == list(range(100 + last.first, 140))
    assert len(first.input_ids) == 20


def test_a_question_longer_than_half_the_input_is_cut() -> None:
    (window, *_) = question_windows(
        list(range(100)), list(range(30)), cls_id=1, sep_id=2, max_length=16, overlap=128
    )
    assert len(window.input_ids) == 16
    assert window.prefix == 8


def test_answer_positions_point_at_the_answer_or_at_cls() -> None:
    text, offsets = words_and_offsets(40)
    windows = windows_of(40)
    for first in range(40):
        for last in range(first, min(first + 6, 40)):
            start, end = offsets[first][0], offsets[last][1]
            found = 0
            for window in windows:
                left, right = answer_positions(window, offsets, start=start, end=end)
                if window.first <= first and last < window.first + window.size:
                    shift = window.first - window.prefix
                    assert text[offsets[left + shift][0] : offsets[right + shift][1]] == text[start:end]
                    found += 1
                else:
                    assert (left, right) == (0, 0)
            assert found or last - first >= 4


def test_an_answer_inside_a_token_is_that_token() -> None:
    _, offsets = words_and_offsets(5)
    (window,) = windows_of(5)
    start, end = offsets[2]
    assert answer_positions(window, offsets, start=start + 1, end=end - 1) == (7, 7)


def plain_search(
    windows: list[ContextWindow], starts: list[np.ndarray], ends: list[np.ndarray], *, max_answer_tokens: int
) -> dict[tuple[int, int], float]:
    """Every admissible span of tokens with its best score, by loops."""
    best: dict[tuple[int, int], float] = {}
    for window, start, end in zip(windows, starts, ends, strict=True):
        for left in range(window.size):
            for right in range(left, min(left + max_answer_tokens, window.size)):
                key = (window.first + left, window.first + right)
                score = float(start[window.prefix + left]) + float(end[window.prefix + right])
                best[key] = max(score, best.get(key, -np.inf))
    return best


def random_decoding(
    num_tokens: int, *, n_best: int, seed: int
) -> tuple[SpanDecoding, dict, float, str, list]:
    generator = np.random.default_rng(seed)
    text, offsets = words_and_offsets(num_tokens)
    windows = windows_of(num_tokens)
    starts = [generator.normal(size=24).astype(np.float32) for _ in windows]  # longer than the input: padding
    ends = [generator.normal(size=24).astype(np.float32) for _ in windows]
    decoding = decode_spans(
        windows, starts, ends, offsets=offsets, text=text, n_best=n_best, max_answer_tokens=5
    )
    null = min(float(s[0]) + float(e[0]) for s, e in zip(starts, ends, strict=True))
    return decoding, plain_search(windows, starts, ends, max_answer_tokens=5), null, text, offsets


@pytest.mark.parametrize("num_tokens", [1, 7, 14, 15, 60])
@pytest.mark.parametrize("n_best", [1, 3, 20])
def test_best_spans_equal_a_plain_search(num_tokens: int, n_best: int) -> None:
    decoding, plain, null, _, offsets = random_decoding(num_tokens, n_best=n_best, seed=num_tokens)
    ranked = sorted(plain.items(), key=lambda item: -item[1])[:n_best]
    total = np.exp(null) + sum(np.exp(score) for score in plain.values())
    assert decoding.null_logit == pytest.approx(null)
    assert decoding.null_probability == pytest.approx(np.exp(null) / total)
    assert len(decoding.spans) == min(n_best, len(plain))
    for span, ((first, last), score) in zip(decoding.spans, ranked, strict=True):
        assert (span.start, span.end) == (offsets[first][0], offsets[last][1])
        assert span.logit == pytest.approx(score)
        assert span.probability == pytest.approx(np.exp(score) / total)


def test_spans_of_the_same_characters_are_given_once_and_without_white_space() -> None:
    text = " a  b"
    offsets = [(0, 1), (0, 2), (2, 2), (2, 4), (4, 5)]  # tokens of white space, and one without characters
    (window,) = windows_of(5)
    logits = np.random.default_rng(0).normal(size=20)
    decoding = decode_spans([window], [logits], [logits], offsets=offsets, text=text, n_best=50)
    found = [(span.start, span.end) for span in decoding.spans]
    assert sorted(found) == [(1, 2), (1, 5), (4, 5)]
    assert trim(text, 0, 4) == (1, 2)


def test_a_context_without_tokens_has_no_answer() -> None:
    (window,) = windows_of(0)
    decoding = decode_spans([window], [np.zeros(6)], [np.zeros(6)], offsets=[], text="\u200b")
    assert decoding.spans == []
    assert decoding.null_probability == 1.0
    assert not decoding.has_answer(None)


def test_the_threshold_is_the_lead_of_no_answer_over_the_best_span() -> None:
    decoding, *_ = random_decoding(20, n_best=1, seed=3)
    lead = decoding.null_logit - decoding.spans[0].logit
    assert decoding.has_answer(lead + 1e-6)
    assert not decoding.has_answer(lead - 1e-6)
    assert decoding.has_answer(None)


def test_answers_may_be_as_long_as_they_like() -> None:
    windows = question_windows([5], [7, 8, 9], cls_id=1, sep_id=2, max_length=16, overlap=2)
    logits = [np.arange(7, dtype=np.float32)]
    offsets, text = [(0, 1), (2, 3), (4, 5)], "a b c"
    found = [
        decode_spans(windows, logits, logits, offsets=offsets, text=text, n_best=9, max_answer_tokens=most)
        for most in (3, 10**12)  # which would be an array of 24 TB
    ]
    assert found[0] == found[1]
    assert len(found[0].spans) == 6
