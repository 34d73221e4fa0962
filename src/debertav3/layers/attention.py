"""Disentangled self-attention (DeBERTa, arXiv:2006.03654, section 3.1).

Official file: ``deberta/disentangled_attention.py``.

Content and position are scored apart: content to content, content to position (c2p) and position to content
(p2c). This module projects; ``attention_backends`` scores.

Shape letters: B batch, L tokens, N heads, H head width, D hidden size (N * H), R rows of the relative table.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .attention_backends import BACKENDS, AttentionBackend, choose
from .config import EncoderConfig
from .relative_position import RelativePositions, RelativeTables, records_graph
from .unpadded import Mask, UnpaddedBatch


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
        self.backends = BACKENDS
        """What ``backend`` may name, the preferred ones first."""
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
        self.positions = RelativePositions.of(config)

    def forward(
        self,
        hidden_states: Tensor,
        mask: Mask,
        table_RD: Tensor | None,
        query_states: Tensor | None = None,
        output_attentions: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Let every token look at the others.

        Args:
            hidden_states: ``(B, L, D)``, source of keys and values, and of queries unless ``query_states`` is
                given.
            mask: bool, broadcastable to ``(B, N, L, L)``, True where query i may see key j; None for
                everywhere. For texts without padding, ``(1, T, D)``, where they are.
            table_RD: ``(R, D)``, the relative table; None without relative attention.
            query_states: ``(B, L, D)``, source of the queries (the enhanced mask decoder).
            output_attentions: whether to return the attention weights.

        Returns:
            The context ``(B, L, D)``, and the weights ``(B, N, L, L)`` or None.
        """
        q_BNLH, k_BNLH, v_BNLH = (self._heads(x) for x in self._project(hidden_states, query_states))
        # What took the place of dropout, or watches it, gets the weights; they are then written out.
        has_own_dropout = not is_plain(self.dropout, nn.Dropout)
        dropout_prob = self.dropout.p if self.dropout.training and not has_own_dropout else 0.0
        needs_weights = output_attentions or has_own_dropout
        length = hidden_states.shape[1]
        if isinstance(mask, UnpaddedBatch):
            length = mask.longest
            backend = next(backend for backend in self.backends if backend.takes_unpadded)
        else:
            backend = choose(
                self.backends,
                "auto" if has_own_dropout else self.backend,
                q_BNLH,
                dropout_prob=dropout_prob,
                needs_weights=needs_weights,
            )
        tables = self.tables_for(backend, table_RD, length)

        # Scores and softmax stay in fp32: fp16 scores overflow, and bf16 ones are coarser than the
        # differences they make. Some backends see to that themselves.
        raised = _unchanged if backend.takes_low_precision else _at_least_fp32
        with _autocast_off(hidden_states.device.type):
            context_BNLH, weights = backend.run(
                raised(q_BNLH),
                raised(k_BNLH),
                raised(v_BNLH),
                tables,
                mask,
                scale=self.scale,
                dropout_prob=dropout_prob,
                output_attentions=needs_weights,
            )
            if has_own_dropout:
                weights = self.dropout(weights)
                context_BNLH = weights @ raised(v_BNLH)
        context = context_BNLH.transpose(1, 2).flatten(2).to(v_BNLH.dtype)
        return context, weights if output_attentions else None

    def tables_for(self, backend: AttentionBackend, table_RD: Tensor | None, length: int) -> object:
        """The projected table in the form that a backend reads; None without position terms."""
        if table_RD is None or not (self.has_c2p or self.has_p2c):
            return None
        return backend.prepare_tables(self.project_table(table_RD, None if records_graph() else length))

    def project_table(self, table_RD: Tensor, length: int | None = None) -> RelativeTables:
        """Project the relative table: the keys that c2p reads and the queries that p2c reads, in fp32.

        Dropout draws a mask for all rows, however short the batch.

        Args:
            table_RD: ``(R, D)``, all of it.
            length: L, in tokens, to project only the rows that it meets, 2 * L - 1 at most; None for all.
        """
        first = 0
        table_RD = self.pos_dropout(table_RD)
        if length is not None:
            first, end = self.positions.window(length)
            table_RD = table_RD[first:end]
        key_NRH, query_NRH = (
            None if proj is None else self._table_heads(proj(table_RD)) for proj in self._table_projections()
        )
        return RelativeTables(self.positions, self.scale, key_NRH, query_NRH, first)

    def _table_projections(self) -> tuple[nn.Module | None, nn.Module | None]:
        """What projects the relative table to the keys of c2p and to the queries of p2c."""
        if self.shares_projections:
            return self.key_proj if self.has_c2p else None, self.query_proj if self.has_p2c else None
        return self.pos_key_proj if self.has_c2p else None, self.pos_query_proj if self.has_p2c else None

    def _project(self, hidden_states: Tensor, query_states: Tensor | None) -> tuple[Tensor, ...]:
        """Queries, keys and values, ``(B, L, D)`` each.

        In mixed precision one matmul makes all three: the states are converted once, and so are their
        gradients on the way back.
        """
        projections = (self.query_proj, self.key_proj, self.value_proj)
        is_mixed = torch.is_grad_enabled() and _autocast_dtype(hidden_states.device.type) is not None
        is_seen = has_global_hook() or not all(is_plain(proj, nn.Linear) for proj in projections)
        if query_states is None and is_mixed and not is_seen:
            weight = torch.cat([proj.weight for proj in projections])
            bias = torch.cat([proj.bias for proj in projections])
            return F.linear(hidden_states, weight, bias).chunk(3, dim=-1)
        queries_from = hidden_states if query_states is None else query_states
        return self.query_proj(queries_from), self.key_proj(hidden_states), self.value_proj(hidden_states)

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self.num_heads, self.head_width).transpose(1, 2)

    def _table_heads(self, x_RD: Tensor) -> Tensor:
        return _at_least_fp32(x_RD.unflatten(-1, (self.num_heads, self.head_width)).transpose(0, 1))


def is_watched(module: nn.Module) -> bool:
    """Whether somebody looks at what a module computes, or replaced it: a hook, or a patched ``forward``."""
    return bool(
        "forward" in module.__dict__
        or module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def has_global_hook() -> bool:
    """Whether somebody looks at every module of every model."""
    return bool(torch.nn.modules.module._has_any_global_hook())


def is_plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a module computes what its class says, unseen."""
    return type(module) is kind and not is_watched(module)


def _unchanged(x: Tensor) -> Tensor:
    return x


def _at_least_fp32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _autocast_off(device_type: str) -> AbstractContextManager[object]:
    if _autocast_dtype(device_type) is None:
        return nullcontext()
    return torch.autocast(device_type, enabled=False)


def _autocast_dtype(device_type: str) -> torch.dtype | None:
    if torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type):
        return torch.get_autocast_dtype(device_type)
    return None
