"""``debertav3 export`` writes a folder that computes what the model computes without torch, or no folder."""

import copy
import json
import pickle
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from debertav3 import Predictor, UserError
from debertav3.checkpoint import Checkpoint
from debertav3.inference.backends.exported import FORMATS, read_exported
from debertav3.inference.export.request import ExportConfig
from debertav3.inference.export.run import export_model
from tiny_models import ModelFolders, assert_same

pytest.importorskip("onnxruntime", reason="export needs the extra onnx")
pytest.importorskip("openvino", reason="export needs the extra openvino")

NLI = {0: "contradiction", 1: "entailment", 2: "neutral"}
TEXTS = [
    "A man sleeps.",
    "The cat sat on the mat and looked at the rain.",
    "No.",
    "Two dogs run over green grass.",
]


@pytest.fixture(scope="module")
def checkpoint(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelFolders:
    return ModelFolders(nano, tmp_path_factory)


class Exports:
    """Exports each checkpoint once."""

    def __init__(self, checkpoint: ModelFolders, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.checkpoint, self.tmp_path_factory = checkpoint, tmp_path_factory
        self.made: dict[str, tuple[Path, Path]] = {}

    def __call__(
        self, name: str, format_: str, options: dict[str, Any] | None = None, **config: Any
    ) -> tuple[Path, Path]:
        """The checkpoint's folder and the exported one."""
        key = f"{name} {format_} {options} {sorted(config.items())}"
        if key not in self.made:
            source = self.checkpoint(name, **config)
            target = self.tmp_path_factory.mktemp("export") / format_
            export_model(source, target, ExportConfig(format=format_, **options or {}))
            self.made[key] = (source, target)
        return self.made[key]


@pytest.fixture(scope="module")
def exports(checkpoint: ModelFolders, tmp_path_factory: pytest.TempPathFactory) -> Exports:
    return Exports(checkpoint, tmp_path_factory)


def ops_of(folder: Path) -> tuple[Counter[str], list[tuple[int, ...]]]:
    """How often each operation occurs in a graph, and the shapes of the weights of its products."""
    exported = read_exported(Checkpoint.open(folder))
    if exported.manifest.format == "onnx":
        import onnx

        graph = onnx.load(str(exported.graph)).graph
        shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        products = [node for node in graph.node if node.op_type in ("MatMul", "Gemm")]
        weights = [shapes[node.input[1]] for node in products if node.input[1] in shapes]
        return Counter(node.op_type for node in graph.node), weights
    import openvino

    nodes = openvino.Core().read_model(str(exported.graph)).get_ordered_ops()
    sources = [node.input_value(1) for node in nodes if node.get_type_name() == "MatMul"]
    weights = [tuple(one.get_shape()) for one in sources if one.get_node().get_type_name() == "Constant"]
    return Counter(node.get_type_name() for node in nodes), weights


SIZES_OF = {
    "Reshape": [1],
    "Broadcast": [1],
    "Slice": [1, 2, 3],
    "StridedSlice": [1, 2, 3],
    "Tile": [1],
    "Gather": [1],
}
"""Inputs of operations that are sizes or places."""


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("DebertaV2ForSequenceClassification", {}),
        ("DebertaV2ForTokenClassification", {}),
        ("DebertaV2ForQuestionAnswering", {}),
        ("DebertaV2ForMultipleChoice", {}),
        ("DebertaV2ForReplacedTokenDetection", {}),
        ("DebertaV2ForMaskedLM", {"legacy": False}),
    ],
)
def test_openvino_computes_no_size_or_place_in_floating_point(
    exports: Exports, name: str, options: dict[str, Any]
) -> None:
    """With ``dtype="bf16"`` it would round them: 906 tokens became 904."""
    import openvino

    exported = read_exported(Checkpoint.open(exports(name, "openvino", **options)[1]))
    inexact: dict[str, bool] = {}

    def is_inexact(node: Any) -> bool:
        key = node.get_friendly_name()
        if key not in inexact:
            kind = node.get_type_name()
            real = any(out.get_element_type().is_real() for out in node.outputs())
            inexact[key] = kind not in ("Constant", "ShapeOf", "Parameter") and (
                real or any(is_inexact(one.get_source_output().get_node()) for one in node.inputs())
            )
        return inexact[key]

    for node in openvino.Core().read_model(str(exported.graph)).get_ordered_ops():
        for place in SIZES_OF.get(node.get_type_name(), []):
            if place < len(node.inputs()):
                source = node.inputs()[place].get_source_output().get_node()
                assert not is_inexact(source), (node.get_friendly_name(), place)


