"""Losses: means over the whole optimiser step, equal to torch's own, however the step is split."""

import pytest
import torch
from torch.nn import functional as F

from debertav3.finetune.losses import classification_loss, regression_loss

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


def test_ignored_labels_do_not_count() -> None:
    labels = LABELS.clone()
    labels[:6] = -100
    got = classification_loss()({"logits": LOGITS}, labels, None)
    torch.testing.assert_close(got, F.cross_entropy(LOGITS[6:], LABELS[6:]))


def test_regression_is_the_mean_squared_error() -> None:
    scores, gold = torch.randn(8, 1), torch.randn(8)
    torch.testing.assert_close(regression_loss({"logits": scores}, gold), F.mse_loss(scores[:, 0], gold))
