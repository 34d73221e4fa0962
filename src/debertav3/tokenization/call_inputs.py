"""Inputs of a tokenizer call, normalized to one form."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..errors import UserError
from .padding import as_list

Texts = str | Sequence[str] | Sequence[Sequence[str]]


class Inputs(NamedTuple):
    """The texts of a call: strings, or lists of words."""

    firsts: list[Any]
    seconds: list[Any] | None
    is_batch: bool
    """Whether the caller gave a batch and so gets a list of rows."""

    @property
    def texts(self) -> list[Any]:
        """All texts, first texts before second texts."""
        return self.firsts + (self.seconds or [])


def read_inputs(text: Any, text_pair: Any, *, is_split_into_words: bool) -> Inputs:
    """Distinguish single texts from batches, and batches of texts from batches of pairs.

    Raises:
        UserError: if something is not a text, or the numbers of first and second texts differ.
    """
    text, text_pair = as_list(text), as_list(text_pair)
    if not _is_batch(text, is_split_into_words):
        firsts, seconds = [text], None if text_pair is None else [text_pair]
        _check(firsts + (seconds or []), is_split_into_words)
        return Inputs(firsts, seconds, is_batch=False)
    firsts = list(text)
    if text_pair is not None:
        if isinstance(text_pair, str) or len(text_pair) != len(firsts):
            count = "one text" if isinstance(text_pair, str) else f"{len(text_pair)} texts"
            raise UserError(f"got {len(firsts)} first texts but {count} second ones; give as many of each.")
        seconds = list(text_pair)
    elif firsts and not is_split_into_words and all(_is_pair(one) for one in firsts):
        firsts, seconds = [first for first, _ in firsts], [second for _, second in firsts]
    else:
        seconds = None
    _check(firsts + (seconds or []), is_split_into_words)
    return Inputs(firsts, seconds, is_batch=True)


def _is_batch(text: object, is_split_into_words: bool) -> bool:
    if isinstance(text, str) or not isinstance(text, Sequence):
        return False
    if is_split_into_words and len(text) and hasattr(text[0], "tolist"):
        return True  # an array of words in a list of such
    return not is_split_into_words or not text or not isinstance(text[0], str)


def _is_pair(text: object) -> bool:
    return isinstance(text, tuple | list) and len(text) == 2


def _check(texts: list[object], is_split_into_words: bool) -> None:
    for text in texts:
        if is_split_into_words and isinstance(text, list | tuple):
            wrong = [word for word in text if not isinstance(word, str)]
        elif is_split_into_words:
            raise UserError(f"is_split_into_words needs lists of words, got {type(text).__name__}.")
        else:
            wrong = [] if isinstance(text, str) else [text]
        if wrong:
            raise UserError(
                f"a text must be a string, got {type(wrong[0]).__name__}. Convert or drop such rows."
            )
