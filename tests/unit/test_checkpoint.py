"""Contract: a checkpoint opens as what it holds or not at all; what is saved opens in stock transformers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from debertav3 import models
from debertav3.checkpoint import Checkpoint, open_model, save_model
from debertav3.checkpoint.doctor import examine
from debertav3.checkpoint.files import find_weights, read_header
from debertav3.checkpoint.keys import heads_of, official_name
from debertav3.checkpoint.saving import ALWAYS_SAVED, replacing_folder
from debertav3.errors import UserError
from debertav3.files.model_folder import ModelFolder
from debertav3.sizes import config_for

HEADS = [
    "Model",
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
    "ForMultipleChoice",
    "ForMaskedLM",
]
NAMES = {0: "entailment", 1: "neutral", 2: "contradiction"}


def tiny_config(**changes: Any) -> transformers.DebertaV2Config:
    sizes = {
        "vocab_size": 99,
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 56,
        "max_position_embeddings": 32,
        "position_buckets": 8,
        "initializer_range": 0.1,  # large, so that nothing hides in a tolerance
    }
    return config_for("nano", **{**sizes, **changes})


def save_stock(folder: Path, kind: str = "ForSequenceClassification", **changes: Any) -> Any:
    """A folder written by stock transformers, and the model in it."""
    torch.manual_seed(0)
    labels = {} if kind in ("ForQuestionAnswering", "Model") else {"id2label": NAMES}
    stock = getattr(transformers, f"DebertaV2{kind}")(tiny_config(**{**labels, **changes})).eval()
    stock.save_pretrained(folder)
    return stock


def our_class(kind: str) -> Any:
    return getattr(models, f"DebertaV2{kind}")


def inputs(kind: str) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shape = (2, 3, 17) if kind == "ForMultipleChoice" else (2, 17)
    ids = torch.randint(5, 99, shape, generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def first_output(model: Any, kind: str) -> torch.Tensor:
    with torch.inference_mode():
        return model(**inputs(kind))[0]


def assert_equal_outputs(model: Any, other: Any, kind: str) -> None:
    torch.testing.assert_close(first_output(model, kind), first_output(other, kind), atol=1e-5, rtol=1e-5)


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    raw = json.loads(path.read_text())
    raw.update(changes)
    path.write_text(json.dumps({key: value for key, value in raw.items() if value is not ...}))


def change_weights(folder: Path, change: Any) -> None:
    tensors = change(load_file(folder / "model.safetensors"))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("kind", HEADS)
def test_we_open_what_transformers_saves_with_equal_outputs(kind: str, tmp_path: Path) -> None:
    stock = save_stock(tmp_path, kind)
    opened = open_model(tmp_path, head=our_class(kind))
    assert opened.report.fresh == () and opened.report.unused == ()
    assert not opened.model.training
    assert_equal_outputs(opened.model, stock, kind)


@pytest.mark.parametrize("kind", HEADS)
def test_transformers_opens_what_we_save_with_equal_outputs(kind: str, tmp_path: Path) -> None:
    save_stock(tmp_path / "stock", kind)
    ours = open_model(tmp_path / "stock", head=our_class(kind)).model
    save_model(ours, tmp_path / "ours")
    stock_class = getattr(transformers, f"DebertaV2{kind}")
    stock, info = stock_class.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert_equal_outputs(ours, stock.eval(), kind)


def test_saved_config_leaves_nothing_to_defaults(tmp_path: Path) -> None:
    # Values that equal a reader's defaults are the ones that transformers leaves out.
    config = tiny_config(position_buckets=-1, norm_rel_ebd="none", share_att_key=False)
    save_model(models.DebertaV2Model(config), tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert set(ALWAYS_SAVED) <= saved.keys()
    assert saved["position_buckets"] == -1 and saved["pooler_hidden_size"] == 48


def test_saved_files_are_as_readable_as_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    save_model(models.DebertaV2Model(tiny_config()), tmp_path / "saved")
    modes = {path.name: path.stat().st_mode for path in (tmp_path / "saved").iterdir()}
    assert set(modes.values()) == {(tmp_path / "new").stat().st_mode}, modes


def test_legacy_masked_lm_head_opens_with_equal_outputs(tmp_path: Path) -> None:
    stock = save_stock(tmp_path, "ForMaskedLM", legacy=True)
    opened = open_model(tmp_path, head=models.DebertaV2ForMaskedLM)
    assert_equal_outputs(opened.model, stock, "ForMaskedLM")


def save_plain_state_dict(folder: Path, stock: Any, **changes: torch.Tensor) -> None:
    """As training scripts do: with the tensors that are tied to others."""
    (folder / "model.safetensors").unlink()
    torch.save({**stock.state_dict(), **changes}, folder / "pytorch_model.bin")


TIED = "cls.predictions.decoder.weight", "cls.predictions.decoder.bias"


@pytest.mark.parametrize("form", ["bin", "safetensors"])
def test_tied_tensors_that_are_written_twice_open(form: str, tmp_path: Path) -> None:
    stock = save_stock(tmp_path, "ForMaskedLM", legacy=True)
    if form == "bin":
        save_plain_state_dict(tmp_path, stock)
    else:
        twice = {name: stock.state_dict()[name].clone() for name in TIED}
        change_weights(tmp_path, lambda tensors: {**tensors, **twice})
    opened = open_model(tmp_path, head=models.DebertaV2ForMaskedLM)
    assert_equal_outputs(opened.model, stock, "ForMaskedLM")
    assert set(opened.report.unused) - {"deberta.embeddings.position_embeddings.weight"} == set(TIED)
    assert examine(tmp_path).unexpected == []


@pytest.mark.parametrize("form", ["bin", "safetensors"])
@pytest.mark.parametrize("name", TIED)
def test_a_tied_tensor_with_other_numbers_is_refused(name: str, form: str, tmp_path: Path) -> None:
    stock = save_stock(tmp_path, "ForMaskedLM", legacy=True)
    other = {name: stock.state_dict()[name] + 1}
    if form == "bin":
        save_plain_state_dict(tmp_path, stock, **other)
    else:
        change_weights(tmp_path, lambda tensors: {**tensors, **other})
    with pytest.raises(UserError, match=f"{name} belong to its head"):
        open_model(tmp_path, head=models.DebertaV2ForMaskedLM)
    assert examine(tmp_path).unexpected == [name]


def test_of_two_masked_lm_heads_every_way_of_opening_takes_the_official_one(tmp_path: Path) -> None:
    config = tiny_config()
    official = models.DebertaV2ForMaskedLM(config).eval()
    save_model(official, tmp_path)
    legacy = models.DebertaV2ForMaskedLM(config, has_legacy_head=True).state_dict()
    older = {name: x.clone() for name, x in legacy.items() if name.startswith("cls.") and name not in TIED}
    change_weights(tmp_path, lambda tensors: {**tensors, **older})
    assert_equal_outputs(
        open_model(tmp_path, head=models.DebertaV2ForMaskedLM).model, official, "ForMaskedLM"
    )
    loaded = models.DebertaV2ForMaskedLM.from_pretrained(tmp_path).eval()
    assert not loaded.has_legacy_head
    assert_equal_outputs(loaded, official, "ForMaskedLM")


def test_half_precision_file_opens_in_fp32_unless_asked(tmp_path: Path) -> None:
    save_stock(tmp_path).half().save_pretrained(tmp_path)
    opened = open_model(tmp_path, head=models.DebertaV2ForSequenceClassification)
    assert opened.report.stored_dtypes.keys() == {"F16"}
    assert {weight.dtype for weight in opened.model.parameters()} == {torch.float32}
    as_asked = open_model(tmp_path, head=models.DebertaV2ForSequenceClassification, dtype=torch.bfloat16)
    assert {weight.dtype for weight in as_asked.model.parameters()} == {torch.bfloat16}


def test_missing_head_is_refused_for_prediction_and_made_for_training(tmp_path: Path) -> None:
    save_stock(tmp_path, "Model")
    with pytest.raises(UserError, match=r"no head, only an encoder.*fine-tune it first"):
        open_model(tmp_path, head=models.DebertaV2ForSequenceClassification)
    opened = open_model(
        tmp_path, head=models.DebertaV2ForSequenceClassification, new_head=True, id2label=NAMES
    )
    assert set(opened.report.fresh) == {
        "classifier.bias",
        "classifier.weight",
        "pooler.dense.bias",
        "pooler.dense.weight",
    }
    assert opened.model.classifier.out_features == 3
    assert opened.model.classifier.weight.std().item() == pytest.approx(0.1, rel=0.3)
    assert not opened.model.classifier.bias.any()


def test_classifier_of_texts_is_not_taken_for_one_of_tokens(tmp_path: Path) -> None:
    save_stock(tmp_path)  # its classifier has the very shape of a token classifier's
    with pytest.raises(UserError, match="cannot predict with this head"):
        open_model(tmp_path, head=models.DebertaV2ForTokenClassification)
    opened = open_model(tmp_path, head=models.DebertaV2ForTokenClassification, new_head=True)
    assert set(opened.report.fresh) == {"classifier.bias", "classifier.weight"}


def test_pooler_is_kept_and_classifier_made_anew_for_other_labels(tmp_path: Path) -> None:
    stock = save_stock(tmp_path)
    opened = open_model(
        tmp_path,
        head=models.DebertaV2ForSequenceClassification,
        new_head=True,
        id2label={0: "contradiction", 1: "neutral", 2: "entailment"},
    )
    assert set(opened.report.fresh) == {"classifier.bias", "classifier.weight"}
    assert torch.equal(opened.model.pooler.dense.weight, stock.pooler.dense.weight)


def test_naming_nameless_classes_keeps_the_classifier(tmp_path: Path) -> None:
    stock = save_stock(tmp_path, id2label={0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"})
    opened = open_model(tmp_path, head=models.DebertaV2ForSequenceClassification, id2label=NAMES)
    assert torch.equal(opened.model.classifier.weight, stock.classifier.weight)
    assert opened.model.config.id2label == NAMES


def test_other_heads_are_reported_as_unused(tmp_path: Path) -> None:
    save_stock(tmp_path)
    report = open_model(tmp_path, head=models.DebertaV2Model).report
    assert report.unused == (
        "classifier.bias",
        "classifier.weight",
        "pooler.dense.bias",
        "pooler.dense.weight",
    )


@pytest.mark.parametrize(
    ("stored", "official"),
    [
        ("bert.encoder.layer.0.output.dense.weight", "deberta.encoder.layer.0.output.dense.weight"),
        ("embeddings.word_embeddings.weight", "deberta.embeddings.word_embeddings.weight"),
        ("encoder.rel_embeddings.weight", "deberta.encoder.rel_embeddings.weight"),
        ("mask_predictions.classifer.bias", "mask_predictions.classifier.bias"),
        ("module.deberta.encoder.LayerNorm.gamma", "deberta.encoder.LayerNorm.weight"),
        ("_orig_mod.classifier.weight", "classifier.weight"),
        ("deberta.embeddings.LayerNorm.bias", "deberta.embeddings.LayerNorm.bias"),
    ],
)
def test_old_names_become_official_ones(stored: str, official: str) -> None:
    assert official_name(stored) == official


def test_heads_are_told_apart_by_their_tensors() -> None:
    assert heads_of(["pooler.dense.weight", "classifier.weight"]) == ["sequence-classification"]
    assert heads_of(["classifier.weight"]) == ["token-classification"]
    assert heads_of(["mask_predictions.dense.bias", "lm_predictions.lm_head.bias"]) == [
        "masked-lm",
        "replaced-token-detection",
    ]
    assert heads_of(["deberta.encoder.LayerNorm.weight"]) == []


def test_first_official_files_with_bert_prefix_open(tmp_path: Path) -> None:
    stock = save_stock(tmp_path)
    change_weights(tmp_path, lambda t: {k.replace("deberta.", "bert."): v for k, v in t.items()})
    opened = open_model(tmp_path, head=models.DebertaV2ForSequenceClassification)
    kind = "ForSequenceClassification"
    assert_equal_outputs(opened.model, stock, kind)


def test_bin_file_opens(tmp_path: Path) -> None:
    stock = save_stock(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(stock.state_dict(), tmp_path / "pytorch_model.bin")
    opened = open_model(tmp_path, head=models.DebertaV2ForSequenceClassification)
    assert torch.equal(opened.model.classifier.weight, stock.classifier.weight)


def test_split_file_opens(tmp_path: Path) -> None:
    stock = save_stock(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    stock.save_pretrained(tmp_path, max_shard_size="30KB")
    assert len(find_weights(ModelFolder(tmp_path))) > 1
    opened = open_model(tmp_path, head=models.DebertaV2ForSequenceClassification)
    assert torch.equal(opened.model.classifier.weight, stock.classifier.weight)


def test_hub_cache_links_are_followed(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--x--y" / "snapshots" / "abc"
    blobs = tmp_path / "models--x--y" / "blobs"
    save_stock(snapshot)
    blobs.mkdir()
    for number, path in enumerate(sorted(snapshot.iterdir())):
        path.rename(blobs / str(number))
        path.symlink_to(Path("../../blobs") / str(number))
    open_model(snapshot, head=models.DebertaV2ForSequenceClassification)


def break_folder(folder: Path, fault: str) -> None:
    config, weights = folder / "config.json", folder / "model.safetensors"
    if fault == "no-config":
        config.unlink()
    elif fault == "not-json":
        config.write_text("{")
    elif fault == "list":
        config.write_text("[]")
    elif fault == "nan":
        config.write_text(config.read_text().replace("1e-07", "NaN"))
    elif fault == "key-twice":
        config.write_text(config.read_text().replace("{", '{"hidden_size": 4,', 1))
    elif fault == "no-weights":
        weights.unlink()
    elif fault == "empty-weights":
        weights.write_bytes(b"")
    elif fault == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif fault == "truncated-header":
        weights.write_bytes(weights.read_bytes()[:50])
    elif fault == "page":
        weights.write_text("<html>not found</html>")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no-config", "has no config.json"),
        ("not-json", "config.json is not valid JSON"),
        ("list", "holds a JSON list; need a JSON object"),
        ("nan", "NaN is not a JSON number"),
        ("key-twice", "occurs twice in one object"),
        (
            "no-weights",
            "has no weights: need model.safetensors, pytorch_model.bin or model_int8",
        ),
        ("empty-weights", "damaged or truncated"),
        ("truncated", "its tensors need .* bytes and the file has"),
        ("truncated-header", "fewer than its header says"),
        ("page", "damaged or truncated"),
    ],
)
def test_broken_folder_gets_one_clear_line(fault: str, message: str, tmp_path: Path) -> None:
    save_stock(tmp_path)
    break_folder(tmp_path, fault)
    with pytest.raises(UserError, match=message) as caught:
        open_model(tmp_path, head=models.DebertaV2ForSequenceClassification)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "bert"}, "model_type is 'bert'; need 'deberta-v2'"),
        ({"model_type": "deberta"}, "DeBERTa v1"),
        ({"model_type": ...}, "model_type is None"),
        ({"position_buckets": ..., "position_bucket": 8}, "did you mean 'position_buckets'"),
        ({"share_att_key": "true"}, "share_att_key is 'true'; need true or false"),
        ({"hidden_size": "48"}, "hidden_size is '48'; need a whole number"),
        ({"hidden_size": 0}, "hidden_size is 0; need a whole number from 1"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0"),
        ({"num_attention_heads": 5}, "must be a multiple of num_attention_heads"),
        ({"hidden_dropout_prob": 1.5}, "need a probability"),
        ({"pos_att_type": ["p2p"]}, "p2p"),
        ({"pad_token_id": 99}, "need less than vocab_size"),
        ({"vocab_size": 100}, "config.json says 100 words .* the weights have 99 of 48"),
        ({"num_hidden_layers": 3}, "num_hidden_layers = 3, the weights have 2 layers"),
        ({"num_hidden_layers": 10**7}, "num_hidden_layers = 10000000, the weights have 2 layers"),
        ({"intermediate_size": 57}, "has shape .* and config.json makes it"),
        ({"conv_kernel_size": 3}, "the weights have no deberta.encoder.conv"),
        ({"share_att_key": False}, "the weights have no .*pos_key_proj"),
        ({"norm_rel_ebd": "none"}, "config.json does not allow deberta.encoder.LayerNorm"),
        ({"auto_map": {"AutoModel": "m.M"}}, "asks for code"),
        ({"quantization_config": {"bits": 4}}, "quantized weights are not supported"),
        ({"id2label": {"0": "a", "2": "b"}}, "id2label must name every class from 0 on"),
        ({"id2label": ["a", "b"]}, "id2label must be"),
        ({"num_labels": 4}, "num_labels is 4"),
        (
            {"num_labels": 20_000_000, "id2label": ..., "label2id": ...},
            "num_labels is 20,000,000 .*; need at most 10,000 without names",
        ),
        ({"problem_type": "ranking"}, "problem_type is 'ranking'"),
    ],
)
def test_wrong_config_gets_one_clear_line(changes: dict, message: str, tmp_path: Path) -> None:
    save_stock(tmp_path)
    change_config(tmp_path, **changes)
    with pytest.raises(UserError, match=message) as caught:
        open_model(tmp_path, head=models.DebertaV2ForSequenceClassification)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("kind", HEADS)
def test_absolute_positions_that_the_input_needs_are_never_made_up(kind: str, tmp_path: Path) -> None:
    save_stock(tmp_path, kind, position_biased_input=True)
    table = "deberta.embeddings.position_embeddings.weight"
    change_weights(tmp_path, lambda tensors: {n: x for n, x in tensors.items() if not table.endswith(n)})
    for said in (True, ...):  # true is also what a missing key means
        change_config(tmp_path, position_biased_input=said)
        with pytest.raises(UserError, match=f"position_biased_input = true .* the weights have no {table}"):
            open_model(tmp_path, head=our_class(kind))
    change_config(tmp_path, position_biased_input=False)
    open_model(tmp_path, head=our_class(kind))


@pytest.mark.parametrize(("kind", "adds"), [*((kind, True) for kind in HEADS), ("ForMaskedLM", False)])
def test_absolute_positions_of_another_shape_are_refused(kind: str, adds: bool, tmp_path: Path) -> None:
    save_model(our_class(kind)(tiny_config(position_biased_input=adds)), tmp_path)
    change_config(tmp_path, max_position_embeddings=40, max_relative_positions=32)
    with pytest.raises(UserError, match=r"position_embeddings.weight has shape \[32, 48\], .* \[40, 48\]"):
        open_model(tmp_path, head=our_class(kind))


def test_an_encoder_that_adds_no_positions_ignores_a_table_of_another_shape(tmp_path: Path) -> None:
    save_model(models.DebertaV2ForMaskedLM(tiny_config()), tmp_path)
    change_config(tmp_path, max_position_embeddings=40, max_relative_positions=32)
    open_model(tmp_path, head=models.DebertaV2Model)


def test_missing_folder_and_file_in_place_of_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        ModelFolder.find(tmp_path / "absent" / "model")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is a file; a checkpoint is a folder"):
        ModelFolder.find(tmp_path / "file")


def test_word_embeddings_as_delta_only_are_refused(tmp_path: Path) -> None:
    save_stock(tmp_path)
    word = "deberta.embeddings.word_embeddings"

    def only_delta(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        tensors[f"{word}._weight"] = tensors.pop(f"{word}.weight")
        return tensors

    change_weights(tmp_path, only_delta)
    with pytest.raises(UserError, match="holds only the difference"):
        open_model(tmp_path, head=models.DebertaV2ForSequenceClassification)


def test_two_names_for_one_tensor_are_refused(tmp_path: Path) -> None:
    save_stock(tmp_path)
    change_weights(tmp_path, lambda t: {**t, "module.classifier.bias": torch.zeros(3)})
    with pytest.raises(UserError, match="in the checkpoint twice"):
        open_model(tmp_path, head=models.DebertaV2ForSequenceClassification)


def test_whole_numbers_are_no_weights(tmp_path: Path) -> None:
    save_stock(tmp_path)
    change_weights(tmp_path, lambda t: {**t, "classifier.bias": torch.zeros(3, dtype=torch.int8)})
    with pytest.raises(UserError, match=r"classifier\.bias is stored as I8; need floating point"):
        open_model(tmp_path, head=models.DebertaV2ForSequenceClassification)


def test_number_names_and_string_numbers_of_labels_are_understood(tmp_path: Path) -> None:
    save_stock(tmp_path)
    change_config(tmp_path, id2label={"0": 0, "1": 1, "2": 2}, label2id={"0": "0", "1": "1", "2": "2"})
    assert Checkpoint.open(tmp_path).config["id2label"] == {0: "0", 1: "1", 2: "2"}


class FailingTokenizer:
    def save_pretrained(self, folder: str) -> None:
        raise OSError(28, "No space left on device")


def test_failed_save_leaves_the_old_checkpoint_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    save_model(models.DebertaV2Model(tiny_config()), folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UserError, match=r"cannot be written: .*No space left"):
        save_model(models.DebertaV2Model(tiny_config()), folder, FailingTokenizer())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert list(tmp_path.iterdir()) == [folder]


def test_failed_first_save_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        save_model(models.DebertaV2Model(tiny_config()), tmp_path / "new" / "model", FailingTokenizer())
    assert list((tmp_path / "new").iterdir()) == []


def test_saving_over_a_checkpoint_replaces_its_files_and_keeps_others(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    save_model(models.DebertaV2Model(tiny_config()), folder)
    (folder / "README.md").write_text("mine")
    (folder / "probabilities.json").write_text('{"temperature": 2}')  # fitted to the weights that go
    save_model(models.DebertaV2Model(tiny_config(num_hidden_layers=1)), folder)
    assert not (folder / "probabilities.json").exists()
    assert json.loads((folder / "config.json").read_text())["num_hidden_layers"] == 1
    assert len([name for name in read_header(folder / "model.safetensors") if "layer.1." in name]) == 0
    assert (folder / "README.md").read_text() == "mine"


def test_file_in_the_way_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("x")
    with (
        pytest.raises(UserError, match="is a file"),
        replacing_folder(tmp_path / "model"),
    ):
        pass
