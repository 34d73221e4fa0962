"""Losses that the heads share."""

from torch import Tensor
from torch.nn import functional as F

IGNORED = -100
"""The label of what does not count."""


def inside(positions: Tensor, length: int) -> Tensor:
    """Answer positions with those outside the text marked as not counting."""
    return positions.masked_fill((positions < 0) | (positions >= length), IGNORED)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy in fp32 over labels that are not negative; 0 where all are."""
    labels = labels.masked_fill(labels < 0, IGNORED)
    total = F.cross_entropy(logits.float(), labels, ignore_index=IGNORED, reduction="sum")
    return total / (labels != IGNORED).sum().clamp(min=1)
