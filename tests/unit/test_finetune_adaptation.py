"""Frozen parts do not learn, learning rates fall from layer to layer, LoRA trains little and merges."""

import pytest
import torch

from debertav3 import (
    DebertaV2ForMultipleChoice,
    DebertaV2ForQuestionAnswering,
    DebertaV2ForSequenceClassification,
    DebertaV2ForTokenClassification,
)
from debertav3.errors import UserError
from debertav3.finetuning.adaptation import add_lora, freeze, merged, parameter_groups, uses_every_parameter
from debertav3.finetuning.config import FinetuneConfig
from debertav3.runs.muon import encoder_matrices
from debertav3.sizes import config_for
from helpers import VARIANTS, random_batch, tiny_config


@pytest.fixture
def model() -> DebertaV2ForSequenceClassification:
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16}
    return DebertaV2ForSequenceClassification(config_for("nano", vocab_size=40, num_labels=3, **shape))


DEFAULTS = {"task": "nli", "model": "nano", "learning_rate": 1.0, "weight_decay": 0.1}


def settings(**changes: object) -> FinetuneConfig:
    return FinetuneConfig.of(**{**DEFAULTS, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_parameter_is_idle_where_none_is_sought(variant: str) -> None:
    torch.manual_seed(0)
    for kind in (
        DebertaV2ForSequenceClassification,
        DebertaV2ForTokenClassification,
        DebertaV2ForQuestionAnswering,
        DebertaV2ForMultipleChoice,
    ):
        model = kind(tiny_config(**VARIANTS[variant]))
        batch = random_batch([7, 5], types=VARIANTS[variant].get("type_vocab_size", 0))
        if kind is DebertaV2ForMultipleChoice:
            batch = {key: value[:, None] for key, value in batch.items()}
        sum(value.sum() for value in model(**batch).values()).backward()
        idle = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert uses_every_parameter(model) and not idle


def test_what_v3_uses_is_known(model: DebertaV2ForSequenceClassification) -> None:
    assert uses_every_parameter(model)


def learning(model: torch.nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_frozen_layers_and_embeddings_do_not_learn(model: DebertaV2ForSequenceClassification) -> None:
    everything = learning(model)
    freeze(model, settings(freeze_embeddings=True, freeze_layers=2))
    stopped = everything - learning(model)
    assert "deberta.embeddings.word_embeddings.weight" in stopped
    assert all("embeddings." in name or ".layer.0." in name or ".layer.1." in name for name in stopped)
    assert {name for name in everything if ".layer.0." in name} <= stopped
    assert {"classifier.weight", "deberta.encoder.layer.2.output.dense.weight"} <= learning(model)
    assert "deberta.encoder.rel_embeddings.weight" in learning(model)


def test_more_layers_than_there_are_cannot_be_frozen(model: DebertaV2ForSequenceClassification) -> None:
    with pytest.raises(UserError, match="freeze_layers=4, but the model has 3 layers"):
        freeze(model, settings(freeze_layers=4))


def test_learning_rates_fall_towards_the_embeddings(model: DebertaV2ForSequenceClassification) -> None:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed = {name for name in names.values() if name.endswith("weight") and "LayerNorm" not in name}
    muon, groups = parameter_groups(model, decayed, (), config=settings(layer_decay=0.5))
    assert not muon
    found = {
        names[id(one)]: (group["lr"], group["weight_decay"]) for group in groups for one in group["params"]
    }
    assert set(found) == set(names.values())
    assert found["classifier.weight"] == (1.0, 0.1)
    assert found["classifier.bias"] == (1.0, 0.0)
    assert found["deberta.encoder.layer.2.output.dense.weight"] == (0.5, 0.1)
    assert found["deberta.encoder.layer.0.attention.self.query_proj.bias"] == (0.125, 0.0)
    assert found["deberta.embeddings.word_embeddings.weight"] == (0.0625, 0.1)
    assert found["deberta.encoder.rel_embeddings.weight"] == (0.0625, 0.1)


def test_muon_gets_the_matrices_of_the_layers(model: DebertaV2ForSequenceClassification) -> None:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    matrices = {id(one) for one in encoder_matrices(model)}
    muon, adamw = parameter_groups(model, set(names.values()), matrices, config=settings(layer_decay=0.5))
    parts = [
        {names[id(one)]: group["lr"] for group in part for one in group["params"]} for part in (muon, adamw)
    ]
    assert set(parts[0]) | set(parts[1]) == set(names.values()) and not set(parts[0]) & set(parts[1])
    assert {id(one) for group in muon for one in group["params"]} == matrices
    assert parts[0]["deberta.encoder.layer.2.output.dense.weight"] == 0.5
    assert parts[1]["deberta.encoder.layer.2.output.dense.bias"] == 0.5
    assert "classifier.weight" in parts[1] and "deberta.encoder.rel_embeddings.weight" in parts[1]


def test_lora_trains_little_and_merges_into_a_plain_model(model: DebertaV2ForSequenceClassification) -> None:
    pytest.importorskip("peft")
    batch = {"input_ids": torch.arange(4, 12)[None]}
    before = model.eval()(**batch).logits
    keys = set(model.state_dict())
    wrapped = add_lora(model, settings(lora=True, lora_rank=2, model="some/model"))
    names = learning(wrapped)
    assert names
    assert all("lora_" in name or "pooler" in name or "classifier" in name for name in names)
    torch.testing.assert_close(wrapped.eval()(**batch).logits, before)  # LoRA begins as no change
    wrapped.train()
    wrapped(**batch, labels=torch.tensor([1])).loss.backward()
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.grad is not None:
                parameter -= parameter.grad
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter += 0.1
    changed = wrapped.eval()(**batch).logits
    assert not torch.allclose(changed, before)
    plain = merged(wrapped)
    assert isinstance(plain, DebertaV2ForSequenceClassification)
    assert set(plain.state_dict()) == keys
    torch.testing.assert_close(plain.eval()(**batch).logits, changed, atol=1e-5, rtol=1e-5)


def test_in_frozen_layers_lora_trains_nothing(model: DebertaV2ForSequenceClassification) -> None:
    pytest.importorskip("peft")
    frozen = settings(lora=True, model="some/model", freeze_layers=2)
    freeze(model, frozen)
    names = learning(add_lora(model, frozen))
    assert any("layer.2." in name for name in names)
    assert not any("layer.0." in name or "layer.1." in name for name in names)


def test_lora_on_a_model_from_scratch_is_refused(model: DebertaV2ForSequenceClassification) -> None:
    with pytest.raises(UserError, match="from scratch"):
        add_lora(model, settings(lora=True))
