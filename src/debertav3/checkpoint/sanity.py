"""What the numbers of a checkpoint look like: broken, untouched by training, or sound."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

RANDOM_STD = 0.02
"""A table of n random numbers keeps the initial standard deviation within about 1/sqrt(2n): below 0.1 % for a
vocabulary. Training moves it by far more."""

RANDOM_NORM_SPREAD = 1.25
"""Norms of random rows of width D spread by 1/sqrt(2D) of their mean; trained ones several times as much."""

RANDOM_COSINE = 0.01
"""Random rows are orthogonal on average; trained ones share directions."""


ABSURD = 1e4
"""Weights of trained models stay below some tens. One of 1e4 takes its products out of the range of fp16;
training that diverged leaves far larger ones."""


def is_absurd(tensor: Tensor) -> bool:
    """Whether a weight is NaN, infinite, or larger than any training that went well leaves (`ABSURD`)."""
    if not tensor.is_floating_point() or not tensor.numel():
        return False
    return not float(tensor.abs().max()) <= ABSURD


@dataclass(frozen=True, slots=True)
class TableLook:
    """Statistics of an embedding table, computed in fp32."""

    rows: int
    width: int
    mean: float
    std: float
    norm_mean: float
    """Over rows that are not zero."""
    norm_spread: float
    """Standard deviation of the rows' norms, divided by their mean."""
    average_cosine: float
    """Over all pairs of rows that are not zero."""
    zero_rows: tuple[int, ...]
    not_finite: int
    """How many numbers are NaN or infinite."""
    looks_random: bool
    """Whether it looks as freshly initialized."""

    def to_dict(self) -> dict[str, object]:
        """Return the statistics as plain values; of the zero rows only the number."""
        return {**asdict(self), "zero_rows": len(self.zero_rows)}


def look_at_table(table: Tensor, *, initializer_range: float) -> TableLook:
    """Describe an embedding table, ``(rows, width)`` in any dtype.

    Args:
        table: the weights.
        initializer_range: the standard deviation that fresh weights of this model have.
    """
    table = table.float()
    rows, width = table.shape
    finite = torch.isfinite(table)
    not_finite = int((~finite).sum())
    if not_finite:
        table = torch.where(finite, table, torch.zeros(()))
    norms = table.norm(dim=1)
    live = table[norms > 0]
    live_norms = norms[norms > 0]
    count = max(live.shape[0], 1)
    unit_sum = (live / live_norms[:, None]).sum(0)
    cosine = float((unit_sum @ unit_sum - count) / max(count * (count - 1), 1)) if len(live) > 1 else 0.0
    std = float(live.std()) if live.numel() > 1 else 0.0
    norm_mean = float(live_norms.mean()) if len(live) else 0.0
    spread = float(live_norms.std()) / norm_mean if len(live) > 1 else 0.0
    return TableLook(
        rows=rows,
        width=width,
        mean=float(live.mean()) if len(live) else 0.0,
        std=std,
        norm_mean=norm_mean,
        norm_spread=spread,
        average_cosine=cosine,
        zero_rows=tuple((norms == 0).nonzero().flatten().tolist()),
        not_finite=not_finite,
        looks_random=abs(std / initializer_range - 1) < RANDOM_STD
        and spread < RANDOM_NORM_SPREAD * (2 * width) ** -0.5
        and abs(cosine) < RANDOM_COSINE,
    )


def looks_untrained(tensors: dict[str, Tensor], *, initializer_range: float) -> bool:
    """Whether a module's tensors look as freshly initialized: every bias 0, matrices of the initial spread.

    A single training step moves every bias, so zero biases are strong evidence; a model without one is never
    said to be untrained.

    Args:
        tensors: the module's tensors by name.
        initializer_range: the standard deviation of fresh matrices.
    """
    biases = [tensor for name, tensor in tensors.items() if name.endswith("bias")]
    matrices = [tensor.float() for tensor in tensors.values() if tensor.dim() > 1 and tensor.numel() > 1]
    if not biases or any(bool(bias.any()) for bias in biases):
        return False
    for matrix in matrices:
        tolerance = RANDOM_STD + 5 * (2 * matrix.numel()) ** -0.5
        if abs(float(matrix.std()) / initializer_range - 1) > tolerance:
            return False
    return True


def row_zero_ratio(relative_table: Tensor) -> float:
    """Return the norm of row 0 of the relative table, divided by the median row's.

    Official training clamps offsets so that row 0 is never read; weight decay then shrinks it
    (``layers/buckets.py``).
    """
    norms = relative_table.float().norm(dim=1)
    return float(norms[0] / norms.median().clamp_min(torch.finfo(torch.float32).tiny))
