"""Words of a text, and the word of each token: the unit in which entities and replaced words are reported.

A word is what stands between white space, without the punctuation and the English possessive at its ends:
``"Paris's,"`` is ``"``, ``Paris``, ``'s`` and ``,"``. Pieces alone would glue a comma to its name.
"""

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Span = tuple[int, int]
"""First character and one past the last."""

_RUN = re.compile(r"\S+")
_POSSESSIVE = re.compile(r"\w(['\u2019][sS])$")
_BELONGS_TO_WORD = "@#"  # @user and #tag are words of their own


def split_words(text: str) -> list[Span]:
    """The words of a text and, each for itself, the runs of punctuation around them."""
    words: list[Span] = []
    for match in _RUN.finditer(text):
        start, end = match.span()
        first, last = start, end
        while first < last and _is_punctuation(text[first]):
            first += 1
        if first == last:  # nothing but punctuation: one word
            words.append((start, end))
            continue
        while _is_punctuation(text[last - 1]):
            last -= 1
        possessive = _POSSESSIVE.search(text, first, last)
        cuts = [start, first, *([possessive.start(1)] if possessive else []), last, end]
        words += [(left, right) for left, right in pairwise(cuts) if left < right]
    return words


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character)[0] == "P" and character not in _BELONGS_TO_WORD


def words_of_tokens(offsets: Sequence[Span], words: Sequence[Span]) -> npt.NDArray[np.int64]:
    """For each token the number of the word in which it begins: ``(tokens,)``; -1 before the first word."""
    starts = np.asarray([start for start, _ in words], dtype=np.int64)
    places = np.asarray([start for start, _ in offsets], dtype=np.int64)
    return np.searchsorted(starts, places, side="right") - 1


def join_words(words: Sequence[str]) -> tuple[str, list[Span]]:
    """Given words as one text with single spaces, and where each of them stands."""
    spans: list[Span] = []
    place = 0
    for word in words:
        spans.append((place, place + len(word)))
        place += len(word) + 1
    return " ".join(words), spans
