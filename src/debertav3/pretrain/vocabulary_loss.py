"""Loss over the vocabulary, and draws from it, without an array of masked tokens by vocabulary in memory.

A batch of base size masks some 2,500 tokens, and its logits over 128,100 words are 1.3 GB in fp32, several
times over while training. Here a block of rows is multiplied, scored, drawn from and turned into gradients
before the next. On a CPU the C++ kernel does it in two passes over the products of many rows, in their dtype
(``cpu/kernel/vocabulary.h``).

Shape letters: M masked tokens, V vocabulary, D width, R rows of a block.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..cpu.kernel.library import Kernel, VocabularyArguments, kernel
from ..cpu.table_memory import TableMemory, writes_directly
from ..layers.relative_position import may_read

CPU_NUMBERS = 1 << 21
"""Logits per block: 8 MiB in fp32."""
DEVICE_NUMBERS = 1 << 27
"""On accelerators: 512 MiB, enough rows to keep them busy."""
MIN_ROWS = 128
"""Every block reads the whole table of word embeddings, which must be worth it."""
CPU_KEPT_BYTES = 1 << 28
"""Gradients of logits that are kept, in the dtype of the matmuls, for one matmul with the states.

With a large vocabulary every such matmul, whatever its rows, costs several writes of the whole table.
"""
STRETCH = 64
"""Columns of a row that a draw sums up together."""


class MaskedPredictions(NamedTuple):
    """What came of the predictions at the masked places."""

    loss: Tensor
    """Cross-entropy summed over masked tokens; the caller divides by those of the whole optimizer step."""
    drawn: Tensor
    """``(M,)`` int64, one token drawn for each."""
    correct: Tensor
    """How many were guessed right."""


def predict_masked(
    states_MD: Tensor,
    words_VD: Tensor,
    bias_V: Tensor,
    targets_M: Tensor,
    uniforms_M: Tensor,
    temperature: float,
    memory: TableMemory | None = None,
) -> MaskedPredictions:
    """Score, and draw a token each from ``softmax(logits / temperature)``; special ones too, as officially.

    Deviation: tokens are drawn by inverting the distribution function at a uniform number that belongs to the
    sample, not by ``torch.multinomial``: the same distribution, but the draw depends on neither batch size
    nor number of processes (test_draws_follow_the_distribution).

    Args:
        states_MD: the head's transformed states; their dtype is that of the products.
        words_VD: word embeddings.
        bias_V: of the words.
        targets_M: the right tokens.
        uniforms_M: numbers in [0, 1).
        temperature: above 0; below 1 sharpens.
        memory: where the gradient of the word embeddings goes; None for autograd's own.
    """
    memory = memory if writes_directly(words_VD, memory) else None
    compiled = kernel() if _fits_kernel(states_MD) else None
    predict = _Predict if compiled is None else _PredictInKernel
    more = (memory,) if compiled is None else (memory, torch.is_grad_enabled(), compiled)
    loss, drawn, correct = predict.apply(
        states_MD, words_VD, bias_V, targets_M, uniforms_M, temperature, *more
    )
    return MaskedPredictions(loss, drawn, correct)


def draw(probability_RV: Tensor, uniform_R: Tensor) -> Tensor:
    """One column of each row, with probability proportional to its number there; ``(R,)`` int64.

    First the stretch of columns, then the column within: a running sum over a whole vocabulary is slow.
    """
    V = probability_RV.shape[-1]
    whole = V // STRETCH * STRETCH
    sum_RS = torch.cat(
        (
            probability_RV[:, :whole].unflatten(-1, (-1, STRETCH)).sum(-1)
            if whole
            else probability_RV[:, :0],
            probability_RV[:, whole:].sum(-1, keepdim=True),
        ),
        dim=-1,
    )
    until_RS = sum_RS.cumsum(-1)
    wanted_R1 = (uniform_R * until_RS[:, -1]).unsqueeze(-1)
    stretch_R1 = _first_above(until_RS, wanted_R1)
    inside_R1 = wanted_R1 - (until_RS.gather(-1, stretch_R1) - sum_RS.gather(-1, stretch_R1))
    column_RC = stretch_R1 * STRETCH + torch.arange(STRETCH, device=stretch_R1.device)
    part_RC = probability_RV.gather(-1, column_RC.clamp(max=V - 1)).masked_fill_(column_RC >= V, 0.0)
    column_R1 = stretch_R1 * STRETCH + _first_above(part_RC.cumsum(-1), inside_R1.clamp_(min=0.0))
    return column_R1.squeeze(-1).clamp_(max=V - 1)


def _first_above(rising_RC: Tensor, wanted_R1: Tensor) -> Tensor:
    """The first column above a number, or the last one; ``(R, 1)``."""
    return torch.searchsorted(rising_RC, wanted_R1, right=True).clamp_(max=rising_RC.shape[-1] - 1)


class _Predict(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states_MD: Tensor,
        words_VD: Tensor,
        bias_V: Tensor,
        targets_M: Tensor,
        uniforms_M: Tensor,
        temperature: float,
        memory: TableMemory | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        M, V = len(targets_M), len(words_VD)
        dtype = states_MD.dtype
        accurate = torch.promote_types(dtype, torch.float32)
        words, bias = words_VD.to(dtype), bias_V.to(accurate)
        needs_gradient = any(ctx.needs_input_grad[:3])
        dstates = torch.zeros_like(states_MD)
        dwords: Tensor | None = None
        dbias = torch.zeros_like(bias)
        loss = torch.zeros((), dtype=accurate, device=words.device)
        correct = torch.zeros((), dtype=torch.int64, device=words.device)
        drawn_M = torch.empty_like(targets_M)
        size, kept = _rows_of_a_block(words)
        for start in range(0, M, size):
            rows = slice(start, start + size)
            target_R1 = targets_M[rows].unsqueeze(-1)
            logit_RV = (states_MD[rows] @ words.T).to(accurate).add_(bias)
            highest_R1 = logit_RV.amax(-1, keepdim=True)
            of_target_R1 = logit_RV.gather(-1, target_R1)
            correct += (of_target_R1 >= highest_R1).sum()
            logit_RV -= highest_R1
            if temperature != 1.0:
                drawn_M[rows] = draw((logit_RV / temperature).exp_(), uniforms_M[rows])
            probability_RV = logit_RV.exp_()
            if temperature == 1.0:
                drawn_M[rows] = draw(probability_RV, uniforms_M[rows])
            total_R1 = probability_RV.sum(-1, keepdim=True)
            loss += (total_R1.log() + highest_R1 - of_target_R1).sum()
            if needs_gradient:
                gradient_RV = probability_RV.div_(total_R1)
                gradient_RV.scatter_add_(-1, target_R1, torch.full_like(total_R1, -1.0))
                dbias += gradient_RV.sum(0)
                if start % kept == 0:
                    low_KV = words.new_empty(min(kept, M - start), V)
                place = start % kept
                low_KV[place : place + size] = gradient_RV
                if place + size >= len(low_KV):
                    group = slice(start - place, start + size)
                    dstates[group] = low_KV @ words
                    share = low_KV.T @ states_MD[group]
                    dwords = share if dwords is None else dwords.to(accurate).add_(share)
        if dwords is None:
            dwords = torch.zeros_like(words)
        ctx.save_for_backward(dstates, dwords, dbias)
        ctx.words, ctx.memory, ctx.dtypes = words_VD, memory, (words_VD.dtype, bias_V.dtype)
        ctx.mark_non_differentiable(drawn_M, correct)
        return loss, drawn_M, correct

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dloss: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        return *_gradients(ctx, dloss), *(None,) * 4


def _fits_kernel(states_MD: Tensor) -> bool:
    return (
        states_MD.device.type == "cpu"
        and states_MD.dtype in (torch.float32, torch.bfloat16)
        and may_read(states_MD)
    )


class _PredictInKernel(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states_MD: Tensor,
        words_VD: Tensor,
        bias_V: Tensor,
        targets_M: Tensor,
        uniforms_M: Tensor,
        temperature: float,
        memory: TableMemory | None,
        has_gradients: bool,
        compiled: Kernel,
    ) -> tuple[Tensor, Tensor, Tensor]:
        M, (V, D) = len(targets_M), words_VD.shape
        kept = memory or TableMemory()
        words = words_VD
        if words.dtype != states_MD.dtype:
            words = kept.block("words", states_MD, V, D).copy_(words_VD)
        bias, states_MD = bias_V.float().contiguous(), states_MD.contiguous()
        targets_M, uniforms_M = targets_M.contiguous(), uniforms_M.float().contiguous()
        free = "dwords" if words is words_VD else "words"  # the products' last reader makes them
        needs_gradient = has_gradients and any(ctx.needs_input_grad[:3])
        dstates, dwords = torch.zeros_like(states_MD), None
        dbias = torch.zeros_like(bias) if needs_gradient else None
        loss_M, top_M, share_M = states_MD.new_empty(3, M, dtype=torch.float32).unbind()
        drawn_M, correct_M = targets_M.new_empty(2, M).unbind()
        size = max(1, CPU_KEPT_BYTES // (V * states_MD.element_size()))
        for start in range(0, M, size):
            rows = slice(start, min(start + size, M))
            logits = kept.block("logits", states_MD, rows.stop - start, V)
            torch.mm(states_MD[rows], words.T, out=logits)
            per_row = (x[rows] for x in (targets_M, uniforms_M, drawn_M, correct_M, loss_M, top_M, share_M))
            compiled.predict(
                VocabularyArguments(
                    logits.data_ptr(),
                    bias.data_ptr(),
                    *(x.data_ptr() for x in per_row),
                    None if dbias is None else dbias.data_ptr(),
                    *logits.shape,
                    temperature=temperature,
                    is_bf16=logits.dtype == torch.bfloat16,
                )
            )
            if needs_gradient:
                torch.mm(logits, words, out=dstates[rows])
                is_only = start == 0 and rows.stop == M
                share = logits.T @ states_MD[rows] if not is_only else torch.mm(
                    logits.T, states_MD, out=kept.block(free, states_MD, V, D)
                )  # fmt: skip
                dwords = share if dwords is None else dwords.float().add_(share)
        if needs_gradient:
            ctx.save_for_backward(dstates, dwords, dbias)
        ctx.words, ctx.memory, ctx.dtypes = words_VD, memory, (words_VD.dtype, bias_V.dtype)
        correct = correct_M.sum()
        ctx.mark_non_differentiable(drawn_M, correct)
        return loss_M.sum(), drawn_M, correct

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dloss: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        return *_gradients(ctx, dloss), *(None,) * 6


def _gradients(ctx: Any, dloss: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
    """Of the states ``(M, D)``, the words ``(V, D)`` and the bias ``(V,)``.

    That of the words is None where it went into a memory, or where there is no masked token.
    """
    dstates, dwords, dbias = ctx.saved_tensors
    words_dtype, bias_dtype = ctx.dtypes
    found = None
    if dwords is not None and ctx.memory is not None:
        ctx.memory.add_whole(ctx.words, dwords, float(dloss))
    elif dwords is not None:
        found = _scaled(dwords, words_dtype, dloss)
    return (dstates * dloss).to(dstates.dtype), found, (dbias * dloss).to(bias_dtype)


def _scaled(gradient: Tensor, dtype: torch.dtype, factor: Tensor) -> Tensor:
    """A gradient in another dtype times a number, in one allocation: new pages of a large table are slow."""
    converted = gradient.to(dtype)
    return converted * factor if converted is gradient else converted.mul_(factor)


def _rows_of_a_block(words_VD: Tensor) -> tuple[int, int]:
    """Rows that are scored together, and rows whose gradients are kept for one product."""
    on_cpu = words_VD.device.type == "cpu"
    size = max(MIN_ROWS, (CPU_NUMBERS if on_cpu else DEVICE_NUMBERS) // len(words_VD))
    block_bytes = size * len(words_VD) * words_VD.element_size()
    return size, size * (max(1, CPU_KEPT_BYTES // block_bytes) if on_cpu else 1)
