"""Disentangled attention for training on a CPU: matmuls in torch, what lies between them in the C++ kernel.

The same numbers as `eager_attention` (arXiv:2006.03654, section 3.1, equation 4). For a head of a few samples
at a time torch multiplies queries with keys and with the relative tables; the kernel picks the position
terms, masks, takes the softmax and drops, all in fp32 and in one pass. Backward likewise: gradients of pairs
that read one row of the relative table are added up before they are multiplied. Without the kernel, and in
other dtypes than fp32 and bf16, `blockwise_attention` computes the same.

Shape letters: B batch, N heads, L tokens, H head width, P tokens padded to a multiple of 16, R rows of the
relative table that a length meets, likewise padded, C samples of a block.
"""

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ..layers import attention_backends as backends
from ..layers.attention_dropout import draw_seed, kept_factor, threshold
from ..layers.blockwise_attention import blockwise_attention
from ..layers.relative_position import RelativePositions, RelativeTables, may_read
from .kernel.library import Kernel, TrainingArguments, address, kernel
from .kernel.tables import Rows, jumps, offset_rows

BLOCK_NUMBERS = 1 << 18
"""Attention weights per block: half a MiB in bf16, so that a block's arrays fit a second-level cache."""
STEP = 16
"""Lengths and rows are padded to a multiple of this, the widest vector."""


def training_attention(
    q_BNLH: Tensor,
    k_BNLH: Tensor,
    v_BNLH: Tensor,
    tables: RelativeTables | None,
    mask: Tensor | None,
    *,
    scale: float,
    dropout_prob: float,
    output_attentions: bool,
) -> tuple[Tensor, Tensor | None]:
    """Products in the dtype of the queries, everything else in fp32; see `blockwise_attention`."""
    if output_attentions or not _can_run(q_BNLH, k_BNLH, tables):
        return blockwise_attention(
            q_BNLH, k_BNLH, v_BNLH, tables, mask,
            scale=scale, dropout_prob=dropout_prob, output_attentions=output_attentions,
        )  # fmt: skip
    L = q_BNLH.shape[-2]
    key_NRH = query_NRH = rows = None
    if tables is not None:
        rows = _Layout.of(tables.positions, L)
        first = rows.first - tables.first_row
        key_NRH, query_NRH = (
            None if x is None else x[:, first : first + rows.count]
            for x in (tables.key_NRH, tables.query_NRH)
        )
        key_NRH = None if key_NRH is None else key_NRH.flip(1)
    context: Tensor = _Attend.apply(
        q_BNLH, k_BNLH, v_BNLH, key_NRH, query_NRH, rows, mask, scale, dropout_prob
    )
    return context, None


def _can_run(q_BNLH: Tensor, k_BNLH: Tensor, tables: RelativeTables | None) -> bool:
    return (
        q_BNLH.dtype in (torch.float32, torch.bfloat16)
        and q_BNLH.device.type == "cpu"
        and q_BNLH.shape == k_BNLH.shape
        and q_BNLH.numel() > 0
        and may_read(q_BNLH)
        and (tables is None or not jumps(tables.positions))
        and kernel() is not None
    )


class _Layout:
    """Which rows of the relative table a length meets, and where they are among the columns of products."""

    def __init__(self, positions: RelativePositions, length: int) -> None:
        self.first, end = positions.window(length)
        self.count = end - self.first
        row = (offset_rows(positions, _padded(length)) - self.first).clip(0, self.count - 1)
        self.by_query: Rows = row.astype(np.int32)
        self.by_key: Rows = np.ascontiguousarray(self.count - 1 - row[::-1], np.int32)

    @staticmethod
    @lru_cache(maxsize=64)
    def of(positions: RelativePositions, length: int) -> "_Layout":
        """Kept: training meets the same lengths again."""
        return _Layout(positions, length)


