"""Disentangled attention for inference on a CPU: in the C++ kernel of ``kernel/``, or in torch without it.

The same numbers as `eager_attention` (arXiv:2006.03654, section 3.1, equation 4), in fp32. The kernel never
has the scores of all heads and rows in memory.

Shape letters: B batch, N heads, L tokens, H head width, R rows of the relative table, W = 2 * L - 1 offsets.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import UserError
from ..layers import attention_backends as backends
from ..layers.attention import DisentangledSelfAttention, is_watched
from ..layers.attention_backends import AttentionBackend, skew
from ..layers.relative_position import OffsetTables, RelativeTables, may_read
from .kernel.library import LARGEST_WIDTH, LONGEST, AttentionArguments, Kernel, kernel
from .kernel.tables import KernelTables
from .linear import ReadOnly, pack_linear
from .scratch import scratch
from .training_attention import BLOCKWISE


def can_fuse(q_BNLH: Tensor, dropout_prob: float = 0.0) -> bool:
    """Whether the kernel is there and can take these queries: see `can_read` and `has_room`."""
    # Sizes last: in a recorded graph a comparison of them ties the graph to the example.
    return can_read(q_BNLH, dropout_prob) and has_room(q_BNLH.shape[-2], q_BNLH.shape[-1])


def has_room(length: int, head_width: int) -> bool:
    """Whether the kernel's buffers suffice for texts of this length and heads of this width."""
    return length <= LONGEST and head_width <= LARGEST_WIDTH


def can_read(states: Tensor, dropout_prob: float = 0.0) -> bool:
    """Whether the kernel is there and can read these states: fp32 on a CPU, in inference, outside graphs."""
    return (
        states.dtype == torch.float32
        and states.device.type == "cpu"
        and not dropout_prob
        and not torch.is_grad_enabled()
        and may_read(states)
        and not torch.is_autocast_enabled("cpu")
        and kernel() is not None
    )


def _lay_out(tables: RelativeTables) -> RelativeTables | KernelTables:
    compiled = kernel()
    return tables if compiled is None else _laid_out(tables, compiled)


def _laid_out(tables: RelativeTables, compiled: Kernel) -> KernelTables:
    key_NRH, query_NRH = (
        None if x is None else x.detach().float().numpy() for x in (tables.key_NRH, tables.query_NRH)
    )
    return KernelTables.make(
        tables.positions,
        key_NRH,
        query_NRH,
        scale=tables.scale,
        compiled=compiled,
        first_row=tables.first_row,
    )


def fused_attention(
    q_BNLH: Tensor,
    k_BNLH: Tensor,
    v_BNLH: Tensor,
    tables: KernelTables | RelativeTables | None,
    mask: Tensor | None,
    *,
    scale: float,
    dropout_prob: float,
    output_attentions: bool,
) -> tuple[Tensor, Tensor | None]:
    """Attention in the kernel; see `eager_attention`.

    Raises:
        UserError: if the kernel cannot do what is asked for, or was not built.
    """
    compiled = kernel()
    if compiled is None or output_attentions or not can_read(q_BNLH, dropout_prob):
        raise UserError(
            "attention backend 'fused' runs in inference only: fp32 on a CPU with the kernel built, no "
            "gradients, no dropout, no attention weights; use 'auto'"
        )
    if isinstance(tables, RelativeTables):
        tables = _laid_out(tables, compiled)
    B, N, L, H = q_BNLH.shape
    if any(x.shape != q_BNLH.shape for x in (k_BNLH, v_BNLH)) or not has_room(L, H):
        raise UserError(
            f"attention backend 'fused' needs queries, keys and values of one shape, heads of at most "
            f"{LARGEST_WIDTH} and at most {LONGEST} tokens; got {tuple(q_BNLH.shape)}, "
            f"{tuple(k_BNLH.shape)}, {tuple(v_BNLH.shape)}"
        )
    q, k, v = (_readable(x) for x in (q_BNLH, k_BNLH, v_BNLH))
    out = q.new_empty(B, L, N, H)
    if out.numel() == 0:
        return out.transpose(1, 2), None
    arguments = AttentionArguments(
        query=q.data_ptr(), key=k.data_ptr(), value=v.data_ptr(), out=out.data_ptr(),
        batch=B, length=L, queries=L, heads=N, head_width=H, scale=scale,
    )  # fmt: skip
    arguments.query_batch, arguments.query_head, arguments.query_token, _ = q.stride()
    arguments.key_batch, arguments.key_head, arguments.key_token, _ = k.stride()
    arguments.value_batch, arguments.value_head, arguments.value_token, _ = v.stride()
    arguments.team, arguments.threads = compiled.crew()
    kept_rows = None if tables is None else tables.give(arguments, compiled.more_rows)
    kept_mask = None if mask is None else give_mask(arguments, mask)
    compiled.attend(arguments)
    del kept_rows, kept_mask  # alive until here
    return out.transpose(1, 2), None


