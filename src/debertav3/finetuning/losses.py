"""Training losses: sums over the examples of a whole optimizer step, divided by their number.

Sums divided by counts, not means of means, give the same gradient no matter how a step is split over devices.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

LossFunction = Callable[[Mapping[str, Tensor], Tensor, Tensor | int | None], Tensor]
"""``(outputs, labels, examples in the whole step or None) -> loss``; None means the mean of this batch."""


def classification_loss(*, label_smoothing: float = 0.0, class_weights: Tensor | None = None) -> LossFunction:
    """Cross entropy of one label per example or token, or of a distribution over them per example.

    Labels are int64 of any shape, where -100 is ignored, or shares ``(B, num_labels)``.

    Args:
        label_smoothing: share of the target that is spread over all labels.
        class_weights: ``(num_labels,)``, the weight of each label's examples; None means 1.
    """

    def loss(
        outputs: Mapping[str, Tensor], labels: Tensor, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        logits = at_least_fp32(outputs["logits"])
        if labels.is_floating_point():
            # Smoothed first and weighted then, as labels that are ids are.
            shares = labels * (1 - label_smoothing) + label_smoothing / labels.shape[-1]
            if class_weights is not None:
                shares = shares * (labels @ class_weights.to(labels)).unsqueeze(-1)
            total = F.cross_entropy(logits, shares, reduction="sum")
            return total * labels.shape[-1] / _count(labels, num_items_in_batch)
        logits, labels = logits.reshape(-1, logits.shape[-1]), labels.reshape(-1)
        losses = F.cross_entropy(
            logits, labels, reduction="none", ignore_index=-100, label_smoothing=label_smoothing
        )
        if class_weights is not None:
            losses = losses * class_weights.to(losses)[labels.clamp(min=0)]
        return losses.sum() / _count(labels, num_items_in_batch)

    return loss


def balanced_weights(labels: Sequence[int], num_labels: int) -> Tensor:
    """Weights that make all labels count equally, ``(num_labels,)``; their mean over the examples is 1.

    Args:
        labels: those of the training examples.
        num_labels: includes labels without examples, which get 1.
    """
    counts = torch.bincount(torch.tensor(labels), minlength=num_labels)
    seen = counts > 0
    return torch.where(seen, len(labels) / (counts.clamp(min=1) * seen.sum()), 1.0)


def several_labels_loss(*, yes_weights: Tensor | None = None) -> LossFunction:
    """Binary cross entropy of ``(B, num_labels)`` yes-or-no answers, a mean over all of them.

    Args:
        yes_weights: ``(num_labels,)``, the weight of the examples that have each label; None means 1.
    """

    def loss(
        outputs: Mapping[str, Tensor], labels: Tensor, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        logits = at_least_fp32(outputs["logits"])
        weights = None if yes_weights is None else yes_weights.to(logits)
        total = F.binary_cross_entropy_with_logits(
            logits, labels.to(logits.dtype), pos_weight=weights, reduction="sum"
        )
        return total / _count(labels, num_items_in_batch)

    return loss


def balanced_yes_weights(labels: Sequence[Sequence[int]], num_labels: int) -> Tensor:
    """Ratio of examples without to examples with each label, ``(num_labels,)``; 1 if none or all have it.

    Args:
        labels: those of each training example, none or several.
        num_labels: includes labels without examples.
    """
    flat = [label for several in labels for label in several]
    counts = torch.bincount(torch.tensor(flat, dtype=torch.long), minlength=num_labels)
    lacking = len(labels) - counts
    return torch.where((counts > 0) & (lacking > 0), lacking / counts.clamp(min=1), 1.0)


def relevance_loss(
    outputs: Mapping[str, Tensor], labels: Tensor, num_items_in_batch: Tensor | int | None = None
) -> Tensor:
    """Binary cross entropy of one score per example against its relevance, 0 to 1."""
    scores = at_least_fp32(outputs["logits"]).squeeze(-1)
    total = F.binary_cross_entropy_with_logits(scores, labels.to(scores.dtype), reduction="sum")
    return total / _count(labels, num_items_in_batch)


def span_loss(
    outputs: Mapping[str, Tensor], labels: Tensor, num_items_in_batch: Tensor | int | None = None
) -> Tensor:
    """Cross entropy of the first and the last token of an answer, a mean over both.

    Args:
        outputs: with ``start_logits`` and ``end_logits``, ``(B, L)``.
        labels: ``(B, 2)``, positions of the first and the last token.
        num_items_in_batch: positions in the whole step, two per window.
    """
    total = sum(
        F.cross_entropy(at_least_fp32(outputs[name]), labels[:, column], reduction="sum")
        for column, name in enumerate(("start_logits", "end_logits"))
    )
    return torch.as_tensor(total) / _count(labels, num_items_in_batch)


def regression_loss(
    outputs: Mapping[str, Tensor], labels: Tensor, num_items_in_batch: Tensor | int | None = None
) -> Tensor:
    """Squared error of one number per example."""
    scores = at_least_fp32(outputs["logits"]).squeeze(-1)
    return F.mse_loss(scores, labels.to(scores.dtype), reduction="sum") / _count(labels, num_items_in_batch)


def at_least_fp32(tensor: Tensor) -> Tensor:
    """Half precision as fp32; anything else as it is."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _count(labels: Tensor, num_items_in_batch: Tensor | int | None) -> Tensor | int:
    if num_items_in_batch is not None:
        return num_items_in_batch
    if labels.is_floating_point():  # numbers and shares: none is ignored
        return labels.numel()
    return torch.clamp((labels != -100).sum(), min=1)
