"""Losses that the heads share."""

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORED = -100
"""The label of what does not count."""


def inside(positions: Tensor, length: int) -> Tensor:
    """Answer positions with those outside the text marked as not counting."""
    return positions.masked_fill((positions < 0) | (positions >= length), IGNORED)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over labels that are not negative; 0 where all are."""
    labels = labels.masked_fill(labels < 0, IGNORED)
    total = F.cross_entropy(at_least_fp32(logits), labels, ignore_index=IGNORED, reduction="sum")
    return total / (labels != IGNORED).sum().clamp(min=1)


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean binary cross-entropy over labels, 0 .. 1, that are not negative; 0 where all are."""
    counted = labels >= 0
    logits = at_least_fp32(logits)
    each = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none")
    return each.masked_fill(~counted, 0.0).sum() / counted.sum().clamp(min=1)


def soft_cross_entropy(logits: Tensor, shares: Tensor) -> Tensor:
    """Mean cross-entropy over examples; ``shares`` ``(B, num_labels)`` says how much each class counts."""
    logits = at_least_fp32(logits)
    return F.cross_entropy(logits, shares.to(logits.dtype))


def squared_error(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error over all numbers."""
    predicted = at_least_fp32(predicted)
    return F.mse_loss(predicted, wanted.to(predicted.dtype))


def at_least_fp32(x: Tensor) -> Tensor:
    """Half precision as fp32: a loss adds up too many numbers for it."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