FUSED = AttentionBackend("fused", fused_attention, can_fuse, _lay_out)


@dataclass(frozen=True, slots=True)
class ExpandedTables:
    """`RelativeTables` laid out by offset once, and sliced per length."""

    tables: RelativeTables
    key_NWH: Tensor | None
    query_NWH: Tensor | None
    capacity: int
    """The longest length, in tokens, that the rows serve."""

    @classmethod
    def make(cls, tables: RelativeTables) -> "ExpandedTables":
        """Lay all rows out."""
        capacity = tables.positions.max_distance
        return cls(tables, tables.offset_keys(capacity), tables.offset_queries(capacity), capacity)

    def offset_keys(self, length: int) -> Tensor | None:
        """See `RelativeTables.offset_keys`."""
        return (
            self.tables.offset_keys(length) if length > self.capacity else self._middle(self.key_NWH, length)
        )

    def offset_queries(self, length: int) -> Tensor | None:
        """See `RelativeTables.offset_queries`."""
        if length > self.capacity:
            return self.tables.offset_queries(length)
        return self._middle(self.query_NWH, length)

    def _middle(self, table: Tensor | None, length: int) -> Tensor | None:
        skipped = self.capacity - length
        return None if table is None else table[:, skipped : skipped + 2 * length - 1]


