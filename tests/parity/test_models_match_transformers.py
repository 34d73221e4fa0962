"""Outputs and gradients equal transformers' on shared weights: configurations, heads, lengths, backends."""

import copy
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers import DebertaV2Config

import debertav3.models as ours_module
from debertav3.models import DebertaV2ForMaskedLM, DebertaV2Model
from helpers import (
    ALL_BACKENDS,
    VARIANTS,
    assert_same_gradients,
    gradients,
    random_batch,
    random_weights,
    tiny_config,
)

FP32 = 1e-5
FP64 = 1e-11


def pair(
    name: str, config: DebertaV2Config, dtype: torch.dtype = torch.float32, **ours: Any
) -> tuple[Any, Any]:
    """transformers' model and ours with the same weights, dropout off, in training mode."""
    torch.manual_seed(0)
    theirs_class = getattr(transformers, name)
    theirs = theirs_class(copy.deepcopy(config)).to(dtype).train()  # it sets its config to eager attention
    mine = getattr(ours_module, name)(config, **ours).to(dtype).train()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)  # biases and LayerNorms away from 0 and 1
    state = theirs.state_dict()
    missing, unexpected = mine.load_state_dict(state, strict=False)
    assert not unexpected and all("position_embeddings" in key for key in missing)
    return theirs, mine


def assert_same_outputs(got: Tensor, want: Tensor, real: Tensor, atol: float) -> None:
    assert got.shape == want.shape
    torch.testing.assert_close(got[real], want[real], atol=atol, rtol=0)


def compare_encoders(
    config: DebertaV2Config, batch: dict[str, Tensor], dtype: torch.dtype, backend: str, atol: float
) -> None:
    theirs, mine = pair("DebertaV2Model", config, dtype)
    mine.set_attention_backend(backend)
    real = batch["attention_mask"].bool()  # what stands at padding is nobody's business
    want, got = theirs(**batch)[0], mine(**batch)[0]
    assert_same_outputs(got, want, real, atol)

    factors = random_weights(want.shape, dtype) * real[..., None]
    want_gradients = gradients(theirs, (want * factors).sum() / real.sum())
    got_gradients = gradients(mine, (got * factors).sum() / real.sum())
    assert_same_gradients(got_gradients, want_gradients, atol=atol)

    mine.eval()
    with torch.no_grad():
        for _ in range(2):  # the second time from the kept tables
            assert_same_outputs(mine(**batch)[0], want, real, atol)
    with torch.inference_mode():
        assert_same_outputs(mine(**batch)[0], want, real, atol)


def batch_for(config: DebertaV2Config, lengths: tuple[int, ...]) -> dict[str, Tensor]:
    return random_batch(lengths, types=config.type_vocab_size)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_encoder_in_every_configuration(variant: str, backend: str) -> None:
    config = tiny_config(**VARIANTS[variant])
    compare_encoders(config, batch_for(config, (24, 3, 9)), torch.float32, backend, FP32)


@pytest.mark.parametrize("variant", VARIANTS)
def test_encoder_in_float64(variant: str) -> None:
    config = tiny_config(**VARIANTS[variant], initializer_range=0.5)
    compare_encoders(config, batch_for(config, (24, 3, 9)), torch.float64, "auto", FP64)


LONG = {"position_buckets": 256, "max_position_embeddings": 512, "hidden_size": 24, "num_attention_heads": 2}
"""The released models' positions, on narrow layers."""


