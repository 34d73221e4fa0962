"""Disentangled self-attention as an exported graph computes it: the same numbers, nothing left to look up.

Queries, keys and values come from one product; the projected relative tables are constants, laid out by
offset (arXiv:2006.03654, section 3.1, equation 4); picking the score of an offset is a slice of the flat
product, so the graph has neither ``Tile`` nor ``GatherElements``. One graph serves every batch and length.

Heads come before samples: all tokens of a batch then meet a head's table in one product, and no table is
repeated.

Shape letters: B batch, L tokens, N heads, H head width, D hidden size (N * H), R rows of the relative table,
M = B * L tokens of a batch, W = 2 * L columns that count offsets.
"""

from typing import cast

import torch
from torch import Tensor, nn

from .attention import DisentangledSelfAttention
from .encoder import Encoder

HIDDEN = -3.0e38
"""Added to the score of a token that must not be seen: finite, so that no runtime makes NaN of it."""


class FoldedSelfAttention(nn.Module):
    """Takes the place of a `DisentangledSelfAttention` in a model that is to be exported.

    Args:
        attention: what to fold; its weights are copied.
        table_RD: the relative table after its LayerNorm; None without relative attention.
        by_head: whether one head is computed after the other: more operations, which costs short inputs time,
            and one head's scores in memory at once, which is what long inputs need.
    """

    rows: Tensor
    rows_back: Tensor
    keys_NRH: Tensor | None
    queries_NRH: Tensor | None

    def __init__(
        self, attention: DisentangledSelfAttention, table_RD: Tensor | None, *, by_head: bool = False
    ) -> None:
        super().__init__()
        self.by_head = by_head
        self.num_heads, self.head_width = attention.num_heads, attention.head_width
        self.width = attention.num_heads * attention.head_width
        self.farthest = attention.positions.farthest
        self.qkv = _fold_projections(attention)
        rows = torch.tensor(
            [attention.positions.row(offset) for offset in range(-self.farthest, self.farthest + 1)]
        )
        self.register_buffer("rows", rows)  # by ascending i - j
        self.register_buffer("rows_back", rows.flip(0))  # by ascending j - i
        self.register_buffer("keys_NRH", None)
        self.register_buffer("queries_NRH", None)
        if table_RD is not None:
            tables = attention.project_table(table_RD)
            self.keys_NRH = tables.key_NRH  # the scale is in the queries already
            if tables.query_NRH is not None:
                self.queries_NRH = tables.query_NRH * attention.scale

    def forward(
        self,
        hidden_states: Tensor,
        mask: Tensor | None,
        table_RD: Tensor | None = None,
        query_states: Tensor | None = None,
        output_attentions: bool = False,
    ) -> tuple[Tensor, None]:
        """Let every token look at the others: see `DisentangledSelfAttention.forward`.

        Args:
            hidden_states: ``(B, L, D)``.
            mask: bool, broadcastable to ``(B, 1, L, L)``, True where query i may see key j.
            table_RD: not read, it is folded.
            query_states: ``(B, L, D)``, source of the queries (the enhanced mask decoder).
            output_attentions: must be off; a graph has no use for them.
        """
        B, L, _ = hidden_states.shape
        q_NMH, k_NMH, v_NMH = self._project(hidden_states, query_states)
        bias = None if mask is None else torch.where(mask, 0.0, HIDDEN).transpose(0, 1)  # (1, B, 1 or L, L)
        step = 1 if self.by_head else self.num_heads
        contexts = []
        for start in range(0, self.num_heads, step):
            heads = slice(start, start + step)
            contexts.append(self._attend(q_NMH[heads], k_NMH[heads], v_NMH[heads], heads, bias, (B, L)))
        context = torch.cat(contexts) if self.by_head else contexts[0]
        context = context.reshape(self.num_heads, B, L, self.head_width).permute(1, 2, 0, 3)
        return context.reshape(B, L, self.width), None

    def _attend(
        self,
        q_NMH: Tensor,
        k_NMH: Tensor,
        v_NMH: Tensor,
        heads: slice,
        bias: Tensor | None,
        shape: tuple[int, int],
    ) -> Tensor:
        """The context of some heads: ``(N * B, L, H)``.

        No size is left open and the offsets say that they are integers: OpenVINO computes open sizes and
        other ranges in floating point, which in bf16 is wrong above 256.
        """
        N, (B, L) = q_NMH.shape[0], shape
        q, k, v = (x.reshape(N * B, L, self.head_width) for x in (q_NMH, k_NMH, v_NMH))
        score = torch.bmm(q, k.transpose(1, 2))
        offset = torch.arange(2 * L, dtype=torch.int64, device=q.device) - (L - 1)
        place = offset.clamp(-self.farthest, self.farthest) + self.farthest
        if self.keys_NRH is not None:
            keys_NHW = _by_offset(self.keys_NRH[heads], self.rows_back.index_select(0, place))
            score = score + _skew(torch.bmm(q_NMH, keys_NHW), L)
        if self.queries_NRH is not None:
            queries_NHW = _by_offset(self.queries_NRH[heads], self.rows.index_select(0, place))
            score = score + _skew(torch.bmm(k_NMH, queries_NHW), L).transpose(1, 2)
        if bias is not None:
            score = (score.reshape(N, B, L, L) + bias).reshape(N * B, L, L)
        return torch.bmm(torch.softmax(score, dim=-1), v)

    def _project(self, hidden_states: Tensor, query_states: Tensor | None) -> list[Tensor]:
        """Queries, keys and values, each ``(N, B * L, H)``."""
        if query_states is None:
            parts = list(self.qkv(hidden_states).split(self.width, dim=-1))
        else:
            weight, bias = self.qkv.weight, self.qkv.bias
            query = nn.functional.linear(query_states, weight[: self.width], bias[: self.width])
            other = nn.functional.linear(hidden_states, weight[self.width :], bias[self.width :])
            parts = [query, *other.split(self.width, dim=-1)]
        B, L, _ = hidden_states.shape
        return [
            part.reshape(B, L, self.num_heads, self.head_width)
            .permute(2, 0, 1, 3)
            .reshape(self.num_heads, B * L, self.head_width)
            for part in parts
        ]