def sdpa_in_scratch(
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
    """`sdpa_attention`, in inference on a CPU with the position terms in memory that is used again."""
    is_inference = not torch.is_grad_enabled() and may_read(q_BNLH)
    if output_attentions or not is_inference or q_BNLH.device.type != "cpu":
        return backends.sdpa_attention(
            q_BNLH, k_BNLH, v_BNLH, tables, mask,
            scale=scale, dropout_prob=dropout_prob, output_attentions=output_attentions,
        )  # fmt: skip
    bias = None if tables is None else _position_bias(q_BNLH, k_BNLH, tables)
    if mask is not None:
        bias = q_BNLH.new_zeros(mask.shape) if bias is None else bias
        bias = bias.masked_fill_(~mask, torch.finfo(bias.dtype).min)
    context = F.scaled_dot_product_attention(
        q_BNLH, k_BNLH, v_BNLH, attn_mask=bias, dropout_p=dropout_prob, scale=scale
    )
    return context, None


def _position_bias(q_BNLH: Tensor, k_BNLH: Tensor, tables: OffsetTables) -> Tensor | None:
    """See `attention_backends.position_bias`."""
    L = q_BNLH.shape[-2]
    bias = None
    if (keys_NWH := tables.offset_keys(L)) is not None:
        bias = skew(_times_table(q_BNLH, keys_NWH, "c2p"))
    if (queries_NWH := tables.offset_queries(L)) is not None:
        p2c_BNLL = skew(_times_table(k_BNLH, queries_NWH, "p2c")).transpose(-1, -2)
        if bias is None:
            return p2c_BNLL
        bias = torch.add(bias, p2c_BNLL, out=scratch("bias", q_BNLH, *bias.shape))
    return bias


def _times_table(x_BNLH: Tensor, table_NWH: Tensor, name: str) -> Tensor:
    B, N, L, H = x_BNLH.shape
    x_NMH = x_BNLH.transpose(0, 1).reshape(N, B * L, H)
    out = scratch(name, x_BNLH, N, B * L, table_NWH.shape[1])
    return torch.bmm(x_NMH, table_NWH.transpose(1, 2), out=out).view(N, B, L, -1).transpose(0, 1)


SDPA = replace(backends.SDPA, run=sdpa_in_scratch)

BACKENDS: tuple[AttentionBackend, ...] = (FUSED, SDPA, backends.STRIDED, backends.EAGER, BLOCKWISE)
"""For a model that may run on a CPU, the preferred ones first."""

PACKED_BACKENDS: tuple[AttentionBackend, ...] = (
    FUSED,
    replace(SDPA, prepare_tables=ExpandedTables.make),
    replace(backends.STRIDED, prepare_tables=ExpandedTables.make),
    backends.EAGER,
)
"""For attention whose tables cannot change."""


class PackedSelfAttention(ReadOnly, DisentangledSelfAttention):
    """Attention that is made for inference: its linear layers are packed, its projected table is kept.

    Args:
        attention: what to pack; it must not be used any more.
        table_RD: the relative table after its LayerNorm; None without relative attention.
    """

    def __init__(self, attention: DisentangledSelfAttention, table_RD: Tensor | None) -> None:
        super(DisentangledSelfAttention, self).__init__()
        self.num_heads, self.head_width = attention.num_heads, attention.head_width
        self.scale, self.positions = attention.scale, attention.positions
        self.has_c2p, self.has_p2c = attention.has_c2p, attention.has_p2c
        self.shares_projections = attention.shares_projections
        self.backends = PACKED_BACKENDS
        # A backend for training or for a GPU is none of these: the model now answers on a CPU.
        is_known = attention.backend in (backend.name for backend in PACKED_BACKENDS)
        self.backend = attention.backend if is_known else "auto"
        self._table_RD = table_RD if self.has_c2p or self.has_p2c else None
        self._prepared: dict[str, object] = {}
        self.query_proj = pack_linear(attention.query_proj)
        self.key_proj = pack_linear(attention.key_proj)
        self.value_proj = pack_linear(attention.value_proj)
        for name in ("pos_key_proj", "pos_query_proj"):
            if hasattr(attention, name):
                setattr(self, name, pack_linear(getattr(attention, name)))
        self.dropout, self.pos_dropout = attention.dropout, attention.pos_dropout
        # by the packed layers, as `native` does: then both have the same table, to the last bit
        self._tables = None if self._table_RD is None else self.project_table(self._table_RD)
        self.seal()

    def tables_for(self, backend: AttentionBackend, table_RD: Tensor | None, length: int) -> object:
        """The kept table, projected again where somebody watches a projection or switched dropout on."""
        if self._table_RD is None:
            return None
        makers = [self.pos_dropout, *(proj for proj in self._table_projections() if proj is not None)]
        if any(is_watched(maker) or maker.training for maker in makers):
            return backend.prepare_tables(self.project_table(self._table_RD))
        return self.kept_tables(backend)

    def kept_tables(self, backend: AttentionBackend) -> Any:
        """The kept table in the form that a backend reads, made at its first use; None without one."""
        if self._tables is None:
            return None
        if backend.name not in self._prepared:
            self._prepared[backend.name] = backend.prepare_tables(self._tables)
        return self._prepared[backend.name]

    def _project(self, hidden_states: Tensor, query_states: Tensor | None) -> tuple[Tensor, ...]:
        queries_from = hidden_states if query_states is None else query_states
        return self.query_proj(queries_from), self.key_proj(hidden_states), self.value_proj(hidden_states)


def _readable(x_BNLH: Tensor) -> Tensor:
    """The same numbers, those of a token contiguous."""
    return x_BNLH if x_BNLH.stride(-1) == 1 or x_BNLH.shape[-1] == 1 else x_BNLH.contiguous()


def give_mask(arguments: AttentionArguments, mask: Tensor) -> Tensor:
    """Fill in the mask of a call whose sizes are set; what is returned must outlive the call."""
    B, N, L = arguments.batch, arguments.heads, arguments.length
    if mask.dtype != torch.bool or mask.device.type != "cpu":
        raise UserError(f"attention mask must be bool on a CPU; got {mask.dtype} on {mask.device}")
    if mask.shape[-2] == 1 and mask.shape[1] == 1:
        keys = mask[:, 0, 0].expand(B, L).contiguous()
        arguments.key_mask = keys.data_ptr()
        return keys
    pairs = mask.expand(*mask.shape[:-2], L, L)
    if pairs.stride(-1) != 1:
        pairs = pairs.contiguous()
    pairs = pairs.expand(B, N, L, L)
    arguments.pair_batch, arguments.pair_head, arguments.pair_query, _ = pairs.stride()
    arguments.pair_mask = pairs.data_ptr()
    return pairs