@pytest.mark.parametrize("length", [1, 2, 17, 128, 129, 130, 256, 511, 512])
def test_encoder_at_every_kind_of_length(length: int) -> None:
    batch = random_batch((length, (length + 2) // 3))
    compare_encoders(tiny_config(**LONG), batch, torch.float32, "auto", FP32)


@pytest.mark.parametrize("length", [513, 700, 1024])
@pytest.mark.parametrize("buckets", [256, -1], ids=["buckets", "plain"])
def test_encoder_beyond_its_positions_as_transformers(length: int, buckets: int) -> None:
    config = tiny_config(
        **{**LONG, "position_buckets": buckets, "num_hidden_layers": 1}, long_inputs="transformers"
    )
    compare_encoders(config, random_batch((length, length // 2)), torch.float32, "auto", FP32)


def test_without_mask() -> None:
    theirs, mine = pair("DebertaV2Model", tiny_config(conv_kernel_size=3))
    ids = random_batch((24, 24))["input_ids"]
    torch.testing.assert_close(
        mine(ids)[0], theirs(ids, attention_mask=torch.ones_like(ids))[0], atol=FP32, rtol=0
    )


def test_hidden_states_and_attentions() -> None:
    theirs, mine = pair("DebertaV2Model", tiny_config(conv_kernel_size=3))
    batch = random_batch((24, 5))
    real = batch["attention_mask"].bool()
    want = theirs(**batch, output_hidden_states=True, output_attentions=True)
    got = mine(**batch, output_hidden_states=True, output_attentions=True)
    assert len(got.hidden_states) == len(want.hidden_states) == 3
    for ours, other in zip(got.hidden_states, want.hidden_states, strict=True):
        assert_same_outputs(ours, other, real, FP32)
    assert len(got.attentions) == len(want.attentions) == 2
    for ours, other in zip(got.attentions, want.attentions, strict=True):
        assert_same_outputs(ours.transpose(1, 2), other.transpose(1, 2), real, FP32)


SEQUENCE_LABELS: dict[str, tuple[dict[str, Any], Tensor]] = {
    "single": ({"num_labels": 3}, torch.tensor([2, 0])),
    "single-some-ignored": ({"num_labels": 3}, torch.tensor([-1, 1])),
    "single-named": (
        {"num_labels": 3, "problem_type": "single_label_classification"},
        torch.tensor([2, -100]),
    ),
    "regression": ({"num_labels": 1}, torch.tensor([0.3, -1.2])),
    "regression-column": ({"num_labels": 1}, torch.tensor([[0.3], [-1.2]])),
    "regression-named": ({"num_labels": 1, "problem_type": "regression"}, torch.tensor([0.3, -1.2])),
    "regression-many": (
        {"num_labels": 3, "problem_type": "regression"},
        torch.tensor([[0.3, -1.2, 4.0], [0.0, 0.1, 2.0]]),
    ),
    "multi-label": (
        {"num_labels": 3, "problem_type": "multi_label_classification"},
        torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]),
    ),
    "soft": ({"num_labels": 3}, torch.tensor([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0]])),
}


def compare_heads(
    theirs: nn.Module, mine: nn.Module, inputs: dict[str, Tensor], outputs: tuple[str, ...]
) -> None:
    real = inputs["attention_mask"].bool()
    want, got = theirs(**inputs), mine(**inputs)
    torch.testing.assert_close(got.loss, want.loss, atol=FP32, rtol=FP32)
    for name in outputs:
        ours, other = got[name], want[name]
        if ours.shape[:2] == real.shape:
            ours, other = ours[real], other[real]
        # transformers drops the label dimension of a regression's logits, but only where labels are given
        torch.testing.assert_close(ours, other.view(ours.shape), atol=FP32, rtol=0)
    assert_same_gradients(gradients(mine, got.loss), gradients(theirs, want.loss), atol=FP32)


@pytest.mark.parametrize("kind", SEQUENCE_LABELS)
def test_sequence_classification(kind: str) -> None:
    changes, labels = SEQUENCE_LABELS[kind]
    theirs, mine = pair(
        "DebertaV2ForSequenceClassification", tiny_config(**changes, pooler_hidden_act="tanh")
    )
    compare_heads(theirs, mine, {**random_batch((24, 5)), "labels": labels}, ("logits",))


def test_token_classification() -> None:
    theirs, mine = pair("DebertaV2ForTokenClassification", tiny_config(num_labels=5))
    batch = random_batch((24, 5))
    labels = torch.randint(0, 5, batch["input_ids"].shape).masked_fill(batch["attention_mask"] == 0, -100)
    compare_heads(theirs, mine, {**batch, "labels": labels}, ("logits",))


@pytest.mark.parametrize("starts", [(3, 4), (3, 99), (7, 24)], ids=["inside", "far-outside", "just-outside"])
def test_question_answering(starts: tuple[int, int]) -> None:
    theirs, mine = pair("DebertaV2ForQuestionAnswering", tiny_config())
    positions = {"start_positions": torch.tensor(starts), "end_positions": torch.tensor([[5], [4]])}
    compare_heads(theirs, mine, {**random_batch((24, 5)), **positions}, ("start_logits", "end_logits"))


def test_multiple_choice() -> None:
    theirs, mine = pair("DebertaV2ForMultipleChoice", tiny_config(type_vocab_size=2))
    flat = random_batch((24, 5, 9, 2, 24, 11), types=2)
    inputs = {name: x.view(2, 3, -1) for name, x in flat.items()} | {"labels": torch.tensor([2, 0])}
    compare_heads(theirs, mine, inputs, ("logits",))


MASKED_LM_CONFIGS = {
    "v3": {},
    "narrow": {"embedding_size": 20},
    "positions": {"position_biased_input": True},
}


def masked_lm_inputs() -> dict[str, Tensor]:
    batch = random_batch((24, 5))
    labels = torch.full_like(batch["input_ids"], -100)
    labels[0, [1, 7]] = torch.tensor([5, 17])
    labels[1, 3] = 98
    return {**batch, "labels": labels}


@pytest.mark.parametrize("variant", MASKED_LM_CONFIGS)
def test_masked_lm_with_transformers_first_head(variant: str) -> None:
    config = tiny_config(**MASKED_LM_CONFIGS[variant], legacy=True)
    theirs, mine = pair("DebertaV2ForMaskedLM", config, has_legacy_head=True)
    compare_heads(theirs, mine, masked_lm_inputs(), ("logits",))


@pytest.mark.parametrize("variant", ["v3", "positions"])
def test_masked_lm_with_the_official_head(variant: str) -> None:
    """transformers has no mask decoder, so ours is turned off."""
    config = tiny_config(**MASKED_LM_CONFIGS[variant], legacy=False)
    if "lm_predictions.lm_head.weight" in transformers.DebertaV2ForMaskedLM(config).state_dict():
        pytest.skip("this transformers' head has a matrix of its own, which no official checkpoint holds")
    theirs, mine = pair("DebertaV2ForMaskedLM", config)
    assert isinstance(mine, DebertaV2ForMaskedLM)
    mine.uses_enhanced_mask_decoder = False
    compare_heads(theirs, mine, masked_lm_inputs(), ("logits",))


@pytest.mark.parametrize(
    "head", ["SequenceClassification", "TokenClassification", "QuestionAnswering", "MaskedLM"]
)
def test_heads_pass_outputs_on(head: str) -> None:
    legacy = {"has_legacy_head": True} if head == "MaskedLM" else {}
    theirs, mine = pair(f"DebertaV2For{head}", tiny_config(legacy=True), **legacy)
    batch = random_batch((12, 12))
    flags = {"output_hidden_states": True, "output_attentions": True}
    want, got = theirs(**batch, **flags, return_dict=False), mine(**batch, **flags, return_dict=False)
    assert isinstance(got, tuple) and len(got) == len(want)
    for ours, other in zip(got, want, strict=True):
        torch.testing.assert_close(ours, other, atol=FP32, rtol=0)


@pytest.mark.parametrize(
    "head",
    [
        "Model",
        "ForSequenceClassification",
        "ForTokenClassification",
        "ForQuestionAnswering",
        "ForMultipleChoice",
    ],
)
@pytest.mark.parametrize("variant", ["v3", "absolute-types-conv", "input-positions+types+narrow+conv"])
def test_checkpoints_open_on_both_sides(head: str, variant: str, tmp_path: Any) -> None:
    config = tiny_config(**VARIANTS.get(variant, {}), num_labels=2 if head == "ForQuestionAnswering" else 3)
    theirs, mine = pair(f"DebertaV2{head}", config)
    batch = batch_for(config, (24, 5))
    if head == "ForMultipleChoice":
        batch = {name: x[:, None] for name, x in batch.items()}
    theirs.save_pretrained(tmp_path / "theirs")
    mine.save_pretrained(tmp_path / "ours")
    opened_here, info = type(mine).from_pretrained(tmp_path / "theirs", output_loading_info=True)
    opened_there, other_info = type(theirs).from_pretrained(tmp_path / "ours", output_loading_info=True)
    for found in (info, other_info):
        assert not found["missing_keys"] and not found["unexpected_keys"] and not found["mismatched_keys"]
    for model in (opened_here, opened_there, mine):
        model.eval()
        with torch.no_grad():
            want, got = theirs(**batch), model(**batch)
        for ours, other in zip(got.to_tuple(), want.to_tuple(), strict=True):
            if ours.shape[:2] == batch["attention_mask"].shape:
                real = batch["attention_mask"].bool()
                ours, other = ours[real], other[real]
            torch.testing.assert_close(ours, other, atol=FP32, rtol=0)


def test_encoder_opens_from_a_task_checkpoint_on_both_sides(tmp_path: Any) -> None:
    _, mine = pair("DebertaV2ForSequenceClassification", tiny_config(num_labels=3))
    mine.save_pretrained(tmp_path)
    batch = random_batch((9, 9))
    want = transformers.AutoModel.from_pretrained(tmp_path).eval()(**batch)[0]
    torch.testing.assert_close(
        DebertaV2Model.from_pretrained(tmp_path).eval()(**batch)[0], want, atol=FP32, rtol=0
    )