@pytest.mark.parametrize("format_", ["openvino", "onnx"])
def test_the_graph_looks_nothing_up_by_pair_and_projects_once(exports: Exports, format_: str) -> None:
    _, folder = exports("DebertaV2ForSequenceClassification", format_, id2label=NLI)
    ops, weights = ops_of(folder)
    assert not ops.keys() & {"Tile", "GatherElements", "GatherND", "Expand", "Broadcast", "Loop"}, ops
    assert ops["Softmax"] == 2
    assert sum(sorted(shape) == [32, 96] for shape in weights) == 2  # Q, K and V of each layer in one product
    assert sum(shape == (32, 32) for shape in weights) == 3  # what else is square: two outputs and the pooler


@pytest.mark.parametrize("format_", ["openvino", "onnx"])
def test_an_exported_folder_answers_as_its_checkpoint(exports: Exports, format_: str) -> None:
    source, folder = exports("DebertaV2ForSequenceClassification", format_, id2label=NLI)
    pairs = [(one, other) for one in TEXTS for other in TEXTS]
    want = Predictor.from_pretrained(source, backend="torch").nli(pairs)
    for backend in (format_, "auto"):
        predictor = Predictor.from_pretrained(folder, task="nli", backend=backend)
        assert predictor.engine.backend.name == format_
        for one, other in zip(predictor.nli(pairs), want, strict=True):
            assert one == pytest.approx(other, abs=1e-5)
    checks = json.loads((folder / "checks.json").read_text())["verification"]["fp32"]
    assert checks["largest_difference"] <= 1e-4 and checks["equal_decisions"] == 1
    assert "8 x 64" in checks["shapes"] and "1 x 1" in checks["shapes"]
    assert not list(folder.parent.glob(".*partial"))


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
@pytest.mark.parametrize("format_", ["openvino", "onnx"])
def test_a_predictor_on_a_graph_can_be_copied(exports: Exports, format_: str, how: str) -> None:
    _, target = exports("DebertaV2ForSequenceClassification", format_, id2label=NLI)
    predictor = Predictor.from_pretrained(target)
    other = copy.deepcopy(predictor) if how == "deepcopy" else pickle.loads(pickle.dumps(predictor))
    assert other.engine.backend is not predictor.engine.backend
    assert other.engine.backend.name == format_
    assert_same(other.classify(TEXTS), predictor.classify(TEXTS))


