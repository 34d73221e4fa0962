"""Which texts of a large set repeat another one's, and which of them have different labels."""

import hashlib
import zlib
from array import array
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

_MOST_KEYS = 8_000_000
_LABEL_BITS = 16
_LABELS = (1 << _LABEL_BITS) - 1
_BLOCK = 1 << 18


class Repetitions:
    """Counts repetitions by one key of 8 bytes for each example: 48 bits of its texts' hash, 16 of its label.

    Beyond 8 million examples those are kept whose hash ends in 0, beyond twice as many those whose hash ends
    in 00, and so on, so that memory stays below 64 MiB; counts are then estimates.

    Args:
        most: how many keys are kept.
    """

    def __init__(self, most: int = _MOST_KEYS) -> None:
        self._most = most
        self._keys = array("Q")
        self._labels: dict[str, int] = {}
        self._depth = 0
        self._is_sorted = True

    @property
    def is_exact(self) -> bool:
        """Whether every example is counted."""
        return self._depth == 0

    def add(self, texts: Sequence[str], label: object) -> None:
        """Take in an example."""
        key = text_key(texts) & ~_LABELS
        if self._is_kept(key):
            self._keys.append(key | self._label_key(label))
            self._is_sorted = False
            while len(self._keys) > self._most:
                self._thin_out()

    def counts(self) -> tuple[int, int]:
        """How many examples repeat the texts of another one, and how many texts have different labels."""
        num_texts = num_contradictory = 0
        has_two = False  # whether the texts at the end of the block before have different labels
        for block in self._sorted_blocks():
            is_new = (block[1:] ^ block[:-1]) > _LABELS
            other_label = (block[1:] != block[:-1]) & ~is_new
            num_texts = max(1, num_texts) + int(is_new.sum())
            run = np.cumsum(is_new)
            runs = np.unique(run[other_label])
            num_contradictory += len(runs) - int(has_two and len(runs) > 0 and runs[0] == 0)
            if len(run):
                has_two = bool(np.any(runs == run[-1])) or (has_two and run[-1] == 0)
        scale = 1 << self._depth
        return (len(self._keys) - num_texts) * scale, num_contradictory * scale

    def num_known(self, others: "Repetitions") -> int:
        """How many examples of another set have the texts of one of this set."""
        keys = self._sorted()
        depth = max(self._depth, others._depth)
        found = 0
        for block in others._blocks():
            wanted = (block >> _LABEL_BITS) << _LABEL_BITS
            wanted = wanted[(wanted & _ending(depth)) == 0]
            if len(keys):
                index = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
                found += int(np.sum((keys[index] ^ wanted) <= _LABELS))
        return found << depth

    def _label_key(self, label: object) -> int:
        """A number for each of the first labels; for later ones, and those that are not texts, a checksum."""
        if isinstance(label, str):
            known = self._labels.get(label)
            if known is None and len(self._labels) < _LABELS:
                known = self._labels[label] = len(self._labels)
            if known is not None:
                return known
        return zlib.crc32(repr(label).encode("utf-8", "surrogatepass")) & _LABELS

    def _is_kept(self, key: int) -> bool:
        return key & int(_ending(self._depth)) == 0

    def _thin_out(self) -> None:
        """Keep the examples whose hash ends in one 0 more."""
        self._depth += 1
        kept = array("Q")
        for block in self._blocks():
            kept.frombytes(block[(block & _ending(self._depth)) == 0].tobytes())
        self._keys = kept

    def _view(self) -> npt.NDArray[np.uint64]:
        return np.frombuffer(self._keys, dtype=np.uint64)

    def _blocks(self) -> Iterator[npt.NDArray[np.uint64]]:
        keys = self._view()
        for start in range(0, len(keys), _BLOCK):
            yield keys[start : start + _BLOCK]

    def _sorted(self) -> npt.NDArray[np.uint64]:
        keys = self._view()
        if not self._is_sorted:
            keys.sort()  # in place
            self._is_sorted = True
        return keys

    def _sorted_blocks(self) -> Iterator[npt.NDArray[np.uint64]]:
        """Blocks in order, each with the last key of the one before it in front."""
        keys = self._sorted()
        for start in range(0, len(keys), _BLOCK):
            yield keys[max(0, start - 1) : start + _BLOCK]


def _ending(depth: int) -> np.uint64:
    """The bits of a key that are 0 in those that are kept."""
    return np.uint64(((1 << depth) - 1) << _LABEL_BITS)


def text_key(texts: Sequence[str]) -> int:
    """64 bits of a hash of texts."""
    digest = hashlib.blake2b(digest_size=8)
    for text in texts:
        raw = text.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "little") + raw)
    return int.from_bytes(digest.digest(), "little")