def fold_attention(model: nn.Module, *, by_head: bool = False) -> None:
    """Fold every attention of a model: real tokens come out the same, and it can be exported but not trained.

    Args:
        model: an encoder or what holds one.
        by_head: see `FoldedSelfAttention`.
    """
    with torch.no_grad():
        for encoder in [module for module in model.modules() if isinstance(module, Encoder)]:
            encoder.hides_padded_queries = False
            table_RD = encoder.relative_table()
            for layer in encoder.layer:
                holder = cast(nn.Module, layer.attention)
                attention = cast(DisentangledSelfAttention, holder.self)
                holder.self = FoldedSelfAttention(attention, table_RD, by_head=by_head)


def _fold_projections(attention: DisentangledSelfAttention) -> nn.Linear:
    """One linear layer for queries (times the scale of the score), keys and values."""
    parts = (attention.query_proj, attention.key_proj, attention.value_proj)
    factors = (attention.scale, 1.0, 1.0)
    folded = nn.Linear(parts[0].in_features, 3 * parts[0].out_features)
    folded.weight.data = torch.cat(
        [part.weight.data * factor for part, factor in zip(parts, factors, strict=True)]
    )
    folded.bias.data = torch.cat(
        [part.bias.data * factor for part, factor in zip(parts, factors, strict=True)]
    )
    return folded


def _by_offset(table_NRH: Tensor, row_W: Tensor) -> Tensor:
    """The rows of a length's offsets as a matrix to multiply by: ``(N, H, W)``."""
    return table_NRH.index_select(1, row_W).transpose(1, 2)


def _skew(product_NMW: Tensor, length: int) -> Tensor:
    """Turn columns that count offsets into tokens: ``[i, j]`` is ``product[i, j - i + L - 1]``.

    Without the first ``L - 1`` numbers of the flat product, rows of ``2 * L - 1`` each start one earlier.

    Returns:
        ``(N * B, L, L)``.
    """
    flat = product_NMW.reshape(-1, 2 * length * length)
    kept = flat[:, length - 1 : length - 1 + length * (2 * length - 1)]
    return kept.reshape(-1, length, 2 * length - 1)[:, :, :length]
