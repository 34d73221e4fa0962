"""Which attention weights dropout drops: a function of a seed and of where a weight is.

So the backward pass computes the mask again instead of keeping it, and neither blocks nor threads nor the
instructions of a processor change it. The C++ kernel has the same functions (``cpu/kernel/training.h``).

The seed is drawn from torch's generator. A row of weights gets a key by SplitMix64 (Steele, Lea and Flood,
2014), and a column of it a number of 32 bits by "lowbias32" (Wellons, 2018).
"""

import torch
from torch import Tensor

_GOLDEN_64 = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX_64 = (0xBF58476D1CE4E5B9 - (1 << 64), 0x94D049BB133111EB - (1 << 64))
_GOLDEN_32 = 0x9E3779B9 - (1 << 32)
_MIX_32 = (0x7FEB352D, 0x846CA68B - (1 << 32))
_HALF = 1 << 31


def draw_seed() -> Tensor:
    """A seed from torch's generator of the CPU: int64, no dimensions."""
    return torch.empty((), dtype=torch.int64, device="cpu").random_()


def threshold(dropout_prob: float) -> int:
    """Numbers of 32 bits below this one are dropped."""
    return min(round(dropout_prob * (1 << 32)), (1 << 32) - 1)


def kept_factor(dropout_prob: float) -> float:
    """What kept weights are multiplied by."""
    return 1 / (1 - dropout_prob) if dropout_prob < 1 else 0.0


def dropped(seed: Tensor, first_row: int, shape: tuple[int, ...], dropout_prob: float) -> Tensor:
    """Which weights of neighbouring rows are dropped.

    Args:
        seed: from `draw_seed`, on the device of the weights.
        first_row: number of the first row among those of the whole call.
        shape: of the weights, their columns last.
        dropout_prob: the probability of dropout.

    Returns:
        Bool, of that shape.
    """
    *rows, columns = shape
    row = torch.arange(first_row + 1, first_row + 1 + torch.Size(rows).numel(), device=seed.device)
    key = seed + row * _GOLDEN_64
    for bits, factor in zip((30, 27), _MIX_64, strict=True):
        key = (key ^ _right(key, bits, 64)) * factor
    key = _right(key ^ _right(key, 31, 64), 32, 64)
    x = _low_half(key)[:, None] + torch.arange(columns, dtype=torch.int32, device=seed.device) * _GOLDEN_32
    for bits, factor in zip((16, 15), _MIX_32, strict=True):
        x = (x ^ _right(x, bits, 32)) * factor
    x = x ^ _right(x, 16, 32)
    # Compared as numbers without sign, which torch has no type for on every device.
    return ((x ^ -_HALF) < threshold(dropout_prob) - _HALF).view(shape)


def _right(x: Tensor, bits: int, width: int) -> Tensor:
    """Shift right and fill with zeros, whatever the sign."""
    return (x >> bits) & ((1 << (width - bits)) - 1)


def _low_half(x: Tensor) -> Tensor:
    """The lower 32 bits, as int32."""
    return (((x & 0xFFFFFFFF) ^ _HALF) - _HALF).to(torch.int32)
