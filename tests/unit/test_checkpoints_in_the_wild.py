"""Folders as other programs leave them answer rightly; what would be silently wrong is refused."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from debertav3 import Predictor, models
from debertav3.checkpoint import Checkpoint, open_model, save_model
from debertav3.checkpoint.configuration import checked
from debertav3.checkpoint.doctor import examine
from debertav3.checkpoint.files import MAX_TENSORS, read_header
from debertav3.errors import UserError
from debertav3.layers.config import EncoderConfig
from debertav3.sizes import config_for, raw_config
from debertav3.tokenization import DebertaV3Tokenizer

TINY = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 8, "num_hidden_layers": 2}


def save(folder: Path, head: type = models.DebertaV2ForSequenceClassification, **keys: Any) -> Path:
    torch.manual_seed(0)
    return save_model(head(config_for("nano", **(TINY | {"num_labels": 3} | keys))), folder)


def change(folder: Path, **keys: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def add_tensors(folder: Path, **tensors: torch.Tensor) -> None:
    path = folder / "model.safetensors"
    save_file(load_file(path) | tensors, path, metadata={"format": "pt"})


def test_id2label_decides_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path)
    names = {"0": "SAFE", "1": "INJECTION", "2": "JAILBREAK"}
    change(tmp_path, id2label=names, label2id={"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2})
    with caplog.at_level(logging.WARNING):
        raw = Checkpoint.open(tmp_path).config
    assert raw["id2label"] == {0: "SAFE", 1: "INJECTION", 2: "JAILBREAK"}
    assert raw["label2id"] == {"SAFE": 0, "INJECTION": 1, "JAILBREAK": 2}
    assert "contradicts id2label" in caplog.text


def test_label2id_alone_names_the_classes() -> None:
    raw = checked(raw_config("nano") | {"label2id": {"b": 1, "a": 0}})
    assert raw["id2label"] == {0: "a", 1: "b"}


def test_what_we_save_is_in_step(tmp_path: Path) -> None:
    model = models.DebertaV2ForSequenceClassification(config_for("nano", **TINY, num_labels=2))
    model.config.id2label = {0: "SAFE", 1: "INJECTION"}
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["label2id"] == {"SAFE": 0, "INJECTION": 1}


@pytest.mark.parametrize("named", [None, [], ["MyClassifier"]])
@pytest.mark.parametrize(
    "name",
    ["ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering"],
)
def test_tensors_name_the_head_where_the_config_does_not(name: str, named: Any, tmp_path: Path) -> None:
    save(tmp_path, getattr(models, f"DebertaV2{name}"), num_labels=2)
    change(tmp_path, architectures=named)
    assert Checkpoint.open(tmp_path).config["architectures"] == [f"DebertaV2{name}"]


def test_no_head_is_made_up(tmp_path: Path) -> None:
    for name in ("Model", "ForMaskedLM"):
        save(tmp_path / name, getattr(models, f"DebertaV2{name}"))
        change(tmp_path / name, architectures=None)
        assert not Checkpoint.open(tmp_path / name).config["architectures"]


def test_predictor_without_architectures(tmp_path: Path, nano: Path) -> None:
    save(tmp_path)
    DebertaV3Tokenizer.from_pretrained(nano).save_pretrained(tmp_path)
    named = Predictor.from_pretrained(tmp_path, backend="torch").classify("A film.")
    change(tmp_path, architectures=None)
    assert Predictor.from_pretrained(tmp_path, backend="torch").classify("A film.") == named


@pytest.mark.parametrize("name", ["proj.weight", "classifier.out_proj.weight", "pooler.LayerNorm.weight"])
def test_weights_of_a_head_that_the_class_has_not_are_refused_by_name(name: str, tmp_path: Path) -> None:
    """microsoft/DeBERTa's NER models have a layer ``proj`` before the classifier."""
    kind = models.DebertaV2ForTokenClassification if name == "proj.weight" else None
    head = kind or models.DebertaV2ForSequenceClassification
    save(tmp_path, head)
    add_tensors(tmp_path, **{name: torch.ones(16, 16)})
    with pytest.raises(UserError, match=name) as caught:
        open_model(tmp_path, head=head)
    assert "\n" not in str(caught.value)
    fresh = open_model(tmp_path, head=head, new_head=True).report.fresh
    assert "classifier.weight" in fresh  # for training the head begins again


def test_weights_that_change_nothing_are_left_out(tmp_path: Path) -> None:
    save(tmp_path)
    add_tensors(
        tmp_path,
        **{"loss_fct.weight": torch.ones(3), "lm_predictions.lm_head.bias": torch.ones(5)},
    )
    opened = open_model(tmp_path, head=models.DebertaV2ForSequenceClassification)
    assert set(opened.report.unused) == {"loss_fct.weight", "lm_predictions.lm_head.bias"}


@pytest.mark.parametrize("key", ["max_position_embeddings", "max_relative_positions", "position_buckets"])
def test_absurd_numbers_of_positions_are_refused(key: str, tmp_path: Path) -> None:
    save(tmp_path)
    change(tmp_path, **{key: 2**24})
    with pytest.raises(UserError, match=f"{key} is 16,777,216; need at most"):
        _ = Checkpoint.open(tmp_path).config
    with pytest.raises(UserError, match=key):  # also without our own opening
        models.DebertaV2ForSequenceClassification.from_pretrained(tmp_path)


