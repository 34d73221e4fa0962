"""An export answers only for the checkpoint it was made from, and with its own files: compared by content."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from debertav3 import Predictor, UserError
from debertav3.files.model_content import content_files, content_sums
from debertav3.inference.export.request import ExportConfig
from debertav3.inference.export.run import export_model
from tiny_models import ModelFolders

pytest.importorskip("onnxruntime", reason="export needs the extra onnx")
pytest.importorskip("onnxscript", reason="export needs the extra onnx")

NAME = "DebertaV2ForSequenceClassification"
NLI = {0: "contradiction", 1: "entailment", 2: "neutral"}
SWAPPED = {0: "entailment", 1: "contradiction", 2: "neutral"}
PAIR = ("A man sleeps.", "Nobody is awake.")


@pytest.fixture(scope="module")
def made(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with its ONNX export inside."""
    folder = tmp_path_factory.mktemp("made") / "model"
    shutil.copytree(ModelFolders(nano, tmp_path_factory)(NAME, id2label=NLI), folder)
    export_model(folder, folder / "onnx", ExportConfig(format="onnx"))
    return folder


@pytest.fixture
def model(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "model")
    return tmp_path / "model"


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def other_weights(path: Path) -> None:
    save_file({name: tensor + 0.5 for name, tensor in load_file(path).items()}, path)


CHANGES = {
    "labels": lambda model: edit_json(
        model / "config.json", id2label=SWAPPED, label2id={name: id_ for id_, name in SWAPPED.items()}
    ),
    "epsilon": lambda model: edit_json(model / "config.json", layer_norm_eps=0.1),
    "biases": lambda model: other_weights(model / "model.safetensors"),
    "tokenizer": lambda model: edit_json(model / "tokenizer_config.json", model_max_length=32),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_corrected_checkpoint_is_not_answered_by_its_old_export(
    model: Path,
    change: Callable[[Path], None],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("debertav3.inference.backends.choose._has_cpu_kernel", lambda: False)
    assert Predictor.from_pretrained(model, device="cpu").engine.backend.name == "onnx"
    change(model)
    with caplog.at_level(logging.WARNING):
        predictor = Predictor.from_pretrained(model, device="cpu")
    assert predictor.engine.backend.name == "torch"
    assert "not an export of the present checkpoint" in caplog.text
    with pytest.raises(UserError, match="changed since"):
        Predictor.from_pretrained(model, backend="onnx")


def test_the_corrected_labels_are_answered(model: Path) -> None:
    before = Predictor.from_pretrained(model, backend="light").nli(PAIR)
    CHANGES["labels"](model)
    after = Predictor.from_pretrained(model, backend="light").nli(PAIR)
    assert after["entailment"] == pytest.approx(before["contradiction"], abs=1e-5)


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", "spm.model", "config.json"])
def test_a_file_swapped_in_an_export_is_refused(
    model: Path, name: str, nano: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The other file is of the same kind, from a model of the same shape."""
    export = model / "onnx"
    Predictor.from_pretrained(export).nli(PAIR)
    if name == "config.json":
        edit_json(export / name, id2label=SWAPPED)
    else:
        content = bytearray((export / name).read_bytes())
        content[-1] ^= 1
        (export / name).write_bytes(content)
    with pytest.raises(UserError, match=f"onnx: {name} changed since the export"):
        Predictor.from_pretrained(export)


def test_a_file_added_to_an_export_is_refused(model: Path) -> None:
    (model / "onnx" / "extra.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"extra\.safetensors changed since the export"):
        Predictor.from_pretrained(model / "onnx")


def test_an_export_of_another_format_leaves_nothing_of_the_older_one(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="export needs the extra openvino")
    out = tmp_path / "out"
    export_model(model, out, ExportConfig(format="openvino"))
    (out / "notes.txt").write_text("mine")
    before = Predictor.from_pretrained(out).nli(PAIR)
    export_model(model, out, ExportConfig(format="onnx"))
    assert not list(out.glob("openvino_model*"))
    assert (out / "notes.txt").read_text() == "mine"
    after = Predictor.from_pretrained(out).nli(PAIR)
    assert after == pytest.approx(before, abs=1e-4)


def test_an_export_of_an_older_version_opens_with_a_warning(
    model: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("debertav3.inference.backends.choose._has_cpu_kernel", lambda: False)
    path = model / "onnx" / "export.json"
    old = json.loads(path.read_text()) | {"source": "0123456789abcdef"}
    del old["files"]
    path.write_text(json.dumps(old))
    with caplog.at_level(logging.WARNING):
        assert Predictor.from_pretrained(model / "onnx").engine.backend.name == "onnx"
    assert "without checksums" in caplog.text
    assert Predictor.from_pretrained(model, device="cpu").engine.backend.name == "torch"


def test_every_byte_of_a_large_file_counts(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.truncate(200 << 20)
    before = content_sums(tmp_path)
    for position in (70_000_000, 123_456_789):
        with path.open("r+b") as file:
            file.seek(position)
            file.write(b"\x01")
        now = content_sums(tmp_path)
        assert now != before
        before = now


def test_what_does_not_shape_answers_is_not_counted(made: Path) -> None:
    names = {path.name for path in content_files(made)}
    assert {"config.json", "model.safetensors", "spm.model"} <= names
    assert not names & {"README.md", "run.json", "metrics.json", "report.html"}
