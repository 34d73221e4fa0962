"""Global sample index to masked sample, and samples to batches.

Sample ``i`` is the same whatever the batch size, the number of processes or workers, and however often a run
was resumed: its window is the ``i``-th of an endless, reshuffled pass over the data, and its mask is drawn
from Philox keyed by (seed, i). The whole state of the data is therefore one integer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..tokenization import DebertaV3Tokenizer
from .masking import Masked, MaskingVocabulary, begins_word, mask_window, sample_generator
from .masking_config import MaskingConfig
from .mixture import Mixture
from .permutation import Permutation
from .shards import TokenShards
from .windows import PackedWindows, SpecialIds, StreamWindows, Window, Windows

PACKINGS = {"documents": PackedWindows, "stream": StreamWindows}


@dataclass(frozen=True)
class Batch:
    """Masked samples side by side.

    Shape letters: B samples, L tokens, M masked tokens of the whole batch.

    Attributes:
        first_index: global index of the first sample.
        input_ids: ``(B, L)`` int64, masked.
        segment_ids: ``(B, L)`` int64, -1 for padding; None if every sample is one full segment.
        positions: ``(M,)`` int64, masked places in the flat batch, ascending.
        targets: ``(M,)`` int64, what stood there.
        uniforms: ``(M,)`` float64 in [0, 1), for drawing the generator's tokens.
    """

    first_index: int
    input_ids: NDArray[np.int64]
    segment_ids: NDArray[np.int64] | None
    positions: NDArray[np.int64]
    targets: NDArray[np.int64]
    uniforms: NDArray[np.float64]


def special_ids(tokenizer: DebertaV3Tokenizer) -> SpecialIds:
    """The special ids of a tokenizer."""
    return SpecialIds(
        pad=tokenizer.pad_token_id,
        cls=tokenizer.cls_token_id,
        sep=tokenizer.sep_token_id,
        mask=tokenizer.mask_token_id,
        unk=tokenizer.unk_token_id,
    )


def vocabulary_of(tokenizer: DebertaV3Tokenizer) -> MaskingVocabulary:
    """What masking must know of a tokenizer."""
    size = len(tokenizer)
    special = special_ids(tokenizer)
    is_special = np.zeros(size, dtype=bool)
    is_special[[special.pad, special.cls, special.sep, special.mask, special.unk]] = True
    pieces = tokenizer.convert_ids_to_tokens(list(range(size)))
    starts = np.array([begins_word(piece) for piece in pieces])
    return MaskingVocabulary(
        mask_id=special.mask, pad_id=special.pad, size=size, is_special=is_special, begins_word=starts
    )


def open_windows(shards: TokenShards, *, packing: str, length: int, special: SpecialIds) -> Windows:
    """Windows over shards, by the name of the packing.

    Raises:
        UserError: if the packing is not known, or there is not one window.
    """
    if packing not in PACKINGS:
        raise UserError(f"packing must be one of {', '.join(PACKINGS)}; got {packing!r}")
    windows = PACKINGS[packing](shards, length=length, special=special)
    if not len(windows):
        raise UserError(
            f"{shards.folder} ({shards.split}) has {shards.num_tokens} tokens: too few for one window of "
            f"{length}. Prepare more text, use a shorter length, or change the held-out share"
        )
    return windows


@lru_cache(maxsize=16)
def _permutation(size: int, seed: int, epoch: int) -> Permutation:
    return Permutation(size, seed=seed, epoch=epoch)


class PretrainingData:
    """An endless sequence of masked samples, by global index.

    Args:
        windows: what the samples are made of.
        vocabulary: see `MaskingVocabulary`.
        masking: how tokens are chosen and replaced.
        seed: of order and masks.
        shuffled: False gives the windows in their own order (validation).
    """

    def __init__(
        self,
        windows: Windows,
        vocabulary: MaskingVocabulary,
        masking: MaskingConfig,
        *,
        seed: int,
        shuffled: bool = True,
    ) -> None:
        self.windows = windows
        self.vocabulary = vocabulary
        self.masking = masking
        self.seed = seed
        self.shuffled = shuffled
        self.is_packed = isinstance(windows, PackedWindows)

    def __len__(self) -> int:
        """Samples of one pass."""
        return len(self.windows)

    def window(self, index: int) -> Window:
        """The window of global sample ``index``."""
        epoch, position = divmod(index, len(self.windows))
        if self.shuffled:
            position = int(_permutation(len(self.windows), self.seed, epoch)(position))
        return self.windows[position]

    def masked(self, index: int, window: Window, mask_prob: float | None = None) -> Masked:
        """The mask of global sample ``index``, of another share of the tokens if ``mask_prob`` says so."""
        masking = self.masking if mask_prob is None else replace(self.masking, mask_prob=mask_prob)
        return mask_window(window.input_ids, self.vocabulary, masking, sample_generator(self.seed, index))

    def batch(self, indices: Sequence[int], mask_prob: float | None = None) -> Batch:
        """The samples of the given global indices, side by side; see `masked`."""
        windows = [self.window(index) for index in indices]
        masked = [
            self.masked(index, window, mask_prob) for index, window in zip(indices, windows, strict=True)
        ]
        length = self.windows.length
        return Batch(
            first_index=indices[0],
            input_ids=np.stack([row.input_ids for row in masked]),
            segment_ids=np.stack([window.segment_ids for window in windows]) if self.is_packed else None,
            positions=np.concatenate([row.positions + length * number for number, row in enumerate(masked)]),
            targets=np.concatenate([row.targets for row in masked]),
            uniforms=np.concatenate([row.uniforms for row in masked]),
        )


class MixedData(PretrainingData):
    """Samples from one source or several, from a global index on: what a phase of a run reads.

    Args:
        sources: of one length, vocabulary and masking.
        mixture: which source a sample is of; None for the only one.
        first_sample: global index that gets the first sample of the mixture.
        begins: for each source, how many of its samples earlier phases may have read.
    """

    def __init__(
        self,
        sources: Sequence[PretrainingData],
        mixture: Mixture | None,
        *,
        first_sample: int,
        begins: Sequence[int],
    ) -> None:
        one = sources[0]
        super().__init__(one.windows, one.vocabulary, one.masking, seed=one.seed)
        self.sources = tuple(sources)
        self.mixture = mixture
        self.first_sample = first_sample
        self.begins = tuple(begins)

    def __len__(self) -> int:
        """Samples of all sources together."""
        return sum(map(len, self.sources))

    def window(self, index: int) -> Window:
        """The window of global sample ``index``."""
        position = index - self.first_sample
        source, number = (0, position) if self.mixture is None else self.mixture.find(position)
        return self.sources[source].window(self.begins[source] + number)

    def ends(self, num_samples: int) -> list[int]:
        """For each source, a number that none of its samples reaches within ``num_samples`` samples."""
        used = [num_samples] if self.mixture is None else self.mixture.used(num_samples)
        return [begin + number for begin, number in zip(self.begins, used, strict=True)]


def segment_layout(segment_ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each token's segment begins, and how far into it the token stands.

    Args:
        segment_ids: ``(B, L)``, see `Window`.

    Returns:
        Two ``(B, L)`` int64 arrays: the place of the token's own [CLS] in its row, and the position within
        the segment. Padding counts as one segment of its own.
    """
    places = np.broadcast_to(np.arange(segment_ids.shape[1]), segment_ids.shape)
    begins = np.ones(segment_ids.shape, dtype=bool)
    begins[:, 1:] = segment_ids[:, 1:] != segment_ids[:, :-1]
    starts = np.maximum.accumulate(np.where(begins, places, 0), axis=1)
    return starts, places - starts
