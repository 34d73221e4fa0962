"""Memory that is used again from layer to layer, for inference on a CPU.

Fresh memory of a few MiB costs more there, in page faults, than the matmul that fills it. Each thread has its
own; the next layer overwrites what is in a block, so a block never leaves the function that took it.
"""

import math
import threading

import torch
from torch import Tensor

from ..layers.relative_position import may_read

LARGEST_BLOCK = 64 * 2**20
"""Bytes; a larger tensor is allocated as usual, so that one long text does not keep its memory for ever."""


class _Blocks(threading.local):
    def __init__(self) -> None:
        self.by_name: dict[str, Tensor] = {}


_blocks = _Blocks()


def scratch(name: str, like: Tensor, *shape: int) -> Tensor | None:
    """A block to be given as ``out=``, or None where fresh memory must be used.

    Args:
        name: which block of this thread; two that are alive at once need two names.
        like: its device and dtype are wanted.
        shape: of the tensor.

    Returns:
        An uninitialized tensor; None while gradients are on, for anything but ordinary fp32 on a CPU and for
        more than ``LARGEST_BLOCK`` bytes.
    """
    numel = math.prod(shape)
    if (
        torch.is_grad_enabled()
        or like.device.type != "cpu"
        or like.dtype != torch.float32
        or not may_read(like)
        or numel * like.element_size() > LARGEST_BLOCK
    ):
        return None
    block = _blocks.by_name.get(name)
    if block is None or block.numel() < numel:
        with torch.inference_mode(False):  # usable in and out of inference mode
            block = _blocks.by_name[name] = torch.empty(numel, dtype=torch.float32, device="cpu")
    return block[:numel].view(shape)
