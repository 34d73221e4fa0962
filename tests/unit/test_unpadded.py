"""Contract: an encoder computes the same for texts one after another as for texts with padding."""

import pytest
import torch
from torch import Tensor

from debertav3 import DebertaV2ForTokenClassification, DebertaV2Model
from debertav3.gpu.unpadding import unpad
from debertav3.layers.attention_backends import AttentionBackend, eager_attention
from debertav3.layers.masks import AttentionMasks
from debertav3.layers.unpadded import UnpaddedBatch
from debertav3.models import base
from helpers import tiny_config

LENGTHS = torch.tensor([7, 1, 4])
REAL = torch.arange(7) < LENGTHS[:, None]


def by_text(
    q: Tensor, k: Tensor, v: Tensor, tables: object, mask: object, **settings: object
) -> tuple[Tensor, None]:
    """The reference, text by text."""
    assert isinstance(mask, UnpaddedBatch)
    sizes = mask.starts.diff().tolist()
    parts = zip(*(x.split(sizes, dim=2) for x in (q, k, v)), strict=True)
    contexts = [eager_attention(*part, tables, None, **settings)[0] for part in parts]  # type: ignore[arg-type]
    return torch.cat(contexts, dim=2), None


def test_tokens_come_back_to_their_places() -> None:
    batch = UnpaddedBatch.of(REAL)
    assert batch is not None and batch.longest == 7
    x = torch.randn(3, 7, 5)
    taken = batch.take(x)
    assert torch.equal(taken[0], x[REAL])
    assert torch.equal(batch.put_back(taken), x * REAL[..., None])
    assert torch.equal(batch.firsts(taken)[0], x[:, 0])
    places = torch.arange(7)[None]
    assert torch.equal(batch.take(places)[0], places.expand(3, 7)[REAL])


@pytest.mark.parametrize("kind", ["no padding", "left padding", "a hole", "a text without tokens"])
def test_other_masks_are_left_alone(kind: str) -> None:
    real = REAL.clone()
    if kind == "no padding":
        real[:] = True
    elif kind == "left padding":
        real = real.flip(1)
    elif kind == "a hole":
        real[0, 3] = False
    else:
        real[1] = False
    assert UnpaddedBatch.of(real) is None


def test_padding_that_is_read_stays() -> None:
    assert UnpaddedBatch.of(REAL, REAL) is not None
    read = REAL.clone()
    read[1, 3] = True
    assert UnpaddedBatch.of(REAL, read) is None


def test_a_label_on_padding_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in stock transformers, whose loss is over all labels but -100."""
    model = DebertaV2ForTokenClassification(tiny_config(num_labels=2))
    asked: list[Tensor | None] = []
    monkeypatch.setattr(base, "unpad", lambda *_, num_texts, read=None: asked.append(read))
    labels = torch.where(REAL, 1, -100)
    labels[1, 3] = 1
    ids = torch.full(REAL.shape, 5)
    model(ids, REAL, labels=labels)
    model(ids, REAL)
    read, none = asked
    assert read is not None and none is None
    assert UnpaddedBatch.of(REAL, read) is None


@pytest.mark.parametrize("first_token_suffices", [False, True])
@pytest.mark.parametrize("trains", [False, True])
def test_an_encoder_without_padding(first_token_suffices: bool, trains: bool) -> None:
    torch.manual_seed(0)
    config = tiny_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model = DebertaV2Model(config).double().train(trains)
    batch = UnpaddedBatch.of(REAL)
    assert batch is not None
    x = torch.randn(3, 7, config.hidden_size, dtype=torch.float64) * REAL[..., None]
    want = model.encoder(x, AttentionMasks(REAL)).last_hidden_state
    gradient = torch.autograd.grad(want[:, 0].sum(), list(model.encoder.parameters()), allow_unused=True)
    for layer in model.encoder.layer:
        layer.attention.self.backends = (AttentionBackend("by text", by_text, takes_unpadded=True),)
    got = model.encoder(
        batch.take(x), AttentionMasks(None, unpadded=batch), first_token_suffices=first_token_suffices
    ).last_hidden_state
    assert got.shape[1] == (3 if first_token_suffices and not trains else LENGTHS.sum())
    firsts = batch.firsts_of(got)
    torch.testing.assert_close(firsts, want[:, :1])
    if got.shape[1] != 3:
        torch.testing.assert_close(batch.put_back(got), want * REAL[..., None])
    ours = torch.autograd.grad(firsts.sum(), list(model.encoder.parameters()), allow_unused=True)
    for one, other in zip(ours, gradient, strict=True):
        if other is not None:
            torch.testing.assert_close(one, other)


def test_a_cpu_keeps_its_padding() -> None:
    model = DebertaV2Model(tiny_config())
    assert unpad(model, model.encoder, AttentionMasks(REAL), num_texts=len(REAL)) is None
