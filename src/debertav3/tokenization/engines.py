"""What turns text into ids: the sentencepiece model, else a Hugging Face ``tokenizer.json``."""

from typing import Protocol

import sentencepiece
import tokenizers

from .alignment import FEW, PieceAligner, Span, encode_texts, trimmed

_NO_DUMMY_PREFIX = b"\x1a\x02\x18\x00"
"""``normalizer_spec { add_dummy_prefix: false }`` on protobuf's wire; appended to a model, it wins."""


class TokenizerEngine(Protocol):
    """Text to ids without any special token, and back."""

    pieces: list[str]
    """Every piece of the vocabulary by id."""
    finds_added: bool
    """Whether it finds added tokens in text by itself; if not, the caller splits the text at them."""

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Ids of every text."""
        ...

    def encode_batch_with_offsets(self, texts: list[str]) -> list[tuple[list[int], list[Span]]]:
        """Ids of every text and, for every id, the characters that it stands for."""
        ...

    def encode_continuation(self, text: str) -> tuple[list[int], list[Span]]:
        """Ids and spans of text right after a ``[MASK]``: its first word gets no word mark if possible."""
        ...

    def decode(self, ids: list[int]) -> str:
        """Text of ids that are all in ``pieces``."""
        ...


class SentencePieceEngine:
    """The reference: Google's own library running the untouched model.

    Args:
        model: bytes of ``spm.model``.
        num_threads: threads of a call with more than `FEW` texts.

    Raises:
        RuntimeError: if the bytes are not a sentencepiece model.
    """

    finds_added = False

    def __init__(self, model: bytes, *, num_threads: int = 1) -> None:
        self.model = model
        self.num_threads = num_threads
        self.processor = sentencepiece.SentencePieceProcessor()
        self.processor.load_from_serialized_proto(model)
        self.pieces = self.processor.id_to_piece(list(range(self.processor.get_piece_size())))
        self._aligner = PieceAligner(self.processor, self.pieces)
        self._continuation_aligner: PieceAligner | None = None

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Ids of every text."""
        clean = list(map(without_surrogates, texts))
        return encode_texts(self.processor, clean, num_threads=self.num_threads)

    def encode_batch_with_offsets(self, texts: list[str]) -> list[tuple[list[int], list[Span]]]:
        """Ids of every text and the characters of each."""
        return self._aligner.align_batch(list(map(without_surrogates, texts)), num_threads=self.num_threads)

    def encode_continuation(self, text: str) -> tuple[list[int], list[Span]]:
        """Ids and spans without the word mark that sentencepiece puts first, but for text after a space."""
        if not self.processor.normalize(without_surrogates(text[:1])):
            return self.encode_batch_with_offsets([text])[0]
        if self._continuation_aligner is None:
            processor = sentencepiece.SentencePieceProcessor()
            processor.load_from_serialized_proto(self.model + _NO_DUMMY_PREFIX)
            self._continuation_aligner = PieceAligner(processor, self.pieces)
        return self._continuation_aligner.align_batch([without_surrogates(text)])[0]

    def scored_pieces(self) -> list[tuple[str, float]]:
        """Every piece with its log probability, by id."""
        return [(piece, self.processor.get_score(number)) for number, piece in enumerate(self.pieces)]

    def decode(self, ids: list[int]) -> str:
        """Text of the ids; bytes that are no UTF-8 become U+FFFD."""
        text: str = self.processor.decode(ids)
        return text


class TokenizersEngine:
    """A Hugging Face ``tokenizer.json``, its own normalizer and byte fallback included.

    Args:
        tokenizer: the parsed file; its post-processor, padding and truncation are not used. Of its added
            tokens those that are not special are found in text.
    """

    finds_added = True

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self.tokenizer = tokenizer
        tokenizer.encode_special_tokens = (
            True  # typed special tokens are plain text here; the caller knows the others
        )
        tokenizer.no_truncation()
        tokenizer.no_padding()
        size = tokenizer.get_vocab_size(with_added_tokens=False)
        self.pieces = [tokenizer.id_to_token(number) or "" for number in range(size)]

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Ids of every text."""
        clean = list(map(without_surrogates, texts))
        encode = self.tokenizer.encode_batch_fast
        if len(clean) <= FEW:
            return [encode([text], add_special_tokens=False)[0].ids for text in clean]
        return [one.ids for one in encode(clean, add_special_tokens=False)]

    def encode_batch_with_offsets(self, texts: list[str]) -> list[tuple[list[int], list[Span]]]:
        """Ids of every text and the characters of each, white space around them left out."""
        clean = list(map(without_surrogates, texts))
        if len(clean) <= FEW:
            encoded = [self.tokenizer.encode(text, add_special_tokens=False) for text in clean]
        else:
            encoded = self.tokenizer.encode_batch(clean, add_special_tokens=False)
        return [
            (one.ids, [trimmed(text, start, end) for start, end in one.offsets])
            for text, one in zip(clean, encoded, strict=True)
        ]

    def encode_continuation(self, text: str) -> tuple[list[int], list[Span]]:
        """The same as any text: Hugging Face puts the word mark after special tokens too."""
        return self.encode_batch_with_offsets([text])[0]

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
