"""Texts to ids around special and added tokens: the engine encodes what stands between them."""

import re
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain, pairwise

from .alignment import Span
from .assembly import Encoded
from .engines import TokenizerEngine
from .specials import SpecialTokens


class TextEncoder:
    """Encode texts in which some strings stand for tokens that the engine does not know.

    Args:
        engine: text to ids.
        specials: the special tokens, recognized on request, and the added ones, which always are.
    """

    def __init__(self, engine: TokenizerEngine, specials: SpecialTokens) -> None:
        self._engine = engine
        self._ids = specials.all_ids
        self._mask = specials.names["mask_token"]
        roles = specials.names.values()
        self._added = None if engine.finds_added else _any_of(specials.added)
        self._all = _any_of(roles if engine.finds_added else self._ids)

    def encode_batch(self, texts: Sequence[str], *, parse_special_tokens: bool) -> list[list[int]]:
        """Ids of every text, without special tokens around it."""
        pattern = self._all if parse_special_tokens else self._added
        if pattern is None:
            return self._engine.encode_batch(list(texts))
        plain = iter(self._engine.encode_batch([text for text in texts if not pattern.search(text)]))
        return [self._around(pattern, text)[0] if pattern.search(text) else next(plain) for text in texts]

    def encode_batch_with_offsets(
        self, texts: Sequence[str], *, parse_special_tokens: bool
    ) -> list[tuple[list[int], list[Span]]]:
        """Ids and character spans ``[start, end)`` of every text."""
        pattern = self._all if parse_special_tokens else self._added
        if pattern is None:
            return self._engine.encode_batch_with_offsets(list(texts))
        plain = iter(
            self._engine.encode_batch_with_offsets([text for text in texts if not pattern.search(text)])
        )
        return [self._around(pattern, text) if pattern.search(text) else next(plain) for text in texts]

    def texts(self, texts: Sequence[str], *, with_offsets: bool, parse_special_tokens: bool) -> Encoded:
        """Encode every text, with spans on request."""
        if not with_offsets:
            return Encoded(self.encode_batch(texts, parse_special_tokens=parse_special_tokens))
        both = self.encode_batch_with_offsets(texts, parse_special_tokens=parse_special_tokens)
        return Encoded([ids for ids, _ in both], [spans for _, spans in both])

    def word_lists(
        self, texts: Sequence[Sequence[str]], *, with_offsets: bool, parse_special_tokens: bool
    ) -> Encoded:
        """Encode each word by itself, as Hugging Face does with ``is_split_into_words``."""
        words = self.texts(
            [word for text in texts for word in text],
            with_offsets=with_offsets,
            parse_special_tokens=parse_special_tokens,
        )
        ends = list(accumulate(map(len, texts), initial=0))
        ids = [words.ids[start:end] for start, end in pairwise(ends)]
        spans = None if words.spans is None else [words.spans[start:end] for start, end in pairwise(ends)]
        return Encoded(
            [list(chain.from_iterable(text)) for text in ids],
            None if spans is None else [list(chain.from_iterable(text)) for text in spans],
            [[index for index, word in enumerate(text) for _ in word] for text in ids],
        )

    def _around(self, pattern: re.Pattern[str], text: str) -> tuple[list[int], list[Span]]:
        """Recognize the tokens of ``pattern`` and encode each stretch between them by itself.

        A mask stands for one token, with or without a word mark, so what follows it without a space continues
        its word: ``[MASK].`` ends in the piece ``.``, not in ``▁.``, as it does where pre-training masks a
        token.
        """
        ids: list[int] = []
        spans: list[Span] = []
        position, continues = 0, False
        nothing: tuple[list[int], list[Span]] = ([], [])
        encoded = {("", False): nothing, ("", True): nothing}
        for match in [*pattern.finditer(text), None]:
            end = len(text) if match is None else match.start()
            stretch = (text[position:end], continues)
            if stretch not in encoded:  # a text of thousands of masks has few different stretches
                encode = self._engine.encode_continuation if continues else self._encode_first
                encoded[stretch] = encode(stretch[0])
            stretch_ids, stretch_spans = encoded[stretch]
            ids += stretch_ids
            spans += [(position + start, position + stop) for start, stop in stretch_spans]
            if match is not None:
                ids.append(self._ids[match.group()])
                spans.append(match.span())
                position = match.end()
                continues = match.group() == self._mask
        return ids, spans

    def _encode_first(self, text: str) -> tuple[list[int], list[Span]]:
        return self._engine.encode_batch_with_offsets([text])[0]


def _any_of(tokens: Iterable[str]) -> re.Pattern[str] | None:
    longest_first = sorted(tokens, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
