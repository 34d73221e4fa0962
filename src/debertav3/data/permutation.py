"""A shuffled order without a shuffle: from position to sample by a keyed permutation."""

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 6  # four make a Feistel network pseudo-random; two more for the weak round function
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele, Lea, Flood 2014): every input bit moves every output bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class Permutation:
    """A pseudo-random one-to-one map of ``0 .. size - 1`` onto itself, computed for any position at once.

    A Feistel network over the smallest even number of bits that holds ``size``; results outside are sent
    through again ("cycle walking", Black and Rogaway 2002), less than four times on average.

    Args:
        size: how many samples.
        seed: chooses the permutation, together with ``epoch``.
        epoch: passes over the data get different orders.
    """

    def __init__(self, size: int, *, seed: int, epoch: int = 0) -> None:
        if size < 1:
            raise ValueError(f"a permutation needs at least one element; got size {size}")
        self.size = size
        self._half_bits = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
        self._half_mask = (np.uint64(1) << self._half_bits) - np.uint64(1)
        with np.errstate(over="ignore"):
            base = _mix(np.array([seed % 2**64], dtype=np.uint64) + _GOLDEN)
            base = _mix(base + np.uint64(epoch % 2**64) * _GOLDEN)
            self._keys = _mix(base + np.arange(1, _ROUNDS + 1, dtype=np.uint64) * _GOLDEN)

    def __call__(self, positions: NDArray[np.integer] | int) -> NDArray[np.int64]:
        """Samples at the given positions, each in ``[0, size)``, as an array of the same shape."""
        shape = np.shape(positions)
        values = np.atleast_1d(np.asarray(positions)).astype(np.uint64).ravel()
        if values.size and int(values.max()) >= self.size:
            raise IndexError(f"position {int(values.max())} in a permutation of {self.size}")
        values = self._network(values)
        while (outside := values >= self.size).any():
            values[outside] = self._network(values[outside])
        return values.astype(np.int64).reshape(shape)

    def _network(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        left, right = values >> self._half_bits, values & self._half_mask
        with np.errstate(over="ignore"):
            for key in self._keys:
                left, right = right, left ^ (_mix(right + key) & self._half_mask)
        return (left << self._half_bits) | right
