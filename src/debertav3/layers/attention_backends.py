"""The ways to compute disentangled attention: one signature, what each supports, and `choose`.

The disentangled score: content to content, content to position (c2p), position to content (p2c).
A_ij = (q_i.k_j + q_i.kr[row(i - j)] + qr[row(i - j)].k_j) * scale (DeBERTa, arXiv:2006.03654, section 3.1,
equation 4; the released checkpoints read both position terms at ``row(i - j)``).

Shape letters: B batch, N heads, L tokens, H head width, R rows of the relative table, W offsets (2 * L - 1,
or 2 * L in a recorded graph).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import UserError
from .blockwise_attention import blockwise_attention
from .relative_position import OffsetTables, RelativeTables, is_transformed, records_graph


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
    """The reference: scores are materialized, position terms gathered with an L x L index.

    Args:
        q_BNLH: queries of the content.
        k_BNLH: keys of the content.
        v_BNLH: values.
        tables: the projected relative table, or None without relative attention.
        mask: bool, broadcastable to ``(B, N, L, L)``, True where query i may attend to key j, or None.
        scale: factor on every score.
        dropout_prob: probability of dropping an attention weight; 0 outside training.
        output_attentions: whether to return the weights.

    Returns:
        The context ``(B, N, L, H)`` and the attention weights ``(B, N, L, L)`` after dropout, or None.
    """
    score_BNLL = q_BNLH @ k_BNLH.transpose(-1, -2)
    if tables is not None:
        B, N, L, _ = q_BNLH.shape
        row_LL = tables.pair_rows(L, q_BNLH.device).expand(B, N, L, L)
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
    tables: OffsetTables | None,
    mask: Tensor | None,
    *,
    scale: float,
    dropout_prob: float,
    output_attentions: bool,
) -> tuple[Tensor, Tensor | None]:
    """Scores are materialized, position terms are strided views: no gather. See `eager_attention`."""
    score_BNLL = (q_BNLH * scale) @ k_BNLH.transpose(-1, -2)
    if (bias := position_bias(q_BNLH, k_BNLH, tables)) is not None:
        score_BNLL = score_BNLL + bias
    return _attend(score_BNLL, v_BNLH, mask, dropout_prob, output_attentions)


def sdpa_attention(
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
    """Fused attention of torch, with the position terms as its float mask. See `eager_attention`.

    Raises:
        UserError: if attention weights are requested, which the fused kernel never computes.
    """
    if output_attentions:
        raise UserError(
            "attention backend 'sdpa' has no attention weights to return; use 'strided' or 'eager'"
        )
    bias = position_bias(q_BNLH, k_BNLH, tables)
    if mask is not None:
        bias = q_BNLH.new_zeros(mask.shape) if bias is None else bias
        q_BNLH, bias = _hide_everywhere(q_BNLH, bias, mask)
    context = F.scaled_dot_product_attention(
        q_BNLH, k_BNLH, v_BNLH, attn_mask=bias, dropout_p=dropout_prob, scale=scale
    )
    return context, None


def _always(states: Tensor, dropout_prob: float) -> bool:
    return True


def _is_fused_alike(states: Tensor, dropout_prob: float) -> bool:
    """Whether torch's fused attention computes here what it does elsewhere.

    Torch's exporters give it another layout than the one recorded for its gradients, and inside torch.func
    its CPU kernel takes no gradient of a mask.
    """
    is_exported = torch.onnx.is_in_onnx_export() or torch.compiler.is_exporting()
    return not (is_exported and torch.is_grad_enabled()) and not is_transformed()


def _unchanged(tables: RelativeTables) -> RelativeTables:
    return tables


@dataclass(frozen=True)
class AttentionBackend:
    """One way to compute attention."""

    name: str
    run: Callable[..., tuple[Tensor, Tensor | None]]
    """As `eager_attention`."""
    can_run: Callable[[Tensor, float], bool] = _always
    """Whether it can take these queries, ``(B, N, L, H)``, with this probability of dropout."""
    prepare_tables: Callable[[RelativeTables], object] = _unchanged
    """Turns the projected relative table into the form that ``run`` reads."""
    takes_low_precision: bool = False
    """Whether it takes fp16 or bf16 queries, keys and values, and keeps scores accurate itself."""
    gives_weights: bool = False
    """Whether it can return the attention weights."""
    takes_unpadded: bool = False
    """Whether it takes an `UnpaddedBatch` in the place of a mask."""


EAGER = AttentionBackend("eager", eager_attention, gives_weights=True)
STRIDED = AttentionBackend("strided", strided_attention, gives_weights=True)
SDPA = AttentionBackend("sdpa", sdpa_attention, can_run=_is_fused_alike)
BLOCKWISE = AttentionBackend("blockwise", blockwise_attention, takes_low_precision=True)

BACKENDS: tuple[AttentionBackend, ...] = (SDPA, STRIDED, EAGER, BLOCKWISE)
"""The backends of ``layers/``, preferred ones first. ``cpu/`` has one more."""


def named(backends: Sequence[AttentionBackend], name: str) -> AttentionBackend:
    """The backend of that name.

    Raises:
        UserError: if there is none.
    """
    for backend in backends:
        if backend.name == name:
            return backend
    names = ", ".join(repr(backend.name) for backend in backends)
    raise UserError(f"attention backend {name!r} does not exist; need 'auto', {names}")


def choose(
    backends: Sequence[AttentionBackend],
    name: str,
    q_BNLH: Tensor,
    *,
    dropout_prob: float = 0.0,
    needs_weights: bool = False,
) -> AttentionBackend:
    """The backend of that name; for ``"auto"``, the first that can do what is requested.

    Args:
        backends: the available ones.
        name: one of their names, or ``"auto"``.
        q_BNLH: the queries.
        dropout_prob: the probability of dropout.
        needs_weights: whether attention weights are requested.

    Raises:
        UserError: if there is none.
    """
    if name != "auto":
        return named(backends, name)
    return next(
        backend
        for backend in backends
        if (backend.gives_weights or not needs_weights) and backend.can_run(q_BNLH, dropout_prob)
    )


def position_bias(q_BNLH: Tensor, k_BNLH: Tensor, tables: OffsetTables | None) -> Tensor | None:
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
        bias = skew(_times_table(q_BNLH, keys_NWH))  # [i, j] = q_i . kr[row(i - j)]
    if (queries_NWH := tables.offset_queries(L)) is not None:
        p2c_BNLL = skew(_times_table(k_BNLH, queries_NWH)).transpose(-1, -2)
        bias = p2c_BNLL if bias is None else bias + p2c_BNLL
    return bias


def skew(scores: Tensor) -> Tensor:
    """Turn columns by relative offset into columns by key position, without copying.

    Args:
        scores: ``(..., L, W)``, contiguous in the last two dimensions; column ``s`` of row i belongs to key
            ``i + s - (L - 1)``.

    Returns:
        ``(..., L, L)`` view whose ``[i, j]`` is ``scores[i, j - i + L - 1]``: without the first ``L - 1`` of
        the flat numbers, rows of ``W - 1`` each start one earlier.
    """
    L, W = scores.shape[-2:]
    if records_graph():  # W is 2 * L, and slices without arithmetic on L are what every exporter understands
        flat = scores.flatten(-2)[..., L - 1 : -1]
        return flat.reshape(*scores.shape[:-1], -1)[..., :L]
    if L == 1:
        return scores[..., :1]
    rows: Tensor = scores.flatten(-2).narrow(-1, L - 1, L * (W - 1)).unflatten(-1, (L, W - 1))
    return rows.narrow(-1, 0, L)


def _times_table(x_BNLH: Tensor, table_NWH: Tensor) -> Tensor:
    """One matmul per head over all tokens of the batch: ``(B, N, L, W)``, laid out as ``(N, B, L, W)``."""
    B, N, L, _ = x_BNLH.shape
    x_NMH = x_BNLH.transpose(0, 1).flatten(1, 2)
    return torch.bmm(x_NMH, table_NWH.transpose(1, 2)).view(N, B, L, -1).transpose(0, 1)


def _hide(score: Tensor, mask: Tensor) -> Tensor:
    """Put the lowest finite score where ``mask`` is False, so that fully masked rows stay finite."""
    return score.masked_fill(~mask, torch.finfo(score.dtype).min)


def _hide_everywhere(q_BNLH: Tensor, bias: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Queries and a float mask that apply ``mask`` correctly in every fused kernel, forward and backward.

    A fully masked row must attend to everything equally, and send no gradient to queries and keys. With the
    lowest score everywhere, a kernel may return NaN (CUDA, OpenVINO) or 0 (ONNX Runtime), and torch's CPU
    kernel computes a wrong gradient; so such a row gets zeros instead.
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
