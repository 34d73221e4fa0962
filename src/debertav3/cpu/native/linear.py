"""Linear layers of numpy: fp32, and int8 as ``cpu/int8.py`` describes it."""

import numpy as np

from .maths import Floats
from .tensors import Int8Array, StoredArray

LARGEST = np.float32(127)
SMALLEST_ROW = np.float32(1e-30)
"""Rows whose largest number is smaller count as if it were this: no scale is 0, and none is not normal."""

_EXACT_DEPTH = 1024
"""So many products of two numbers of int8 add up exactly in fp32: 1024 * 127 * 127 < 2^24."""


class Linear:
    """A linear layer, y = x W^T + b.

    Args:
        weight: ``(out, in)``.
        bias: ``(out,)``, or None.
    """

    def __init__(self, weight: StoredArray | Int8Array, bias: Floats | None) -> None:
        self._weight = weight if isinstance(weight, Int8Array) else weight.floats()
        self._bias = bias

    def __call__(self, x: Floats) -> Floats:
        """``(..., in)`` to ``(..., out)``."""
        y = multiply_int8(x, self._weight) if isinstance(self._weight, Int8Array) else x @ self._weight.T
        return y if self._bias is None else y + self._bias


def multiply_int8(x: Floats, weight: Int8Array) -> Floats:
    """The product x W^T, exact but for the rounding of x: each row to whole numbers times a scale."""
    largest = np.maximum(np.abs(x).max(axis=-1, keepdims=True), SMALLEST_ROW)
    whole = np.rint(x * (LARGEST / largest))
    products = np.zeros((*x.shape[:-1], len(weight.weight)), np.int32)
    for start in range(0, x.shape[-1], _EXACT_DEPTH):
        some = slice(start, start + _EXACT_DEPTH)
        products += (whole[..., some] @ weight.weight[:, some].astype(np.float32).T).astype(np.int32)
    output: Floats = products.astype(np.float32) * (largest / LARGEST * weight.scale)
    return output
