"""A layer's projected relative table as the kernel reads it, for all lengths that it serves.

Shape letters: N heads, R rows of the relative table, H head width.
"""

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ...layers.buckets import RelativeBuckets
from .library import AttentionArguments, Kernel, address
from .memory import Floats

Rows = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class KernelTables:
    """The keys of c2p and the queries of p2c, laid out, and the rows that a length meets."""

    buckets: RelativeBuckets
    num_rows: int
    first_row: int
    """Which row of the relative table comes first in these."""
    keys: Floats | None
    """c2p, by falling row."""
    queries: Floats | None
    """p2c, scaled, by rising row."""
    is_by_offset: bool
    """Whether there is one row for each offset; ``first_row`` is then the first offset."""

    @classmethod
    def make(
        cls,
        buckets: RelativeBuckets,
        key_NRH: Floats | None,
        query_NRH: Floats | None,
        *,
        scale: float,
        compiled: Kernel,
        first_row: int = 0,
    ) -> "KernelTables":
        """Lay projected tables out, at least one of both.

        The kernel needs rows that never jump from one offset to the next; where the buckets do (they may with
        odd sizes), the table gets one row for each offset, up to the farthest that it serves.

        Args:
            buckets: from offsets to rows.
            key_NRH: read by c2p; None where the model lacks that term.
            query_NRH: read by p2c, likewise.
            scale: the factor of every score.
            compiled: the kernel.
            first_row: which row of the relative table comes first in these.
        """
        num_rows = next(x.shape[1] for x in (key_NRH, query_NRH) if x is not None)
        is_by_offset = jumps(buckets)
        if is_by_offset:
            length = _longest_served(buckets, first_row, num_rows)
            row = offset_rows(buckets, length) - first_row
            key_NRH, query_NRH = (None if x is None else x[:, row] for x in (key_NRH, query_NRH))
            first_row, num_rows = 1 - length, len(row)
        return cls(
            buckets,
            num_rows,
            first_row,
            None if key_NRH is None else compiled.pack_table(key_NRH[:, ::-1], 1.0),
            None if query_NRH is None else compiled.pack_table(query_NRH, scale),
            is_by_offset,
        )

    def give(self, arguments: AttentionArguments, more_rows: int) -> object:
        """Fill in the tables of a call whose length is set.

        Args:
            arguments: of the call.
            more_rows: `Kernel.more_rows`.

        Returns:
            What must outlive the call: these tables, which their owner may replace meanwhile, and the rows.
        """
        layout = (self.buckets, self.num_rows, self.first_row, self.is_by_offset)
        by_key, by_query = _rows(*layout, arguments.length, more_rows)
        arguments.rows_by_key, arguments.rows_by_query = address(by_key), address(by_query)
        arguments.table_rows = self.num_rows
        arguments.key_table = None if self.keys is None else address(self.keys)
        arguments.query_table = None if self.queries is None else address(self.queries)
        return self, by_key, by_query


@lru_cache(maxsize=64)
def offset_rows(buckets: RelativeBuckets, length: int) -> npt.NDArray[np.int64]:
    """Rows of the relative table for the offsets ``1 - length .. length - 1``, rising."""
    far = min(buckets.farthest, length)
    row = np.array([buckets.row(offset) for offset in range(-far, far + 1)])
    rows: npt.NDArray[np.int64] = row[np.arange(1 - length, length).clip(-far, far) + far]
    return rows


@lru_cache(maxsize=64)
def _rows(
    buckets: RelativeBuckets, num_rows: int, first_row: int, is_by_offset: bool, length: int, more: int
) -> tuple[Rows, Rows]:
    """Rows of the c2p table by rising ``j - i``, of the p2c table by rising ``i - j``; the last repeated."""
    if is_by_offset:
        far = -first_row
        row = np.arange(1 - length, length).clip(-far, far) + far
    else:
        row = offset_rows(buckets, length) - first_row
    back = num_rows - 1 - row[::-1]
    by_key, by_query = (
        np.concatenate([one, np.repeat(one[-1:], more)]).astype(np.int32) for one in (back, row)
    )
    return by_key, by_query


@lru_cache(maxsize=64)
def jumps(buckets: RelativeBuckets) -> bool:
    """Whether rows of the relative table are left out, or fall, from an offset to the next."""
    far = buckets.farthest
    row = [buckets.row(offset) for offset in range(-far - 1, far + 2)]
    return any(not 0 <= after - before <= 1 for before, after in itertools.pairwise(row))


def _longest_served(buckets: RelativeBuckets, first_row: int, num_rows: int) -> int:
    """The longest length that meets these rows only, in tokens, or one from which on rows do not change."""
    length = 1
    while length <= buckets.farthest:
        first, end = buckets.window(length + 1)
        if first < first_row or end > first_row + num_rows:
            break
        length += 1
    return length
