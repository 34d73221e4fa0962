"""Linear layers for inference on a CPU, their weights laid out once as what multiplies them reads them."""

import torch
from torch import Tensor, nn

from ..errors import UserError
from .cpu_kernel.library import INT8_PARTS, LinearArguments, kernel
from .int8_linear import Int8Linear

_TYPICAL_TOKENS = 1024  # oneDNN's layout serves every batch; this one costs small batches nothing

_PARTS_OF_PRECISION = {"highest": 3, "high": 2, "medium": 2}
"""bf16 numbers that stand for one fp32 number where the CPU has AMX, by torch's own setting: see README.md of
``cpu_kernel/``. Three keep all 24 bits, two 16."""


class PackedLinear(nn.Module):
    """A linear layer, with the exact GELU behind it if asked for, that cannot be trained, saved or moved.

    Args:
        linear: what to pack, fp32 on a CPU.
        has_gelu: whether to apply the GELU to the result.
    """

    def __init__(self, linear: nn.Linear, *, has_gelu: bool) -> None:
        super().__init__()
        self.out_features = linear.out_features
        self._bias = None if linear.bias is None else linear.bias.detach()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), _TYPICAL_TOKENS)
        self._activation = ("gelu", "none") if has_gelu else ("none", "")

    def forward(self, x: Tensor) -> Tensor:
        """``(..., in_features)`` to ``(..., out_features)``."""
        activation, form = self._activation
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, activation, [], form)


class KernelLinear(nn.Module):
    """A linear layer in our C++ kernel that cannot be trained, saved or moved.

    Args:
        linear: what to pack, fp32 or int8, on a CPU, where there is a kernel.
    """

    def __init__(self, linear: nn.Linear | Int8Linear) -> None:
        super().__init__()
        compiled = kernel()
        assert compiled is not None, "asked for without a kernel"
        self._kernel = compiled
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._bias = None if linear.bias is None else linear.bias.detach().float().contiguous()
        if isinstance(linear, Int8Linear):
            self._parts = INT8_PARTS
            self._weight = compiled.pack_int8(linear.weight, linear.weight_scale)
        else:
            self._parts = _PARTS_OF_PRECISION[torch.get_float32_matmul_precision()]
            self._weight = compiled.pack_linear(linear.weight)

    def arguments(self) -> LinearArguments:
        """What the kernel reads; valid as long as this module lives."""
        return LinearArguments(
            weight=self._weight.data_ptr(),
            bias=None if self._bias is None else self._bias.data_ptr(),
            in_=self.in_features,
            out=self.out_features,
            parts=self._parts,
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(..., in_features)`` to ``(..., out_features)``, fp32.

        Raises:
            UserError: where a gradient is wanted.
        """
        if torch.is_grad_enabled() and x.requires_grad:
            raise UserError("this model is packed for inference; open it again to compute gradients")
        if x.shape[-1] != self.in_features or x.dtype != torch.float32:
            raise UserError(
                f"need fp32 states of width {self.in_features}; got {x.dtype} of width {x.shape[-1]}"
            )
        y = self._kernel.linear(self.arguments(), x.detach().reshape(-1, self.in_features))
        return y.view(*x.shape[:-1], self.out_features)


def pack_linear(linear: nn.Linear | Int8Linear, *, has_gelu: bool) -> nn.Module:
    """The fastest packed form of a linear layer that there is here.

    Args:
        linear: fp32 or int8, on a CPU.
        has_gelu: whether the GELU follows; `PackedLinear` then has it inside.
    """
    if kernel() is not None:
        return KernelLinear(linear)
    return linear if isinstance(linear, Int8Linear) else PackedLinear(linear, has_gelu=has_gelu)


def can_pack(model: nn.Module) -> bool:
    """Whether there is something to pack for, and all weights are fp32 on a CPU."""
    weights = list(model.parameters())
    return (torch.backends.mkldnn.is_available() or kernel() is not None) and all(
        weight.device.type == "cpu" and weight.dtype == torch.float32 for weight in weights
    )
