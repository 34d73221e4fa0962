"""``debertav3 export`` writes a folder that computes what the model computes without torch, or no folder."""

import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import debertav3
from debertav3 import DebertaV3Tokenizer, Predictor, UserError
from debertav3.inference.export.run import ExportConfig, export_model
from debertav3.inference.exported import read_exported
from tiny_models import ModelFolders, save, tiny_model

pytest.importorskip("onnxruntime", reason="export needs the extra onnx")
pytest.importorskip("openvino", reason="export needs the extra openvino")

NLI = {0: "contradiction", 1: "entailment", 2: "neutral"}
TEXTS = [
    "A man sleeps.",
    "The cat sat on the mat and looked at the rain.",
    "No.",
    "Two dogs run over green grass.",
]
WORDS = ["a", "the", "man", "dog", "cat", "sleeps", "runs", "sees", "red", "big", "two", "under", "not"]


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
    exported = read_exported(folder)
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


@pytest.mark.parametrize("format_", ["openvino", "onnx"])
def test_light_backends_load_neither_torch_nor_transformers(exports: Exports, format_: str) -> None:
    _, folder = exports("DebertaV2ForSequenceClassification", format_, id2label=NLI)
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


def test_an_export_inside_its_checkpoint_is_taken_until_the_weights_change(
    nano: Path, tmp_path: Path
) -> None:
    tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
    model = tiny_model(debertav3.DebertaV2ForSequenceClassification, tokenizer, id2label=NLI)
    source = save(model, tokenizer, tmp_path / "model")
    export_model(source, source / "openvino", ExportConfig(format="openvino", fp16=True))
    assert Predictor.from_pretrained(source).engine.backend.name == "openvino"
    assert Predictor.from_pretrained(source, dtype="bf16").engine.backend.name == "torch"
    with torch.no_grad():
        model.classifier.bias += 1
    save(model, tokenizer, source)
    assert Predictor.from_pretrained(source).engine.backend.name == "torch"
    with pytest.raises(UserError, match="none of its present weights"):
        Predictor.from_pretrained(source, backend="openvino")


def test_what_cannot_run_says_so_in_one_line(exports: Exports, tmp_path: Path) -> None:
    source, folder = exports("DebertaV2ForSequenceClassification", "openvino", id2label=NLI)
    for arguments, message in (
        ({"backend": "onnx"}, "is a graph for openvino"),
        ({"backend": "torch"}, "is a graph for openvino"),
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
        ({"format": "onnx", "force": True}, "belong to --int8"),
    ):
        with pytest.raises(UserError, match=message):
            ExportConfig(**settings)  # type: ignore[arg-type]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="something else than an export"):
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


def examples(path: Path, number: int) -> Path:
    """Random sentences as pairs, without labels."""
    draw = random.Random(0)
    rows = [
        {key: " ".join(draw.choices(WORDS, k=draw.randint(3, 12))) for key in ("premise", "hypothesis")}
        for _ in range(number)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def with_outliers(nano: Path, folder: Path, *, everywhere: bool) -> Path:
    """A model whose activations have channels that int8 cannot hold beside the others.

    A value that is 10,000 times as large, and divided by as much where it is read, changes nothing in float.
    ``everywhere`` has so many products read one that keeping half of them in float is not enough: in three
    layers both products that end a residual branch, and the classifier.
    """
    tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
    num_layers = 3 if everywhere else 2
    model = tiny_model(
        debertav3.DebertaV2ForSequenceClassification, tokenizer, id2label=NLI, num_hidden_layers=num_layers
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


@pytest.mark.parametrize("format_", ["onnx", pytest.param("openvino", marks=pytest.mark.slow)])
def test_the_gate_keeps_what_int8_breaks_in_float(nano: Path, tmp_path: Path, format_: str) -> None:
    source = with_outliers(nano, tmp_path / "model", everywhere=False)
    data = examples(tmp_path / "rows.jsonl", 60)
    folder = tmp_path / "int8"
    export_model(source, folder, ExportConfig(format=format_, int8=True, calibration=data))
    gate = json.loads((folder / "checks.json").read_text())["gate"]
    assert gate["passed"] and gate["equal_decisions"] >= 0.99
    if format_ == "onnx":  # NNCF moves such outliers into the weights before it rounds
        assert not gate["attempts"][0]["passed"]
        assert any(name.endswith("attention.output.dense") for name in gate["kept_in_float"])
        assert "Kept in float" in (folder / "README.md").read_text()
    assert Predictor.from_pretrained(folder).nli(("a dog runs", "a dog sleeps"))


def test_the_gate_refuses_what_no_exception_saves(nano: Path, tmp_path: Path) -> None:
    source = with_outliers(nano, tmp_path / "model", everywhere=True)
    data = examples(tmp_path / "rows.jsonl", 60)
    config = ExportConfig(format="onnx", int8=True, calibration=data)
    with pytest.raises(UserError, match="int8 was refused") as raised:
        export_model(source, tmp_path / "int8", config)
    assert "\n" not in str(raised.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "rows.jsonl"]


@pytest.mark.slow
def test_force_writes_what_is_refused_and_says_so(nano: Path, tmp_path: Path) -> None:
    source = with_outliers(nano, tmp_path / "model", everywhere=True)
    data = examples(tmp_path / "rows.jsonl", 60)
    config = ExportConfig(format="onnx", int8=True, calibration=data, force=True)
    export_model(source, tmp_path / "forced", config)
    assert "Forced: this int8 model failed its gate" in (tmp_path / "forced" / "README.md").read_text()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["onnx", "openvino"])
def test_nano_passes_the_gate(nano: Path, data_folder: Path, tmp_path: Path, format_: str) -> None:
    data = tmp_path / "dev.jsonl"
    from debertav3.data.jsonl import read_jsonl

    rows = [row.fields for row in read_jsonl(data_folder / "nli" / "mnli_matched_dev.jsonl.gz")][:300]
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
