"""From the offset of two tokens to a row of the relative table (DeBERTa, arXiv:2006.03654, section 3.1).

The official file is ``deberta/da_utils.py``. For an offset ``r = i - j`` of query i and key j:

- up to ``num_buckets // 2`` tokens the bucket is r itself; beyond it grows with the logarithm of r up to
  ``max_distance``;
- the row is ``bucket + span``, held within ``0 .. 2 * span - 1``;
- offsets of ``max_distance`` tokens and more were never seen in pre-training. ``long_inputs="clamp"``
  (official) treats them as the farthest offset that was seen. ``"transformers"`` lets them run on: then far
  keys to the right read row 0, which no released model has ever trained.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from .config import LongInputs

_ROUNDING = 1e-9  # where the logarithm is a whole number, rounding must not lift it into the next bucket


@dataclass(frozen=True, kw_only=True)
class RelativePositions:
    """The row of the relative table for every offset."""

    num_buckets: int
    """Log buckets on each side of zero; 0 for one row per offset."""
    max_distance: int
    """Offset, in tokens, from which all distances share the last bucket."""
    span: int
    """Half the rows of the relative table."""
    long_inputs: LongInputs
    """What happens to offsets of ``max_distance`` tokens and more."""

    @property
    def identity_length(self) -> int:
        """Up to this length, in tokens, neighbouring offsets have neighbouring rows."""
        if not self.num_buckets:
            return self.span
        return min(self.num_buckets // 2, self.max_distance - 1) + 1

    @property
    def farthest(self) -> int:
        """An offset, in tokens, from which the row does not change any more."""
        if not self.num_buckets:
            return self.span
        middle = self.num_buckets // 2
        if self.long_inputs == "clamp" or middle == 1:
            return self.max_distance
        # where the logarithm has grown to ``span`` buckets
        growth = (self.span - middle) / (middle - 1)
        return math.ceil(middle * ((self.max_distance - 1) / middle) ** growth) + 1

    def row(self, offset: int) -> int:
        """Row of one offset ``i - j``, in tokens."""
        bucket = offset
        if self.num_buckets:
            if self.long_inputs == "clamp":
                bucket = max(min(bucket, self.max_distance - 1), 1 - self.max_distance)
            middle = self.num_buckets // 2
            if abs(bucket) > middle:
                # float64, so that bucket edges do not depend on a maths library
                share = math.log(abs(bucket) / middle) / math.log((self.max_distance - 1) / middle)
                steps = math.ceil(share * (middle - 1) - _ROUNDING)
                bucket = int(math.copysign(steps + middle, bucket))
        return max(min(bucket + self.span, 2 * self.span - 1), 0)

    def window(self, length: int) -> tuple[int, int]:
        """The rows that texts of this length, in tokens, can meet: the first, and the one after the last."""
        return self.row(1 - length), self.row(length - 1) + 1

    def rows(self, length: int, device: torch.device, *, falls: bool = False) -> Tensor:
        """Rows of the offsets ``1 - length .. length - 1``.

        Args:
            length: L, in tokens.
            device: where the result is needed.
            falls: whether the offsets fall, from ``length - 1``, instead of rising.

        Returns:
            ``(2 * length - 1,)`` int64 on ``device``. A recorded graph serves all lengths: there one more row
            follows, which nobody reads, so that a length of 1 needs no case of its own.
        """
        if records_graph():  # lengths are symbols, and no traced tensor may outlive the trace
            return self._look_up(length, device, 1, falls)
        return _kept_rows(self, length, device, falls)

    def expand(self, table: Tensor, length: int, *, first_row: int = 0, falls: bool = False) -> Tensor:
        """One row of ``table`` for each offset; see `rows`.

        Args:
            table: ``(N, R, H)``, a projection of the relative table, or of some rows of it.
            length: L, in tokens.
            first_row: which row of the relative table is the first of ``table``.
            falls: see `rows`.

        Returns:
            ``(N, W, H)`` with W = 2 * L - 1, or 2 * L in a graph; a view where the bucket is the identity and
            offsets rise.
        """
        if not records_graph() and length <= self.identity_length:
            start = self.span - length + 1 - first_row
            rows = table[:, start : start + 2 * length - 1]
            return rows.flip(1) if falls else rows
        return table.index_select(1, self.rows(length, table.device, falls=falls) - first_row)

    def _look_up(self, length: int, device: torch.device, more: int, falls: bool) -> Tensor:
        far = self.farthest
        row = torch.tensor([self.row(offset) for offset in range(-far, far + 1)], device=device)
        offset = torch.arange(1 - length, length + more, device=device)
        return row[(-offset if falls else offset).clamp(-far, far) + far]


@lru_cache(maxsize=256)
def _kept_rows(positions: RelativePositions, length: int, device: torch.device, falls: bool) -> Tensor:
    with torch.inference_mode(False):  # a kept tensor must be usable under autograd later
        return positions._look_up(length, device, 0, falls)


def records_graph() -> bool:
    """Whether torch is recording a graph, which must serve other lengths than that of the example."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


class OffsetTables(Protocol):
    """Projected relative tables that give a row for each offset."""

    def offset_keys(self, length: int) -> Tensor | None:
        """See `RelativeTables`."""
        ...

    def offset_queries(self, length: int) -> Tensor | None:
        """See `RelativeTables`."""
        ...


@dataclass(frozen=True, slots=True)
class RelativeTables:
    """The projected relative table of one layer, or the rows of it that a length meets."""

    positions: RelativePositions
    scale: float
    """The factor of every score."""
    key_NRH: Tensor | None
    """Read by c2p; None where the model lacks that term."""
    query_NRH: Tensor | None
    """Read by p2c, likewise."""
    first_row: int = 0
    """Which row of the relative table comes first in these."""

    def pair_rows(self, length: int, device: torch.device) -> Tensor:
        """The row of every pair of tokens: ``(L, L)`` int64, ``[i, j] = row(i - j)``."""
        token = torch.arange(length, device=device)
        rows = self.positions.rows(length, device) - self.first_row
        return rows[token[:, None] - token[None, :] + length - 1]

    def offset_keys(self, length: int) -> Tensor | None:
        """Rows of c2p by ascending ``j - i``, scaled: ``(N, W, H)``."""
        if self.key_NRH is None:
            return None
        return self._expand(self.key_NRH, length, falls=True) * self.scale

    def offset_queries(self, length: int) -> Tensor | None:
        """Rows of p2c by ascending ``i - j``, scaled: ``(N, W, H)``."""
        return None if self.query_NRH is None else self._expand(self.query_NRH, length) * self.scale

    def _expand(self, table_NRH: Tensor, length: int, *, falls: bool = False) -> Tensor:
        return self.positions.expand(table_NRH, length, first_row=self.first_row, falls=falls)
