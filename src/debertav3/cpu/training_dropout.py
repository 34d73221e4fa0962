"""Dropout of hidden states for training on a CPU, in one pass, with no mask kept.

Torch draws 64 bits from a Mersenne Twister for each state, on one thread, and keeps the mask. Here
the mask is a function of a seed and a place (``layers/attention_dropout.py``), computed again backward.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ..layers.attention import DisentangledSelfAttention, is_plain
from ..layers.attention_dropout import draw_seed, dropped, kept_factor, threshold
from ..layers.relative_position import may_read
from .kernel.library import kernel


class SeededDropout(nn.Dropout):
    """Takes the place of `torch.nn.Dropout`: the same distribution, other draws."""

    def forward(self, input: Tensor) -> Tensor:
        """Drop states of any shape."""
        is_drawn = self.training and 0.0 < self.p < 1.0 and input.numel() > 0
        if not is_drawn or input.device.type != "cpu" or not may_read(input) or input.dim() == 0:
            return F.dropout(input, self.p, self.training)
        found: Tensor = _Drop.apply(input, draw_seed(), self.p)
        return found


def train_on_cpu(model: nn.Module) -> None:
    """Let a model that will be trained on a CPU compute attention by blocks, and drop states with seeds."""
    for module in model.modules():
        if isinstance(module, DisentangledSelfAttention):
            module.backend = "blockwise"
    _seed_dropouts(model)


def _seed_dropouts(model: nn.Module) -> None:
    """Put `SeededDropout` in the place of every dropout of hidden states that nobody watches or replaced."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            is_of_weights = isinstance(parent, DisentangledSelfAttention) and name == "dropout"
            if is_plain(child, nn.Dropout) and not is_of_weights:
                assert isinstance(child, nn.Dropout)
                setattr(parent, name, SeededDropout(child.p).train(child.training))


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, seed: Tensor, dropout_prob: float) -> Tensor:
        ctx.seed, ctx.dropout_prob = seed, dropout_prob
        return _drop(x, seed, dropout_prob)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return _drop(gradient, ctx.seed, ctx.dropout_prob), None, None


def _drop(x: Tensor, seed: Tensor, dropout_prob: float) -> Tensor:
    compiled = kernel()
    if compiled is None or x.dtype not in (torch.float32, torch.bfloat16):
        return x.masked_fill(dropped(seed, 0, (*x.shape,), dropout_prob), 0.0) * kept_factor(dropout_prob)
    x = x.contiguous()
    out = torch.empty_like(x)
    compiled.drop(
        x.data_ptr(), out.data_ptr(), x.numel() // x.shape[-1], x.shape[-1],
        seed=int(seed), threshold=threshold(dropout_prob), kept_factor=kept_factor(dropout_prob),
        is_bf16=x.dtype == torch.bfloat16,
    )  # fmt: skip
    return out
