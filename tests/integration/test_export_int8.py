"""int8 ships only if it decides as before, in every format; the folder for torch opens like a checkpoint."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import debertav3
from debertav3 import DebertaV3Tokenizer, Predictor, UserError
from debertav3.checkpoint.files import INT8_WEIGHTS
from debertav3.checkpoint.opening import open_model
from debertav3.cpu.int8 import quantize_rows
from debertav3.cpu.kernel import library
from debertav3.inference.export.request import ExportConfig
from debertav3.inference.export.run import export_model
from int8_exports import NLI, examples, need_runtime
from tiny_models import save, tiny_model


def with_outliers(nano: Path, folder: Path, *, everywhere: bool, seed: int = 0) -> Path:
    """A model whose activations have channels that int8 cannot hold beside the others.

    A value that is 10,000 times as large, and divided by as much where it is read, changes nothing in float.
    ``everywhere`` has so many products read one that keeping up to half of them in float is not enough: in
    five layers both products that end a residual branch, and the classifier; 8 are kept at most.
    """
    tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
    num_layers = 5 if everywhere else 2
    model = tiny_model(
        debertav3.DebertaV2ForSequenceClassification,
        tokenizer,
        id2label=NLI,
        num_hidden_layers=num_layers,
        seed=seed,
    )
    with torch.no_grad():
        for layer in model.deberta.encoder.layer:
            values, read = layer.attention.self.value_proj, layer.attention.output.dense
            values.weight[5] *= 1e4
            values.bias[5] = 1e4
            read.weight[:, 5] /= 1e4
            if everywhere:
                layer.intermediate.dense.bias[7] = 1e4  # so far out the GELU is the identity
                layer.output.dense.weight[:, 7] = 0
        if everywhere:
            model.pooler.dense.bias[7] = 1e4
            model.classifier.weight[:, 7] = 0
    return save(model, tokenizer, folder)


@pytest.mark.parametrize("format_", ["torch", "onnx", pytest.param("openvino", marks=pytest.mark.slow)])
def test_the_gate_keeps_what_int8_breaks_in_float(nano: Path, tmp_path: Path, format_: str) -> None:
    need_runtime(format_)
    if format_ == "onnx" and not torch.cpu._is_vnni_supported():
        pytest.skip("ONNX Runtime's int8 matmuls saturate without VNNI, and the gate rightly refuses them")
    # seeds whose decisions are clear enough for the rounding of all other layers
    seed = 4 if format_ == "openvino" else 2
    source = with_outliers(nano, tmp_path / "model", everywhere=False, seed=seed)
    data = examples(tmp_path / "rows.jsonl", 60)
    folder = tmp_path / "int8"
    export_model(source, folder, ExportConfig(format=format_, int8=True, calibration=data))
    gate = json.loads((folder / "checks.json").read_text())["gate"]
    assert gate["passed"] and gate["equal_decisions"] >= 0.99
    assert not gate["attempts"][0]["passed"]
    assert any(name.endswith("attention.output.dense") for name in gate["kept_in_float"])
    assert "Kept in float" in (folder / "README.md").read_text()
    assert Predictor.from_pretrained(folder).nli(("a dog runs", "a dog sleeps"))


@pytest.mark.parametrize("format_", ["torch", pytest.param("onnx", marks=pytest.mark.slow)])
def test_the_gate_refuses_what_no_exception_saves(nano: Path, tmp_path: Path, format_: str) -> None:
    need_runtime(format_)
    source = with_outliers(nano, tmp_path / "model", everywhere=True)
    data = examples(tmp_path / "rows.jsonl", 60)
    config = ExportConfig(format=format_, int8=True, calibration=data)
    with pytest.raises(UserError, match="int8 was refused") as raised:
        export_model(source, tmp_path / "int8", config)
    assert "\n" not in str(raised.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "rows.jsonl"]


@pytest.mark.parametrize("format_", ["torch", pytest.param("onnx", marks=pytest.mark.slow)])
def test_force_writes_what_is_refused_and_says_so(nano: Path, tmp_path: Path, format_: str) -> None:
    need_runtime(format_)
    source = with_outliers(nano, tmp_path / "model", everywhere=True)
    data = examples(tmp_path / "rows.jsonl", 60)
    config = ExportConfig(format=format_, int8=True, calibration=data, force=True)
    export_model(source, tmp_path / "forced", config)
    assert "Forced: this int8 model failed its gate" in (tmp_path / "forced" / "README.md").read_text()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["torch", "onnx", "openvino"])
def test_nano_passes_the_gate(nano: Path, data_folder: Path, tmp_path: Path, format_: str) -> None:
    need_runtime(format_)
    data = tmp_path / "dev.jsonl"
    from debertav3.tasks.tables import read_table

    rows = [row.fields for row in read_table(data_folder / "nli" / "mnli_matched_dev.jsonl.gz")][:300]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    export_model(nano, tmp_path / "int8", ExportConfig(format=format_, int8=True, calibration=data))
    gate = json.loads((tmp_path / "int8" / "checks.json").read_text())["gate"]
    assert gate["passed"] and gate["float_metrics"]["accuracy"] > 36
    got = Predictor.from_pretrained(tmp_path / "int8").nli(
        [(row["premise"], row["hypothesis"]) for row in rows[:50]]
    )
    want = Predictor.from_pretrained(nano, backend="torch").nli(
        [(row["premise"], row["hypothesis"]) for row in rows[:50]]
    )
    same = [max(one, key=one.get) == max(other, key=other.get) for one, other in zip(got, want, strict=True)]  # type: ignore[arg-type]
    assert np.mean(same) >= 0.94


@pytest.fixture(scope="module")
def int8_folder(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in ``model`` and its export for torch in ``int8``."""
    folder = tmp_path_factory.mktemp("torch")
    tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
    model = tiny_model(
        debertav3.DebertaV2ForSequenceClassification, tokenizer, id2label=NLI, intermediate_size=1024
    )
    source = save(model, tokenizer, folder / "model")
    data = examples(folder / "rows.jsonl", 40)
    # fp16 for what stays in float, and what random weights decide is not at issue
    config = ExportConfig(format="torch", int8=True, fp16=True, calibration=data, force=True)
    export_model(source, folder / "int8", config)
    return folder


