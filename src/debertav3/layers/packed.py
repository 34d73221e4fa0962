"""Linear layers for inference on a CPU, their weights laid out once as oneDNN reads them."""

import torch
from torch import Tensor, nn

_TYPICAL_TOKENS = 1024  # the layout serves every batch; this one costs small batches nothing


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


def can_pack(model: nn.Module) -> bool:
    """Whether oneDNN is there and all weights are fp32 on a CPU."""
    weights = list(model.parameters())
    return torch.backends.mkldnn.is_available() and all(
        weight.device.type == "cpu" and weight.dtype == torch.float32 for weight in weights
    )
