"""Heads equal plain float64 computations of the official ones: mask decoder, replaced tokens, pooler."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from debertav3.errors import UserError
from debertav3.models import (
    DebertaV2ForMaskedLM,
    DebertaV2ForReplacedTokenDetection,
    DebertaV2ForSequenceClassification,
)
from helpers import ALL_BACKENDS, assert_same_gradients, gradients, random_batch, random_weights, tiny_config

EPS = 1e-7
HEADS = 4


def layer_norm(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, correction=0)
    return (x - mean) / (variance + EPS).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]


def dense(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def plain_layer(state: dict[str, Tensor], name: str, states: Tensor, query: Tensor, real: Tensor) -> Tensor:
    """One V3 layer (DeBERTa, section 3.1) whose keys and values are ``states``; residual is ``query``."""
    table = layer_norm(state, "deberta.encoder.LayerNorm", state["deberta.encoder.rel_embeddings.weight"])
    B, L, width = states.shape
    H = width // HEADS

    def heads(x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], HEADS, H).transpose(-2, -3)

    attention = f"{name}.attention.self"
    q, k, v = (
        heads(dense(state, f"{attention}.{part}_proj", x))
        for part, x in (("query", query), ("key", states), ("value", states))
    )
    kr, qr = (heads(dense(state, f"{attention}.{part}_proj", table)) for part in ("key", "query"))
    offset = torch.arange(L)[:, None] - torch.arange(L)[None, :]
    row = (official_bucket(offset) + 8).clamp(0, 15)
    c2p = torch.einsum("bnid,nijd->bnij", q, kr[:, row])
    p2c = torch.einsum("bnjd,nijd->bnij", k, qr[:, row])
    score = (q @ k.transpose(-1, -2) + c2p + p2c) / math.sqrt(3 * H)
    score = score.masked_fill(~real[:, None, None, :], -math.inf)
    context = (torch.softmax(score, -1) @ v).transpose(1, 2).reshape(B, L, width)
    x = layer_norm(
        state,
        f"{name}.attention.output.LayerNorm",
        dense(state, f"{name}.attention.output.dense", context) + query,
    )
    wide = gelu(dense(state, f"{name}.intermediate.dense", x))
    return layer_norm(state, f"{name}.output.LayerNorm", dense(state, f"{name}.output.dense", wide) + x)


def official_bucket(offset: Tensor) -> Tensor:
    """Buckets for 8 on each side of zero and 32 positions (official ``deberta/da_utils.py``)."""
    far = offset.abs().clamp(max=31).double()
    steps = torch.ceil(torch.log(far.clamp(min=1) / 4) / math.log(31 / 4) * 3 - 1e-9) + 4
    return torch.where(far <= 4, offset.clamp(-31, 31).double(), steps * offset.sign()).long()


def plain_encoder(state: dict[str, Tensor], batch: dict[str, Tensor], num_layers: int) -> Tensor:
    real = batch["attention_mask"].bool()
    x = layer_norm(
        state,
        "deberta.embeddings.LayerNorm",
        state["deberta.embeddings.word_embeddings.weight"][batch["input_ids"]],
    )
    x = x * real[..., None]
    for number in range(num_layers):
        x = plain_layer(state, f"deberta.encoder.layer.{number}", x, x, real)
    return x


def randomized(model: Any) -> Any:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.double().eval()


def masked_lm(**changes: Any) -> DebertaV2ForMaskedLM:
    torch.manual_seed(0)
    return randomized(DebertaV2ForMaskedLM(tiny_config(num_hidden_layers=3, **changes)))


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_enhanced_mask_decoder_equals_a_plain_computation(backend: str) -> None:
    """DeBERTa, section 3.2, official ``apps/models/masked_language_model.py``: the last layer twice."""
    model = masked_lm()
    model.set_attention_backend(backend)
    batch = random_batch((30, 11))
    real = batch["attention_mask"].bool()
    leaves = {
        name: parameter.detach().clone().requires_grad_() for name, parameter in model.named_parameters()
    }
    states = plain_encoder(leaves, batch, 2)
    query = states + leaves["deberta.embeddings.position_embeddings.weight"][:30]
    for _ in range(2):
        query = plain_layer(leaves, "deberta.encoder.layer.2", states, query, real)
    head = "lm_predictions.lm_head"
    x = layer_norm(leaves, f"{head}.LayerNorm", gelu(dense(leaves, f"{head}.dense", query)))
    want = x @ leaves["deberta.embeddings.word_embeddings.weight"].T + leaves[f"{head}.bias"]

    for enabled in (True, False):
        with torch.set_grad_enabled(enabled):
            got = model(**batch).logits
        torch.testing.assert_close(got[real], want[real], atol=1e-10, rtol=1e-10)

    labels = batch["input_ids"].masked_fill(
        torch.rand(2, 30, generator=torch.Generator().manual_seed(1)) > 0.3, -100
    )
    labels = labels.masked_fill(~real, -100)
    loss = model(**batch, labels=labels).loss
    wanted_loss = F.cross_entropy(want[labels >= 0], labels[labels >= 0])
    torch.testing.assert_close(loss, wanted_loss, atol=1e-10, rtol=1e-10)
    wanted_loss.backward()
    want_gradients = {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
    assert_same_gradients(gradients(model, loss), want_gradients, atol=1e-9)


def test_only_the_masked_tokens_can_be_asked_for() -> None:
    model = masked_lm()
    batch = random_batch((30, 11))
    places = torch.tensor([[3, 29, 7], [0, 10, 4]])
    want = model(**batch).logits.gather(1, places[..., None].expand(-1, -1, 99))
    torch.testing.assert_close(model(**batch, masked_positions=places).logits, want)


def test_mask_decoder_takes_positions_of_packed_sequences() -> None:
    model = masked_lm()
    ids = random_batch((17,))["input_ids"]
    owner = torch.tensor([0] * 6 + [1] * 11)
    mask = (owner[:, None] == owner[None])[None]
    positions = torch.cat([torch.arange(6), torch.arange(11)])[None]
    packed = model(ids, attention_mask=mask, position_ids=positions).logits
    separate = torch.cat([model(part).logits for part in ids.split([6, 11], dim=1)], 1)
    torch.testing.assert_close(packed, separate, atol=1e-10, rtol=1e-10)


def test_asking_for_more_does_not_change_the_words() -> None:
    model = masked_lm()
    batch = random_batch((30, 11))
    want = model(**batch)
    all_states = model(**batch, output_hidden_states=True)
    weights = model(**batch, output_attentions=True)
    assert want.hidden_states is None and weights.hidden_states is None and all_states.attentions is None
    assert len(all_states.hidden_states) == 4 and len(weights.attentions) == 3
    torch.testing.assert_close(all_states.logits, want.logits, atol=0, rtol=0)
    torch.testing.assert_close(weights.logits, want.logits)
    torch.testing.assert_close(
        all_states.hidden_states[-1], model.deberta(**batch).last_hidden_state, atol=0, rtol=0
    )


def test_mask_decoder_in_training_with_dropout_and_checkpointing() -> None:
    model = masked_lm(hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.2).train()
    batch = random_batch((30, 11))

    def run() -> dict[str, Tensor]:
        torch.manual_seed(2)
        logits = model(**batch).logits
        return gradients(model, (logits * random_weights(logits.shape, logits.dtype)).sum())

    want = run()
    for reentrant in (True, False):
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        assert_same_gradients(run(), want, atol=1e-9)


def test_mask_decoder_refuses_what_it_cannot_add() -> None:
    with pytest.raises(UserError, match="32 absolute positions; got 33 tokens"):
        masked_lm()(random_batch((33,))["input_ids"])
    with pytest.raises(UserError, match="embedding_size 20, need hidden_size 48"):
        masked_lm(embedding_size=20)(random_batch((5,))["input_ids"])


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_replaced_token_head_equals_a_plain_computation(backend: str) -> None:
    """DeBERTaV3, section 3.1, official ``apps/models/replaced_token_detection_model.py``; no dropout."""
    torch.manual_seed(0)
    config = tiny_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model: Any = randomized(DebertaV2ForReplacedTokenDetection(config)).train()
    model.set_attention_backend(backend)
    batch = random_batch((30, 11))
    real = batch["attention_mask"].bool()
    leaves = {
        name: parameter.detach().clone().requires_grad_() for name, parameter in model.named_parameters()
    }
    states = plain_encoder(leaves, batch, 2)
    head = "mask_predictions"
    x = layer_norm(leaves, f"{head}.LayerNorm", states + states[:, :1])
    want = dense(leaves, f"{head}.classifier", gelu(dense(leaves, f"{head}.dense", x))).squeeze(-1)
    got = model(**batch).logits
    assert got.shape == (2, 30)
    torch.testing.assert_close(got[real], want[real], atol=1e-10, rtol=1e-10)

    labels = torch.randint(0, 2, (2, 30), generator=torch.Generator().manual_seed(1))
    labels[0, 5] = -100
    loss = model(**batch, labels=labels).loss
    counted = real & (labels >= 0)
    shares = torch.sigmoid(want[counted])
    truth = labels[counted].double()
    wanted_loss = -(truth * shares.log() + (1 - truth) * (1 - shares).log()).mean()
    torch.testing.assert_close(loss, wanted_loss, atol=1e-10, rtol=1e-10)
    wanted_loss.backward()
    want_gradients = {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
    assert_same_gradients(gradients(model, loss), want_gradients, atol=1e-9)


def test_pooler_and_classifier_equal_a_plain_computation() -> None:
    torch.manual_seed(0)
    model: Any = randomized(DebertaV2ForSequenceClassification(tiny_config(num_labels=3)))
    batch = random_batch((30, 11))
    state = dict(model.named_parameters())
    pooled = gelu(dense(state, "pooler.dense", plain_encoder(state, batch, 2)[:, 0]))
    want = dense(state, "classifier", pooled)
    torch.testing.assert_close(model(**batch).logits, want, atol=1e-10, rtol=1e-10)


def test_classifier_dropout_is_the_config_s() -> None:
    config = tiny_config(hidden_dropout_prob=0.1, cls_dropout=0.4, pooler_dropout=0.3)
    model = DebertaV2ForSequenceClassification(config)
    assert model.dropout.p == 0.4 and model.pooler.dropout.p == 0.3
    assert DebertaV2ForSequenceClassification(tiny_config(hidden_dropout_prob=0.1)).dropout.p == 0.1
