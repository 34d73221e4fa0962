"""Disentangled self-attention (DeBERTa, arXiv:2006.03654, section 3.1).

Official file: ``deberta/disentangled_attention.py``.

Content and position are scored apart: content to content, content to position (c2p) and position to content
(p2c). This module projects; ``attention_backends`` scores.

Shape letters: B batch, L tokens, N heads, H head width, D hidden size (N * H), R rows of the relative table.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import blockwise_attention  # noqa: F401 - adds its backend
from .attention_backends import (
    TAKES_LOW_PRECISION,
    AttentionBackend,
    ExpandedTables,
    RelativeTables,
    Tables,
    choose,
    eager_attention,
)
from .config import EncoderConfig
from .cpu_kernel.library import kernel
from .fused_attention import FusedTables, can_fuse, fused_attention
from .int8_linear import Int8Linear
from .packed import KernelLinear, PackedLinear
from .relative_position import RelativePositions

Version = tuple[int, ...] | None


class RelativeEmbeddings(NamedTuple):
    """The relative table that all layers share."""

    table_RD: Tensor | None
    """``(R, D)``, after its LayerNorm where the model has one; None without relative attention."""
    version: Version
    """Changes when the weights behind the table change; None if they cannot be watched or need gradients."""


def weights_version(*modules: nn.Module) -> Version:
    """Numbers for the present state of parameters: they change when these are trained, loaded or moved.

    Returns:
        None where the state cannot be watched: while gradients are on, for adapters and other wrapped layers,
        and for parameters made in inference mode. Writing through ``parameter.data`` escapes autograd's
        counter: call ``eval()`` after.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return None
    version: list[int] = []
    for module in modules:
        if type(module) in (PackedLinear, KernelLinear):  # cannot change
            version.append(id(module))
            continue
        if (
            type(module) not in (nn.Linear, nn.Embedding, nn.LayerNorm, Int8Linear)
            or module._forward_hooks
            or module._forward_pre_hooks
        ):
            return None
        for weight in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            if weight.is_inference():
                return None
            version += (id(weight), weight.data_ptr(), weight._version)
    return tuple(version)


class _KeptTables:
    """A layer's projected table in inference, in the forms that backends read: each made at its first use."""

    def __init__(self, version: tuple[Any, ...], tables: RelativeTables) -> None:
        self.version = version
        self.tables = tables
        self._by_offset: ExpandedTables | None = None
        self._fused: FusedTables | None = None

    def for_backend(self, attend: AttentionBackend, length: int) -> Tables | FusedTables:
        """What this backend reads for texts of this length, in tokens."""
        if attend is eager_attention:
            return self.tables
        if attend is fused_attention and (compiled := kernel()) is not None:
            if self._fused is None:
                self._fused = FusedTables.make(self.tables, compiled)
            return self._fused
        if self._by_offset is None:
            capacity = self.tables.positions.max_distance
            self._by_offset = ExpandedTables(
                self.tables.offset_keys(capacity), self.tables.offset_queries(capacity), capacity
            )
        return self._by_offset if length <= self._by_offset.capacity else self.tables


