"""SiFT: one full step equals a plainly written computation in float64, and each of its rules holds."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from debertav3 import DebertaV2ForSequenceClassification
from debertav3.finetuning import sift
from debertav3.finetuning.losses import classification_loss
from debertav3.sizes import config_for

STEP, SIZE, WEIGHT = 1e-4, 1e-2, 3.0


@pytest.fixture
def model() -> DebertaV2ForSequenceClassification:
    torch.manual_seed(0)
    config = config_for(
        "nano",
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        num_labels=3,
        initializer_range=0.5,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return DebertaV2ForSequenceClassification(config).double().train()


@pytest.fixture
def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    mask = torch.ones(4, 7, dtype=torch.int64)
    mask[1, 5:] = 0
    return {"input_ids": torch.randint(4, 50, (4, 7), generator=generator), "attention_mask": mask}


LABELS = torch.tensor([0, 2, 1, 1])


def our_loss(model: Any, batch: dict[str, Tensor]) -> Tensor:
    clean_pass = sift.CleanPass()
    clean = model(**batch, perturbation=clean_pass)
    apart = sift.regularizer(
        lambda change: model(**batch, perturbation=change),
        clean=clean,
        embeddings=clean_pass.embeddings,
        labels=LABELS,
        divergence=sift.class_divergence,
        step_size=STEP,
        initial_size=SIZE,
    )
    return classification_loss()(clean, LABELS, None) + WEIGHT * apart.mean()


def plain_loss(model: Any, batch: dict[str, Tensor], noise: Tensor) -> Tensor:
    """The same step by hooks before the embeddings' LayerNorm and with frozen parameters."""
    layer_norm: nn.Module = model.deberta.embeddings.LayerNorm
    seen: dict[str, Tensor] = {}

    def forward(delta: Tensor | None) -> Tensor:
        def before(module: nn.Module, inputs: tuple[Tensor]) -> Tensor:
            x = inputs[0]
            if delta is not None:
                return seen["x"].detach() + delta
            spread = x.var(-1, correction=0, keepdim=True)
            seen["x"] = (x - x.mean(-1, keepdim=True)) / (spread + 1e-7).sqrt()
            return seen["x"]

        handle = layer_norm.register_forward_pre_hook(before)
        logits: Tensor = model(**batch).logits
        handle.remove()
        return logits

    def both_ways(one: Tensor, other: Tensor) -> Tensor:
        p, q = one.softmax(-1), other.softmax(-1)
        return -(q.detach() * p.log()).sum(-1) - (p.detach() * q.log()).sum(-1)

    clean = forward(None)
    delta = (noise * SIZE).clamp(-2 * SIZE, 2 * SIZE).requires_grad_(True)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    both_ways(forward(delta), clean.detach()).sum().backward()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    assert delta.grad is not None
    uphill = delta.grad / (1e-6 + delta.grad.abs().max(-1, keepdim=True).values)
    perturbed = forward((delta + STEP * uphill).detach())
    return F.cross_entropy(clean, LABELS) + WEIGHT * both_ways(perturbed, clean).mean()


def test_one_step_equals_the_plain_computation(model: Any, batch: dict[str, Tensor]) -> None:
    other = copy.deepcopy(model)
    torch.manual_seed(5)
    ours = our_loss(model, batch)
    ours.backward()
    torch.manual_seed(5)
    noise = torch.randn(4, 7, 16, dtype=torch.float64)
    theirs = plain_loss(other, batch, noise)
    theirs.backward()

    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)
    for (name, mine), (_, plain) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        torch.testing.assert_close(mine.grad, plain.grad, atol=1e-12, rtol=1e-9, msg=name)


def test_the_ascent_step_touches_no_parameter(model: Any, batch: dict[str, Tensor]) -> None:
    our_loss(model, batch)  # without backward
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_ascent_enlarges_the_divergence(model: Any, batch: dict[str, Tensor]) -> None:
    clean_pass = sift.CleanPass()
    clean = model(**batch, perturbation=clean_pass)

    def apart(step_size: float) -> float:
        torch.manual_seed(2)
        values = sift.regularizer(
            lambda change: model(**batch, perturbation=change),
            clean=clean,
            embeddings=clean_pass.embeddings,
            labels=LABELS,
            divergence=sift.class_divergence,
            step_size=step_size,
            initial_size=SIZE,
        )
        return float(values.detach().sum())

    assert apart(1e-3) > apart(1e-4) > apart(0.0)


def test_a_token_moves_by_the_step_in_its_largest_coordinate() -> None:
    delta, gradient = torch.zeros(2, 3, 4), torch.randn(2, 3, 4)
    moved = sift.ascend(delta, gradient, step_size=0.5)
    torch.testing.assert_close(moved.abs().amax(-1), torch.full((2, 3), 0.5), atol=1e-4, rtol=0)
    assert torch.equal(moved.sign(), gradient.sign())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_moves_nothing(value: float) -> None:
    gradient = torch.ones(1, 2, 3)
    gradient[0, 1, 2] = value
    delta = torch.full((1, 2, 3), 0.25)
    assert torch.equal(sift.ascend(delta, gradient, step_size=1.0), delta)


def test_items_that_do_not_count_are_left_out() -> None:
    logits = torch.randn(2, 3, 5)
    labels = torch.tensor([[1, -100, 2], [-100, -100, 0]])
    apart = sift.class_divergence({"logits": logits}, {"logits": logits + 1}, labels)
    assert apart.shape == (3,)


def test_texts_with_shares_count_as_texts_with_labels() -> None:
    one, other, labels = {"logits": torch.randn(4, 3)}, {"logits": torch.randn(4, 3)}, torch.arange(4) % 3
    shares = torch.nn.functional.one_hot(labels, 3).float()
    of_shares = sift.class_divergence(one, other, shares).sum() / shares.numel()
    torch.testing.assert_close(of_shares, sift.class_divergence(one, other, labels).mean())


def test_a_single_score_is_regularized() -> None:
    one, other = {"logits": torch.tensor([[1.0], [2.0]])}, {"logits": torch.tensor([[1.5], [0.0]])}
    assert sift.score_divergence(one, other, torch.zeros(2)).tolist() == [0.25, 4.0]
    assert sift.symmetric_kl(one["logits"], other["logits"]).tolist() == [0.0, 0.0]
