"""What turns text into ids: the sentencepiece model itself, or a Hugging Face ``tokenizer.json`` where there is no model."""

from typing import Protocol

import sentencepiece
import tokenizers

from .alignment import PieceAligner

Span = tuple[int, int]
"""Characters ``[start, end)`` of the original text."""


class Engine(Protocol):
    """Text to ids without any special token, and back."""

    pieces: list[str]
    """Every piece of the vocabulary by id."""

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Ids of every text."""
        ...

    def encode_batch_with_offsets(self, texts: list[str]) -> list[tuple[list[int], list[Span]]]:
        """Ids of every text and, for every id, the characters that it stands for."""
        ...

    def decode(self, ids: list[int]) -> str:
        """Text of ids that are all in ``pieces``."""
        ...


class SentencePieceEngine:
    """The reference: Google's own library running the untouched model.

    Args:
        model: bytes of ``spm.model``.
        num_threads: threads of a batch call; 1 keeps everything on the caller's.
    """

    def __init__(self, model: bytes, *, num_threads: int = 1) -> None:
        self.model = model
        self.num_threads = num_threads
        self.processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.pieces = self.processor.id_to_piece(list(range(self.processor.get_piece_size())))
        self._aligner = PieceAligner(self.processor, self.pieces)

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Ids of every text."""
        return self.processor.encode(list(map(without_surrogates, texts)), num_threads=self.num_threads)

    def encode_batch_with_offsets(self, texts: list[str]) -> list[tuple[list[int], list[Span]]]:
        """Ids of every text and the characters of each."""
        return [self._aligner.align(without_surrogates(text)) for text in texts]

    def decode(self, ids: list[int]) -> str:
        """Text of the ids; bytes that are no UTF-8 become U+FFFD."""
        return self.processor.decode(ids)


class TokenizersEngine:
    """A Hugging Face ``tokenizer.json``, its own normaliser and byte fallback included.

    Args:
        tokenizer: the parsed file; its post-processor, padding and truncation are not used.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self.tokenizer = tokenizer
        size = tokenizer.get_vocab_size(with_added_tokens=False)
        self.pieces = [tokenizer.id_to_token(number) for number in range(size)]

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Ids of every text."""
        clean = list(map(without_surrogates, texts))
        return [one.ids for one in self.tokenizer.encode_batch_fast(clean, add_special_tokens=False)]

    def encode_batch_with_offsets(self, texts: list[str]) -> list[tuple[list[int], list[Span]]]:
        """Ids of every text and the characters of each, white space around them left out."""
        clean = list(map(without_surrogates, texts))
        return [
            (one.ids, [_trimmed(text, span) for span in one.offsets])
            for text, one in zip(
                clean, self.tokenizer.encode_batch(clean, add_special_tokens=False), strict=True
            )
        ]

    def decode(self, ids: list[int]) -> str:
        """Text of the ids."""
        return self.tokenizer.decode(ids, skip_special_tokens=False)


def without_surrogates(text: str) -> str:
    """The text with each lone surrogate, which has no UTF-8 form, as U+FFFD; characters keep their places."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)
    return text


def _trimmed(text: str, span: Span) -> Span:
    start, end = span
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end