def test_int8_weights_are_those_of_the_checkpoint(int8_folder: Path) -> None:
    stored = load_file(int8_folder / "int8" / INT8_WEIGHTS)
    source = load_file(int8_folder / "model" / "model.safetensors")
    quantized = [name for name in stored if stored[name].dtype == torch.int8]
    kept = json.loads((int8_folder / "int8" / "checks.json").read_text())["gate"]["kept_in_float"]
    assert len(quantized) == 2 * 6 - len(kept)
    for name in quantized:
        weight, scale = quantize_rows(source[name].half())
        assert torch.equal(stored[name], weight) and torch.equal(stored[name + "_scale"], scale)
    assert stored.keys() - source.keys() == {f"{name}_scale" for name in quantized}
    table = "deberta.embeddings.word_embeddings.weight"
    assert torch.equal(stored[table], source[table].half())


def test_an_int8_folder_opens_like_a_checkpoint(int8_folder: Path) -> None:
    pairs = [("a dog runs", "a dog sleeps"), ("two cats", "two red cats sleep under a big dog")]
    want = Predictor.from_pretrained(int8_folder / "model", backend="torch").nli(pairs)
    best = "torch" if library.kernel() is None else "native"
    for backend, runs in (("auto", best), ("light", "native"), ("torch", "torch"), ("native", "native")):
        predictor = Predictor.from_pretrained(int8_folder / "int8", backend=backend)
        assert predictor.engine.backend.name == runs and predictor.engine.backend.dtype == "int8"
        for one, other in zip(predictor.nli(pairs), want, strict=True):
            assert one == pytest.approx(other, abs=0.05) and one != other
    # what does not run it reads the numbers that the integers stand for
    model = open_model(int8_folder / "int8", head=debertav3.DebertaV2ForSequenceClassification).model
    stored = load_file(int8_folder / "int8" / INT8_WEIGHTS)
    name = "deberta.encoder.layer.1.intermediate.dense.weight"
    assert torch.equal(model.get_parameter(name), stored[name] * stored[name + "_scale"][:, None])
    assert model.get_parameter(name).requires_grad


def test_an_int8_folder_runs_without_the_kernel_and_says_so(
    int8_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pair = ("a dog runs", "a dog sleeps")
    want = Predictor.from_pretrained(int8_folder / "int8").nli(pair)
    caplog.set_level(logging.INFO, logger="debertav3")
    monkeypatch.setenv(library.VARIABLE, "none")
    library.kernel.cache_clear()
    try:
        got = Predictor.from_pretrained(int8_folder / "int8").nli(pair)
    finally:
        library.kernel.cache_clear()
    assert got == pytest.approx(want, abs=1e-3)
    assert "int8 without the CPU kernel" in caplog.text


def test_what_an_int8_folder_cannot_do_is_one_line(int8_folder: Path, tmp_path: Path) -> None:
    for arguments, message in (
        ({"dtype": "bf16"}, "computes in int8 and fp32; got dtype 'bf16'"),
        ({"dtype": "fp16"}, "got dtype 'fp16'"),
        ({"backend": "onnx"}, "was exported for torch"),
        ({"task": "ner"}, "was exported with its sequence-classification head"),
    ):
        with pytest.raises(UserError, match=message) as raised:
            Predictor.from_pretrained(int8_folder / "int8", **arguments)  # type: ignore[arg-type]
        assert "\n" not in str(raised.value)
    for stock in (
        transformers.DebertaV2ForSequenceClassification,
        debertav3.DebertaV2ForSequenceClassification,
    ):
        with pytest.raises(
            OSError, match=r"no file named model\.safetensors"
        ):  # and not whole numbers for weights
            stock.from_pretrained(int8_folder / "int8")
    damaged = tmp_path / "damaged"
    shutil.copytree(int8_folder / "int8", damaged)
    stored = load_file(damaged / INT8_WEIGHTS)
    name = "deberta.encoder.layer.0.output.dense.weight_scale"
    for changed, message in (
        ({**stored, name: stored[name][:-1].clone()}, "need one F32 number for each row"),
        (
            {key: value for key, value in stored.items() if key != name},
            "is stored as I8; need floating point",
        ),
    ):
        save_file(changed, damaged / INT8_WEIGHTS)
        with pytest.raises(UserError, match="changed since the export"):  # by its checksum
            Predictor.from_pretrained(damaged)
        with pytest.raises(UserError, match=message):  # and by what the file says, which needs no checksum
            open_model(damaged, head=debertav3.DebertaV2ForSequenceClassification)
