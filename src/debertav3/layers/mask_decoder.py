"""The enhanced mask decoder, EMD (DeBERTa, arXiv:2006.03654, section 3.2), for all tokens or the masked ones.

At masked positions only it equals the full decoder followed by picking them, but computes no more than these
need. Keys and values of both passes are the same states, so they are projected once; queries, output and
feed-forward part are computed for the 15 % of tokens whose words are predicted.

Shape letters: B batch, Q most masked tokens of a sample, L tokens, N heads, H head width, D hidden size, M
masked tokens of the batch, W offsets (see ``attention_backends.py``).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from .attention import DisentangledSelfAttention
from .embeddings import absolute_positions
from .encoder import Encoder
from .masks import AttentionMasks


class EnhancedMaskDecoder:
    """Absolute positions enter just before the prediction of words (DeBERTa, arXiv:2006.03654, section 3.2).

    It has no weights of its own: the last layer runs twice, its keys and values are the output of the layer
    before it, and its first queries are that output plus the absolute position embeddings. The last layer's
    ordinary output is never needed, so it is not computed.

    Args:
        encoder: the encoder whose last layer is run.
        position_embeddings: the absolute position table.
    """

    NUM_STEPS = 2

    def __init__(self, encoder: Encoder, position_embeddings: nn.Embedding) -> None:
        width = encoder.hidden_size
        if position_embeddings.embedding_dim != width:
            raise UserError(
                f"the enhanced mask decoder adds positions to hidden states; got embedding_size "
                f"{position_embeddings.embedding_dim}, need hidden_size {width}"
            )
        self.encoder = encoder
        self.position_embeddings = position_embeddings

    def __call__(self, states: Tensor, masks: AttentionMasks, position_ids: Tensor | None = None) -> Tensor:
        """Decode.

        Args:
            states: ``(B, L, D)``, the output of the second-to-last layer.
            masks: as given to the encoder.
            position_ids: ``(B, L)`` or ``(1, L)`` int64; None means 0 .. L-1.

        Returns:
            ``(B, L, D)``, for the masked LM head.

        Raises:
            UserError: for more tokens than there are absolute positions.
        """
        if position_ids is None:
            position_ids = absolute_positions(states.shape[1], self.position_embeddings, states.device)
        query: Tensor = states + self.position_embeddings(position_ids)
        for _ in range(self.NUM_STEPS):
            query = self.encoder.run_last_layer(states, masks, query)
        return query


@dataclass(frozen=True, slots=True)
class _MaskedPositions:
    """Masked positions as a ``(B, Q)`` matrix; shorter rows are padded with position 0."""

    column_BQ: Tensor
    """Position in the row."""
    flat_M: Tensor
    """Index of each masked token in the flat matrix."""

    @classmethod
    def of(cls, positions_M: Tensor, batch_size: int, length: int) -> "_MaskedPositions":
        row_M = positions_M // length
        count_B = torch.bincount(row_M, minlength=batch_size)
        first_B = count_B.cumsum(0) - count_B
        most = int(count_B.max()) if positions_M.numel() else 0
        flat_M = row_M * most + torch.arange(len(positions_M), device=positions_M.device) - first_B[row_M]
        column = positions_M.new_zeros(batch_size * most)
        column[flat_M] = positions_M % length
        return cls(column.view(batch_size, most), flat_M)

    def pick(self, x_BLD: Tensor) -> Tensor:
        """``(B, L, D)`` to ``(B, Q, D)``."""
        return x_BLD.gather(1, self.column_BQ.unsqueeze(-1).expand(-1, -1, x_BLD.shape[-1]))


def decode_masked_positions(
    encoder: Encoder,
    position_embeddings: nn.Embedding,
    states: Tensor,
    masks: AttentionMasks,
    positions_M: Tensor,
    position_ids: Tensor | None = None,
) -> Tensor:
    """Decode the masked masked.

    Deviation: dropout of the relative table is drawn once for both passes, not for each
    (test_masked_positions_equal_full_decoder is without dropout).

    Args:
        encoder: its last layer is run twice.
        position_embeddings: the absolute position table.
        states: ``(B, L, D)``, the output of the second-to-last layer.
        masks: as given to the encoder.
        positions_M: int64, masked positions in the flat batch, ascending.
        position_ids: ``(B, L)`` or ``(1, L)`` int64; None means 0 .. L-1.

    Returns:
        ``(M, D)``.
    """
    B, L, _ = states.shape
    layer: Any = encoder.layer[-1]
    masked = _MaskedPositions.of(positions_M, B, L)
    if position_ids is None:
        position_ids = absolute_positions(L, position_embeddings, states.device)
    positions_BLD = position_embeddings(position_ids).expand(B, -1, -1)
    query = masked.pick(states) + masked.pick(positions_BLD)
    attend = _SparseQueries(
        layer.attention.self, encoder.relative_table(states.device), states, masks.pairs, masked
    )
    for _ in range(EnhancedMaskDecoder.NUM_STEPS):
        attended = layer.attention.output(attend(query), query)
        query = layer.output(layer.intermediate(attended), attended)
    return query.flatten(0, 1)[masked.flat_M]


class _SparseQueries:
    """Attention of a few queries per sample to all its tokens; what no query changes is kept."""

    def __init__(
        self,
        attention: DisentangledSelfAttention,
        table_RD: Tensor | None,
        states: Tensor,
        pairs: Tensor | None,
        masked: _MaskedPositions,
    ) -> None:
        L = states.shape[1]
        self.attention = attention
        self.k_BNLH = self._heads(attention.key_proj(states))
        self.v_BNLH = self._heads(attention.value_proj(states))
        token = torch.arange(L, device=states.device)
        self.offset_BQL = token - masked.column_BQ.unsqueeze(-1) + L - 1  # column of key j for the query at i
        self.hidden = None
        if pairs is not None:
            visible = pairs.expand(len(states), 1, -1, -1)
            rows = masked.column_BQ[:, None, :, None].expand(-1, -1, -1, L)
            self.hidden = ~(visible.expand(-1, -1, L, -1).gather(2, rows))
        self.keys_NWH = self.p2c_BNQL = None
        if table_RD is not None:
            tables = attention.project_table(table_RD)
            self.keys_NWH = tables.offset_keys(L)
            queries_NWH = tables.offset_queries(L)
            if queries_NWH is not None:
                by_key = self._times_table(self.k_BNLH, queries_NWH)
                index = (2 * L - 2 - self.offset_BQL).transpose(1, 2)  # i - j + L - 1
                self.p2c_BNQL = by_key.gather(-1, self._over_heads(index)).transpose(-1, -2)

    def __call__(self, query_BQD: Tensor) -> Tensor:
        """Context of the queries, ``(B, Q, D)``."""
        q_BNQH = self._heads(self.attention.query_proj(query_BQD))
        score = _at_least_fp32(q_BNQH @ self.k_BNLH.transpose(-1, -2)) * self.attention.scale
        if self.keys_NWH is not None:
            score = score + self._times_table(q_BNQH, self.keys_NWH).gather(
                -1, self._over_heads(self.offset_BQL)
            )
        if self.p2c_BNQL is not None:
            score = score + self.p2c_BNQL
        if self.hidden is not None:
            score = score.masked_fill(self.hidden, torch.finfo(score.dtype).min)
        weight: Tensor = self.attention.dropout(torch.softmax(score, dim=-1))
        return (weight.to(self.v_BNLH.dtype) @ self.v_BNLH).transpose(1, 2).flatten(2)

    def _heads(self, x: Tensor) -> Tensor:
        x_BLNH: Tensor = x.unflatten(-1, (self.attention.num_heads, self.attention.head_width))
        return x_BLNH.transpose(1, 2)

    def _over_heads(self, index: Tensor) -> Tensor:
        return index.unsqueeze(1).expand(-1, self.attention.num_heads, -1, -1)

    @staticmethod
    def _times_table(x_BNLH: Tensor, table_NWH: Tensor) -> Tensor:
        """One matmul per head over the batch, ``(B, N, L, W)``."""
        B, N, L, H = x_BNLH.shape
        rows = x_BNLH.transpose(0, 1).reshape(N, B * L, H)
        scores = torch.bmm(rows, table_NWH.to(rows.dtype).transpose(1, 2))
        return _at_least_fp32(scores.view(N, B, L, table_NWH.shape[1]).transpose(0, 1))


def _at_least_fp32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
