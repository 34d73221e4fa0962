"""Windows of a fixed length over token shards: what one training sample is, before masking.

`StreamWindows` is the official form: all documents in one stream, cut every ``length - 2`` tokens, no
document boundary (experiments/language_model/prepare_data.py of the official code). `PackedWindows` respects
documents: a window holds several segments, each ``[CLS] piece of one document [SEP]``, with segment ids that
keep attention inside a segment. Both find window ``i`` without reading any other.
"""

import contextlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..files import replacing, sha256_of_bytes
from .shards import Shard, TokenShards

MIN_PIECE = 16
"""No document is begun or continued where there is room for fewer tokens than this: padding follows."""
PADDING = -1


@dataclass(frozen=True)
class SpecialIds:
    """Ids of the special tokens."""

    pad: int
    cls: int
    sep: int
    mask: int
    unk: int


@dataclass(frozen=True)
class Window:
    """One sample.

    Attributes:
        input_ids: ``(length,)`` int64, with special tokens and padding.
        segment_ids: ``(length,)`` int64, counting from 0; -1 for padding.
    """

    input_ids: NDArray[np.int64]
    segment_ids: NDArray[np.int64]


class Windows(ABC):
    """A sequence of windows of one length.

    Args:
        shards: where the tokens are.
        length: tokens of a window, special tokens counted.
        special: ids of the special tokens.
    """

    def __init__(self, shards: TokenShards, *, length: int, special: SpecialIds) -> None:
        if length < MIN_PIECE + 2:
            raise UserError(f"the sequence length must be at least {MIN_PIECE + 2}; got {length}")
        self.shards = shards
        self.length = length
        self.special = special

    @abstractmethod
    def __len__(self) -> int:
        """How many windows there are."""

    @abstractmethod
    def __getitem__(self, index: int) -> Window:
        """Window ``index``."""

    def _check(self, index: int) -> None:
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")


class StreamWindows(Windows):
    """The official stream, cut every ``length - 2`` tokens; the incomplete last window is left out."""

    def __init__(self, shards: TokenShards, *, length: int, special: SpecialIds) -> None:
        super().__init__(shards, length=length, special=special)
        self._starts = np.cumsum([0, *(shard.num_tokens for shard in shards.shards)])

    def __len__(self) -> int:
        return int(self._starts[-1]) // (self.length - 2)

    def __getitem__(self, index: int) -> Window:
        self._check(index)
        input_ids = np.empty(self.length, dtype=np.int64)
        input_ids[0], input_ids[-1] = self.special.cls, self.special.sep
        filled, position = 1, index * (self.length - 2)
        number = int(np.searchsorted(self._starts, position, side="right")) - 1
        while filled < self.length - 1:
            offset = position - int(self._starts[number])
            piece = _tokens(self.shards.shards[number])[offset : offset + self.length - 1 - filled]
            input_ids[filled : filled + len(piece)] = piece
            filled, position, number = filled + len(piece), position + len(piece), number + 1
        return Window(input_ids, np.zeros(self.length, dtype=np.int64))


class PackedWindows(Windows):
    """Document-aware windows, filled in order; a document that does not fit continues in the next window.

    Where each window begins is found once per shard and kept beside the shard (in memory if that folder is
    not writable).
    """

    def __init__(self, shards: TokenShards, *, length: int, special: SpecialIds) -> None:
        super().__init__(shards, length=length, special=special)
        self._begins = [_load_begins(shard, length) for shard in shards.shards]
        self._first = np.cumsum([0, *map(len, self._begins)])

    def __len__(self) -> int:
        return int(self._first[-1])

    def __getitem__(self, index: int) -> Window:
        self._check(index)
        number = int(np.searchsorted(self._first, index, side="right")) - 1
        shard, begins = self.shards.shards[number], self._begins[number]
        place = index - int(self._first[number])
        position = int(begins[place])
        stop = int(begins[place + 1]) if place + 1 < len(begins) else shard.num_tokens
        tokens, ends = _tokens(shard), _ends(shard)
        document = int(np.searchsorted(ends, position, side="right"))

        input_ids = np.full(self.length, self.special.pad, dtype=np.int64)
        segment_ids = np.full(self.length, PADDING, dtype=np.int64)
        filled, segment = 0, 0
        while position < stop:
            piece = tokens[position : min(stop, int(ends[document]))]
            after = filled + len(piece) + 2
            input_ids[filled] = self.special.cls
            input_ids[filled + 1 : after - 1] = piece
            input_ids[after - 1] = self.special.sep
            segment_ids[filled:after] = segment
            filled, segment = after, segment + 1
            position += len(piece)
            document += 1
        return Window(input_ids, segment_ids)


@lru_cache(maxsize=256)
def _tokens(shard: Shard) -> NDArray[np.unsignedinteger]:
    return shard.tokens()


@lru_cache(maxsize=256)
def _ends(shard: Shard) -> NDArray[np.uint64]:
    return shard.ends()


def window_begins(ends: NDArray[np.uint64], length: int) -> NDArray[np.uint64]:
    """Token positions at which packed windows begin.

    Args:
        ends: ``(documents,)``, where each document ends; no document is empty.
        length: tokens of a window, special tokens counted.
    """
    begins: list[int] = []
    room = 0
    position = 0
    for end in ends.tolist():
        while position < end:
            left = end - position
            if room < min(left, MIN_PIECE) + 2:
                begins.append(position)
                room = length
            taken = min(left, room - 2)
            position += taken
            room -= taken + 2
    return np.array(begins, dtype=np.uint64)


def _load_begins(shard: Shard, length: int) -> NDArray[np.uint64]:
    """Where the windows of a shard begin: kept from an earlier run if it is of these documents and whole."""
    ends = shard.ends()
    # Named by content: shards that were made again have other documents under the same name.
    name = f"{shard.name}.packed-{length}-{MIN_PIECE}-{sha256_of_bytes(ends.tobytes())[:16]}.npy"
    path = shard.folder / "windows" / name
    if path.is_file():
        try:
            kept: NDArray[np.uint64] = np.load(path, mmap_mode="r", allow_pickle=False)
            if _is_whole(kept):
                return kept[:-1]
        except (OSError, ValueError):
            pass  # damaged: computed again
    begins = window_begins(ends, length)
    _try_to_save(path, begins)
    return begins


def _try_to_save(path: Path, begins: NDArray[np.uint64]) -> None:
    # Read-only or full: the plan is cheap to compute again.
    with contextlib.suppress(UserError, OSError), replacing(path) as stream:
        np.save(stream, np.append(begins, _sum_of(begins)), allow_pickle=False)


def _is_whole(kept: NDArray[np.uint64]) -> bool:
    return kept.dtype == np.uint64 and kept.ndim == 1 and len(kept) > 0 and kept[-1] == _sum_of(kept[:-1])


def _sum_of(begins: NDArray[np.uint64]) -> np.uint64:
    return np.uint64(int(sha256_of_bytes(begins.tobytes())[:16], 16))
