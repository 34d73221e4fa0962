"""Which characters of the original text each piece stands for.

sentencepiece splits the *normalized* text, and its normalizer tells where each normalized character came
from. Joining the two gives spans in the original also where normalization made text longer (``½`` becomes
three characters), shorter (``e`` and a combining accent become one) or where a character is spelled in bytes.
"""

from itertools import accumulate, pairwise

import sentencepiece

Span = tuple[int, int]
"""Characters ``[start, end)`` of the original text."""

WORD_MARK = "▁"

FEW = 16
"""So few texts are encoded one by one, on the caller's thread. sentencepiece and tokenizers hand a batch to
threads of their own, and on a busy machine waiting for those takes longer than the work."""


def encode_texts(
    processor: sentencepiece.SentencePieceProcessor, texts: list[str], *, num_threads: int
) -> list[list[int]]:
    """Ids of every text."""
    if len(texts) <= FEW:
        return [processor.encode(text) for text in texts]
    ids: list[list[int]] = processor.encode(texts, num_threads=num_threads)
    return ids


class PieceAligner:
    """Encode with spans.

    A span leaves out the white space before a word and characters that normalization dropped after it. Every
    piece of a character that normalization expanded, and every byte of a character spelled in bytes, gets the
    whole character. A lone word mark (the piece ``▁`` before bytes or an unknown character) stands for no
    character of its own: its span is empty and lies where the word begins. Spans are monotone: neither starts
    nor ends ever go back.

    Args:
        processor: the model.
        pieces: its pieces by id.
    """

    def __init__(self, processor: sentencepiece.SentencePieceProcessor, pieces: list[str]) -> None:
        self._processor = processor
        self._pieces = pieces
        self._bytes = {
            number: int(piece[3:5], 16) for number, piece in enumerate(pieces) if processor.is_byte(number)
        }

    def align_batch(self, texts: list[str], *, num_threads: int = 1) -> list[tuple[list[int], list[Span]]]:
        """Ids of every text and one span for each."""
        batch = encode_texts(self._processor, texts, num_threads=num_threads)
        return [(ids, self._spans(ids, text)) for ids, text in zip(batch, texts, strict=True)]

    def _spans(self, ids: list[int], text: str) -> list[Span]:
        if not ids:
            return []
        pieces = [self._pieces[number] for number in ids]
        if "".join(pieces).replace(WORD_MARK, " ") != " " + text or WORD_MARK in text:
            return self._mapped_spans(ids, text)
        # Most text is so: normalization changed nothing and no piece is a byte. The pieces lie side by side.
        ends = list(accumulate(map(len, pieces), initial=-1))
        return [
            (start + (piece[0] == WORD_MARK), end)
            for piece, (start, end) in zip(pieces, pairwise(ends), strict=True)
        ]

    def _mapped_spans(self, ids: list[int], text: str) -> list[Span]:
        surfaces = self._processor.encode(
            text, out_type=str
        )  # of an unknown piece its characters, unlike ids
        _, origin = self._processor.normalize(text, with_offsets=True)
        spans: list[Span] = []
        place = 0  # in the normalized text
        for number, following, surface in zip(ids, [*ids[1:], -1], surfaces, strict=True):
            first, last = place, place + 1
            if number in self._bytes:
                # Of the bytes of one character only the first is not 10xxxxxx, and only the last moves on.
                place = first if self._bytes.get(following, 0) & 0xC0 == 0x80 else last
            else:
                place = last = first + len(surface)
                if surface[0] == WORD_MARK and text[origin[first] : origin[first] + 1] != WORD_MARK:
                    first += 1
            start, end = _original_span(text, origin, first, last)
            spans.append((start, max(end, spans[-1][1] if spans else 0)))
        return spans


def _original_span(text: str, origin: list[int], first: int, last: int) -> Span:
    """Span of the normalized characters ``[first, last)``, which may be none."""
    start = origin[first]
    if first == last:
        return start, start
    behind = last
    while behind < len(origin) - 1 and origin[behind] == origin[last - 1]:
        behind += 1  # the last character is part of an expanded one: take all of that
    end = origin[behind]
    while end > start + 1 and _is_dropped(text[end - 1]):
        end -= 1
    return start, max(start, end)


def _is_dropped(character: str) -> bool:
    """Whether a character at the end of a span looks like one that normalization took away."""
    return character.isspace() or not character.isprintable()


def trimmed(text: str, start: int, end: int) -> Span:
    """A span without the white space around it."""
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end