@pytest.mark.parametrize(
    ("name", "format_", "config"),
    [
        ("DebertaV2ForMaskedLM", "openvino", {"legacy": False}),
        pytest.param(
            "DebertaV2ForTokenClassification",
            "openvino",
            {"conv_kernel_size": 3, "conv_act": "gelu"},
            marks=pytest.mark.slow,
        ),
        *[
            pytest.param(name, format_, {}, marks=pytest.mark.slow)
            for name in (
                "DebertaV2Model",
                "DebertaV2ForQuestionAnswering",
                "DebertaV2ForMultipleChoice",
                "DebertaV2ForReplacedTokenDetection",
            )
            for format_ in ("openvino", "onnx")
        ],
        *[
            pytest.param("DebertaV2ForMaskedLM", "onnx", {"legacy": False}, marks=pytest.mark.slow),
            pytest.param(
                "DebertaV2ForTokenClassification",
                "onnx",
                {
                    "conv_kernel_size": 3,
                    "type_vocab_size": 2,
                    "embedding_size": 20,
                    "position_biased_input": True,
                },
                marks=pytest.mark.slow,
            ),
            pytest.param(
                "DebertaV2ForSequenceClassification",
                "onnx",
                {
                    "share_att_key": False,
                    "pos_att_type": ["c2p"],
                    "norm_rel_ebd": "none",
                    "position_buckets": -1,
                },
                marks=pytest.mark.slow,
            ),
        ],
    ],
)
def test_other_heads_and_layouts_are_verified_too(
    exports: Exports, name: str, format_: str, config: dict[str, Any]
) -> None:
    _, folder = exports(name, format_, **config)
    checks = json.loads((folder / "checks.json").read_text())["verification"]["fp32"]
    assert checks["largest_difference"] <= 1e-4
    assert len(checks["shapes"]) == 12  # lengths up to the 64 positions of the tiny model


