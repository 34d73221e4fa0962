"""Disentangled attention for training on processors: a few samples at a time, so that scores stay in cache.

The same numbers as ``eager_attention`` (arXiv:2006.03654, section 3.1, equation 4). Training with autograd's
own operations writes about ten arrays of L x L or L x 2L numbers per layer to memory, and page faults cost
more than arithmetic; here a block of samples goes through all of them before the next, and only the attention
weights are kept for the backward pass.

In bf16 (``blockwise_bf16_attention``) products multiply in bf16, which matrix units do many times faster;
scores are added and the softmax taken in fp32.

Shape letters: B batch, N heads, L tokens, H head width, W = 2 * L columns that count offsets, C samples of a
block.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ..errors import UserError
from .attention_backends import BACKENDS, Tables

BLOCK_NUMBERS = 1 << 18
"""Attention weights per block: 1 MiB in fp32, so that all it needs fits a second-level cache."""


def blockwise_attention(
    q_BNLH: Tensor,
    k_BNLH: Tensor,
    v_BNLH: Tensor,
    tables: Tables | None,
    mask: Tensor | None,
    *,
    scale: float,
    dropout_prob: float,
    output_attentions: bool,
) -> tuple[Tensor, Tensor | None]:
    """All in the dtype of the queries. See ``attention_backends.eager_attention``.

    Raises:
        UserError: if the attention weights are asked for, or one of the position terms is missing.
    """
    return _attend(q_BNLH, k_BNLH, v_BNLH, tables, mask, scale, dropout_prob, output_attentions, q_BNLH.dtype)


def blockwise_bf16_attention(
    q_BNLH: Tensor,
    k_BNLH: Tensor,
    v_BNLH: Tensor,
    tables: Tables | None,
    mask: Tensor | None,
    *,
    scale: float,
    dropout_prob: float,
    output_attentions: bool,
) -> tuple[Tensor, Tensor | None]:
    """Products in bf16, sums and softmax in fp32. See ``blockwise_attention``."""
    return _attend(
        q_BNLH, k_BNLH, v_BNLH, tables, mask, scale, dropout_prob, output_attentions, torch.bfloat16
    )


def _attend(
    q_BNLH: Tensor,
    k_BNLH: Tensor,
    v_BNLH: Tensor,
    tables: Tables | None,
    mask: Tensor | None,
    scale: float,
    dropout_prob: float,
    output_attentions: bool,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor | None]:
    L = q_BNLH.shape[-2]
    keys_NWH = queries_NWH = None
    if tables is not None:
        keys_NWH, queries_NWH = tables.offset_keys(L), tables.offset_queries(L)
    if output_attentions or keys_NWH is None or queries_NWH is None:
        raise UserError(
            "attention backend 'blockwise' returns no weights and needs both position terms (c2p and p2c); "
            "use 'strided' or 'eager'"
        )
    context = _Blockwise.apply(
        q_BNLH, k_BNLH, v_BNLH, _even(keys_NWH), _even(queries_NWH), mask, scale, dropout_prob, dtype
    )
    return context, None


BACKENDS["blockwise"] = blockwise_attention
BACKENDS["blockwise-bf16"] = blockwise_bf16_attention


def _even(table_NWH: Tensor) -> Tensor:
    """One more row, of zeros: 2 * L columns suit matrix units better than 2 * L - 1."""
    return F.pad(table_NWH, (0, 0, 0, 1))


def _skewed(product_CLW: Tensor) -> Tensor:
    """View columns that count offsets as tokens: ``[i, j]`` is ``product[i, j - i + L - 1]``."""
    C, L, W = product_CLW.shape
    return product_CLW.as_strided((C, L, L), (L * W, W - 1, 1), L - 1)


def _blocks(B: int, N: int, L: int) -> Iterator[tuple[int, slice]]:
    """Heads, and samples of each, that go through all operations together."""
    size = _block_size(B, L)
    return ((head, slice(start, min(start + size, B))) for head in range(N) for start in range(0, B, size))


def _block_size(B: int, L: int) -> int:
    return min(B, max(1, BLOCK_NUMBERS // (L * L)))


def _by_head(x_BNLH: Tensor, dtype: torch.dtype) -> Tensor:
    """Contiguous ``(N, B, L, H)``, so that all samples of a head are one matrix."""
    return x_BNLH.transpose(0, 1).to(dtype, memory_format=torch.contiguous_format)


class _Blockwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q_BNLH: Tensor,
        k_BNLH: Tensor,
        v_BNLH: Tensor,
        keys_NWH: Tensor,
        queries_NWH: Tensor,
        mask: Tensor | None,
        scale: float,
        dropout_prob: float,
        dtype: torch.dtype,
    ) -> Tensor:
        B, N, L, _ = q_BNLH.shape
        q, k, v = (_by_head(x, dtype) for x in (q_BNLH, k_BNLH, v_BNLH))
        keys, queries = keys_NWH.to(dtype), queries_NWH.to(dtype)  # scaled by the tables
        weight_NBLL = q.new_empty(N, B, L, L)
        dropped = torch.empty(N, B, L, L, dtype=torch.bool) if dropout_prob else None
        context = torch.empty_like(v)
        for head, samples in _blocks(B, N, L):
            q_CLH, k_CLH = q[head, samples], k[head, samples]
            score = _scores(q_CLH, k_CLH, keys[head], queries[head], scale)
            if mask is not None:
                visible = mask[samples, head if mask.shape[1] > 1 else 0]
                score.masked_fill_(~visible, torch.finfo(score.dtype).min)
            weight = weight_NBLL[head, samples].copy_(torch.softmax(score, dim=-1))
            if dropped is not None:
                gone = dropped[head, samples].copy_(torch.rand_like(score) < dropout_prob)
                weight = weight.masked_fill(gone, 0.0) / (1 - dropout_prob)
            torch.bmm(weight, v[head, samples], out=context[head, samples])
        ctx.save_for_backward(q, k, v, keys, queries, weight_NBLL, dropped)
        ctx.scale, ctx.dropout_prob = scale, dropout_prob
        return context.transpose(0, 1).to(q_BNLH.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, keys, queries, weight_NBLL, dropped = ctx.saved_tensors
        N, B, L, _ = q.shape
        gradient_NBLH = _by_head(gradient, q.dtype)
        dq, dk, dv = (torch.empty_like(q) for _ in range(3))
        dkeys = torch.zeros(keys.shape, dtype=gradient.dtype)
        dqueries = torch.zeros_like(dkeys)
        # What lies outside the skewed view is never written, so these stay zero there.
        wide, tall = (q.new_zeros(_block_size(B, L), L, 2 * L) for _ in range(2))
        for head, samples in _blocks(B, N, L):
            q_CLH, k_CLH, do = q[head, samples], k[head, samples], gradient_NBLH[head, samples]
            weight = used = weight_NBLL[head, samples]
            dweight = torch.bmm(do, v[head, samples].transpose(1, 2))
            if dropped is not None:
                keep = 1 - ctx.dropout_prob
                used = weight.masked_fill(dropped[head, samples], 0.0) / keep
                dweight = dweight.masked_fill_(dropped[head, samples], 0.0) / keep
            torch.bmm(used.transpose(1, 2), do, out=dv[head, samples])
            dscore = torch._softmax_backward_data(dweight, weight, -1, weight.dtype)
            size = len(dscore)
            _skewed(wide[:size]).copy_(dscore)
            _skewed(tall[:size]).copy_(dscore.transpose(1, 2))
            wide_MW, tall_MW = wide[:size].flatten(0, 1), tall[:size].flatten(0, 1)
            for result, table, rows, scores, other in (
                (dq, keys[head], wide_MW, dscore, k_CLH),
                (dk, queries[head], tall_MW, dscore.transpose(1, 2), q_CLH),
            ):
                by_position = torch.mm(rows, table).view_as(other)
                torch.baddbmm(by_position, scores, other, alpha=ctx.scale, out=result[head, samples])
            dkeys[head] += torch.mm(wide_MW.T, q_CLH.flatten(0, 1))
            dqueries[head] += torch.mm(tall_MW.T, k_CLH.flatten(0, 1))
        grads = (x.transpose(0, 1).to(gradient.dtype) for x in (dq, dk, dv))
        return *grads, dkeys, dqueries, None, None, None, None


def _scores(q_CLH: Tensor, k_CLH: Tensor, keys_WH: Tensor, queries_WH: Tensor, scale: float) -> Tensor:
    """The scores of a block, ``(C, L, L)``, at least in fp32. The tables are scaled already."""
    C, L, _ = q_CLH.shape
    content = torch.bmm(q_CLH, k_CLH.transpose(1, 2))
    c2p = _skewed(torch.mm(q_CLH.flatten(0, 1), keys_WH.T).view(C, L, -1))
    p2c = _skewed(torch.mm(k_CLH.flatten(0, 1), queries_WH.T).view(C, L, -1)).transpose(1, 2)
    accurate = torch.float32 if content.dtype == torch.bfloat16 else content.dtype
    return content.to(accurate).mul_(scale).add_(c2p).add_(p2c)
