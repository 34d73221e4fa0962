"""Disentangled attention on a GPU, in flashdeberta's Triton kernels and without padding (extra ``gpu``).

score[i, j] = (q_i.k_j + q_i.kr[row(i - j)] + qr[row(i - j)].k_j) * scale (DeBERTa, arXiv:2006.03654, section
3.1, equation 4). The kernels never write the scores of all pairs; both position terms are matmuls with the
relative table, rounded to the dtype of the queries.

Shape letters: B batch, N heads, L tokens, T real tokens of the batch, H head width, R rows of the relative
table, S slots: rows as flashdeberta counts them.
"""

import importlib.util
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ..errors import MissingExtraError, UserError
from ..layers.attention_backends import AttentionBackend, sdpa_attention
from ..layers.buckets import RelativeBuckets
from ..layers.relative_position import RelativePositions, RelativeTables, may_read
from ..layers.unpadded import Mask, UnpaddedBatch

logger = logging.getLogger(__name__)

NAME = "flash"
_HALF = (torch.float16, torch.bfloat16)
_MEASURED_TOKENS = 16384  # at most, so that measuring needs little memory


@dataclass(frozen=True, slots=True)
class Unpadded:
    """Where the real tokens of a padded batch are."""

    index_T: Tensor | None
    """Among the B * L places; None where every place is real."""
    real_BL: Tensor | None
    """Bool, likewise."""
    starts: Tensor
    """``(B + 1,)`` int32, where each text begins among the T, and T."""
    longest: int
    """Tokens of the longest text."""

    @classmethod
    def of(cls, mask: Tensor | None, batch: int, length: int, device: torch.device) -> "Unpadded | None":
        """Read a mask; None where it hides more than padding, or something between the tokens of a text.

        Args:
            mask: bool, ``(1 or B, 1, L, L)``, True where query i may see key j; None for everywhere.
            batch: B.
            length: L.
            device: where the result is needed.
        """
        if mask is None:
            starts = torch.arange(0, batch * length + 1, length, dtype=torch.int32, device=device)
            return cls(None, None, starts, length)
        if mask.shape[1:] != (1, length, length):
            return None
        real = mask[:, 0].diagonal(0, 1, 2)  # in padding no token sees itself
        is_padding = (mask[:, 0] == real[:, :, None] & real[:, None, :]).all()
        counts = real.sum(1)
        place = torch.arange(length, device=device)
        last = (real * (place + 1)).amax(1)
        first = torch.where(real, place, length).amin(1)
        has_holes = ((last - first != counts) & (counts > 0)).any()
        plain, holes, longest = torch.stack([is_padding, has_holes, counts.max()]).tolist()  # one wait
        if not plain or holes or not longest:
            return None
        real = real.expand(batch, length)
        starts = torch.zeros(batch + 1, dtype=torch.int32, device=device)
        starts[1:] = counts.expand(batch).cumsum(0)
        return cls(real.flatten().nonzero().flatten(), real, starts, longest)

    def take(self, x_BNLH: Tensor) -> Tensor:
        """The real tokens, ``(T, N, H)``."""
        x = x_BNLH.transpose(1, 2).flatten(0, 1)
        return x if self.index_T is None else x.index_select(0, self.index_T)

    def put_back(self, context_TNH: Tensor, v_BNLH: Tensor) -> Tensor:
        """``(B, N, L, H)``; padding gets the mean of all values, as in the reference."""
        B, N, L, H = v_BNLH.shape
        if self.index_T is None or self.real_BL is None:
            return context_TNH.view(B, L, N, H).transpose(1, 2)
        rows = context_TNH.new_zeros(B * L, N, H).index_copy(0, self.index_T, context_TNH)
        mean = v_BNLH.float().mean(-2, keepdim=True).to(context_TNH.dtype)
        return torch.where(self.real_BL[:, None, :, None], rows.view(B, L, N, H).transpose(1, 2), mean)


def flash_attention(
    q_BNLH: Tensor,
    k_BNLH: Tensor,
    v_BNLH: Tensor,
    tables: RelativeTables | None,
    mask: Mask,
    *,
    scale: float,
    dropout_prob: float,
    output_attentions: bool,
) -> tuple[Tensor, Tensor | None]:
    """Attention in flashdeberta's kernels; see ``attention_backends.eager_attention``.

    A batch without padding, ``(1, N, T, H)``, comes with an `UnpaddedBatch` for its mask.

    Packed sequences, masks with holes and rules of rows that flashdeberta does not have go to torch's fused
    attention.

    Raises:
        UserError: for attention weights or dropout, which the kernels do not have, and on other devices.
        MissingExtraError: if flashdeberta is not installed.
    """
    if output_attentions or dropout_prob or not has_device(q_BNLH):
        raise UserError(
            "attention backend 'flash' runs on CUDA, without attention weights and without their dropout "
            "(attention_probs_dropout_prob 0); use 'auto'"
        )
    kernels = _kernels()
    B, _, L, _ = q_BNLH.shape
    batch: Unpadded | None
    if isinstance(mask, UnpaddedBatch):
        batch, L = Unpadded(None, None, mask.starts, mask.longest), mask.longest
    else:
        batch = Unpadded.of(mask, B, L, q_BNLH.device)
    rows = () if tables is None else rows_of_slots(tables.positions, L)
    if batch is None or rows is None:
        assert not isinstance(mask, UnpaddedBatch), "unpadding.py asks first"
        q, k, v = (x.float() if x.dtype in _HALF else x for x in (q_BNLH, k_BNLH, v_BNLH))
        return sdpa_attention(
            q, k, v, tables, mask, scale=scale, dropout_prob=dropout_prob, output_attentions=False
        )
    keys = queries = None
    num_buckets = max_distance = 0
    if tables is not None:
        index_S = torch.tensor(rows, device=q_BNLH.device) - tables.first_row
        keys, queries = (
            None if table is None else table.index_select(1, index_S).to(q_BNLH.dtype)[None]
            for table in (tables.key_NRH, tables.query_NRH)
        )
        num_buckets, max_distance = tables.positions.num_buckets, tables.positions.max_distance
    context_TNH = kernels(
        batch.take(q_BNLH), batch.take(k_BNLH), batch.take(v_BNLH), keys, queries,
        batch.starts, batch.starts, batch.longest, batch.longest, False, scale, num_buckets, max_distance,
    )  # fmt: skip
    return batch.put_back(context_TNH, v_BNLH), None


