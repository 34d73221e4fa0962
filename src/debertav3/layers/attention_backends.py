"""The ways to compute disentangled attention: one signature, what each supports, and ``choose``.

A_ij = (q_i.k_j + q_i.kr[row(i - j)] + qr[row(i - j)].k_j) * scale (DeBERTa, arXiv:2006.03654, section 3.1,
equation 4; the released checkpoints read both position terms at ``row(i - j)``).

Shape letters: B batch, N heads, L tokens, H head width, R rows of the relative table, W = 2 * L - 1 offsets.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import UserError
from .relative_position import RelativePositions
from .scratch import scratch


@dataclass(frozen=True, slots=True)
class RelativeTables:
    """The projected relative table of one layer. Either table is None where the model lacks that term.

    Two forms of the same rows: ``key_NRH`` and ``query_NRH`` for the eager reference, and, per offset of a
    length and times the scale of the score, what ``offset_keys`` and ``offset_queries`` return for the
    strided forms.
    """

    positions: RelativePositions
    scale: float
    key_NRH: Tensor | None
    """Read by c2p."""
    query_NRH: Tensor | None
    """Read by p2c."""

    def offset_keys(self, length: int) -> Tensor | None:
        """Rows of c2p by ascending ``j - i``, scaled: ``(N, W, H)``."""
        return (
            None if self.key_NRH is None else self.positions.expand(self.key_NRH, length).flip(1) * self.scale
        )

    def offset_queries(self, length: int) -> Tensor | None:
        """Rows of p2c by ascending ``i - j``, scaled: ``(N, W, H)``."""
        return None if self.query_NRH is None else self.positions.expand(self.query_NRH, length) * self.scale


@dataclass(frozen=True, slots=True)
class ExpandedTables:
    """``RelativeTables`` laid out by offset, for inference: made once per checkpoint, sliced per length."""

    key_NWH: Tensor | None
    query_NWH: Tensor | None
    capacity: int
    """The longest length, in tokens, that the rows serve."""

    def offset_keys(self, length: int) -> Tensor | None:
        """See ``RelativeTables.offset_keys``."""
        return self._middle(self.key_NWH, length)

    def offset_queries(self, length: int) -> Tensor | None:
        """See ``RelativeTables.offset_queries``."""
        return self._middle(self.query_NWH, length)

    def _middle(self, table: Tensor | None, length: int) -> Tensor | None:
        skipped = self.capacity - length
        return None if table is None else table[:, skipped : skipped + 2 * length - 1]


Tables = RelativeTables | ExpandedTables

AttentionBackend = Callable[..., tuple[Tensor, Tensor | None]]


def eager_attention(
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
    """The reference: scores written out, position terms picked by a gather over an L x L index.

    Args:
        q_BNLH: queries of the content.
        k_BNLH: keys of the content.
        v_BNLH: values.
        tables: the projected relative table, or None without relative attention.
        mask: bool, broadcastable to ``(B, N, L, L)``, True where query i may see key j; None for everywhere.
        scale: factor of every score.
        dropout_prob: probability of dropping an attention weight; 0 outside training.
        output_attentions: whether to return the weights.

    Returns:
        The context ``(B, N, L, H)`` and the attention weights ``(B, N, L, L)`` after dropout, or None.
    """
    score_BNLL = q_BNLH @ k_BNLH.transpose(-1, -2)
    if tables is not None:
        B, N, L, _ = q_BNLH.shape
        row_LL = _row_index(tables.positions, L, q_BNLH.device).expand(B, N, L, L)
        if tables.key_NRH is not None:
            c2p_BNLR = q_BNLH @ tables.key_NRH.transpose(-1, -2)
            score_BNLL = score_BNLL + c2p_BNLR.gather(-1, row_LL)
        if tables.query_NRH is not None:
            p2c_BNRL = tables.query_NRH @ k_BNLH.transpose(-1, -2)
            score_BNLL = score_BNLL + p2c_BNRL.gather(-2, row_LL)
    return _attend(score_BNLL * scale, v_BNLH, mask, dropout_prob, output_attentions)


def strided_attention(
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
    """Scores written out, position terms as strided views: no gather. See ``eager_attention``."""
    score_BNLL = (q_BNLH * scale) @ k_BNLH.transpose(-1, -2)
    if (bias := position_bias(q_BNLH, k_BNLH, tables)) is not None:
        score_BNLL = score_BNLL + bias
    return _attend(score_BNLL, v_BNLH, mask, dropout_prob, output_attentions)


def sdpa_attention(
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
    """Fused attention of torch, the position terms as its float mask. See ``eager_attention``.

    Raises:
        UserError: if the attention weights are asked for; the fused kernel never has them.
    """
    if output_attentions:
        raise UserError(
            "attention backend 'sdpa' has no attention weights to return; use 'strided' or 'eager'"
        )
    bias = position_bias(q_BNLH, k_BNLH, tables)
    if mask is not None:
        bias = q_BNLH.new_zeros(mask.shape) if bias is None else bias
        if q_BNLH.device.type != "cpu" or torch.is_grad_enabled() or torch.compiler.is_compiling():
            q_BNLH, bias = _hide_from_any_kernel(q_BNLH, bias, mask)
        else:
            bias = _hide(bias, mask)
    context = F.scaled_dot_product_attention(
        q_BNLH, k_BNLH, v_BNLH, attn_mask=bias, dropout_p=dropout_prob, scale=scale
    )
    return context, None


BACKENDS: dict[str, AttentionBackend] = {
    "eager": eager_attention,
    "strided": strided_attention,
    "sdpa": sdpa_attention,
}
TAKES_LOW_PRECISION: set[AttentionBackend] = set()
"""Backends that take queries, keys and values in fp16 or bf16 and see to accurate scores themselves."""


def choose(name: str, *, output_attentions: bool, can_fuse: bool = False) -> AttentionBackend:
    """The backend of that name; ``"auto"`` is fused, else sdpa, or strided where weights are asked for.

    Args:
        name: one of ``BACKENDS``, or ``"auto"``.
        output_attentions: whether attention weights are asked for.
        can_fuse: whether the C++ kernel can take these queries (``fused_attention.can_fuse``).

    Raises:
        UserError: if there is no such backend.
    """
    if name == "auto":
        name = "strided" if output_attentions else "fused" if can_fuse else "sdpa"
    if name not in BACKENDS:
        raise UserError(
            f"attention backend {name!r} does not exist; need 'auto', {', '.join(map(repr, BACKENDS))}"
        )
    return BACKENDS[name]


def position_bias(q_BNLH: Tensor, k_BNLH: Tensor, tables: Tables | None) -> Tensor | None:
    """The scaled sum of the position terms.

    Args:
        q_BNLH: queries of the content.
        k_BNLH: keys of the content.
        tables: the projected relative table; None gives None.

    Returns:
        ``(B, N, L, L)`` in the queries' dtype, not contiguous in general.
    """
    if tables is None:
        return None
    L = q_BNLH.shape[-2]
    bias = None
    if (keys_NWH := tables.offset_keys(L)) is not None:
        bias = skew(_times_table(q_BNLH, keys_NWH, "c2p"))  # [i, j] = q_i . kr[row(i - j)]
    if (queries_NWH := tables.offset_queries(L)) is not None:
        p2c_BNLL = skew(_times_table(k_BNLH, queries_NWH, "p2c")).transpose(-1, -2)
        if bias is None:
            return p2c_BNLL
        bias = torch.add(bias, p2c_BNLL, out=scratch("bias", q_BNLH, *bias.shape))
    return bias


def skew(product: Tensor) -> Tensor:
    """Turn columns that count offsets into columns that count tokens, without copying.

    Args:
        product: ``(..., L, 2 * L - 1)``, contiguous in the last two dimensions; column ``s`` of row i stands
            for the token ``i + s - (L - 1)``.

    Returns:
        ``(..., L, L)`` view whose ``[i, j]`` is ``product[i, j - i + L - 1]``: dropping the first ``L - 1``
        numbers of the flat product makes every row start one number earlier.
    """
    L = product.shape[-2]
    if L == 1:
        return product
    return (
        product.flatten(-2).narrow(-1, L - 1, L * (2 * L - 2)).unflatten(-1, (L, 2 * L - 2)).narrow(-1, 0, L)
    )


def _times_table(x_BNLH: Tensor, table_NWH: Tensor, name: str) -> Tensor:
    """One product per head over all tokens of the batch: ``(B, N, L, W)``, laid out as ``(N, B, L, W)``."""
    B, N, L, H = x_BNLH.shape
    x_NMH = x_BNLH.transpose(0, 1).reshape(N, B * L, H)
    out = scratch(name, x_BNLH, N, B * L, table_NWH.shape[1])
    return torch.bmm(x_NMH, table_NWH.transpose(1, 2), out=out).view(N, B, L, -1).transpose(0, 1)


def _row_index(positions: RelativePositions, length: int, device: torch.device) -> Tensor:
    """Rows of the relative table for every pair: ``(L, L)`` int64, ``[i, j] = row(i - j)``."""
    token = torch.arange(length, device=device)
    return positions.rows(length, device)[token[:, None] - token[None, :] + length - 1]


def _hide(score: Tensor, mask: Tensor) -> Tensor:
    """The lowest finite score where ``mask`` is False; rows that may see nothing thus stay finite."""
    lowest = torch.finfo(score.dtype).min
    if torch.is_grad_enabled():
        return score.masked_fill(~mask, lowest)
    return score.masked_fill_(~mask, lowest)


def _hide_from_any_kernel(q_BNLH: Tensor, bias: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Queries and float mask with which ``mask`` holds in every fused kernel, forward and backward.

    A row that may see nothing must see everything alike, and its gradient must not reach queries and keys.
    With the lowest score everywhere a kernel may return NaN (CUDA, OpenVINO) or 0 (ONNX Runtime), and torch's
    own for the CPU has a wrong gradient; so such a row gets zeros instead.
    """
    sees = mask.any(-1, keepdim=True)
    hidden = torch.zeros_like(sees, dtype=bias.dtype).masked_fill(sees, torch.finfo(bias.dtype).min)
    return q_BNLH * sees, torch.where(mask, bias, hidden)


def _attend(
    score: Tensor, v_BNLH: Tensor, mask: Tensor | None, dropout_prob: float, output_attentions: bool
) -> tuple[Tensor, Tensor | None]:
    if mask is not None:
        score = _hide(score, mask)
    weight = F.dropout(torch.softmax(score, dim=-1), dropout_prob, training=dropout_prob > 0)
    return weight @ v_BNLH, weight if output_attentions else None
