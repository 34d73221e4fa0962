"""Which characters of the original text each piece stands for.

sentencepiece splits the *normalised* text, and its normaliser tells where each normalised character came from. Joining
the two gives spans in the original also where normalisation made text longer (``½`` is three characters), shorter
(``e`` and a combining accent are one) or spelled it in bytes.
"""

import sentencepiece


class PieceAligner:
    """Encode with spans.

    A span leaves out the white space before a word. Every piece of a character that normalisation expanded, and every
    byte of a character spelled in bytes, gets the whole character. The lone word mark (a piece ``▁`` before bytes or an
    unknown character) stands for no character of its own: its span is empty and lies where the word begins.
    Spans are monotone: neither starts nor ends ever go back.

    Args:
        processor: the model.
        pieces: its pieces by id.
    """

    def __init__(self, processor: sentencepiece.SentencePieceProcessor, pieces: list[str]) -> None:
        self._processor = processor
        self._unk_id = processor.unk_id()
        self._ids = {
            piece: number
            for number, piece in enumerate(pieces)
            if not (
                processor.is_control(number) or processor.is_unknown(number) or processor.is_unused(number)
            )
        }
        self._bytes = {
            piece: int(piece[3:5], 16) for piece, number in self._ids.items() if processor.is_byte(number)
        }

    def align(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids of ``text`` and one span of characters for each."""
        pieces = self._processor.encode(text, out_type=str)
        normalised, origin = self._processor.normalize(text, with_offsets=True)
        ids = [self._ids.get(piece, self._unk_id) for piece in pieces]
        spans = []
        place = 0  # in the normalised text
        for index, piece in enumerate(pieces):
            first = place
            if piece in self._bytes:
                # Bytes of one character: the first is not of the form 10xxxxxx; the last moves on to the next character.
                following = pieces[index + 1] if index + 1 < len(pieces) else ""
                last = first + 1
                if self._bytes.get(following, 0) & 0xC0 != 0x80:
                    place = last
            else:
                place = last = first + len(piece)
                if piece[0] == "▁":
                    first += 1
            spans.append(_original_span(text, origin, first, last))
        return ids, spans


def _original_span(text: str, origin: list[int], first: int, last: int) -> tuple[int, int]:
    start = origin[first]
    while start < len(text) and first < len(origin) - 1 and text[start].isspace():
        start += 1
    if first == last:
        return start, start
    end = origin[last]
    while end <= start and last < len(origin) - 1:  # inside one expanded character: all of it
        last += 1
        end = origin[last]
    while end > start + 1 and text[end - 1].isspace():
        end -= 1
    return start, max(start, end)
