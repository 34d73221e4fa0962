"""Disentangled attention for training on processors: a few samples at a time, so that scores stay in cache.

The same numbers as ``eager_attention`` (arXiv:2006.03654, section 3.1, equation 4). Training with autograd's
own operations writes about ten arrays of L x L or L x 2L numbers per layer to memory, and page faults cost
more than arithmetic; here a block of samples goes through all of them before the next, and only the attention
weights are kept for the backward pass.

Queries in bf16 are multiplied in bf16, which matrix units do many times faster; scores are added up and the
softmax is taken in fp32.

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
from .attention_dropout import draw_seed, dropped, kept_factor
from .relative_position import OffsetTables

BLOCK_NUMBERS = 1 << 18
"""Attention weights per block: 1 MiB in fp32, so that all it needs fits a second-level cache."""


def blockwise_attention(
    q_BNLH: Tensor,
    k_BNLH: Tensor,
    v_BNLH: Tensor,
    tables: OffsetTables | None,
    mask: Tensor | None,
    *,
    scale: float,
    dropout_prob: float,
    output_attentions: bool,
) -> tuple[Tensor, Tensor | None]:
    """Products in the dtype of the queries (fp16 in fp32), sums and softmax at least in fp32.

    See ``attention_backends.eager_attention``.

    Raises:
        UserError: if the attention weights are asked for.
    """
    if q_BNLH.dtype == torch.float16:  # products of fp16 overflow before they can be raised
        q_BNLH, k_BNLH, v_BNLH = q_BNLH.float(), k_BNLH.float(), v_BNLH.float()
    L = q_BNLH.shape[-2]
    keys_NWH = queries_NWH = None
    if tables is not None:
        keys_NWH, queries_NWH = tables.offset_keys(L), tables.offset_queries(L)
    if output_attentions:
        raise UserError(
            "attention backend 'blockwise' has no attention weights to return; use 'strided' or 'eager'"
        )
    context: Tensor = _Blockwise.apply(
        q_BNLH, k_BNLH, v_BNLH, _even(keys_NWH), _even(queries_NWH), mask, scale, dropout_prob
    )
    return context, None


def _even(table_NWH: Tensor | None) -> Tensor | None:
    """One more row, of zeros: 2 * L columns suit matrix units better than 2 * L - 1."""
    return None if table_NWH is None else F.pad(table_NWH, (0, 0, 0, 1))


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
        keys_NWH: Tensor | None,
        queries_NWH: Tensor | None,
        mask: Tensor | None,
        scale: float,
        dropout_prob: float,
    ) -> Tensor:
        B, N, L, _ = q_BNLH.shape
        dtype = q_BNLH.dtype
        q, k, v = (_by_head(x, dtype) for x in (q_BNLH, k_BNLH, v_BNLH))
        keys, queries = (None if x is None else x.to(dtype) for x in (keys_NWH, queries_NWH))
        weight_NBLL = q.new_empty(N, B, L, L)
        gone_NBLL = torch.empty(N, B, L, L, dtype=torch.bool, device=q.device) if dropout_prob else None
        seed = draw_seed().to(q.device) if dropout_prob else None
        context = torch.empty_like(v)
        for head, samples in _blocks(B, N, L):
            q_CLH, k_CLH = q[head, samples], k[head, samples]
            score = _scores(q_CLH, k_CLH, _of(keys, head), _of(queries, head), scale)
            if mask is not None:
                score.masked_fill_(_hidden(mask, head, samples), torch.finfo(score.dtype).min)
            weight = weight_NBLL[head, samples].copy_(torch.softmax(score, dim=-1))
            if gone_NBLL is not None and seed is not None:
                first = (head * B + samples.start) * L
                gone = gone_NBLL[head, samples].copy_(dropped(seed, first, (*score.shape,), dropout_prob))
                weight = weight.masked_fill(gone, 0.0) * kept_factor(dropout_prob)
            torch.bmm(weight, v[head, samples], out=context[head, samples])
        ctx.save_for_backward(q, k, v, keys, queries, mask, weight_NBLL, gone_NBLL)
        ctx.scale, ctx.dropout_prob = scale, dropout_prob
        return context.transpose(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, keys, queries, mask, weight_NBLL, gone_NBLL = ctx.saved_tensors
        N, B, L, _ = q.shape
        gradient_NBLH = _by_head(gradient, q.dtype)
        dq, dk, dv = (torch.empty_like(q) for _ in range(3))
        accurate = torch.promote_types(gradient.dtype, torch.float32)
        dkeys, dqueries = (
            None if x is None else x.new_zeros(x.shape, dtype=accurate) for x in (keys, queries)
        )
        # What lies outside the skewed view is never written, so this stays zero there.
        offsets = q.new_zeros(_block_size(B, L), L, 2 * L)
        for head, samples in _blocks(B, N, L):
            q_CLH, k_CLH, do = q[head, samples], k[head, samples], gradient_NBLH[head, samples]
            weight = used = weight_NBLL[head, samples]
            dweight = torch.bmm(do, v[head, samples].transpose(1, 2))
            if gone_NBLL is not None:
                factor = kept_factor(ctx.dropout_prob)
                used = weight.masked_fill(gone_NBLL[head, samples], 0.0) * factor
                dweight = dweight.masked_fill_(gone_NBLL[head, samples], 0.0) * factor
            torch.bmm(used.transpose(1, 2), do, out=dv[head, samples])
            dscore = torch._softmax_backward_data(dweight, weight, -1, weight.dtype)
            if mask is not None:  # a row that may see nothing has weights, but no score has a part in them
                dscore.masked_fill_(_hidden(mask, head, samples), 0.0)
            for scores, own, other, result, table, dtable in (
                (dscore, q_CLH, k_CLH, dq, _of(keys, head), _of(dkeys, head)),
                (dscore.transpose(1, 2), k_CLH, q_CLH, dk, _of(queries, head), _of(dqueries, head)),
            ):
                content = torch.bmm(scores, other).mul_(ctx.scale)
                if table is not None and dtable is not None:
                    by_offset = offsets[: len(scores)]
                    _skewed(by_offset).copy_(scores)
                    rows = by_offset.flatten(0, 1)
                    content.view(-1, content.shape[-1]).addmm_(rows, table)
                    dtable += torch.mm(rows.T, own.flatten(0, 1))
                result[head, samples] = content
        grads = (x.transpose(0, 1).to(gradient.dtype) for x in (dq, dk, dv))
        return *grads, dkeys, dqueries, None, None, None


def _hidden(mask: Tensor, head: int, samples: slice) -> Tensor:
    """Where a block's queries may not look, from a mask that broadcasts to ``(B, N, L, L)``."""
    rows = mask[samples] if mask.shape[0] > 1 else mask
    return ~rows[:, head if mask.shape[1] > 1 else 0]


def _of(table_NWH: Tensor | None, head: int) -> Tensor | None:
    return None if table_NWH is None else table_NWH[head]


def _scores(
    q_CLH: Tensor, k_CLH: Tensor, keys_WH: Tensor | None, queries_WH: Tensor | None, scale: float
) -> Tensor:
    """The scores of a block, ``(C, L, L)``, at least in fp32. The tables are scaled already."""
    C, L, _ = q_CLH.shape
    content = torch.bmm(q_CLH, k_CLH.transpose(1, 2))
    score = content.to(torch.promote_types(content.dtype, torch.float32)).mul_(scale)
    if keys_WH is not None:
        score += _skewed(torch.mm(q_CLH.flatten(0, 1), keys_WH.T).view(C, L, -1))
    if queries_WH is not None:
        score += _skewed(torch.mm(k_CLH.flatten(0, 1), queries_WH.T).view(C, L, -1)).transpose(1, 2)
    return score
