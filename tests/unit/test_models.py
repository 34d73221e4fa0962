"""The shells around the layers: losses, inputs, outputs, vocabularies, and files that lose nothing."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from huggingface_hub import HfApi, ModelCard, RepoUrl
from torch import Tensor, nn

import debertav3.models as models
from debertav3.errors import UserError
from debertav3.models import (
    DebertaV2ForMaskedLM,
    DebertaV2ForMultipleChoice,
    DebertaV2ForQuestionAnswering,
    DebertaV2ForReplacedTokenDetection,
    DebertaV2ForSequenceClassification,
    DebertaV2ForTokenClassification,
    DebertaV2Model,
)
from helpers import TINY, random_batch, tiny_config

HEADS: dict[str, type[Any]] = {
    name: getattr(models, name)
    for name in models.__all__
    if name.startswith("DebertaV2") and "PreTrained" not in name
}
SINGLE = [name for name in HEADS if "MultipleChoice" not in name]


def build(name: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    return HEADS[name](tiny_config(**changes)).eval()


def classifier(**changes: Any) -> DebertaV2ForSequenceClassification:
    torch.manual_seed(0)
    return DebertaV2ForSequenceClassification(tiny_config(**changes))


class TestLosses:
    ids = random_batch((9, 9))["input_ids"]

    def test_whole_numbers_serve_as_targets(self) -> None:
        """Data files write 3, not 3.0; transformers takes no whole numbers here."""
        several = {"num_labels": 3, "problem_type": "multi_label_classification"}
        for changes, labels in (
            ({"num_labels": 1}, torch.tensor([1, 3])),
            ({"num_labels": 1, "problem_type": "regression"}, torch.tensor([[1], [3]])),
            (several, torch.tensor([[1, 0, 1], [0, 0, 1]])),
        ):
            model = classifier(**changes)
            loss = model(self.ids, labels=labels).loss
            torch.testing.assert_close(loss, model(self.ids, labels=labels.float()).loss)
            loss.backward()
            assert model.classifier.weight.grad.abs().sum() > 0

    @pytest.mark.parametrize(("count", "shape"), [(3, (2,)), (3, (3, 2)), (3, (2, 1)), (1, (3,))])
    def test_numbers_of_another_shape_are_refused(self, count: int, shape: tuple[int, ...]) -> None:
        model = classifier(num_labels=count, problem_type="regression")
        with pytest.raises(UserError, match="a number for each output"):
            model(self.ids[:2], labels=torch.zeros(shape))

    def test_unknown_marks_of_several_labels_do_not_count(self) -> None:
        model = classifier(num_labels=3, problem_type="multi_label_classification")
        logits = model(self.ids).logits
        loss = model(self.ids, labels=torch.tensor([[1.0, -1.0, -100.0], [0.0, 1.0, -1.0]])).loss
        share = torch.sigmoid(logits)
        want = -(share[0, 0].log() + (1 - share[1, 0]).log() + share[1, 1].log()) / 3
        torch.testing.assert_close(loss, want)

    @pytest.mark.parametrize(
        ("name", "labels"),
        [
            ("DebertaV2ForSequenceClassification", {"labels": torch.full((2,), -100)}),
            ("DebertaV2ForTokenClassification", {"labels": torch.full((2, 9), -100)}),
            ("DebertaV2ForMaskedLM", {"labels": torch.full((2, 9), -100)}),
            ("DebertaV2ForReplacedTokenDetection", {"labels": torch.full((2, 9), -100)}),
            (
                "DebertaV2ForQuestionAnswering",
                {"start_positions": torch.tensor([9, -1]), "end_positions": torch.tensor([50, -100])},
            ),
        ],
    )
    def test_nothing_to_count_is_zero_not_nan(self, name: str, labels: dict[str, Tensor]) -> None:
        model = build(name)
        loss = model(self.ids, **labels).loss
        assert loss.item() == 0
        loss.backward()
        assert all(not p.grad.any() for p in model.parameters() if p.grad is not None)

    def test_padding_does_not_count_in_replaced_token_detection(self) -> None:
        model = build("DebertaV2ForReplacedTokenDetection")
        batch = random_batch((9, 4))
        labels = torch.ones(2, 9, dtype=torch.long)
        loss = model(**batch, labels=labels).loss
        labels[1, 4:] = 0
        assert model(**batch, labels=labels).loss == loss

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
    def test_losses_of_half_precision_models_are_fp32(self, dtype: torch.dtype) -> None:
        batch = random_batch((9, 4))
        for model, labels in (
            (classifier(num_labels=3), torch.tensor([1, 2])),
            (classifier(num_labels=1), torch.tensor([0.5, 1.0])),
            (classifier(num_labels=3), torch.tensor([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]])),
            (build("DebertaV2ForMaskedLM"), batch["input_ids"]),
        ):
            assert model.to(dtype)(**batch, labels=labels).loss.dtype == torch.float32

    def test_trainers_are_told_that_losses_are_means(self) -> None:
        assert all(model.accepts_loss_kwargs is False for model in HEADS.values())


@pytest.mark.parametrize("name", HEADS)
def test_inputs_embeds_equal_input_ids(name: str) -> None:
    model = build(name, type_vocab_size=2, embedding_size=None if "MaskedLM" in name else 20)
    batch = random_batch((9, 4), types=2)
    if "MultipleChoice" in name:
        batch = {key: x[None] for key, x in batch.items()}
    want = model(**batch)
    embeds = model.get_input_embeddings()(batch.pop("input_ids"))
    for got, other in zip(model(**batch, inputs_embeds=embeds).to_tuple(), want.to_tuple(), strict=True):
        torch.testing.assert_close(got, other)


@pytest.mark.parametrize("name", HEADS)
def test_exactly_one_kind_of_input(name: str) -> None:
    model = build(name)
    ids = random_batch((9, 4))["input_ids"]
    embeds = model.get_input_embeddings()(ids)
    if "MultipleChoice" in name:
        ids, embeds = ids[None], embeds[None]
    with pytest.raises(UserError, match="either input_ids or inputs_embeds"):
        model(attention_mask=torch.ones_like(ids))
    with pytest.raises(UserError, match="either input_ids or inputs_embeds"):
        model(ids, inputs_embeds=embeds)


@pytest.mark.parametrize("name", HEADS)
def test_an_input_without_a_batch_is_refused(name: str) -> None:
    model = build(name)
    ids = random_batch((9, 4))["input_ids"]
    ids, need = (ids, "batch, choices, tokens") if "MultipleChoice" in name else (ids[0], "batch, tokens")
    with pytest.raises(UserError, match=rf"input_ids has shape .*; need \({need}\)"):
        model(ids)
    with pytest.raises(UserError, match=rf"inputs_embeds has shape .*; need \({need}, embedding_size\)"):
        model(inputs_embeds=model.get_input_embeddings()(ids))


@pytest.mark.parametrize("name", HEADS)
def test_tuples_on_request(name: str) -> None:
    model = build(name)
    ids = random_batch((9, 4))["input_ids"]
    ids = ids[None] if "MultipleChoice" in name else ids
    want = model(ids).to_tuple()
    by_argument = model(ids, return_dict=False)
    model.config.return_dict = False
    by_config = model(ids)
    for got in (by_argument, by_config):
        assert isinstance(got, tuple)
        for ours, other in zip(got, want, strict=True):
            torch.testing.assert_close(ours, other)


@pytest.mark.parametrize("name", SINGLE)
def test_states_and_weights_on_request_by_argument_or_config(name: str) -> None:
    model = build(name)
    batch = random_batch((9, 4))
    plain = model(**batch)
    assert plain.hidden_states is None and plain.attentions is None
    by_argument = model(**batch, output_hidden_states=True, output_attentions=True)
    model.config.output_hidden_states = True
    by_config = model(**batch)
    assert len(by_argument.hidden_states) == len(by_config.hidden_states) == 3
    assert len(by_argument.attentions) == 2 and by_argument.attentions[0].shape == (2, 4, 9, 9)
    assert by_config.attentions is None


def test_more_tokens_than_absolute_positions_is_one_clear_line() -> None:
    model = build("DebertaV2Model", position_biased_input=True)
    with pytest.raises(UserError, match="32 absolute positions; got 33 tokens"):
        model(random_batch((33,))["input_ids"])


def test_longer_inputs_than_positions_are_held_at_the_farthest_distance() -> None:
    """Relative attention has no longest input; which offsets it then reads is the config's choice."""
    ids = random_batch((90,))["input_ids"]
    held, run_on = build("DebertaV2Model"), build("DebertaV2Model", long_inputs="transformers")
    run_on.load_state_dict(held.state_dict())
    assert not torch.allclose(held(ids)[0], run_on(ids)[0])
    torch.testing.assert_close(held(ids[:, :32])[0], run_on(ids[:, :32])[0])


