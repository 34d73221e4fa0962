"""Ids of one or two texts, made into one row: truncation, special tokens, types, origins."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Literal, NamedTuple, get_args

from ..errors import UserError
from .alignment import Span
from .padding import Side

Truncation = Literal["longest_first", "only_first", "only_second"]


class Segment(NamedTuple):
    """One encoded text."""

    ids: list[int]
    spans: list[Span] | None = None
    """Characters of every token; only computed on request."""
    words: list[int] | None = None
    """Word of every token where the words were given; else they follow from the ids."""


class Row(NamedTuple):
    """One or two texts and how much of each stays: what all columns of a row are read from."""

    segments: tuple[Segment, ...]
    """The texts before truncation."""
    kept: tuple[int, ...]
    """Tokens kept of each."""
    num_special: int
    """Special tokens before the first text and after each: 1, or 0 without special tokens."""


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


def lay_out(
    segments: tuple[Segment, ...],
    *,
    add_special_tokens: bool,
    truncation: Truncation | None,
    max_length: int | None,
) -> Row:
    """Decide how many tokens of each text stay.

    Raises:
        UserError: if ``max_length`` has no room for the special tokens, or the strategy cannot shorten
            enough.
    """
    num_special = int(add_special_tokens)
    kept = tuple(len(segment.ids) for segment in segments)
    if truncation is not None and max_length is not None:
        budget = max_length - num_special * (len(segments) + 1)
        if budget < 0:
            raise UserError(
                f"max_length={max_length} leaves no room for the special tokens. Give a larger one."
            )
        first, second = kept_lengths(kept[0], sum(kept[1:]), budget=budget, strategy=truncation)
        kept = (first, second)[: len(segments)]
    return Row(segments, kept, num_special)


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


def cut(items: list[Any], length: int, side: Side) -> list[Any]:
    """The ``length`` items that stay when the rest is cut off on ``side``."""
    if length == len(items):
        return items
    return items[:length] if side == "right" else items[len(items) - length :]


def row_ids(row: Row, *, cls_id: int, sep_id: int, side: Side) -> list[int]:
    """``[CLS] a [SEP]`` or ``[CLS] a [SEP] b [SEP]``."""
    ids = [cls_id] * row.num_special
    for segment, length in zip(row.segments, row.kept, strict=True):
        ids += cut(segment.ids, length, side)
        ids += [sep_id] * row.num_special
    return ids


def row_types(row: Row) -> list[int]:
    """0 for ``[CLS] a [SEP]``, 1 for ``b [SEP]``."""
    types = [0] * row.num_special
    for index, length in enumerate(row.kept):
        types += [index] * (length + row.num_special)
    return types


def row_spans(row: Row, side: Side) -> list[Span]:
    """Characters of every token in its own text; ``(0, 0)`` for special tokens."""
    special = [(0, 0)] * row.num_special
    spans = list(special)
    for segment, length in zip(row.segments, row.kept, strict=True):
        spans += cut(segment.spans or [], length, side) + special
    return spans


def row_sequences(row: Row) -> list[int | None]:
    """For every token the index of its text; None for special tokens."""
    special: list[int | None] = [None] * row.num_special
    sequences = list(special)
    for index, length in enumerate(row.kept):
        sequences += [index] * length + special
    return sequences


def row_words(row: Row, starts_word: Sequence[bool], side: Side) -> list[int | None]:
    """For every token the index of its word in its own text; None for special tokens.

    Args:
        row: the row.
        starts_word: by id, whether a piece begins a word.
        side: where tokens were cut off.
    """
    special: list[int | None] = [None] * row.num_special
    result = list(special)
    for segment, length in zip(row.segments, row.kept, strict=True):
        words = segment.words
        if words is None:
            words = [count - 1 for count in accumulate(starts_word[number] for number in segment.ids)]
        result += cut(words, length, side) + special
    return result