@pytest.mark.parametrize(("format_", "is_inside"), [("openvino", False), ("onnx", True)])
def test_one_answer_on_a_light_backend_loads_neither_torch_nor_transformers(
    exports: Exports, tmp_path: Path, format_: str, is_inside: bool
) -> None:
    source, folder = exports("DebertaV2ForSequenceClassification", format_, id2label=NLI)
    if is_inside:
        shutil.copytree(source, tmp_path / "model")
        shutil.copytree(folder, tmp_path / "model" / format_)
        folder = tmp_path / "model"
    code = (
        "import sys; from debertav3 import cli\n"
        f"sys.argv = ['debertav3', 'nli', 'A man sleeps.', 'Nobody is awake.', '--model', {str(folder)!r}]\n"
        "try: cli.main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "heavy = {'torch', 'transformers', 'scipy', 'sklearn', 'pandas', 'huggingface_hub', 'requests'}\n"
        "print(sorted(heavy & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip().splitlines()[-1] == "[]"
    assert json.loads(done.stdout).keys() == {"entailment", "neutral", "contradiction"}


def chosen(folder: Path, **arguments: str) -> str:
    return Predictor.from_pretrained(folder, **arguments).engine.backend.name  # type: ignore[arg-type]


def test_which_export_inside_a_checkpoint_runs_in_its_place(
    exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {name: exports("DebertaV2ForSequenceClassification", name, id2label=NLI) for name in FORMATS}
    source = tmp_path / "model"
    shutil.copytree(made["onnx"][0], source)
    has_kernel = "debertav3.inference.backends.choose._has_cpu_kernel"
    monkeypatch.setattr(has_kernel, lambda: True)
    assert chosen(source) == "native"
    for inside in ("openvino", "onnx"):
        shutil.copytree(made[inside][1], source / inside)
        assert chosen(source, backend="light") == "native"
        assert chosen(source, backend=inside) == inside
        for backend in ("auto", "light"):
            assert chosen(source, backend=backend, dtype="bf16") == "torch"
    for has, guessed in ((True, "native"), (False, "openvino")):
        monkeypatch.setattr(has_kernel, lambda has=has: has)
        assert chosen(source, device="cpu") == guessed
    weights = load_file(source / "model.safetensors")
    save_file({**weights, "classifier.bias": weights["classifier.bias"] + 1}, source / "model.safetensors")
    assert chosen(source) == "torch"
    assert chosen(source, backend="light") == "native"
    with pytest.raises(UserError, match=r"checkpoint: model\.safetensors changed"):
        chosen(source, backend="openvino")


def test_what_cannot_run_says_so_in_one_line(exports: Exports, tmp_path: Path) -> None:
    source, folder = exports("DebertaV2ForSequenceClassification", "openvino", id2label=NLI)
    for arguments, message in (
        ({"backend": "onnx"}, "was exported for openvino"),
        ({"backend": "torch"}, "was exported for openvino"),
        ({"device": "cuda"}, "runs on the CPU"),
        ({"dtype": "fp16"}, "computes in fp32 or bf16"),
        ({"task": "ner"}, "was exported with its sequence-classification head"),
    ):
        with pytest.raises(UserError, match=message) as raised:
            Predictor.from_pretrained(folder, **arguments)
        assert "\n" not in str(raised.value)
    with pytest.raises(UserError, match="runs exported graphs"):
        Predictor.from_pretrained(source, backend="onnx")
    for settings, message in (
        ({"format": "tflite"}, "unknown format"),
        ({"format": "onnx", "int8": True}, "give examples with --calibration"),
        ({"format": "torch"}, "format torch is for --int8"),
        ({"format": "onnx", "force": True}, "belong to --int8"),
    ):
        with pytest.raises(UserError, match=message):
            ExportConfig(**settings)  # type: ignore[arg-type]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="something other than an export"):
        export_model(source, tmp_path / "other", ExportConfig(format="onnx"))
    assert (tmp_path / "other" / "thesis.txt").read_text() == "mine"


def test_a_wrong_graph_is_not_written(
    checkpoint: ModelFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exporter is made to see other weights than the model has."""
    from debertav3.inference.export import run

    def wrong(model: torch.nn.Module, **options: bool) -> torch.nn.Module:
        folded = plain(model, **options)
        with torch.no_grad():
            folded.get_parameter("deberta.encoder.layer.1.output.LayerNorm.bias")[3] += 0.05
        return folded

    plain = run.folded_copy
    monkeypatch.setattr(run, "folded_copy", wrong)
    source = checkpoint("DebertaV2ForSequenceClassification", id2label=NLI)
    with pytest.raises(UserError, match="differs from the model"):
        export_model(source, tmp_path / "out", ExportConfig(format="openvino"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format_", ["openvino", "onnx"])
def test_threads_get_their_own_answers(nano: Path, tmp_path: Path, format_: str) -> None:
    export_model(nano, tmp_path / "exported", ExportConfig(format=format_))
    predictor = Predictor.from_pretrained(tmp_path / "exported")
    pairs = [(f"a man plays {word}", "nobody plays") for word in ("chess", "the guitar", "golf", "with fire")]
    wanted = [predictor.nli(pair) for pair in pairs]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: (i % 4, predictor.nli(pairs[i % 4])), range(200)))
    assert all(answer == wanted[i] for i, answer in found)


def test_a_provider_that_does_not_work_is_not_taken_for_one_that_does(
    exports: Exports, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """ONNX Runtime for GPUs lists CUDA on machines without one, and computes on the CPU there."""
    _, folder = exports("DebertaV2ForSequenceClassification", "onnx", id2label=NLI)
    import onnxruntime

    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    with pytest.raises(UserError, match="device 'cuda' cannot be used: ONNX Runtime was built for it"):
        Predictor.from_pretrained(folder, device="cuda")
    assert Predictor.from_pretrained(folder).engine.backend.device == "cpu"
    assert "cannot use cuda here and takes the CPU" in caplog.text


@pytest.mark.parametrize("format_", ["openvino", "onnx"])
def test_what_a_runtime_raises_is_one_line(exports: Exports, tmp_path: Path, format_: str) -> None:
    """Inputs without a batch dimension, as an example of a graph that fails when it runs."""
    _, folder = exports("DebertaV2ForSequenceClassification", format_, id2label=NLI)
    backend = Predictor.from_pretrained(folder).engine.backend
    fitting = {"input_ids": np.full((2, 4), 5), "attention_mask": np.ones((2, 4), np.int64)}
    assert backend.run(fitting)["logits"].shape == (2, 3)
    with pytest.raises(UserError, match=r"cannot run \S+ here \(.+\)\. Use the checkpoint that") as raised:
        backend.run({name: array[0] for name, array in fitting.items()})
    assert "\n" not in str(raised.value)
