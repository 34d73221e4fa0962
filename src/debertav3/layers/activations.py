"""Activation functions by the names that ``config.json`` uses."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

ACTIVATION: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,  # the exact form, by the error function: every released DeBERTa
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
    "tanh": torch.tanh,
    "linear": lambda x: x,
}


def activate_in_place(name: str, x: Tensor) -> Tensor:
    """Apply an activation to a tensor that nobody else holds and that needs no gradient.

    On a CPU a fresh tensor of this size costs more than the exact GELU itself, in page faults.
    """
    return torch.ops.aten.gelu_(x) if name == "gelu" else ACTIVATION[name](x)
