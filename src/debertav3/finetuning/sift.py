"""SiFT, scale-invariant fine-tuning: train also against the worst small change of the normalized embeddings.

DeBERTa, arXiv:2006.03654, section 4, as the official ``DeBERTa/sift/sift.py`` does it. One step of training:

1. Clean pass. The embeddings are normalized (LayerNorm without weight and bias) before their own LayerNorm.
2. A random delta on the normalized embeddings takes one ascent step that enlarges the change of predictions.
3. A second pass with that delta; how far its predictions are from the clean ones is added to the loss, with
   gradient through both passes. Delta is added to a copy of the embeddings; they learn from the clean pass.

Dropout is on in all three passes. Cost: three forward and nearly three backward passes.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..json_types import JsonMapping
from ..layers.embeddings import Perturbation
from .losses import at_least_fp32

Outputs = JsonMapping
Divergence = Callable[[Outputs, Outputs, Tensor], Tensor]
"""``(perturbed outputs, clean outputs, labels) -> (N,)``: how far apart the predictions of each item are."""


class CleanPass:
    """Goes into the clean forward as its perturbation: changes nothing and remembers the embeddings."""

    embeddings: Tensor

    def __call__(self, normalized: Tensor) -> Tensor:
        """Keep ``(B, L, D)`` normalized embeddings."""
        self.embeddings = normalized
        return normalized


def regularizer(
    forward: Callable[[Perturbation], Outputs],
    *,
    clean: Outputs,
    embeddings: Tensor,
    labels: Tensor,
    divergence: Divergence,
    step_size: float,
    initial_size: float,
) -> Tensor:
    """Return the divergence of the predictions under the worst delta that one step finds, item by item.

    Args:
        forward: runs the model on the same batch with a perturbation.
        clean: outputs of the clean pass, with their graph.
        embeddings: ``(B, L, D)`` from :class:`CleanPass`.
        labels: of the batch; where they are -100, nothing counts.
        divergence: between perturbed and clean outputs.
        step_size: length of the ascent step, in the largest coordinate of each token.
        initial_size: standard deviation of the first delta, which is cut at twice this.

    Returns:
        ``(N,)``, one number for each counted item.
    """
    fixed = at_least_fp32(embeddings.detach())
    limit = 2 * initial_size
    delta = (torch.randn_like(fixed) * initial_size).clamp_(-limit, limit).requires_grad_(True)

    def perturbed(change: Tensor) -> Outputs:
        return forward(lambda normalized: (fixed + change).to(normalized.dtype))

    frozen = {key: value.detach() for key, value in clean.items() if isinstance(value, Tensor)}
    adversarial = divergence(perturbed(delta), frozen, labels).sum()
    # Only delta's gradient is asked for, so none is added to the parameters': the official code freezes them.
    (gradient,) = torch.autograd.grad(adversarial, delta)
    return divergence(perturbed(ascend(delta.detach(), gradient, step_size=step_size)), clean, labels)


def ascend(delta: Tensor, gradient: Tensor, *, step_size: float) -> Tensor:
    """Move delta uphill, each token by ``step_size`` in its largest coordinate; stay if that is not finite.

    Args:
        delta: ``(B, L, D)``.
        gradient: of the divergence, same shape.
        step_size: in the largest coordinate.
    """
    step = step_size * gradient / (1e-6 + gradient.abs().amax(-1, keepdim=True))
    return torch.where(gradient.norm().isfinite(), delta + step, delta)


def symmetric_kl(perturbed: Tensor, clean: Tensor) -> Tensor:
    """Cross entropy of each distribution under the other, ``(N, C)`` logits to ``(N,)``.

    Each target is fixed, each prediction carries gradient: both passes are trained towards one another.
    """
    perturbed_log = F.log_softmax(at_least_fp32(perturbed), -1)
    clean_log = F.log_softmax(at_least_fp32(clean), -1)
    forth = -(clean_log.exp().detach() * perturbed_log).sum(-1)
    back = -(perturbed_log.exp().detach() * clean_log).sum(-1)
    return forth + back


def class_divergence(perturbed: Outputs, clean: Outputs, labels: Tensor) -> Tensor:
    """For one label per text, per choice or per token: all items whose label counts.

    Where labels are shares ``(B, num_labels)`` each text counts once for each share, as in the loss.
    """
    if labels.is_floating_point():
        return symmetric_kl(perturbed["logits"], clean["logits"])[:, None].expand_as(labels)
    counted = labels != -100
    return symmetric_kl(perturbed["logits"][counted], clean["logits"][counted])


def score_divergence(perturbed: Outputs, clean: Outputs, labels: Tensor) -> Tensor:
    """For regression: squared difference of ``(B, 1)`` scores.

    Deviation: the official regularizer compares distributions, and over a single logit it is always zero
    (test_finetune_sift.py::test_a_single_score_is_regularized).
    """
    return at_least_fp32(perturbed["logits"] - clean["logits"]).square().squeeze(-1)


def label_divergence(perturbed: Outputs, clean: Outputs, labels: Tensor) -> Tensor:
    """For several labels: each is a distribution over yes and no; ``(B * num_labels,)``."""
    pairs = [torch.stack([torch.zeros_like(one["logits"]), one["logits"]], -1) for one in (perturbed, clean)]
    return symmetric_kl(pairs[0].flatten(0, 1), pairs[1].flatten(0, 1))


def span_divergence(perturbed: Outputs, clean: Outputs, labels: Tensor) -> Tensor:
    """For answers in a text: the distributions over first and over last tokens; ``(2 * B,)``."""
    both = [torch.cat([one["start_logits"], one["end_logits"]]) for one in (perturbed, clean)]
    return symmetric_kl(both[0], both[1])
