"""Ids of one or two texts, made into rows: truncation, special tokens, types, and where tokens came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, NamedTuple, TypeVar, get_args

from ..errors import UserError
from .alignment import Span
from .padding import Side

T = TypeVar("T")
Truncation = Literal["longest_first", "only_first", "only_second"]


class Encoded(NamedTuple):
    """Texts as tokens: one list a text in every field."""

    ids: list[list[int]]
    spans: list[list[Span]] | None = None
    """Characters of every token; only computed on request."""
    words: list[list[int]] | None = None
    """Word of every token where the words were given; else they follow from the ids."""

    def part(self, start: int, stop: int) -> "Encoded":
        """Some of the texts."""
        return Encoded(
            self.ids[start:stop],
            None if self.spans is None else self.spans[start:stop],
            None if self.words is None else self.words[start:stop],
        )

    def with_words(self, starts_word: Sequence[bool]) -> "Encoded":
        """The same with the word of every token, counted in the whole text."""
        if self.words is not None:
            return self
        return self._replace(words=[_words_of(ids, starts_word) for ids in self.ids])

    def take(self, parts: Sequence[tuple[int, slice]]) -> "Encoded":
        """Parts of the texts, each by the index of its text."""
        return Encoded(
            [self.ids[row][part] for row, part in parts],
            None if self.spans is None else [self.spans[row][part] for row, part in parts],
            None if self.words is None else [self.words[row][part] for row, part in parts],
        )


def _words_of(ids: Sequence[int], starts_word: Sequence[bool]) -> list[int]:
    return [count - 1 for count in accumulate(starts_word[number] for number in ids)]


@dataclass(frozen=True, kw_only=True)
class RowLayout:
    """Rows of one or two texts each: what stays of every text, and where special tokens stand."""

    texts: tuple[Encoded, ...]
    """The first texts of all rows, then the second ones if there are any."""
    kept: tuple[list[int], ...]
    """Tokens that stay of each text, in the same order."""
    num_special: int
    """Special tokens before the first text and after each: 1, or 0 without special tokens."""
    truncation_side: Side

    @property
    def lengths(self) -> list[int]:
        """Tokens of every row, without padding."""
        num_special = self.num_special * (len(self.texts) + 1)
        return [sum(kept) + num_special for kept in zip(*self.kept, strict=True)]

    def row(self, index: int) -> "RowLayout":
        """The layout of one row."""
        return RowLayout(
            texts=tuple(texts.part(index, index + 1) for texts in self.texts),
            kept=tuple(kept[index : index + 1] for kept in self.kept),
            num_special=self.num_special,
            truncation_side=self.truncation_side,
        )

    def ids(self, *, cls_id: int, sep_id: int) -> list[list[int]]:
        """``[CLS] a [SEP]`` or ``[CLS] a [SEP] b [SEP]``."""
        return self._joined([texts.ids for texts in self.texts], cls_id, sep_id)

    def types(self) -> list[list[int]]:
        """0 for ``[CLS] a [SEP]``, 1 for ``b [SEP]``."""
        rows = [[0] * (length + 2 * self.num_special) for length in self.kept[0]]
        for lengths in self.kept[1:]:
            for row, length in zip(rows, lengths, strict=True):
                row += [1] * (length + self.num_special)
        return rows

    def spans(self) -> list[list[Span]]:
        """Characters of every token in its own text; ``(0, 0)`` for special tokens."""
        return self._joined([texts.spans or [] for texts in self.texts], (0, 0), (0, 0))

    def sequences(self) -> list[list[int | None]]:
        """For every token the index of its text; None for special tokens."""
        indices = [[[index] * length for length in kept] for index, kept in enumerate(self.kept)]
        return self._joined(indices, None, None)

    def words(self, starts_word: Sequence[bool]) -> list[list[int | None]]:
        """For every token the index of its word in its own text; None for special tokens.

        Args:
            starts_word: by id, whether a piece begins a word.
        """
        words = [texts.with_words(starts_word).words or [] for texts in self.texts]
        return self._joined(words, None, None)

    def _joined(self, columns: Sequence[Sequence[Sequence[T]]], first: T, last: T) -> list[list[T]]:
        """What stays of every text, ``first`` before the first text and ``last`` behind each."""
        rows = [[first] * self.num_special for _ in self.kept[0]]
        behind = [last] * self.num_special
        for column, lengths in zip(columns, self.kept, strict=True):
            for row, items, length in zip(rows, column, lengths, strict=True):
                row += cut(items, length, self.truncation_side)
                row += behind
        return rows


def lay_out(
    texts: tuple[Encoded, ...],
    *,
    add_special_tokens: bool,
    truncation: Truncation | None,
    max_length: int | None,
    side: Side,
) -> RowLayout:
    """Decide how many tokens of every text stay.

    Raises:
        UserError: if ``max_length`` has no room for the special tokens, or the strategy cannot shorten
            enough.
    """
    num_special = int(add_special_tokens)
    kept = tuple(list(map(len, column.ids)) for column in texts)
    if truncation is not None and max_length is not None:
        budget = max_length - num_special * (len(texts) + 1)
        if budget < 0:
            raise UserError(
                f"max_length={max_length} leaves no room for the special tokens. Give a larger one."
            )
        seconds = kept[1] if len(texts) == 2 else [0] * len(kept[0])
        for row, (first, second) in enumerate(zip(kept[0], seconds, strict=True)):
            if first + second > budget:
                kept[0][row], seconds[row] = kept_lengths(first, second, budget=budget, strategy=truncation)
    return RowLayout(texts=texts, kept=kept, num_special=num_special, truncation_side=side)


def windows(
    texts: tuple[Encoded, ...],
    starts_word: Sequence[bool],
    *,
    budget: int,
    stride: int,
    truncation: Truncation,
    side: Side,
) -> tuple[tuple[Encoded, ...], list[int]]:
    """Rows for every part of the texts that are too long, as Hugging Face's ``return_overflowing_tokens``.

    Args:
        texts: the first texts of all rows, then the second ones if there are any.
        starts_word: by id, whether a piece begins a word.
        budget: most tokens of a row beside its special tokens.
        stride: tokens that neighbouring windows share.
        truncation: which text is divided; of a pair ``"only_first"`` or ``"only_second"``.
        side: where the first window does not begin: ``"right"`` starts at the beginning of the text.

    Returns:
        The texts of all rows, and for each row the index of the one that it is part of.

    Raises:
        UserError: if the strategy does not say which text to divide, or windows would not advance.
    """
    divided = {"only_first": 0, "only_second": len(texts) - 1}.get(truncation, 0)
    lengths = list(zip(*(map(len, column.ids) for column in texts), strict=True))
    too_long = any(sum(each) > budget for each in lengths)
    if too_long and len(texts) == 2 and truncation == "longest_first":
        raise UserError(
            "return_overflowing_tokens divides one text of a pair: give truncation='only_first' or "
            "'only_second' ('longest_first' says neither)."
        )
    texts = tuple(column.with_words(starts_word) for column in texts)
    parts: list[tuple[int, slice]] = []
    for row, each in enumerate(lengths):
        size = budget - sum(each) + each[divided]
        if sum(each) > budget and size <= stride:
            raise UserError(
                f"stride={stride} leaves windows no room to advance: text {row} has {size} tokens for each. "
                "Give a smaller stride or a larger max_length."
            )
        parts += [(row, part) for part in _window_slices(each[divided], size, stride, side)]
    whole = [(row, slice(None)) for row, _ in parts]
    divided_texts = (column.take(parts if i == divided else whole) for i, column in enumerate(texts))
    return tuple(divided_texts), [row for row, _ in parts]


def _window_slices(length: int, size: int, stride: int, side: Side) -> list[slice]:
    if length <= size:
        return [slice(0, length)]
    starts = range(0, length - stride, size - stride)
    slices = [slice(start, min(start + size, length)) for start in starts]
    if side == "right":
        return slices
    return [slice(length - part.stop, length - part.start) for part in slices]


def kept_lengths(first: int, second: int, *, budget: int, strategy: Truncation) -> tuple[int, int]:
    """How many tokens of each text stay when both together may have ``budget``.

    ``longest_first`` shortens the longer text first and, when both must go, leaves each half; of an odd
    budget the longer text gets the extra token (the second one of two equal texts), as in Hugging Face's fast
    tokenizers.

    Raises:
        UserError: if the strategy cannot shorten the texts enough.
    """
    excess = first + second - budget
    if excess <= 0:
        return first, second
    if strategy == "longest_first":
        shorter = min(first, second, budget // 2)
        longer = budget - shorter
        return (longer, shorter) if first > second else (shorter, longer)
    name, length = ("first", first) if strategy == "only_first" else ("second", second)
    if length < excess:
        raise UserError(
            f"cannot shorten by {excess} tokens: the {name} text has only {length}. "
            "Use truncation='longest_first' or a larger max_length."
        )
    return (first - excess, second) if strategy == "only_first" else (first, second - excess)


def cut(items: Sequence[T], length: int, side: Side) -> Sequence[T]:
    """The ``length`` items that stay when the rest is cut off on ``side``."""
    if length == len(items):
        return items
    return items[:length] if side == "right" else items[len(items) - length :]


def truncation_strategy(value: bool | str | None) -> Truncation | None:
    """The strategy that a call's ``truncation`` means; None for no truncation.

    Raises:
        UserError: for an unknown name.
    """
    if not value or value == "do_not_truncate":
        return None
    if value is True or value == "longest_first":
        return "longest_first"
    if value == "only_first":
        return "only_first"
    if value == "only_second":
        return "only_second"
    names = ", ".join(get_args(Truncation))
    raise UserError(f"truncation={value!r} is unknown: use True, False or one of {names}.")
