"""Disentangled self-attention as an exported graph computes it: the same numbers, nothing left to look up.

Queries, keys and values come from one product; the projected relative tables are constants, laid out by
offset (arXiv:2006.03654, section 3.1, equation 4); picking the score of an offset is a slice of the flat
product, so the graph has neither ``Tile`` nor ``GatherElements``. One graph serves every batch and length.

Heads come before samples: all tokens of a batch then meet a head's table in one product, and no table is
repeated.

Shape letters: B batch, L tokens, N heads, H head width, D hidden size (N * H), R rows of a table by offset,
M = B * L tokens of a batch, W = 2 * L columns that count offsets.
"""

from typing import cast

import torch
from torch import Tensor, nn

from .attention import DisentangledSelfAttention, Version
from .encoder import Encoder
from .relative_position import RelativePositions

HIDDEN = -3.0e38
"""Added to the score of a token that must not be seen: finite, so that no runtime makes NaN of it."""


class FoldedSelfAttention(nn.Module):
    """Takes the place of a `DisentangledSelfAttention` in a model that is to be exported.

    Args:
        attention: what to fold; its weights are copied.
        table_RD: the relative table after its LayerNorm; None without relative attention.
    """

    def __init__(self, attention: DisentangledSelfAttention, table_RD: Tensor | None) -> None:
        super().__init__()
        self.num_heads, self.head_width = attention.num_heads, attention.head_width
        self.width = attention.num_heads * attention.head_width
        self.farthest = attention.positions.farthest
        self.qkv = _fold_projections(attention)
        self.register_buffer("keys_NRH", None)
        self.register_buffer("queries_NRH", None)
        if table_RD is not None:
            tables = attention.project_table(table_RD)
            if tables.key_NRH is not None:  # read at offset j - i; the scale is in the queries already
                self.keys_NRH = _by_offset(tables.key_NRH, attention.positions).flip(1).contiguous()
            if tables.query_NRH is not None:  # read at offset i - j
                self.queries_NRH = _by_offset(tables.query_NRH, attention.positions) * attention.scale

    def forward(
        self,
        hidden_states: Tensor,
        mask: Tensor | None,
        table_RD: Tensor | None = None,
        table_version: Version = None,
        query_states: Tensor | None = None,
        output_attentions: bool = False,
    ) -> tuple[Tensor, None]:
        """Let every token look at the others: see `DisentangledSelfAttention.forward`.

        Args:
            hidden_states: ``(B, L, D)``.
            mask: bool, broadcastable to ``(B, 1, L, L)``, True where query i may see key j.
            table_RD: not read, it is folded.
            table_version: not read.
            query_states: ``(B, L, D)``, source of the queries (the enhanced mask decoder).
            output_attentions: must be off; a graph has no use for them.
        """
        B, L, _ = hidden_states.shape
        q_NMH, k_NMH, v_NMH = self._project(hidden_states, query_states)
        q, k, v = (x.reshape(-1, L, self.head_width) for x in (q_NMH, k_NMH, v_NMH))
        score = torch.bmm(q, k.transpose(1, 2))
        offset = (torch.arange(2 * L, device=hidden_states.device) - (L - 1)).clamp(
            -self.farthest, self.farthest
        )
        row = offset + self.farthest
        if self.keys_NRH is not None:
            score = score + _skew(torch.bmm(q_NMH, _rows(self.keys_NRH, row)), L)
        if self.queries_NRH is not None:
            score = score + _skew(torch.bmm(k_NMH, _rows(self.queries_NRH, row)), L).transpose(1, 2)
        if mask is not None:
            bias = torch.where(mask, 0.0, HIDDEN).transpose(0, 1)  # (1, B, 1 or L, L)
            score = (score.reshape(self.num_heads, B, L, L) + bias).reshape(-1, L, L)
        context = torch.bmm(torch.softmax(score, dim=-1), v)
        context = context.reshape(self.num_heads, B, L, self.head_width).permute(1, 2, 0, 3)
        return context.reshape(B, L, self.width), None

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
            .reshape(self.num_heads, -1, self.head_width)
            for part in parts
        ]


def fold_attention(model: nn.Module) -> None:
    """Fold every attention of a model: it then computes the same, and can be exported but not trained."""
    with torch.no_grad():
        for encoder in [module for module in model.modules() if isinstance(module, Encoder)]:
            table_RD = encoder.relative_embeddings().table_RD
            for layer in encoder.layer:
                attention = cast(DisentangledSelfAttention, layer.attention.self)
                layer.attention.self = FoldedSelfAttention(attention, table_RD)


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


def _by_offset(table_NRH: Tensor, positions: RelativePositions) -> Tensor:
    """One row for each offset from ``-farthest`` to ``farthest``."""
    far = positions.farthest
    rows = torch.tensor([positions.row(offset) for offset in range(-far, far + 1)])
    return table_NRH[:, rows]


def _rows(table_NRH: Tensor, row_W: Tensor) -> Tensor:
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
