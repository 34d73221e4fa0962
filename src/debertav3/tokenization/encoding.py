"""The answer of a tokenizer call: a dict of model inputs that also knows words and sequences."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .assembly import Layout
from .padding import Side


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where an encoding's tokens come from."""

    layout: Layout
    length: int
    """Padded length in tokens; 0 without padding."""
    padding_side: Side
    starts_word: Sequence[bool]
    """By id, whether a piece begins a word."""


class Encoding(dict[str, Any]):
    """Model inputs by name, as lists or arrays; entries can be read as attributes too.

    Being a ``dict``, it goes through collators, ``Trainer`` and ``model(**encoding)`` as it is.

    Args:
        columns: the entries.
        origin: where the tokens come from; only what a tokenizer call returns has one.
    """

    def __init__(self, columns: Any = (), origin: Origin | None = None) -> None:
        super().__init__(columns)
        self._origin = origin

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no entry {name!r}: this encoding has {', '.join(self)}") from None

    def __reduce__(self) -> tuple[Any, ...]:
        return Encoding, (dict(self), self._origin)

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """For every token 0 (first text), 1 (second text) or None (special, padding)."""
        return self._padded(batch_index, lambda origin, row: row.sequences())

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """For every token the index of its word in its own text, or None (special, padding).

        Words are the given ones with ``is_split_into_words``, else what stands between white space.
        """
        return self._padded(batch_index, lambda origin, row: row.words(origin.starts_word))

    def to(self, device: Any) -> "Encoding":
        """Move the tensors, in place, as ``BatchEncoding.to`` does."""
        for name, value in self.items():
            if hasattr(value, "to"):
                self[name] = value.to(device)
        return self

    def _padded(
        self, index: int, read: Callable[[Origin, Layout], list[list[int | None]]]
    ) -> list[int | None]:
        origin = self._origin
        if origin is None:
            raise ValueError(
                "only the encoding that a tokenizer call returned knows its words; this is a copy of it"
            )
        (values,) = read(origin, origin.layout.row(index))
        padding: list[int | None] = [None] * (origin.length - len(values))
        return values + padding if origin.padding_side == "right" else padding + values
