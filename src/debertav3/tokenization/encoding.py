"""The answer of a tokenizer call: a dict of model inputs that also knows words and sequences."""

from collections.abc import Callable, Sequence
from typing import Any

from .assembly import Row, Side, sequence_ids, word_ids


class Encoding(dict[str, Any]):
    """Model inputs by name, as lists or arrays; entries can be read as attributes too.

    Being a plain ``dict``, it goes through collators, ``Trainer`` and ``model(**encoding)`` as it is.
    """

    _origin: "Origin | None" = None

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no entry {name!r}: this encoding has {', '.join(self)}") from None

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """For every token 0 (first text), 1 (second text) or None (special, padding)."""
        return self._padded(batch_index, sequence_ids)

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """For every token the index of its word in its own text, or None (special, padding).

        Words are the given ones with ``is_split_into_words``, else what stands between white space.
        """
        origin = self._known_origin()
        return self._padded(
            batch_index, lambda row: word_ids(row, origin.starts_word, origin.truncation_side)
        )

    def to(self, device: Any) -> "Encoding":
        """Move the tensors, in place, as ``BatchEncoding.to`` does."""
        for name, value in self.items():
            if hasattr(value, "to"):
                self[name] = value.to(device)
        return self

    def _known_origin(self) -> "Origin":
        if self._origin is None:
            raise ValueError(
                "only the encoding that a tokenizer call returned knows its words; this is a copy of it"
            )
        return self._origin

    def _padded(self, index: int, read: Callable[[Row], list[int | None]]) -> list[int | None]:
        origin = self._known_origin()
        values = read(origin.rows[index])
        padding: list[int | None] = [None] * (max(origin.length, len(values)) - len(values))
        return values + padding if origin.padding_side == "right" else padding + values


class Origin:
    """Where an encoding's tokens come from.

    Args:
        rows: texts behind every row.
        length: padded length, 0 without padding.
        starts_word: by id, whether a piece begins a word.
        padding_side: where padding stands.
        truncation_side: where tokens were cut off.
    """

    def __init__(
        self,
        rows: list[Row],
        *,
        length: int,
        starts_word: Sequence[bool],
        padding_side: Side,
        truncation_side: Side,
    ) -> None:
        self.rows = rows
        self.length = length
        self.starts_word = starts_word
        self.padding_side = padding_side
        self.truncation_side = truncation_side