def _padded(count: int) -> int:
    return (count + STEP - 1) // STEP * STEP


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q_BNLH: Tensor,
        k_BNLH: Tensor,
        v_BNLH: Tensor,
        key_NRH: Tensor | None,
        query_NRH: Tensor | None,
        layout: _Layout | None,
        mask: Tensor | None,
        scale: float,
        dropout_prob: float,
    ) -> Tensor:
        B, N, L, _ = q_BNLH.shape
        P, dtype = _padded(L), q_BNLH.dtype
        q, k, v = (_by_head(x, P) for x in (q_BNLH, k_BNLH, v_BNLH))
        keys, queries = (_columns(x, dtype) for x in (key_NRH, query_NRH))
        seed = int(draw_seed()) if dropout_prob else 0
        keeps = any(ctx.needs_input_grad[:5])
        C = _block_size(B, P)
        weights = q.new_empty(N, B, P, P) if keeps else None
        block = _Block(q, keys, queries, layout, mask, L, scale, dropout_prob, seed, C)
        context = torch.empty_like(v)
        for head in range(N):
            for start in range(0, B, C):
                samples = slice(start, min(start + C, B))
                own = block.weights if weights is None else weights[head, samples]
                used = block.weigh(
                    q[head, samples],
                    k[head, samples],
                    _of(keys, head),
                    _of(queries, head),
                    own,
                    head,
                    samples,
                )
                torch.bmm(used, v[head, samples], out=context[head, samples])
        if keeps:
            ctx.save_for_backward(q, k, v, keys, queries, mask, weights)
        ctx.facts = layout, L, scale, dropout_prob, seed
        ctx.rows = 0 if layout is None else layout.count
        return context[:, :, :L].transpose(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BNLH: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, keys, queries, mask, weights = ctx.saved_tensors
        layout, L, scale, dropout_prob, seed = ctx.facts
        N, B, P, _ = q.shape
        C = _block_size(B, P)
        block = _Block(q, keys, queries, layout, mask, L, scale, dropout_prob, seed, C)
        gradient = _by_head(gradient_BNLH.to(q.dtype), P)
        dq, dk, dv = (torch.empty_like(q) for _ in range(3))
        dkeys, dqueries = (
            None if x is None else x.new_zeros(x.shape, dtype=torch.float32) for x in (keys, queries)
        )
        for head in range(N):
            for start in range(0, B, C):
                samples = slice(start, min(start + C, B))
                q_CPH, k_CPH, do = q[head, samples], k[head, samples], gradient[head, samples]
                used, dscores = block.differentiate(
                    do, v[head, samples], weights[head, samples], head, samples
                )
                torch.bmm(used.transpose(1, 2), do, out=dv[head, samples])
                torch.bmm(dscores, k_CPH, out=dq[head, samples])
                torch.bmm(dscores.transpose(1, 2), q_CPH, out=dk[head, samples])
                for products, table, own, result, dtable in (
                    (block.dc2p, keys, q_CPH, dq, dkeys),
                    (block.dp2c, queries, k_CPH, dk, dqueries),
                ):
                    if products is not None and table is not None and dtable is not None:
                        rows = products[: len(own)].flatten(0, 1)
                        result[head, samples].view(rows.shape[0], -1).addmm_(rows, table[head])
                        dtable[head] += torch.mm(rows.T, own.flatten(0, 1))
        grads = (x[:, :, :L].transpose(0, 1).to(gradient_BNLH.dtype) for x in (dq, dk, dv))
        tables = (None if x is None else x[:, : ctx.rows] for x in (dkeys, dqueries))
        return *grads, *tables, None, None, None, None


class _Block:
    """One head of a few samples after the other, in the same memory, which so stays in cache."""

    def __init__(
        self,
        q: Tensor,
        keys: Tensor | None,
        queries: Tensor | None,
        layout: _Layout | None,
        mask: Tensor | None,
        tokens: int,
        scale: float,
        dropout_prob: float,
        seed: int,
        size: int,
    ) -> None:
        found = kernel()
        assert found is not None, "there was a kernel when this was chosen"
        self.kernel: Kernel = found
        self.num_samples, P = q.shape[1], q.shape[2]
        R = next((x.shape[1] for x in (keys, queries) if x is not None), 0)
        self.products = q.new_empty(size, P, P)
        self.used = q.new_empty(size, P, P) if dropout_prob else None
        self.weights = q.new_empty(size, P, P)
        self.c2p, self.p2c = (None if x is None else _with_slack(q, size * P, R) for x in (keys, queries))
        self.dc2p, self.dp2c = (None if x is None else q.new_empty(size, P, R) for x in (keys, queries))
        self.mask = mask
        if mask is not None:
            pairs = mask.expand(*mask.shape[:-2], tokens, tokens)
            self.mask = pairs if pairs.stride(-1) == 1 else pairs.contiguous()
        team, threads = self.kernel.crew()
        self.arguments = TrainingArguments(
            length=P, tokens=tokens, columns=R, threads=threads, team=team, seed=seed, scale=scale,
            threshold=threshold(dropout_prob), kept_factor=kept_factor(dropout_prob),
            is_bf16=q.dtype == torch.bfloat16,
        )  # fmt: skip
        if layout is not None:
            self.arguments.rows_by_key = address(layout.by_key)
            self.arguments.rows_by_query = address(layout.by_query)

    def weigh(
        self,
        q_CPH: Tensor,
        k_CPH: Tensor,
        keys_RH: Tensor | None,
        queries_RH: Tensor | None,
        weights: Tensor,
        head: int,
        samples: slice,
    ) -> Tensor:
        """Fill in ``weights``; returns those after dropout, ``(C, P, P)``."""
        a, C = self.arguments, len(q_CPH)
        content = torch.bmm(q_CPH, k_CPH.transpose(1, 2), out=self.products[:C])
        a.content = content.data_ptr()
        for own, table, out, name in (
            (q_CPH, keys_RH, self.c2p, "c2p"),
            (k_CPH, queries_RH, self.p2c, "p2c"),
        ):
            if table is not None and out is not None:
                products = torch.mm(own.flatten(0, 1), table.T, out=out[: C * own.shape[1]])
                setattr(a, name, products.data_ptr())
        used = weights[:C] if self.used is None else self.used[:C]
        a.weights, a.used = weights.data_ptr(), used.data_ptr()
        self._place(head, samples)
        self.kernel.weigh(a)
        return used

    def differentiate(
        self, do_CPH: Tensor, v_CPH: Tensor, weights: Tensor, head: int, samples: slice
    ) -> tuple[Tensor, Tensor]:
        """The weights after dropout and the gradient of the scores; ``dc2p`` and ``dp2c`` are filled in."""
        a, C = self.arguments, len(do_CPH)
        dused = torch.bmm(do_CPH, v_CPH.transpose(1, 2), out=self.products[:C])
        used = weights if self.used is None else self.used[:C]
        dscores = self.weights[:C]
        a.weights, a.dused, a.used, a.dscores = (x.data_ptr() for x in (weights, dused, used, dscores))
        a.dc2p, a.dp2c = (None if x is None else x.data_ptr() for x in (self.dc2p, self.dp2c))
        self._place(head, samples)
        self.kernel.differentiate(a)
        return used, dscores

    def _place(self, head: int, samples: slice) -> None:
        a = self.arguments
        a.samples = samples.stop - samples.start
        a.first_sample = head * self.num_samples + samples.start
        if self.mask is not None:
            sample_stride, head_stride, a.mask_query, _ = self.mask.stride()
            a.mask_sample = sample_stride if self.mask.shape[0] > 1 else 0
            first = samples.start * a.mask_sample + (head * head_stride if self.mask.shape[1] > 1 else 0)
            a.mask = self.mask.data_ptr() + first


def _by_head(x_BNLH: Tensor, padded: int) -> Tensor:
    """Contiguous ``(N, B, P, H)``, zeros after the tokens."""
    B, N, L, H = x_BNLH.shape
    out = x_BNLH.new_empty(N, B, padded, H)
    out[:, :, :L] = x_BNLH.transpose(0, 1)
    if padded > L:
        out[:, :, L:].zero_()
    return out


def _columns(table_NRH: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """A table with rows of zeros up to a multiple of 16."""
    if table_NRH is None:
        return None
    rows = table_NRH.shape[1]
    return F.pad(table_NRH.to(dtype), (0, 0, 0, _padded(rows) - rows)).contiguous()


def _with_slack(like: Tensor, rows: int, columns: int) -> Tensor:
    """``(rows, columns)``, and a vector after it that may be read."""
    return like.new_empty(rows * columns + STEP)[: rows * columns].view(rows, columns)


def _of(table_NRH: Tensor | None, head: int) -> Tensor | None:
    return None if table_NRH is None else table_NRH[head]


def _block_size(B: int, P: int) -> int:
    return min(B, max(1, BLOCK_NUMBERS // (P * P)))


BLOCKWISE = replace(backends.BLOCKWISE, run=training_attention)
