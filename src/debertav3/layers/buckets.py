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
from typing import Self

from .config import EncoderConfig, LongInputs

_ROUNDING = 1e-9  # where the logarithm is a whole number, rounding must not lift it into the next bucket


@dataclass(frozen=True, kw_only=True)
class RelativeBuckets:
    """The row of the relative table for every offset."""

    num_buckets: int
    """Log buckets on each side of zero; 0 for one row per offset."""
    max_distance: int
    """Offset, in tokens, from which all distances share the last bucket."""
    span: int
    """Half the rows of the relative table."""
    long_inputs: LongInputs
    """What happens to offsets of ``max_distance`` tokens and more."""

    @classmethod
    def of(cls, config: EncoderConfig) -> Self:
        """Those of a model."""
        return cls(
            num_buckets=config.num_buckets,
            max_distance=config.max_distance,
            span=config.span,
            long_inputs=config.long_inputs,
        )

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
        return math.ceil(middle * math.pow((self.max_distance - 1) / middle, growth)) + 1

    def row(self, offset: int) -> int:
        """Row of one offset ``i - j``, in tokens: the paper's relative distance, delta(i, j) in equation 3.

        Official: ``make_log_bucket_position``.
        """
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
