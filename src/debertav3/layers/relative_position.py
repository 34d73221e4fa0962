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
from functools import lru_cache

import torch
from torch import Tensor

from .config import LongInputs


class RelativePositions:
    """The row of the relative table for every offset.

    Args:
        num_buckets: log buckets on each side of zero; 0 for one row per offset.
        max_distance: offset, in tokens, from which all distances share the last bucket.
        span: half the rows of the relative table.
        long_inputs: what happens to offsets of ``max_distance`` tokens and more.
    """

    def __init__(self, *, num_buckets: int, max_distance: int, span: int, long_inputs: LongInputs) -> None:
        self.num_buckets = num_buckets
        self.max_distance = max_distance
        self.span = span
        self.long_inputs = long_inputs
        # Up to this length every offset has a row of its own and neighbouring offsets have neighbouring rows.
        self.identity_length = num_buckets // 2 + 1 if num_buckets else span

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
                bucket = int(math.copysign(math.ceil(share * (middle - 1)) + middle, bucket))
        return max(min(bucket + self.span, 2 * self.span - 1), 0)

    def rows(self, length: int, device: torch.device) -> Tensor:
        """Rows of the offsets ``1 - length .. length - 1``.

        Returns:
            ``(2 * length - 1,)`` int64 on ``device``.
        """
        return _rows(self.num_buckets, self.max_distance, self.span, self.long_inputs, length, device)

    def expand(self, table: Tensor, length: int) -> Tensor:
        """One row of ``table`` for each offset ``1 - length .. length - 1``.

        Args:
            table: ``(N, R, H)``, a projection of the relative table.
            length: L, in tokens.

        Returns:
            ``(N, 2 * L - 1, H)``; a view for lengths within which the bucket is the identity.
        """
        if length <= self.identity_length:
            return table[:, self.span - length + 1 : self.span + length]
        return table.index_select(1, self.rows(length, table.device))


@lru_cache(maxsize=256)
def _rows(
    num_buckets: int, max_distance: int, span: int, long_inputs: LongInputs, length: int, device: torch.device
) -> Tensor:
    positions = RelativePositions(
        num_buckets=num_buckets, max_distance=max_distance, span=span, long_inputs=long_inputs
    )
    rows = [positions.row(offset) for offset in range(1 - length, length)]
    with torch.inference_mode(False):  # a cached tensor must be usable under autograd later
        return torch.tensor(rows, dtype=torch.int64, device=device)
