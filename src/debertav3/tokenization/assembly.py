"""Ids of one or two texts, made into rows: truncation, special tokens, token types, padding, arrays."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Literal, NamedTuple

from ..errors import UserError

Truncation = Literal["longest_first", "only_first", "only_second"]
Padding = Literal["longest", "max_length"]
Side = Literal["left", "right"]
Arrays = Literal["np", "pt"]


class Segment(NamedTuple):
    """One encoded text."""

    ids: list[int]
    spans: list[tuple[int, int]] | None = None
    """Characters of every token; only computed on request."""
    words: list[int] | None = None
    """Word of every token where the words were given; else they follow from the ids."""


class Row(NamedTuple):
    """Where the tokens of one row come from; what ``sequence_ids`` and ``word_ids`` are read from."""

    segments: tuple[Segment, ...]
    """The texts before truncation."""
    kept: tuple[int, ...]
    """Tokens kept of each."""
    num_special: int
    """Special tokens before each text, and after the last: 1, or 0 without special tokens."""


def kept_lengths(first: int, second: int, *, budget: int, strategy: Truncation) -> tuple[int, int]:
    """How many tokens of each text stay when both together may have ``budget``.

    ``longest_first`` shortens the longer text first and, when both must go, leaves each half; of an odd budget the
    longer text gets the extra token (the second one of two equal texts), as in Hugging Face's fast tokenizers.

    Raises:
        UserError: if the strategy cannot shorten the texts enough.
    """
    excess = first + second - budget
    if excess <= 0:
        return first, second
    if strategy == "longest_first":
        shorter, longer = min(first, second), budget - min(first, second)
        if longer < shorter:
            shorter, longer = budget // 2, budget - budget // 2
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
    if length >= len(items):
        return items
    return items[:length] if side == "right" else items[len(items) - length :]


def sequence_ids(row: Row) -> list[int | None]:
    """For every token of an unpadded row the index of its text; None for special tokens."""
    special: list[int | None] = [None] * row.num_special
    result = list(special)
    for index, length in enumerate(row.kept):
        result += [index] * length + special
    return result


def word_ids(row: Row, starts_word: Sequence[bool], side: Side) -> list[int | None]:
    """For every token of an unpadded row the index of its word in its own text; None for special tokens."""
    special: list[int | None] = [None] * row.num_special
    result = list(special)
    for segment, length in zip(row.segments, row.kept, strict=True):
        words = segment.words
        if words is None:
            words = [count - 1 for count in accumulate(starts_word[number] for number in segment.ids)]
        result += cut(words, length, side) + special
    return result


def pad_rows(
    columns: Mapping[str, list[list[Any]]], *, fill: Mapping[str, Any], length: int, side: Side
) -> dict[str, list[list[Any]]]:
    """Bring every row of every column that ``fill`` names to ``length``."""
    padded = dict(columns)
    for name, value in fill.items():
        if name not in columns:
            continue
        if side == "right":
            padded[name] = [row + [value] * (length - len(row)) for row in columns[name]]
        else:
            padded[name] = [[value] * (length - len(row)) + row for row in columns[name]]
    return padded


def padded_length(
    longest: int, *, padding: Padding, max_length: int | None, pad_to_multiple_of: int | None
) -> int:
    """Length that rows are padded to.

    Raises:
        UserError: for ``"max_length"`` without a length.
    """
    if padding == "max_length":
        if max_length is None:
            raise UserError(
                "padding='max_length' needs a max_length: this tokenizer sets no limit. Give max_length=..."
            )
        longest = max(longest, max_length)
    if pad_to_multiple_of:
        longest = -(-longest // pad_to_multiple_of) * pad_to_multiple_of
    return longest


def to_arrays(columns: Mapping[str, Any], kind: Arrays) -> dict[str, Any]:
    """Columns as numpy arrays or torch tensors, integers as int64.

    Raises:
        UserError: if rows differ in length.
    """
    try:
        if kind == "np":
            import numpy

            return {
                name: value if hasattr(value, "dtype") else numpy.array(value)
                for name, value in columns.items()
            }
        import torch

        return {
            name: value if torch.is_tensor(value) else torch.tensor(value) for name, value in columns.items()
        }
    except (ValueError, TypeError) as error:
        raise UserError(
            f"rows of unequal length make no array ({error}). Use padding=True, and truncation=True."
        ) from error