class TestBackend:
    def test_is_chosen_for_all_layers(self) -> None:
        model = build("DebertaV2ForSequenceClassification")
        layers = [layer.attention.self for layer in model.deberta.encoder.layer]
        assert {layer.backend for layer in layers} == {"auto"}
        model.set_attention_backend("strided")
        assert {layer.backend for layer in layers} == {"strided"}
        model.set_attn_implementation("eager")
        assert {layer.backend for layer in layers} == {"eager"}
        model.set_attn_implementation("sdpa")
        assert {layer.backend for layer in layers} == {"auto"}
        with pytest.raises(UserError, match="'triton' does not exist"):
            model.set_attention_backend("triton")

    def test_is_chosen_when_opening(self, tmp_path: Path) -> None:
        build("DebertaV2Model").save_pretrained(tmp_path)
        opened = DebertaV2Model.from_pretrained(tmp_path, attn_implementation="eager")
        assert {layer.attention.self.backend for layer in opened.encoder.layer} == {"eager"}


class TestFreshWeights:
    def test_are_drawn_as_the_official_code_does(self) -> None:
        for name in HEADS:
            for key, parameter in build(name, conv_kernel_size=3).named_parameters():
                if "LayerNorm.weight" in key:
                    assert (parameter == 1).all(), key
                elif key.endswith("bias") and ".conv.conv." not in key:
                    assert not parameter.any(), key
                elif parameter.dim() > 1 and ".conv.conv." not in key:
                    assert 0.15 < parameter.std() < 0.25, key  # initializer_range is 0.2

    def test_padding_is_embedded_as_zero(self) -> None:
        assert not build("DebertaV2Model").embeddings.word_embeddings.weight[0].any()


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("size", [99, 120, 60])
def test_resizing_the_vocabulary(name: str, size: int, tmp_path: Path) -> None:
    model = build(name)
    batch = random_batch((9, 4), vocab_size=60)
    want = model(**batch).to_tuple()[0]
    old = list(model.parameters())
    model.resize_token_embeddings(size, mean_resizing=False)
    assert model.config.vocab_size == size and model.get_input_embeddings().num_embeddings == size
    if size == 99:
        assert all(a is b for a, b in zip(model.parameters(), old, strict=True))
    got = model(**batch).to_tuple()[0]
    if "MaskedLM" in name:
        assert got.shape[-1] == size
        want, got = want[..., :60], got[..., :60]
    torch.testing.assert_close(got, want)
    model.save_pretrained(tmp_path)
    reopened = HEADS[name].from_pretrained(tmp_path).eval()
    torch.testing.assert_close(reopened(**batch).to_tuple()[0], model(**batch).to_tuple()[0])


