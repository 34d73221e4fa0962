"""What training minimises: a sum over the examples of the whole optimiser step, divided by their number.

Sums divided by counts, not means of means, give the same gradient however the step is split over devices.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

LossFunction = Callable[[Any, Tensor, Tensor | int | None], Tensor]
"""``(outputs, labels, examples in the whole step or None) -> loss``; None means the mean of this batch."""


def classification_loss(*, label_smoothing: float = 0.0) -> LossFunction:
    """Cross entropy of one label per example; labels of -100 are ignored."""

    def loss(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        logits = at_least_fp32(outputs["logits"])
        total = F.cross_entropy(
            logits, labels, reduction="sum", ignore_index=-100, label_smoothing=label_smoothing
        )
        return total / _count(labels, num_items_in_batch)

    return loss


def regression_loss(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """Squared error of one number per example."""
    scores = at_least_fp32(outputs["logits"]).squeeze(-1)
    return F.mse_loss(scores, labels.to(scores.dtype), reduction="sum") / _count(labels, num_items_in_batch)


def at_least_fp32(tensor: Tensor) -> Tensor:
    """Half precision as fp32; anything else as it is."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _count(labels: Tensor, num_items_in_batch: Tensor | int | None) -> Tensor | int:
    if num_items_in_batch is not None:
        return num_items_in_batch
    return torch.clamp((labels != -100).sum(), min=1)
