"""Memory for the gradient of a large table, used again in every step.

The gradient of 128,100 words by 384 is 197 MB, most of it zeros or the sum of two parts, and in fresh memory
it costs more time in page faults than in arithmetic. Here the parts of a gradient are written where it stays,
``weight.grad`` itself: a look-up touches the rows of its tokens, and those alone are cleared before the next
step; the loss over the vocabulary overwrites all. Autograd gets no gradient for the table then, so this is
for one process whose weights are whole: exchanges between processes wait for autograd's gradients.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ..layers.attention import is_plain
from ..layers.embeddings import Embeddings
from .kernel.library import kernel


class TableMemory:
    """Memory for the gradient of one table, and for what a step makes of the table on the way."""

    def __init__(self) -> None:
        self._gradient: Tensor | None = None
        self._rows: list[Tensor] | None = []
        """Rows that are not zero; None for all."""
        self._blocks: dict[str, Tensor] = {}

    def touched(self, weight: Tensor) -> Tensor | None:
        """Rows of ``weight.grad`` that may not be zero, each once; None for all of them."""
        if self._rows is None or weight.grad is None or weight.grad is not self._gradient:
            return None
        rows: Tensor = torch.cat([torch.tensor([], dtype=torch.int64), *self._rows]).unique()
        return rows

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
        rows_M = rows_M.to(torch.int64, copy=True)  # the caller may use its own for other ids
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


class TableEmbedding(nn.Embedding):
    """Takes the place of `torch.nn.Embedding`: the same weights and outputs, a gradient in kept memory."""

    def __init__(self, words: nn.Embedding) -> None:
        size = (words.num_embeddings, words.embedding_dim)
        super().__init__(*size, padding_idx=words.padding_idx, _weight=words.weight)
        self.weight = words.weight
        self.table_memory = TableMemory()
        self.train(words.training)

    def forward(self, input: Tensor) -> Tensor:
        """Token ids ``(B, L)`` to ``(B, L, D)``."""
        return look_up(input, self.weight, self.padding_idx, self.table_memory)


def keep_word_gradients(model: nn.Module) -> list[TableEmbedding]:
    """Let the word embeddings of a model that one process trains on a CPU keep their gradient's memory.

    Rows of that gradient that no token touched must stay zero: clip it with `clip_grad_norm`. Word embeddings
    that are frozen, watched, replaced or tied stay as they are.
    """
    uses = Counter(id(weight) for part in model.modules() for weight in part.parameters(recurse=False))
    found = []
    for part in model.modules():
        words = part.word_embeddings if isinstance(part, Embeddings) else None
        if words is None or not words.weight.requires_grad or uses[id(words.weight)] > 1:
            continue
        if is_plain(words, nn.Embedding) and _only_looks_up(words):
            words = part.word_embeddings = TableEmbedding(words)
        if isinstance(words, TableEmbedding):
            found.append(words)
    return found


@torch.no_grad()
def clip_grad_norm(
    parameters: Iterable[nn.Parameter], tables: Sequence[TableEmbedding], max_norm: float
) -> Tensor:
    """As `torch.nn.utils.clip_grad_norm_`, without a look at the rows of tables that no token touched.

    Args:
        parameters: all that are trained, those of the tables among them.
        tables: from `keep_word_gradients`.
        max_norm: of all gradients together.

    Returns:
        The norm before.
    """
    touched = {id(table.weight): table.table_memory.touched(table.weight) for table in tables}
    clipped: list[Tensor] = []
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for weight in parameters:
        rows = touched.get(id(weight))
        if rows is None or weight.grad is None:
            clipped.append(weight)
            continue
        part = weight.grad[rows]
        holder = torch.empty_like(part)
        holder.grad = part
        clipped.append(holder)
        parts.append((weight.grad, rows, part))
    norm = nn.utils.clip_grad_norm_(clipped, max_norm)
    for gradient, rows, part in parts:
        gradient[rows] = part
    return norm


def _only_looks_up(words: nn.Embedding) -> bool:
    """Whether a look-up does nothing but look up."""
    return words.max_norm is None and not words.scale_grad_by_freq and not words.sparse


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
