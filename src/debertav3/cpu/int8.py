"""Linear layers in int8 for inference: weights are quantized once, the rows of the input at every call.

Both are symmetric, one scale per row: ``y = (q(x) q(W)^T) * scale(x) * scale(W) + b``. The matmul of the
integers is exact, so every machine gives the same bits; the C++ kernel does it in its integer units
(``linear.py``), this module with torch alone.
"""

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError

LARGEST = 127
SMALLEST_ROW = 1e-30
"""Lower bound for the largest number of a row, so that no scale is 0 or subnormal."""

_EXACT_DEPTH = 1024
"""This many int8 products add up exactly in fp32: 1024 * 127 * 127 < 2^24."""


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round weights to int8; ties go to the even number.

    Args:
        weight: ``(out, in)``, of any float dtype.

    Returns:
        ``(out, in)`` int8 in -127 .. 127, and ``(out,)`` fp32, the scale of each row; 1 for a row of
        zeros.

    Raises:
        UserError: if a weight is not finite.
    """
    weight = weight.detach().float()
    if not weight.isfinite().all():
        raise UserError("int8 needs finite weights; this layer has infinity or NaN")
    largest = weight.abs().amax(dim=1)
    scale = torch.where(largest >= SMALLEST_ROW, largest / LARGEST, 1.0)
    return (weight / scale[:, None]).round().to(torch.int8), scale


def quantize_input(x: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize the rows of the input.

    Args:
        x: ``(M, in)`` fp32.

    Returns:
        ``(M, in)`` fp32, integers in -127 .. 127, and ``(M, 1)`` fp32, their scales.
    """
    largest = x.abs().amax(dim=1, keepdim=True).clamp(min=SMALLEST_ROW)
    whole = largest.new_tensor(float(LARGEST))
    # Tensors on both sides: torch computes 127 / x as the reciprocal of x times 127, which rounds twice.
    return (x * (whole / largest)).round(), largest / whole


class Int8Linear(nn.Module):
    """A linear layer with weights in int8, for inference only.

    Args:
        in_features: width of the input.
        out_features: width of the output.
        bias: whether there is one.
    """

    weight: Tensor
    weight_scale: Tensor
    bias: Tensor | None

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.register_buffer("weight", torch.zeros(out_features, in_features, dtype=torch.int8))
        self.register_buffer("weight_scale", torch.ones(out_features))
        self.register_buffer("bias", torch.zeros(out_features) if bias else None)

    @classmethod
    def from_linear(cls, linear: nn.Linear) -> Self:
        """Quantize a layer; see `quantize_rows`."""
        weight, scale = quantize_rows(linear.weight)
        made = cls(linear.in_features, linear.out_features, bias=linear.bias is not None)
        made.weight, made.weight_scale = weight, scale
        if linear.bias is not None:
            made.bias = linear.bias.detach().float().clone()
        return made

    def dequantized(self) -> Tensor:
        """The dequantized weights, ``(out, in)`` fp32."""
        return self.weight * self.weight_scale.float()[:, None]

    def forward(self, x: Tensor) -> Tensor:
        """``(..., in_features)`` to ``(..., out_features)``, computed in fp32, in the dtype of ``x``.

        Raises:
            UserError: if a gradient is needed.
        """
        if torch.is_grad_enabled() and x.requires_grad:
            raise UserError("int8 layers are for inference; open the model in fp32 to compute gradients")
        rows, scale = quantize_input(x.reshape(-1, self.in_features).float())
        y = self._multiply(rows).float() * (scale * self.weight_scale.float())
        if self.bias is not None:
            y = y + self.bias.float()
        return y.view(*x.shape[:-1], self.out_features).to(x.dtype)

    def _multiply(self, rows_MI: Tensor) -> Tensor:
        """Exact products of integers with the weights, ``(M, out)`` int32."""
        products = rows_MI.new_zeros(len(rows_MI), self.out_features, dtype=torch.int32)
        for start in range(0, self.in_features, _EXACT_DEPTH):
            some = slice(start, start + _EXACT_DEPTH)
            products += F.linear(rows_MI[:, some], self.weight[:, some].float()).to(torch.int32)
        return products

    def extra_repr(self) -> str:
        """For ``repr``."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        )
