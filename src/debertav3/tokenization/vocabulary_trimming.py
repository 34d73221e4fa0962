"""A vocabulary cut down to the pieces that a corpus uses.

Unigram segmentation takes the best path through a text. A path whose pieces are all kept is still the best
when others are gone, so on such texts the ids map one to one. What else may be typed is still spelled, by
single characters and bytes, which always stay.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..errors import UserError
from .alignment import WORD_MARK
from .engines import SentencePieceEngine
from .model_file import select_pieces
from .tokenizer import DebertaV3Tokenizer
from .tokenizer_files import MODEL_FILE

_CHUNK_TEXTS = 1024


@dataclass(frozen=True)
class TrimmedTokenizer:
    """A smaller tokenizer, and how its ids follow from the old ones."""

    tokenizer: DebertaV3Tokenizer
    old_ids: list[int]
    """For every new id the old one, ascending."""


def count_ids(tokenizer: DebertaV3Tokenizer, texts: Iterable[str]) -> npt.NDArray[np.int64]:
    """How often each id comes in texts: ``(ids,)``."""
    counts = np.zeros(len(tokenizer), dtype=np.int64)
    chunk: list[str] = []

    def take_in() -> None:
        for ids in tokenizer.encode_batch(chunk):
            np.add.at(counts, ids, 1)
        chunk.clear()

    for text in texts:
        chunk.append(text)
        if len(chunk) == _CHUNK_TEXTS:
            take_in()
    take_in()
    return counts


def trim_tokenizer(tokenizer: DebertaV3Tokenizer, used: Iterable[int]) -> TrimmedTokenizer:
    """Keep the used pieces, all special pieces and all single characters.

    Args:
        tokenizer: one with an ``spm.model``.
        used: further ids to keep.

    Raises:
        UserError: if it has no ``spm.model``.
    """
    engine = tokenizer.engine
    if not isinstance(engine, SentencePieceEngine):
        raise UserError(
            f"trimming needs a tokenizer that is fully described by its {MODEL_FILE}; this one has only a "
            "tokenizer.json, or asks for lower case, split punctuation or added tokens that are found after "
            "normalization."
        )
    special = set(tokenizer.specials.all_ids.values())  # some are pieces of the model, others come after them
    wanted = special.union(_always_kept(engine), used)
    pieces = sorted(number for number in wanted if number < len(engine.pieces))
    old_ids = pieces + sorted(number for number in special if number >= len(engine.pieces))
    new_ids = {old: new for new, old in enumerate(old_ids)}
    specials = replace(
        tokenizer.specials,
        ids={role: new_ids[number] for role, number in tokenizer.specials.ids.items()},
        added={token: new_ids[number] for token, number in tokenizer.specials.added.items()},
    )
    model = select_pieces(engine.model, set(pieces))
    trimmed = DebertaV3Tokenizer(
        SentencePieceEngine(model, num_threads=engine.num_threads),
        specials,
        model=model,
        compat=tokenizer.compat,
        model_max_length=tokenizer.model_max_length,
        parse_special_tokens=tokenizer.parse_special_tokens,
        padding_side=tokenizer.padding_side,
        truncation_side=tokenizer.truncation_side,
        model_input_names=tokenizer.model_input_names,
    )
    return TrimmedTokenizer(trimmed, old_ids)


def _always_kept(engine: SentencePieceEngine) -> list[int]:
    """Special pieces, bytes, single characters, and the least likely piece.

    An unknown character costs so much more than the least likely piece (sentencepiece's rule): without that
    one, the best path of a text with a rare character might become another.
    """
    scored = engine.scored_pieces()
    least_likely = min(range(len(scored)), key=lambda number: scored[number][1])
    return [
        number
        for number, (piece, score) in enumerate(scored)
        if score >= 0  # only learned pieces have a log probability
        or number == least_likely
        or len(piece.removeprefix(WORD_MARK)) <= 1
    ]