def test_buckets_whose_table_explodes_are_refused() -> None:
    raw = raw_config("nano") | {"max_relative_positions": 2**15, "long_inputs": "transformers"}
    EncoderConfig.from_dict(raw)
    for buckets in (4, 5):
        with pytest.raises(UserError, match="position_buckets"):
            EncoderConfig.from_dict(raw | {"position_buckets": buckets})


def test_thousands_of_tensors_are_refused(tmp_path: Path) -> None:
    header = json.dumps(
        {f"t{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(MAX_TENSORS + 1)}
    ).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(UserError, match="tensors; no DeBERTa has more"):
        read_header(path)


@pytest.mark.parametrize("shape", [(2, 5), (6, 2), (3, 6), (2, 1, 6, 5), (2, 2, 6, 6), (6,), (2, 5, 6)])
def test_a_mask_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    model = models.DebertaV2Model(config_for("nano", **TINY)).eval()
    ids = torch.ones(2, 6, dtype=torch.long)
    with pytest.raises(UserError, match=r"need \(2, 6\)"):
        model(ids, attention_mask=torch.ones(shape))
    for fitting in ((2, 6), (2, 6, 6), (2, 1, 6, 6), (2, 1, 1, 6)):
        assert model(ids, attention_mask=torch.ones(fitting)).last_hidden_state.shape == (2, 6, 16)


def test_more_tokens_than_embeddings_is_one_line(tmp_path: Path, nano: Path) -> None:
    save(tmp_path)
    tokenizer = DebertaV3Tokenizer.from_pretrained(nano).to_transformers()
    tokenizer.add_tokens([f"<x{number}>" for number in range(120)], special_tokens=True)
    rows = raw_config("nano")["vocab_size"]
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(
        UserError, match=f"{len(tokenizer):,} ids and the model {rows:,} embeddings"
    ) as caught:
        Predictor.from_pretrained(tmp_path, backend="torch")
    assert "\n" not in str(caught.value)


def test_far_fewer_tokens_than_embeddings_is_said(nano: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        DebertaV3Tokenizer.from_pretrained(nano).check_fits(128_100, place="here")
    assert "another model's" in caplog.text


def test_a_text_of_thousands_of_masks(nano: Path) -> None:
    tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
    ids = tokenizer.encode("a[MASK] b" * 1000, parse_special_tokens=True)
    assert ids == tokenizer.encode("a[MASK] b", parse_special_tokens=True)[:2] + ids[2:]
    assert ids.count(tokenizer.mask_token_id) == 1000


def test_stock_scripts_train_nano_in_fp32_and_with_one_label(nano: Path) -> None:
    stock = transformers.AutoModelForSequenceClassification
    assert stock.from_pretrained(nano).dtype == torch.float32
    model = stock.from_pretrained(nano, num_labels=1, ignore_mismatched_sizes=True).eval()
    ids = torch.tensor([[1, 300, 301, 2]])
    assert model(ids, labels=torch.tensor([3.0])).loss > 0


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("adapter_config.json", "adapter_model.safetensors"), r"adapter of PEFT for org/base: merge it"),
        (
            ("checkpoint-500/config.json", "checkpoint-1000/config.json"),
            r"model in \S+/checkpoint-1000: give",
        ),
        (("0_Transformer/config.json", "modules.json"), r"model in \S+/0_Transformer: give that folder"),
        (("model.fp16.safetensors",), r"model\.fp16\.safetensors: if these are its weights, call them"),
        (("model-q8.gguf",), r"model-q8\.gguf, which is not read"),
        (("onnx/model.onnx",), r"onnx/model\.onnx, a graph of another program"),
        (("readme.txt",), r"so it is not a checkpoint\. Give the folder of a model\.$"),
    ],
)
@pytest.mark.parametrize("has_config", [False, True])
def test_a_folder_that_is_something_else_is_told_what(
    files: tuple[str, ...], message: str, has_config: bool, tmp_path: Path
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"base_model_name_or_path": "org/base"}')
    if has_config:
        (tmp_path / "config.json").write_text(json.dumps(raw_config("nano") | TINY))
        message = message.replace(
            r"so it is not a checkpoint\. Give the folder of a model", "or model_int8.safetensors"
        )
    with pytest.raises(UserError, match=message) as raised:
        open_model(tmp_path, head=models.DebertaV2ForSequenceClassification)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("before", ["model.", "module._orig_mod.", "_orig_mod.module.", "model._orig_mod."])
def test_names_of_classes_around_a_model_are_seen_through(before: str, tmp_path: Path) -> None:
    folder = save(tmp_path / "model")
    path = folder / "model.safetensors"
    wanted = load_file(path)
    save_file({before + name: tensor for name, tensor in wanted.items()}, path, metadata={"format": "pt"})
    opened = open_model(folder, head=models.DebertaV2ForSequenceClassification).model
    assert torch.equal(opened.classifier.weight, wanted["classifier.weight"])


def test_a_home_that_is_not_known_is_one_line() -> None:
    with pytest.raises(UserError, match="no such folder: ~nobody-of-this-name"):
        Checkpoint.open("~nobody-of-this-name/model")


def test_two_outputs_of_one_name_are_a_fault(tmp_path: Path, nano: Path) -> None:
    folder = save(tmp_path, vocab_size=12032)
    DebertaV3Tokenizer.from_pretrained(nano).save_pretrained(folder)
    change(folder, id2label={"0": "x", "1": "x", "2": "y"})
    assert any("two classes are called 'x'" in fault.what for fault in examine(folder).faults)
