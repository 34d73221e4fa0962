"""Losses: means over the whole optimizer step, equal to torch's own, however the step is split."""

import pytest
import torch
from torch.nn import functional as F

from debertav3.finetuning.losses import (
    balanced_weights,
    balanced_yes_weights,
    classification_loss,
    regression_loss,
    several_labels_loss,
)

torch.manual_seed(0)
LOGITS, LABELS = torch.randn(12, 3), torch.arange(12) % 3


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_split_steps_add_up_to_the_mean(smoothing: float) -> None:
    loss = classification_loss(label_smoothing=smoothing)
    parts = [
        loss({"logits": LOGITS[rows]}, LABELS[rows], torch.tensor(12)) for rows in (slice(5), slice(5, 12))
    ]
    whole = F.cross_entropy(LOGITS, LABELS, label_smoothing=smoothing)
    torch.testing.assert_close(sum(parts), whole)
    torch.testing.assert_close(loss({"logits": LOGITS}, LABELS, None), whole)


def test_balanced_classes_count_equally() -> None:
    labels = torch.tensor([0] * 9 + [2] * 3)
    weights = balanced_weights(labels.tolist(), 3)
    torch.testing.assert_close(weights, torch.tensor([12 / 18, 1.0, 12 / 6]))
    loss = classification_loss(class_weights=weights)({"logits": LOGITS}, labels, None)
    each = [F.cross_entropy(LOGITS[labels == name], labels[labels == name]) for name in (0, 2)]
    torch.testing.assert_close(loss, sum(each) / 2)


def test_ignored_labels_do_not_count() -> None:
    labels = LABELS.clone()
    labels[:6] = -100
    got = classification_loss()({"logits": LOGITS}, labels, None)
    torch.testing.assert_close(got, F.cross_entropy(LOGITS[6:], LABELS[6:]))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_shares_that_are_all_or_nothing_count_as_labels(smoothing: float) -> None:
    shares, weights = F.one_hot(LABELS, 3).float(), torch.tensor([0.5, 1.0, 1.5])
    loss = classification_loss(label_smoothing=smoothing)
    parts = [
        loss({"logits": LOGITS[rows]}, shares[rows], torch.tensor(shares.numel()))
        for rows in (slice(5), slice(5, 12))
    ]
    torch.testing.assert_close(sum(parts), loss({"logits": LOGITS}, LABELS, None))
    weighted = classification_loss(label_smoothing=smoothing, class_weights=weights)
    torch.testing.assert_close(
        weighted({"logits": LOGITS}, shares, None), weighted({"logits": LOGITS}, LABELS, None)
    )


def test_shares_are_least_lost_by_the_model_that_predicts_them() -> None:
    shares = LOGITS.softmax(-1)
    loss, entropy = classification_loss(), -(shares * shares.log()).sum(-1).mean()
    torch.testing.assert_close(loss({"logits": LOGITS}, shares, None), entropy)
    assert loss({"logits": LOGITS + torch.tensor([1.0, 0.0, -1.0])}, shares, None) > entropy + 0.01


def test_regression_is_the_mean_squared_error() -> None:
    scores, gold = torch.randn(8, 1), torch.randn(8)
    torch.testing.assert_close(regression_loss({"logits": scores}, gold), F.mse_loss(scores[:, 0], gold))


def test_every_number_counts() -> None:
    scores, gold = torch.zeros(3, 1), torch.tensor([-100.0, -100.0, 1.0])
    torch.testing.assert_close(regression_loss({"logits": scores}, gold), F.mse_loss(scores[:, 0], gold))


def test_a_label_that_all_examples_have_is_learned() -> None:
    weights = balanced_yes_weights([[0], [0, 1]], 2)
    torch.testing.assert_close(weights, torch.tensor([1.0, 1.0]))


def test_yes_and_no_of_each_label_count_alike() -> None:
    several = [[0], [0, 1], [], [0]]
    weights = balanced_yes_weights(several, 3)
    torch.testing.assert_close(weights, torch.tensor([1 / 3, 3.0, 1.0]))
    labels = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 0, 0], [1, 0, 0]])
    logits = torch.zeros(4, 3)  # every answer costs log 2
    yes, no = (labels * weights).sum(0), (1 - labels).sum(0)
    assert torch.equal(yes[:2], no[:2])
    got = several_labels_loss(yes_weights=weights)({"logits": logits}, labels)
    torch.testing.assert_close(got, torch.log(torch.tensor(2.0)) * (yes + no).sum() / labels.numel())
    plain = several_labels_loss()({"logits": logits}, labels)
    torch.testing.assert_close(plain, torch.log(torch.tensor(2.0)))
