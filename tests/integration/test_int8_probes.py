"""int8 that does not compute on this machine what passed its gate is refused when it is opened."""

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.torch import load_file, save_file

import debertav3
from debertav3 import DebertaV3Tokenizer, Predictor, UserError
from debertav3.checkpoint.files import INT8_WEIGHTS
from debertav3.checkpoint.folder import Checkpoint
from debertav3.cpu.kernel import library
from debertav3.cpu.native import linear
from debertav3.cpu.native.tensors import Int8Array
from debertav3.files.model_content import PROBES, content_sums
from debertav3.inference.backends.native import NativeBackend
from debertav3.inference.backends.probes import read_probes
from debertav3.inference.export.request import ExportConfig
from debertav3.inference.export.run import export_model
from int8_exports import NLI, examples, need_runtime
from tiny_models import save, tiny_model

PAIR = ("a dog runs", "a dog sleeps")


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for every test."""
    monkeypatch.setenv("DEBERTAV3_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "int8_probes"


@pytest.fixture(scope="module")
def exported(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real little model in int8, for torch and the native backend."""
    folder = tmp_path_factory.mktemp("probes")
    rows = examples(folder / "rows.jsonl", 40)
    export_model(nano, folder / "int8", ExportConfig(format="torch", int8=True, calibration=rows, force=True))
    return folder / "int8"


@pytest.fixture
def int8(exported: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(exported, tmp_path / "int8"))


def resealed(folder: Path) -> None:
    """Let the manifest say that the files as they are now are those that were exported."""
    manifest = json.loads((folder / "export.json").read_text())
    manifest["files"] = content_sums(folder)
    (folder / "export.json").write_text(json.dumps(manifest))


def no_probes(*arguments: object) -> Any:
    raise AssertionError("the probes ran again")


