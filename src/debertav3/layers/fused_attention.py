"""Disentangled attention for inference on x86 processors, in the C++ kernel of ``cpu_kernel/``.

The same numbers as ``eager_attention`` (arXiv:2006.03654, section 3.1, equation 4), in fp32; the scores of
all heads and rows are never in memory.

Shape letters: B batch, N heads, L tokens, H head width, R rows of the relative table.
"""

import itertools
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ..errors import UserError
from .attention_backends import BACKENDS, RelativeTables
from .cpu_kernel.library import AttentionArguments, Kernel, kernel
from .relative_position import RelativePositions

_LARGEST_WIDTH = 1024
_LONGEST = 1 << 20
"""Limits on head width and tokens, far above use, that keep every size in the kernel far from overflow."""


@dataclass(frozen=True, slots=True)
class FusedTables:
    """``RelativeTables`` as the kernel reads them: made once per checkpoint, for all lengths."""

    positions: RelativePositions
    num_rows: int
    keys: Tensor | None
    """c2p, by falling row."""
    queries: Tensor | None
    """p2c, scaled, by rising row."""
    is_by_offset: bool
    """Whether there is one row for each offset up to ``positions.farthest``."""

    @classmethod
    def make(cls, tables: RelativeTables, compiled: Kernel) -> "FusedTables":
        """Lay projected tables out.

        The kernel needs rows that never jump from one offset to the next; where the buckets do (they may with
        odd sizes), the table gets one row for each offset.
        """
        positions = tables.positions
        keys, queries = tables.key_NRH, tables.query_NRH
        is_by_offset = _jumps(positions)
        if is_by_offset:
            length = positions.farthest + 1
            keys, queries = (None if x is None else positions.expand(x, length) for x in (keys, queries))
        return cls(
            positions,
            next(x.shape[1] for x in (keys, queries) if x is not None),
            None if keys is None else compiled.pack_table(keys.flip(1), 1.0),
            None if queries is None else compiled.pack_table(queries, tables.scale),
            is_by_offset,
        )

    def rows(self, length: int, more: int) -> tuple[Tensor, Tensor]:
        """Rows by rising ``j - i`` of the c2p table, and by rising ``i - j`` of the p2c table, int32.

        Args:
            length: L, in tokens.
            more: how often the last entry is repeated.
        """
        return _kept_rows(self.positions, self.num_rows, self.is_by_offset, length, more)


def can_fuse(x: Tensor, *, dropout_prob: float) -> bool:
    """Whether the kernel is there and can take these states: fp32 on a CPU, in inference, outside graphs."""
    return (
        x.dtype == torch.float32
        and x.device.type == "cpu"
        and not dropout_prob
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and type(x) is Tensor  # no fake tensors, whose numbers nobody may read
        and not torch.is_autocast_enabled("cpu")
        and kernel() is not None
    )


def fused_attention(
    q_BNLH: Tensor,
    k_BNLH: Tensor,
    v_BNLH: Tensor,
    tables: FusedTables | RelativeTables | None,
    mask: Tensor | None,
    *,
    scale: float,
    dropout_prob: float,
    output_attentions: bool,
) -> tuple[Tensor, Tensor | None]:
    """Attention in the kernel; see ``attention_backends.eager_attention``.

    Raises:
        UserError: if the kernel cannot do what is asked for, or was not built.
    """
    compiled = kernel()
    if compiled is None or output_attentions or not can_fuse(q_BNLH, dropout_prob=dropout_prob):
        raise UserError(
            "attention backend 'fused' runs in inference only: fp32 on an x86 CPU with the kernel built, no "
            "gradients, no dropout, no attention weights; use 'auto'"
        )
    if isinstance(tables, RelativeTables):
        tables = FusedTables.make(tables, compiled)
    B, N, L, H = q_BNLH.shape
    if any(x.shape != q_BNLH.shape for x in (k_BNLH, v_BNLH)) or H > _LARGEST_WIDTH or L > _LONGEST:
        raise UserError(
            f"attention backend 'fused' needs queries, keys and values of one shape, heads of at most "
            f"{_LARGEST_WIDTH} and at most {_LONGEST} tokens; got {tuple(q_BNLH.shape)}, "
            f"{tuple(k_BNLH.shape)}, {tuple(v_BNLH.shape)}"
        )
    q, k, v = (_readable(x) for x in (q_BNLH, k_BNLH, v_BNLH))
    out = q.new_empty(B, L, N, H)
    if out.numel() == 0:
        return out.transpose(1, 2), None
    arguments = AttentionArguments(
        query=q.data_ptr(), key=k.data_ptr(), value=v.data_ptr(), out=out.data_ptr(),
        batch=B, length=L, queries=L, heads=N, head_width=H, scale=scale, team=compiled.team,
    )  # fmt: skip
    arguments.query_batch, arguments.query_head, arguments.query_token, _ = q.stride()
    arguments.key_batch, arguments.key_head, arguments.key_token, _ = k.stride()
    arguments.value_batch, arguments.value_head, arguments.value_token, _ = v.stride()
    kept = give_tables_and_mask(arguments, tables, mask, compiled.more_rows)
    compiled.attend(arguments)
    del kept  # alive until here
    return out.transpose(1, 2), None


BACKENDS["fused"] = fused_attention


def _readable(x_BNLH: Tensor) -> Tensor:
    """The same numbers where those of a token lie side by side."""
    return x_BNLH if x_BNLH.stride(-1) == 1 or x_BNLH.shape[-1] == 1 else x_BNLH.contiguous()


def give_tables_and_mask(
    arguments: AttentionArguments, tables: FusedTables | None, mask: Tensor | None, more_rows: int
) -> tuple[Tensor, ...]:
    """Fill in tables, mask and threads for a call whose sizes are set.

    Returns:
        Tensors that must outlive the call.
    """
    arguments.threads = torch.get_num_threads()
    kept: tuple[Tensor, ...] = ()
    if tables is not None:
        by_key, by_query = kept = tables.rows(arguments.length, more_rows)
        arguments.rows_by_key, arguments.rows_by_query = by_key.data_ptr(), by_query.data_ptr()
        arguments.table_rows = tables.num_rows
        arguments.key_table = None if tables.keys is None else tables.keys.data_ptr()
        arguments.query_table = None if tables.queries is None else tables.queries.data_ptr()
    arguments.key_mask = arguments.pair_mask = None
    return kept if mask is None else (*kept, _give_mask(arguments, mask))


def _give_mask(arguments: AttentionArguments, mask: Tensor) -> Tensor:
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


@lru_cache(maxsize=64)
def _jumps(positions: RelativePositions) -> bool:
    """Whether a row of the relative table is left out, or comes twice, between neighbouring offsets."""
    far = positions.farthest
    row = [positions.row(offset) for offset in range(-far - 1, far + 2)]
    return any(not 0 <= after - before <= 1 for before, after in itertools.pairwise(row))


@lru_cache(maxsize=64)
def _kept_rows(
    positions: RelativePositions, num_rows: int, is_by_offset: bool, length: int, more: int
) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False):
        if is_by_offset:
            far = positions.farthest
            row = torch.arange(1 - length, length).clamp(-far, far) + far
        else:
            row = positions.rows(length, torch.device("cpu"))
        by_query = torch.cat([row, row[-1:].expand(more)]).to(torch.int32)
        back = num_rows - 1 - row.flip(0)
        by_key = torch.cat([back, back[-1:].expand(more)]).to(torch.int32)
    return by_key, by_query