class DisentangledSelfAttention(nn.Module):
    """Self-attention whose scores keep content and relative position apart.

    Attribute names are those of the released checkpoints.

    Args:
        config: sizes and which position terms there are.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.head_width = config.head_width
        self.scale = config.scale
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)
        self.backend = "auto"
        width = config.hidden_size
        self.query_proj = nn.Linear(width, width)
        self.key_proj = nn.Linear(width, width)
        self.value_proj = nn.Linear(width, width)
        self.has_c2p = config.relative_attention and config.has_c2p
        self.has_p2c = config.relative_attention and config.has_p2c
        self.shares_projections = config.share_att_key
        if not config.share_att_key:
            if self.has_c2p:
                self.pos_key_proj = nn.Linear(width, width)
            if self.has_p2c:
                self.pos_query_proj = nn.Linear(width, width)
        self.pos_dropout = nn.Dropout(config.hidden_dropout_prob)
        self.positions = RelativePositions(
            num_buckets=config.num_buckets,
            max_distance=config.max_distance,
            span=config.span,
            long_inputs=config.long_inputs,
        )
        self._cached: _KeptTables | None = None

    def forward(
        self,
        hidden_states: Tensor,
        mask: Tensor | None,
        table_RD: Tensor | None,
        table_version: Version = None,
        query_states: Tensor | None = None,
        output_attentions: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Let every token look at the others.

        Args:
            hidden_states: ``(B, L, D)``, source of keys and values, and of queries unless ``query_states`` is
                given.
            mask: bool, broadcastable to ``(B, N, L, L)``, True where query i may see key j; None for
                everywhere.
            table_RD: ``(R, D)``, the relative table; None without relative attention.
            table_version: see ``RelativeEmbeddings``.
            query_states: ``(B, L, D)``, source of the queries (the enhanced mask decoder).
            output_attentions: whether to return the attention weights.

        Returns:
            The context ``(B, L, D)``, and the weights ``(B, N, L, L)`` or None.
        """
        q_BNLH, k_BNLH, v_BNLH = (self._heads(x) for x in self._project(hidden_states, query_states))
        has_own_dropout = not is_plain(self.dropout, nn.Dropout)
        dropout_prob = self.dropout.p if self.dropout.training and not has_own_dropout else 0.0
        needs_weights = output_attentions or has_own_dropout
        attend = choose(
            "auto" if has_own_dropout else self.backend,
            output_attentions=needs_weights,
            can_fuse=can_fuse(q_BNLH, dropout_prob=dropout_prob),
        )
        tables = self.tables_for(attend, table_RD, table_version, hidden_states.shape[1])

        # Scores and softmax stay in fp32: fp16 scores overflow, and bf16 ones are coarser than the
        # differences they make. Some backends see to that themselves.
        raised = _unchanged if attend in TAKES_LOW_PRECISION else _at_least_fp32
        with _autocast_off(hidden_states.device.type):
            context_BNLH, weights = attend(
                raised(q_BNLH),
                raised(k_BNLH),
                raised(v_BNLH),
                tables,
                mask,
                scale=self.scale,
                dropout_prob=dropout_prob,
                output_attentions=needs_weights,
            )
            if has_own_dropout:  # a hook that looks, or another module in its place
                weights = self.dropout(weights)
                context_BNLH = weights @ raised(v_BNLH)
        context = context_BNLH.transpose(1, 2).flatten(2).to(v_BNLH.dtype)
        return context, weights if output_attentions else None

    def train(self, mode: bool = True) -> Self:
        """Switch between training and inference; forgets the projected table."""
        self._cached = None
        return super().train(mode)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """Move or convert the parameters; forgets the projected table."""
        self._cached = None
        return super()._apply(fn, recurse)

    def project_table(self, table_RD: Tensor) -> RelativeTables:
        """Project the ``(R, D)`` table: the keys that c2p reads and the queries that p2c reads, in fp32."""
        table_RD = self.pos_dropout(table_RD)
        key_NRH, query_NRH = (
            None if proj is None else self._table_heads(proj(table_RD)) for proj in self._table_projections()
        )
        return RelativeTables(self.positions, self.scale, key_NRH, query_NRH)

    def tables_for(
        self, attend: AttentionBackend, table_RD: Tensor | None, table_version: Version, length: int
    ) -> Tables | FusedTables | None:
        """The projected table: anew each time in training, once per state of the weights in inference.

        Args:
            attend: the backend that is to read it.
            table_RD: the relative table, or None.
            table_version: see ``RelativeEmbeddings``.
            length: L, in tokens.
        """
        projections = [proj for proj in self._table_projections() if proj is not None]
        if table_RD is None or not projections:
            return None
        own = weights_version(*projections)
        # dropout is on in training, also without gradients
        if self.training or own is None or table_version is None:
            self._cached = None
            return self.project_table(table_RD)
        version = (*table_version, *own, _autocast_dtype(table_RD.device.type))
        cached = self._cached  # one read: another thread may clear it meanwhile
        if cached is None or cached.version != version:
            cached = self._cached = _KeptTables(version, self.project_table(table_RD))
        return cached.for_backend(attend, length)

    def fused_tables(
        self, table_RD: Tensor | None, table_version: Version, length: int
    ) -> FusedTables | None:
        """The projected table as the C++ kernel reads it; see ``tables_for``."""
        tables = self.tables_for(fused_attention, table_RD, table_version, length)
        compiled = kernel()
        if isinstance(tables, RelativeTables) and compiled is not None:
            return FusedTables.make(tables, compiled)
        assert not isinstance(tables, RelativeTables | ExpandedTables), "asked for without a kernel"
        return tables

    def _table_projections(self) -> tuple[nn.Module | None, nn.Module | None]:
        """What projects the relative table to the keys of c2p and to the queries of p2c."""
        if self.shares_projections:
            return self.key_proj if self.has_c2p else None, self.query_proj if self.has_p2c else None
        return self.pos_key_proj if self.has_c2p else None, self.pos_query_proj if self.has_p2c else None

    def _project(self, hidden_states: Tensor, query_states: Tensor | None) -> tuple[Tensor, ...]:
        """Queries, keys and values, ``(B, L, D)`` each.

        In mixed precision on a CPU one product makes all three: the states are converted once, and so are
        their gradients on the way back.
        """
        projections = (self.query_proj, self.key_proj, self.value_proj)
        on_cpu = hidden_states.device.type == "cpu"
        is_mixed = on_cpu and torch.is_grad_enabled() and _autocast_dtype("cpu") is not None
        if query_states is None and is_mixed and all(is_plain(proj, nn.Linear) for proj in projections):
            weight = torch.cat([proj.weight for proj in projections])
            bias = torch.cat([proj.bias for proj in projections])
            return F.linear(hidden_states, weight, bias).chunk(3, dim=-1)
        queries_from = hidden_states if query_states is None else query_states
        return self.query_proj(queries_from), self.key_proj(hidden_states), self.value_proj(hidden_states)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, self.head_width)).transpose(1, 2)

    def _table_heads(self, x_RD: Tensor) -> Tensor:
        return _at_least_fp32(x_RD.unflatten(-1, (self.num_heads, self.head_width)).transpose(0, 1))


def is_plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a module computes what its class says, unseen: no subclass, hook or patched ``forward``."""
    return (
        type(module) is kind
        and "forward" not in module.__dict__
        and not (module._forward_hooks or module._forward_pre_hooks)
        and not (module._backward_hooks or module._backward_pre_hooks)
    )


def _unchanged(x: Tensor) -> Tensor:
    return x


def _at_least_fp32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _autocast_off(device_type: str) -> AbstractContextManager[Any]:
    if _autocast_dtype(device_type) is None:
        return nullcontext()
    return torch.autocast(device_type, enabled=False)


def _autocast_dtype(device_type: str) -> torch.dtype | None:
    if torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type):
        return torch.get_autocast_dtype(device_type)
    return None