class TestMaskedLMFiles:
    """Three kinds: official, transformers' first head, and its second one without absolute positions."""

    batch = random_batch((24, 9))

    def logits(self, model: nn.Module) -> Tensor:
        with torch.no_grad():
            return model.eval()(**self.batch).logits

    def reopened(self, model: Any, folder: Path) -> Any:
        model.save_pretrained(folder)
        return DebertaV2ForMaskedLM.from_pretrained(folder)

    def test_official(self, tmp_path: Path) -> None:
        model: DebertaV2ForMaskedLM = build("DebertaV2ForMaskedLM")
        opened = self.reopened(model, tmp_path)
        assert opened.uses_enhanced_mask_decoder and not opened.config.legacy
        torch.testing.assert_close(self.logits(opened), self.logits(model), atol=0, rtol=0)
        keys = opened.state_dict().keys()
        assert "deberta.embeddings.position_embeddings.weight" in keys
        assert {key for key in keys if key.startswith("lm_predictions.")} == {
            f"lm_predictions.lm_head.{part}"
            for part in ("bias", "dense.weight", "dense.bias", "LayerNorm.weight", "LayerNorm.bias")
        }

    def test_official_with_a_config_that_says_legacy(self, tmp_path: Path) -> None:
        """Official files have no such key, and transformers' default for it is wrong for them."""
        model = build("DebertaV2ForMaskedLM")
        model.save_pretrained(tmp_path)
        path = tmp_path / "config.json"
        content = json.loads(path.read_text())
        for legacy in ({"legacy": True}, {}):
            path.write_text(json.dumps({k: v for k, v in content.items() if k != "legacy"} | legacy))
            opened = DebertaV2ForMaskedLM.from_pretrained(tmp_path)
            torch.testing.assert_close(self.logits(opened), self.logits(model), atol=0, rtol=0)

    def test_first_head_of_transformers(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        torch.manual_seed(0)
        theirs = transformers.DebertaV2ForMaskedLM(tiny_config(legacy=True))
        nn.init.normal_(theirs.cls.predictions.bias)
        theirs.save_pretrained(tmp_path / "a")
        with caplog.at_level(logging.WARNING):
            opened = DebertaV2ForMaskedLM.from_pretrained(tmp_path / "a")
        assert "transformers' original one" in caplog.text
        assert opened.has_legacy_head and not opened.uses_enhanced_mask_decoder
        torch.testing.assert_close(self.logits(opened), self.logits(theirs), atol=1e-5, rtol=0)
        again = self.reopened(opened, tmp_path / "b")
        torch.testing.assert_close(self.logits(again), self.logits(opened), atol=0, rtol=0)
        back = transformers.DebertaV2ForMaskedLM.from_pretrained(tmp_path / "b")
        torch.testing.assert_close(self.logits(back), self.logits(theirs), atol=0, rtol=0)

    def test_second_head_of_transformers(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        torch.manual_seed(0)
        theirs = transformers.DebertaV2ForMaskedLM(tiny_config(legacy=False))
        if "lm_predictions.lm_head.weight" in theirs.state_dict():
            pytest.skip("this transformers' head has a matrix of its own, which no official checkpoint holds")
        nn.init.normal_(theirs.lm_predictions.lm_head.bias)
        theirs.save_pretrained(tmp_path / "a")
        with caplog.at_level(logging.WARNING):
            opened = DebertaV2ForMaskedLM.from_pretrained(tmp_path / "a")
        assert "without the enhanced mask decoder" in caplog.text
        torch.testing.assert_close(self.logits(opened), self.logits(theirs), atol=1e-5, rtol=0)
        again = self.reopened(opened, tmp_path / "b")
        torch.testing.assert_close(self.logits(again), self.logits(opened), atol=0, rtol=0)
        back = transformers.DebertaV2ForMaskedLM.from_pretrained(tmp_path / "b")
        torch.testing.assert_close(self.logits(back), self.logits(theirs), atol=0, rtol=0)

    def test_with_positions_in_the_input(self, tmp_path: Path) -> None:
        model = build("DebertaV2ForMaskedLM", position_biased_input=True)
        assert not model.uses_enhanced_mask_decoder
        opened = self.reopened(model, tmp_path)
        torch.testing.assert_close(self.logits(opened), self.logits(model), atol=0, rtol=0)

    def test_loading_info_is_given_on_request(self, tmp_path: Path) -> None:
        build("DebertaV2ForMaskedLM").save_pretrained(tmp_path)
        _, info = DebertaV2ForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"]


def test_replaced_token_detection_file(tmp_path: Path) -> None:
    model: DebertaV2ForReplacedTokenDetection = build("DebertaV2ForReplacedTokenDetection")
    model.save_pretrained(tmp_path)
    opened, info = DebertaV2ForReplacedTokenDetection.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    batch = random_batch((24, 9))
    torch.testing.assert_close(opened.eval()(**batch).logits, model(**batch).logits, atol=0, rtol=0)


ALWAYS = {
    "id2label",
    "label2id",
    "pooler_hidden_size",
    "pooler_hidden_act",
    "position_buckets",
    "norm_rel_ebd",
    "share_att_key",
}


@pytest.mark.parametrize("name", HEADS)
def test_saved_config_leaves_nothing_to_a_default(name: str, tmp_path: Path) -> None:
    sparse = {key: value for key, value in TINY.items() if key not in ALWAYS}
    model = HEADS[name](transformers.DebertaV2Config(**sparse))
    model.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved.keys() >= ALWAYS
    assert saved["id2label"] == {"0": "LABEL_0", "1": "LABEL_1"}
    assert saved["label2id"] == {"LABEL_0": 0, "LABEL_1": 1}
    assert (saved["position_buckets"], saved["norm_rel_ebd"], saved["share_att_key"]) == (-1, "none", False)
    assert (saved["pooler_hidden_size"], saved["pooler_hidden_act"]) == (48, "gelu")
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
    reopened = HEADS[name].from_pretrained(tmp_path)
    assert reopened.state_dict().keys() == model.state_dict().keys()


def test_what_is_uploaded_is_what_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uploaded: dict[str, dict[str, Any]] = {}

    def create_repo(repo_id: str, **kwargs: object) -> RepoUrl:
        return RepoUrl(f"me/{repo_id}")

    def create_commit(*, operations: list[Any], **kwargs: object) -> None:
        for one in operations:
            if one.path_in_repo == "config.json":
                uploaded[kwargs["repo_id"]] = json.loads(Path(one.path_or_fileobj).read_text())

    for function in (create_repo, create_commit):
        name = function.__name__
        monkeypatch.setattr(HfApi, name, lambda self, *args, to=function, **kwargs: to(*args, **kwargs))
        for module in (transformers.utils.hub, transformers.modeling_utils):  # as 5.5 calls them
            if hasattr(module, name):
                monkeypatch.setattr(module, name, function)
    monkeypatch.setattr(ModelCard, "load", lambda *args, **kwargs: ModelCard("---\n---\nA model."))
    model = DebertaV2Model(tiny_config())
    model.save_pretrained(str(tmp_path), push_to_hub=True, repo_id="saved")
    model.push_to_hub("pushed")
    on_disk = json.loads((tmp_path / "config.json").read_text())
    assert on_disk["position_buckets"] == 8 and "type_vocab_size" in on_disk
    assert uploaded == {"me/saved": on_disk, "me/pushed": on_disk}


def test_saved_config_keeps_what_was_set(tmp_path: Path) -> None:
    names = {0: "entailment", 1: "neutral", 2: "contradiction"}
    model = classifier(id2label=names, label2id={v: k for k, v in names.items()}, pooler_hidden_act="tanh")
    model.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["id2label"] == {str(k): v for k, v in names.items()}
    assert saved["pooler_hidden_act"] == "tanh" and saved["position_buckets"] == 8
    assert DebertaV2ForSequenceClassification.from_pretrained(tmp_path).config.id2label == names


def test_importing_does_not_change_what_transformers_opens() -> None:
    opened = transformers.AutoModel.from_config(tiny_config())
    assert type(opened).__module__.startswith("transformers.")


@pytest.mark.parametrize(
    "cls", [DebertaV2ForTokenClassification, DebertaV2ForQuestionAnswering, DebertaV2ForMultipleChoice]
)
def test_a_head_opens_from_a_bare_encoder(cls: type[Any], tmp_path: Path) -> None:
    encoder = build("DebertaV2Model")
    encoder.save_pretrained(tmp_path)
    model = cls.from_pretrained(tmp_path)
    for key, value in encoder.state_dict().items():
        assert torch.equal(model.deberta.state_dict()[key], value)
