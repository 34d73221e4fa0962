"""A mixture of sources by weight: which source a sample comes from, and which of its samples, by arithmetic.

Positions are cut into blocks of `BLOCK`. Every block has the same number from each source, in an order of its
own, so the shares are exact over a block, no source is ahead of its share by more than one block, and any
position is found without the ones before it.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .permutation import Permutation

BLOCK = 1000
"""Positions of a block: weights are rounded to one in a thousand."""


class Mixture:
    """Sources by weight.

    Args:
        weights: one for each source, above 0; only their ratios count.
        seed: of the order within blocks.

    Raises:
        UserError: for a weight that is not above 0, or so small that its source would never come.
    """

    def __init__(self, weights: Sequence[float], *, seed: int) -> None:
        self.counts = _counts(weights)
        self.seed = seed
        self._begins = np.cumsum([0, *self.counts])

    def find(self, position: int) -> tuple[int, int]:
        """The source of a position (counted from 0), and the number of the sample within that source."""
        block, offset = divmod(position, BLOCK)
        place = int(_order(self.seed, block)[offset])
        source = int(np.searchsorted(self._begins, place, side="right")) - 1
        return source, block * self.counts[source] + place - int(self._begins[source])

    def used(self, positions: int) -> list[int]:
        """For each source a number that no sample within the first ``positions`` reaches."""
        blocks = -(-positions // BLOCK)
        return [blocks * count for count in self.counts]


@lru_cache(maxsize=16)
def _order(seed: int, block: int) -> NDArray[np.int64]:
    return Permutation(BLOCK, seed=seed, epoch=block)(np.arange(BLOCK))


def _counts(weights: Sequence[float]) -> list[int]:
    """Samples of each source in a block, by largest remainder."""
    if not weights or not all(weight > 0 and np.isfinite(weight) for weight in weights):
        raise UserError(f"weights must be numbers above 0, one for each source; got {list(weights)}")
    shares = np.array(weights, dtype=np.float64) / sum(weights) * BLOCK
    counts = np.floor(shares).astype(np.int64)
    by_remainder = np.argsort(counts - shares, kind="stable")
    counts[by_remainder[: BLOCK - int(counts.sum())]] += 1
    if not counts.all():
        raise UserError(
            f"the weight {weights[int(np.argmin(counts))]} is less than one in {BLOCK} of "
            "all weights: its source would never be used. Raise it, or leave the source out"
        )
    return [int(count) for count in counts]
