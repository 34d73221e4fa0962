"""The answer of a tokenizer call: a dict of model inputs that also knows words and sequences."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

from ..errors import UserError
from ..json_types import JsonObject
from .assembly import RowLayout
from .padding import Side, as_list

T = TypeVar("T")


class CharSpan(NamedTuple):
    """Characters ``[start, end)`` of a text."""

    start: int
    end: int


class TokenSpan(NamedTuple):
    """Tokens ``[start, end)`` of a row."""

    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where an encoding's tokens come from."""

    layout: RowLayout
    length: int
    """Padded length in tokens; 0 without padding."""
    padding_side: Side
    starts_word: Sequence[bool]
    """By id, whether a piece begins a word."""
    pieces: Mapping[int, str]
    """Piece of each id."""
    with_spans: Callable[[], RowLayout] | None
    """Finds the characters of the tokens; None where the layout has them."""


class BatchEncoding(JsonObject):
    """Model inputs by name, as lists or arrays; entries can be read as attributes too.

    Being a ``dict``, it goes through collators, ``Trainer`` and ``model(**encoding)`` as it is.

    Args:
        columns: the entries.
        origin: where the tokens come from; only what a tokenizer call returns has one.
    """

    def __init__(
        self, columns: Mapping[str, object] | Iterable[tuple[str, object]] = (), origin: Origin | None = None
    ) -> None:
        super().__init__(columns)
        self._origin = origin

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no entry {name!r}: this encoding has {', '.join(self)}") from None

    def __reduce__(self) -> tuple[object, ...]:
        """For copies and pickles, which keep words and sequences, but neither vocabulary nor texts."""
        origin = self._origin
        return BatchEncoding, (
            dict(self),
            None if origin is None else replace(origin, pieces={}, with_spans=None),
        )

    @property
    def layout(self) -> RowLayout:
        """What is in each row, with the characters of every token.

        Raises:
            UserError: for a copy of what a tokenizer returned without ``return_offsets_mapping``.
        """
        origin = self._origin
        if origin is not None and origin.layout.texts[0].spans is None and origin.with_spans is not None:
            origin = self._origin = replace(origin, layout=origin.with_spans(), with_spans=None)
        if origin is None or (origin.layout.texts[0].spans is None and origin.layout.texts[0].ids):
            raise UserError(
                "this copy of an encoding does not know the characters of its tokens. "
                "Ask the encoding that the tokenizer returned, or call it with return_offsets_mapping=True."
            )
        return origin.layout

    def tokens(self, batch_index: int = 0) -> list[str]:
        """The piece of every token."""
        if self._origin is None or not self._origin.pieces:
            raise UserError("a copy of an encoding has no vocabulary: use tokenizer.convert_ids_to_tokens.")
        ids = as_list(self["input_ids"])
        row = as_list(ids[batch_index]) if ids and not isinstance(ids[0], int) else ids
        return [self._origin.pieces[number] for number in row]

    def token_to_sequence(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """0 or 1, the text of a token; None for special tokens and padding."""
        row, token = _row_and(batch_or_token_index, token_index)
        return self.sequence_ids(row)[token]

    def token_to_word(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """The word of a token; None for special tokens and padding."""
        row, token = _row_and(batch_or_token_index, token_index)
        return self.word_ids(row)[token]

    def token_to_chars(self, batch_or_token_index: int, token_index: int | None = None) -> CharSpan | None:
        """The characters of a token in its own text; None for special tokens and padding."""
        row, token = _row_and(batch_or_token_index, token_index)
        return None if self.sequence_ids(row)[token] is None else self._chars(row)[token]

    def char_to_token(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """The token of a character; None for white space between tokens and for what was cut off."""
        row, character = _row_and(batch_or_char_index, char_index)
        for token, (span, sequence) in enumerate(zip(self._chars(row), self.sequence_ids(row), strict=True)):
            if sequence == sequence_index and span is not None and span.start <= character < span.end:
                return token
        return None

    def word_to_tokens(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> TokenSpan | None:
        """The tokens of a word; None for one that was cut off."""
        row, word = _row_and(batch_or_word_index, word_index)
        both = zip(self.word_ids(row), self.sequence_ids(row), strict=True)
        found = [token for token, pair in enumerate(both) if pair == (word, sequence_index)]
        return TokenSpan(found[0], found[-1] + 1) if found else None

    def word_to_chars(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> CharSpan | None:
        """The characters of a word in its own text; None for one that was cut off."""
        row, word = _row_and(batch_or_word_index, word_index)
        tokens = self.word_to_tokens(row, word, sequence_index)
        if tokens is None:
            return None
        first, last = self._chars(row)[tokens.start], self._chars(row)[tokens.end - 1]
        assert first is not None and last is not None
        return CharSpan(first.start, last.end)

    def char_to_word(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """The word of a character; None for white space between words and for what was cut off."""
        row, character = _row_and(batch_or_char_index, char_index)
        token = self.char_to_token(row, character, sequence_index)
        return None if token is None else self.word_ids(row)[token]

    def _chars(self, row: int) -> list[CharSpan | None]:
        (spans,) = self.layout.row(row).spans()
        return self._aligned([CharSpan(*span) for span in spans])

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """For every token 0 (first text), 1 (second text) or None (special, padding)."""
        return self._padded(batch_index, lambda origin, row: row.sequences())

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """For every token the index of its word in its own text, or None (special, padding).

        Words are the given ones with ``is_split_into_words``, else what stands between white space.
        """
        return self._padded(batch_index, lambda origin, row: row.words(origin.starts_word))

    def to(self, device: object) -> "BatchEncoding":
        """Move the tensors, in place, as ``BatchEncoding.to`` does."""
        for name, value in self.items():
            if hasattr(value, "to"):
                self[name] = value.to(device)
        return self

    def _padded(
        self, index: int, read: Callable[[Origin, RowLayout], list[list[int | None]]]
    ) -> list[int | None]:
        origin = self._origin
        if origin is None:
            raise ValueError(
                "only the encoding that a tokenizer call returned knows its words; this is a copy of it"
            )
        (values,) = read(origin, origin.layout.row(index))
        return self._aligned(values)

    def _aligned(self, values: Sequence[T]) -> list[T | None]:
        """One value for each token of a row, with None for its padding."""
        origin = self._origin
        assert origin is not None
        padding: list[T | None] = [None] * (origin.length - len(values))
        return [*values, *padding] if origin.padding_side == "right" else [*padding, *values]


def _row_and(first: int, second: int | None) -> tuple[int, int]:
    """Of a call with one index, the first row; of one with two, the row and what is looked for in it."""
    return (0, first) if second is None else (first, second)