@pytest.fixture
def numpy_alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Without the kernel numpy computes, so that a test can put other arithmetic in its place."""
    monkeypatch.setenv(library.VARIABLE, "none")
    library.kernel.cache_clear()
    yield
    library.kernel.cache_clear()


def saturating(x: npt.NDArray[np.float32], weight: Int8Array) -> npt.NDArray[np.float32]:
    """int8 as runtimes compute it without VNNI: vpmaddubsw adds two products of u8 and s8 in 16 bits."""
    largest = np.maximum(np.abs(x).max(axis=-1, keepdims=True), np.float32(1e-30))
    unsigned = np.rint(x * (127 / largest)) + np.float32(128)
    whole = weight.weight.astype(np.float32)  # fp32 holds all these integers
    sums = np.float32(-128) * whole.sum(axis=1)
    for k in range(0, whole.shape[1], 2):
        sums = sums + np.clip(unsigned[..., k : k + 2] @ whole[:, k : k + 2].T, -(1 << 15), (1 << 15) - 1)
    result: npt.NDArray[np.float32] = sums * (largest / 127 * weight.scale)
    return result


def test_an_export_carries_inputs_and_logits_that_passed(exported: Path) -> None:
    probes = read_probes(Checkpoint.open(exported))
    assert sum(len(batch["input_ids"]) for batch in probes.batches) == 32
    assert 0 < probes.noise < 0.1 * probes.logits.std()
    manifest = json.loads((exported / "export.json").read_text())
    assert PROBES in manifest["files"] and manifest["weights"] == "int8"
    tokenizer = DebertaV3Tokenizer.from_pretrained(exported)
    ids = probes.batches[0]["input_ids"]
    assert (ids[:, 0] == tokenizer.cls_token_id).all() and ids[0, -1] == tokenizer.sep_token_id


@pytest.mark.parametrize("backend", ["native", "torch"])
def test_they_run_once_for_a_machine_and_a_content(
    int8: Path, backend: str, memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Predictor.from_pretrained(int8, backend=backend).nli(PAIR)
    assert len(list(memory.iterdir())) == 1
    with monkeypatch.context() as patch:
        patch.setattr("debertav3.inference.backends.probes.Probes.difference", no_probes)
        Predictor.from_pretrained(int8, backend=backend)
        Predictor.from_pretrained(int8.rename(tmp_path / "moved"), backend=backend)  # the same content
        patch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")  # another machine, as far as runtimes see
        with pytest.raises(AssertionError, match="ran again"):
            Predictor.from_pretrained(tmp_path / "moved", backend=backend)
    # other content in the same place
    weights = load_file(tmp_path / "moved" / INT8_WEIGHTS)
    save_file(
        weights | {"classifier.bias": weights["classifier.bias"] + 1e-6}, tmp_path / "moved" / INT8_WEIGHTS
    )
    resealed(tmp_path / "moved")
    Predictor.from_pretrained(tmp_path / "moved", backend=backend)
    assert len(list(memory.iterdir())) == 2


@pytest.mark.parametrize("kernel", ["avx2", "avx512", "avx512vnni", "amx", "none"])
def test_every_path_of_ours_passes(exported: Path, kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(library.VARIABLE, kernel)
    library.kernel.cache_clear()
    try:
        backend = NativeBackend.open(Checkpoint.open(exported), task=None, device="cpu", dtype="fp32")
    except UserError as error:
        pytest.skip(str(error))
    finally:
        library.kernel.cache_clear()
    probes = read_probes(Checkpoint.open(exported))
    assert probes.difference(backend) <= 0.7 * probes.tolerance


@pytest.mark.usefixtures("numpy_alone")
def test_products_that_saturate_are_refused(
    exported: Path, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear, "multiply_int8", saturating)
    with pytest.raises(UserError, match="does not compute here what passed its gate") as raised:
        Predictor.from_pretrained(exported, backend="native")
    assert "\n" not in str(raised.value) and "Export the folder again" in str(raised.value)
    assert not memory.exists()  # what was refused is not remembered


def flip_a_scale(folder: Path) -> None:
    weights = load_file(folder / INT8_WEIGHTS)
    name = next(one for one in sorted(weights) if one.endswith("output.dense.weight_scale"))
    weights[name][3] *= -1
    save_file(weights, folder / INT8_WEIGHTS)


def swap_a_layer(folder: Path) -> None:
    weights = load_file(folder / INT8_WEIGHTS)
    first, second = (f"deberta.encoder.layer.{n}.intermediate.dense.weight" for n in (1, 2))
    weights[first], weights[second] = weights[second], weights[first]
    save_file(weights, folder / INT8_WEIGHTS)


@pytest.mark.parametrize("damage", [flip_a_scale, swap_a_layer])
def test_weights_that_fit_the_sums_and_compute_something_else_are_refused(
    int8: Path, damage: Callable[[Path], None]
) -> None:
    damage(int8)
    resealed(int8)
    for backend in ("native", "torch", "auto"):
        with pytest.raises(UserError, match="weights or kernel are damaged"):
            Predictor.from_pretrained(int8, backend=backend)


def test_a_folder_without_probes_opens_with_one_line(int8: Path, caplog: pytest.LogCaptureFixture) -> None:
    (int8 / PROBES).unlink()
    with pytest.raises(UserError, match=r"probes\.json changed since the export"):  # they were there
        Predictor.from_pretrained(int8, backend="native")
    resealed(int8)
    with caplog.at_level(logging.WARNING):
        assert Predictor.from_pretrained(int8, backend="native").nli(PAIR)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "without probes" in line and "debertav3 export --int8" in line


@pytest.mark.parametrize(
    "change",
    [
        {"inputs": []},
        {"inputs": [{"input_ids": [[1, 99999999]], "attention_mask": [[1, 1]]}]},
        {"inputs": [{"input_ids": [[1, 2]], "attention_mask": [[1]]}]},
        {"inputs": 3},
        {"logits": "x"},
        {"logits": [[1]]},
        {"noise": None},
        {"noise": -1},
    ],
)
def test_damaged_probes_are_one_line(int8: Path, change: dict[str, object]) -> None:
    path = int8 / PROBES
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    resealed(int8)
    with pytest.raises(UserError, match=r"probes\.json is damaged") as raised:
        Predictor.from_pretrained(int8, backend="native")
    assert "\n" not in str(raised.value)


def test_a_cache_that_cannot_be_written_is_no_error(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DEBERTAV3_CACHE", str(tmp_path / "file" / "cache"))
    assert Predictor.from_pretrained(exported, backend="native").nli(PAIR)
    monkeypatch.delenv("DEBERTAV3_CACHE")
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert Predictor.from_pretrained(exported, backend="native").nli(PAIR)


@pytest.mark.parametrize(
    "head", ["TokenClassification", "QuestionAnswering", "MaskedLM", "ReplacedTokenDetection"]
)
def test_every_head_has_its_probes(head: str, nano: Path, tmp_path: Path) -> None:
    tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
    model = tiny_model(getattr(debertav3, f"DebertaV2For{head}"), tokenizer, initializer_range=0.1)
    source = save(model, tokenizer, tmp_path / "model")
    rows = tmp_path / "rows.jsonl"
    row = {"text": "a [MASK] dog runs" if head == "MaskedLM" else "a dog runs", "question": "who runs?"}
    row |= {"context": "a dog runs"} if head == "QuestionAnswering" else {}
    rows.write_text((json.dumps(row) + "\n") * 20)
    config = ExportConfig(format="torch", int8=True, calibration=rows, force=True)
    export_model(source, tmp_path / "int8", config)
    for backend in ("native", "torch"):
        Predictor.from_pretrained(tmp_path / "int8", backend=backend)


@pytest.mark.parametrize("format_", ["onnx", pytest.param("openvino", marks=pytest.mark.slow)])
def test_graphs_are_asked_too(nano: Path, tmp_path: Path, format_: str) -> None:
    """A graph whose int8 weights were swapped for others, as if its products had come out wrong."""
    need_runtime(format_)
    if format_ == "openvino":
        pytest.importorskip("nncf", reason="int8 on openvino needs the extra quant")
    tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
    model = tiny_model(debertav3.DebertaV2ForSequenceClassification, tokenizer, id2label=NLI)
    source = save(model, tokenizer, tmp_path / "model")
    rows = examples(tmp_path / "rows.jsonl", 40)
    config = ExportConfig(format=format_, int8=True, calibration=rows, force=True)
    folder = tmp_path / "int8"
    export_model(source, folder, config)
    Predictor.from_pretrained(folder).nli(PAIR)
    weights = folder / {"onnx": "model.onnx.data", "openvino": "openvino_model.bin"}[format_]
    content = np.frombuffer(weights.read_bytes(), np.int8)
    weights.write_bytes(np.where(np.abs(content) >= 48, content // 2, content).astype(np.int8).tobytes())
    resealed(folder)
    with pytest.raises(UserError, match=f"debertav3 export --format {format_} --int8"):
        Predictor.from_pretrained(folder)


def test_eight_bits_are_for_graphs_alone() -> None:
    for settings in ({"format": "torch", "int8": True}, {"format": "onnx"}):
        with pytest.raises(UserError, match="--vnni is for --int8"):
            ExportConfig(needs_vnni=True, calibration=Path("x"), **settings)  # type: ignore[arg-type]


@pytest.mark.slow
def test_openvino_weights_have_seven_bits_unless_vnni_is_asked_for(nano: Path, tmp_path: Path) -> None:
    """Two products of 7-bit weights and 8-bit activations fit in 16 bits: 2 x 64 x 255 < 2^15."""
    need_runtime("openvino")
    pytest.importorskip("nncf", reason="int8 on openvino needs the extra quant")
    rows = examples(tmp_path / "rows.jsonl", 40)
    assert largest_weight_of_products(nano, tmp_path / "seven", rows, needs_vnni=False) <= 64
    assert largest_weight_of_products(nano, tmp_path / "eight", rows, needs_vnni=True) > 64


def largest_weight_of_products(source: Path, folder: Path, rows: Path, *, needs_vnni: bool) -> int:
    """The largest absolute int8 weight in the linear layers of an OpenVINO export."""
    import openvino

    config = ExportConfig(format="openvino", int8=True, calibration=rows, force=True, needs_vnni=needs_vnni)
    export_model(source, folder, config)
    graph = openvino.Core().read_model(str(folder / "openvino_model.xml"))
    found = []
    for product in (node for node in graph.get_ordered_ops() if node.get_type_name() == "MatMul"):
        weight = product.input_value(1).get_node()
        while weight.get_type_name() in ("Multiply", "Convert"):  # from int8 with a scale for each row
            weight = weight.input_value(0).get_node()
        if weight.get_type_name() == "Constant":
            found.append(int(np.abs(weight.get_data().astype(int)).max()))
    assert len(found) > 20, "nano has six layers of at least four products each"
    return max(found)


IN_ANOTHER_PROCESS = """
import sys
from debertav3 import Predictor, UserError
try:
    Predictor.from_pretrained(sys.argv[1])
except UserError as error:
    print("refused:", error)
else:
    print("opened")
"""


@pytest.mark.slow
def test_openvino_kept_from_the_instructions_that_it_passed_on(nano: Path, tmp_path: Path) -> None:
    """oneDNN's paths for older processors: with SSE 4.1, int8 of OpenVINO 2026.4 is not even finite."""
    need_runtime("openvino")
    pytest.importorskip("nncf", reason="int8 on openvino needs the extra quant")
    rows = examples(tmp_path / "rows.jsonl", 40)
    config = ExportConfig(format="openvino", int8=True, calibration=rows, force=True, needs_vnni=True)
    export_model(nano, tmp_path / "int8", config)
    for isa, want in (("ALL", "opened"), ("SSE41", "refused:")):
        done = subprocess.run(
            [sys.executable, "-c", IN_ANOTHER_PROCESS, tmp_path / "int8"],
            env=os.environ | {"ONEDNN_MAX_CPU_ISA": isa},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.stdout.startswith(want), (isa, done.stdout, done.stderr)
