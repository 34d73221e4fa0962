"""The rows of the relative table as tensors, for all offsets of a length; ``buckets.py`` has the rule.

The official file is ``deberta/da_utils.py``.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from .buckets import RelativeBuckets


@dataclass(frozen=True, kw_only=True)
class RelativePositions(RelativeBuckets):
    """The row of the relative table for every offset."""

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
        if records_graph() or is_intercepted():  # lengths are symbols, and no such tensor may be kept
            return self._look_up(length, device, int(records_graph()), falls)
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


def is_intercepted() -> bool:
    """Whether somebody stands between calls of torch and its operations: torch.func, or a dispatch mode.

    `torch.func.vmap` and its kin, ``FakeTensorMode``, ``FlopCounterMode``: what is made then must not outlive
    the call.
    """
    return is_transformed() or torch._C._len_torch_dispatch_stack() > 0


def is_transformed() -> bool:
    """Whether a call runs inside `torch.func.vmap`, ``grad``, ``jvp`` or another of its transforms."""
    return not torch.compiler.is_compiling() and torch._C._functorch.maybe_current_level() is not None


def may_read(x: Tensor) -> bool:
    """Whether a tensor has numbers that a kernel may read: no graph, transform or subclass comes between."""
    return type(x) is Tensor and not records_graph() and not is_intercepted()


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
