"""Memory for the gradient of a large table, used again in every step.

The gradient of 128,100 words by 384 is 197 MB, most of it zeros or the sum of two parts, and in fresh memory
it costs more time in page faults than in arithmetic. Here the parts of a gradient are written where it stays,
``weight.grad`` itself: a look-up touches the rows of its tokens, and those alone are cleared before the next
step; the loss over the vocabulary overwrites all. Autograd gets no gradient for the table then, so this is
for one process whose weights are whole: exchanges between processes wait for autograd's gradients.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ..cpu.kernel.library import kernel


class TableMemory:
    """Memory for the gradient of one table, and for what a step makes of the table on the way."""

    def __init__(self) -> None:
        self._gradient: Tensor | None = None
        self._rows: list[Tensor] | None = []
        """Rows that are not zero; None for all."""
        self._blocks: dict[str, Tensor] = {}

    def __deepcopy__(self, memo: object) -> "TableMemory":
        return TableMemory()

    def block(self, name: str, like: Tensor, *shape: int) -> Tensor:
        """An uninitialized array of a shape, in the same memory as the one before of that name."""
        count = torch.Size(shape).numel()
        kept = self._blocks.get(name)
        if kept is None or kept.dtype != like.dtype or kept.numel() < count:
            kept = self._blocks[name] = like.new_empty(count)
        return kept[:count].view(shape)

    def add_rows(self, weight: nn.Parameter, rows_M: Tensor, gradient_MD: Tensor) -> None:
        """Add to some rows of ``weight.grad``."""
        found = self._of(weight, overwritten=False)
        found.index_add_(0, rows_M, gradient_MD.to(found.dtype))
        if self._rows is not None:
            self._rows.append(rows_M)

    def add_whole(self, weight: nn.Parameter, gradient_VD: Tensor, factor: float) -> None:
        """Add a gradient of all rows, times a number, to ``weight.grad``."""
        adds = weight.grad is not None
        found = self._of(weight, overwritten=True)
        self._rows = None
        compiled = kernel()
        arrays = (found, gradient_VD)
        if (
            compiled is not None
            and found.dtype == torch.float32
            and gradient_VD.dtype in (torch.float32, torch.bfloat16)
            and all(x.is_contiguous() and x.device.type == "cpu" for x in arrays)
        ):
            is_bf16 = gradient_VD.dtype == torch.bfloat16
            addresses = (gradient_VD.data_ptr(), found.numel(), factor, found.data_ptr())
            compiled.widen(*addresses, is_bf16=is_bf16, adds=adds)
        elif adds:
            found.add_(gradient_VD, alpha=factor)
        else:
            found.copy_(gradient_VD).mul_(factor)

    def _of(self, weight: nn.Parameter, *, overwritten: bool) -> Tensor:
        """``weight.grad``; where there is none yet the kept memory, of zeros unless it is overwritten."""
        if weight.grad is None:
            kept = self._gradient
            if kept is None or kept.shape != weight.shape or kept.dtype != weight.dtype:
                kept = self._gradient = torch.zeros_like(weight)
            elif not overwritten and self._rows is None:
                kept.zero_()
            elif not overwritten:
                for rows in self._rows or ():
                    kept.index_fill_(0, rows, 0.0)
            self._rows = []
            weight.grad = kept
        return weight.grad


def writes_directly(weight: Tensor, memory: TableMemory | None) -> bool:
    """Whether the gradient of a table goes into its memory."""
    return (
        memory is not None
        and torch.is_grad_enabled()
        and type(weight) is nn.Parameter
        and weight.requires_grad
        and weight.device.type == "cpu"
    )


def look_up(input_ids: Tensor, weight: Tensor, padding_idx: int | None, memory: TableMemory | None) -> Tensor:
    """Rows of a table, ``(B, L)`` to ``(B, L, D)``, as `torch.nn.functional.embedding`."""
    if not writes_directly(weight, memory):
        return F.embedding(input_ids, weight, padding_idx=padding_idx)
    found: Tensor = _LookUp.apply(weight, input_ids, padding_idx, memory)
    return found


class _LookUp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, weight: nn.Parameter, input_ids: Tensor, padding_idx: int | None, memory: TableMemory
    ) -> Tensor:
        ctx.save_for_backward(input_ids)
        ctx.weight, ctx.padding_idx, ctx.memory = weight, padding_idx, memory
        return F.embedding(input_ids, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, ...]:
        (input_ids,) = ctx.saved_tensors
        rows, gradient = input_ids.flatten(), gradient.flatten(0, -2)
        if ctx.padding_idx is not None:
            gradient = gradient.masked_fill((rows == ctx.padding_idx).unsqueeze(-1), 0.0)
        ctx.memory.add_rows(ctx.weight, rows, gradient)
        return None, None, None, None