@lru_cache(maxsize=256)
def rows_of_slots(positions: RelativeBuckets, length: int) -> tuple[int, ...] | None:
    """The row of the relative table for each slot of flashdeberta, as transformers' formula counts them.

    Offsets that our rule holds at the last row that was trained lie one slot further there; so the table is
    given to the kernels with its rows in another order.

    Args:
        positions: the rule from offsets to rows.
        length: L, in tokens.

    Returns:
        S numbers; None where two offsets share a slot and not a row, so that no table serves.
    """
    from flashdeberta.ops.position import position_plan

    span = positions.num_buckets or positions.max_distance
    plan = position_plan(length, length, positions.num_buckets, positions.max_distance, span, "cpu")
    found: dict[int, int] = {}
    for offset, slot in zip(range(1 - length, length), plan.lut.tolist(), strict=True):
        row = positions.row(offset)
        if found.setdefault(slot, row) != row:
            return None
    met = positions.row(0)
    return tuple(found.get(slot, met) for slot in range(2 * span))


def can_flash(states: Tensor, dropout_prob: float = 0.0) -> bool:
    """Whether the kernels take these queries, ``(B, N, L, H)``, and are faster on this device.

    In fp32 they would multiply in TF32; that stays with torch.
    """
    if dropout_prob or states.device.type != "cuda" or states.dtype not in _HALF or not may_read(states):
        return False
    B, N, L, H = states.shape
    if H < 16 or H & (H - 1) or states.numel() == 0 or not is_installed():
        return False
    tokens, length = _rounded(min(B * L, _MEASURED_TOKENS)), _rounded(L)
    return is_faster(states.device, states.dtype, tokens, length, N, H, torch.is_grad_enabled())


FLASH = AttentionBackend(NAME, flash_attention, can_flash, takes_low_precision=True, takes_unpadded=True)


@lru_cache(maxsize=256)
def is_faster(
    device: torch.device, dtype: torch.dtype, tokens: int, length: int, heads: int, width: int, trains: bool
) -> bool:
    """Whether the kernels beat torch's fused attention: measured once for each kind of batch.

    Args:
        device: where.
        dtype: of the queries.
        tokens: of the batch.
        length: L, tokens of a text.
        heads: N.
        width: H.
        trains: whether to measure the backward pass too.
    """
    rng = torch.Generator(device).manual_seed(0)  # of its own: measuring changes no training

    def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(*shape, generator=rng, device=device, dtype=dtype).requires_grad_(trains)

    positions = RelativePositions(num_buckets=256, max_distance=512, span=256, long_inputs="clamp")
    shape = (max(1, tokens // length), heads, length, width)
    inputs = [draw(*shape, dtype=dtype) for _ in range(3)]
    table = RelativeTables(positions, width**-0.5, draw(heads, 512, width), draw(heads, 512, width))

    def run(attend: Callable[..., tuple[Tensor, Tensor | None]], low: bool) -> None:
        given = inputs if low else [x.float() for x in inputs]
        context, _ = attend(*given, table, None, scale=width**-0.5, dropout_prob=0.0, output_attentions=False)
        if trains:
            torch.autograd.grad(context.float().sum(), inputs)

    with torch.autocast(device.type, enabled=False):  # as where attention runs
        flash = _seconds(lambda: run(flash_attention, True), device)
        fused = _seconds(lambda: run(sdpa_attention, False), device)
    logger.info(
        "attention of %d x %d tokens on %s: flash %.2f ms, sdpa %.2f ms",
        shape[0], length, device, 1e3 * flash, 1e3 * fused,
    )  # fmt: skip
    return flash < fused


def _seconds(run: Callable[[], None], device: torch.device) -> float:
    """The best of five, after two that compile."""
    module = torch.get_device_module(device)
    taken = []
    for _ in range(7):
        module.synchronize()
        start = time.perf_counter()
        run()
        module.synchronize()
        taken.append(time.perf_counter() - start)
    return min(taken[2:])


def _rounded(count: int) -> int:
    """The next power of two, so that few kinds of batches are measured."""
    return 1 << (count - 1).bit_length()


def has_device(states: Tensor) -> bool:
    """Whether the kernels run where these states are."""
    return states.device.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"


@lru_cache(maxsize=1)
def is_installed() -> bool:
    """Whether flashdeberta and Triton are there."""
    return all(importlib.util.find_spec(name) is not None for name in ("flashdeberta", "triton"))


def _kernels() -> Callable[..., Tensor]:
    try:
        from flashdeberta.ops.flash_attention_varlen import flash_attention_with_disentangled_varlen
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            feature="attention backend 'flash'", package=error.name or "flashdeberta", extra="gpu"
        ) from error
    kernels: Callable[..., Tensor] = flash_attention_with_disentangled_varlen
    return kernels
