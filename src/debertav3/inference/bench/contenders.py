"""What is timed: our backends, stock transformers, and ONNX Runtime and OpenVINO on stock exports."""

import importlib.util
import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers

from ... import models
from ...checkpoint.folder import Checkpoint
from ...checkpoint.opening import open_model
from ...checkpoint.quiet import quiet_transformers
from ...errors import UserError
from ...files.model_folder import user_path
from ...models.base import complete_config
from ...sizes import config_for, is_size
from ...version import __version__
from ..backends.choose import BackendConfig, open_backend, open_exported
from ..backends.exported import FORMATS, MANIFEST, Manifest, is_installed, read_exported
from ..backends.protocol import Backend
from ..export.graph import dynamic_axes, folded_copy, random_batch, to_tensors
from ..export.graph_writers import quiet_exporters, write_graph
from ..export.int8_examples import head_to_export

logger = logging.getLogger(__name__)

Ids = npt.NDArray[np.int64]

STOCK = "stock transformers"
STOCK_ONNX = "onnxruntime, stock export"
STOCK_OPENVINO = "openvino, stock export"


@dataclass(frozen=True)
class Contender:
    """One way to compute the logits of a batch without padding."""

    name: str
    run: Callable[[Ids], npt.NDArray[np.float32]]


@contextmanager
def model_folder(model: str) -> Iterator[Path]:
    """A folder with the model: the one given, or for a size such as ``xsmall`` one with random weights."""
    if not is_size(model):
        yield user_path(model)
        return
    with tempfile.TemporaryDirectory() as temporary:
        torch.manual_seed(0)
        labels = {0: "entailment", 1: "neutral", 2: "contradiction"}
        config = config_for(
            model, id2label=labels, label2id={name: number for number, name in labels.items()}
        )
        with quiet_transformers():
            models.DebertaV2ForSequenceClassification(config).save_pretrained(temporary)
        yield Path(temporary)


def ours(folder: Path, backend: str, *, name: str | None = None) -> Contender:
    """A folder with one of our backends."""
    opened = open_backend(
        Checkpoint.open(folder), task=None, how=BackendConfig(backend=backend, device="cpu")
    )
    return _of_backend(name or f"debertav3 {backend}", opened)


def our_exports(folder: Path) -> list[Contender]:
    """OpenVINO and ONNX Runtime, where installed, on the graphs that ``debertav3 export`` writes."""
    checkpoint = Checkpoint.open(folder)
    head = head_to_export(checkpoint.config, task=None, place=checkpoint.name)
    found = []
    for graph_format in FORMATS:
        if not is_installed(graph_format):
            logger.info("backend %s is left out: it is not installed", graph_format)
            continue
        with quiet_transformers(), tempfile.TemporaryDirectory() as temporary:
            opened = _export(checkpoint, Path(temporary), head, graph_format)
        found.append(_of_backend(f"debertav3 {graph_format}", opened))
    return found


def _export(checkpoint: Checkpoint, target: Path, head: str, graph_format: str) -> Backend:
    """Write a graph and compile it; the comparison of outputs is the bench's own."""
    model = open_model(checkpoint, head=models.class_of(head)).model
    sample = random_batch(2, 70, head=head, config=model.config, is_ragged=True)
    write_graph(folded_copy(model), sample, target, format_=graph_format)
    config = json.dumps(complete_config(model.config))
    (target / "config.json").write_text(config, encoding="utf-8")
    manifest = Manifest(
        format=graph_format, head=head, weights="fp32", inputs=tuple(sample), version=__version__
    )
    (target / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return open_exported(read_exported(Checkpoint.open(target)))


def _of_backend(name: str, opened: Backend) -> Contender:
    def run(ids: Ids) -> npt.NDArray[np.float32]:
        batch = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "token_type_ids": np.zeros_like(ids),
        }
        return next(iter(opened.run(batch).values()))

    return Contender(name, run)


def stock_model(folder: Path) -> transformers.PreTrainedModel:
    """The checkpoint as transformers' own class.

    Raises:
        UserError: if it has no class of transformers.
    """
    architecture = (transformers.AutoConfig.from_pretrained(folder).architectures or ["DebertaV2Model"])[0]
    stock_class = getattr(transformers, architecture, None)
    if stock_class is None:
        raise UserError(f"{folder}: transformers has no {architecture}. Give a checkpoint with another head.")
    with quiet_transformers():
        return stock_class.from_pretrained(folder, dtype=torch.float32).eval()


def stock(model: transformers.PreTrainedModel) -> Contender:
    """Transformers' own model, eager."""

    def run(ids: Ids) -> npt.NDArray[np.float32]:
        tensor = torch.from_numpy(ids)
        with torch.inference_mode():
            return model(input_ids=tensor, attention_mask=torch.ones_like(tensor))[0].numpy()

    return Contender(STOCK, run)


def stock_exports(model: transformers.PreTrainedModel, *, threads: int) -> list[Contender]:
    """ONNX Runtime and OpenVINO on what transformers' exporters make of its own model, where installed.

    Args:
        model: transformers' own model.
        threads: of each runtime.
    """
    found = []
    for name, packages, build in (
        (STOCK_ONNX, ("onnx", "onnxscript", "onnxruntime"), _stock_onnx),
        (STOCK_OPENVINO, ("openvino",), _stock_openvino),
    ):
        if missing := [package for package in packages if importlib.util.find_spec(package) is None]:
            logger.info("%s is left out: %s is not installed", name, ", ".join(missing))
        else:
            found.append(Contender(name, build(model, threads)))
    return found


def _exported(exporter: Any, model: transformers.PreTrainedModel, config: Any, **settings: Any) -> Any:
    """A stock model as a program for batches of any size and texts of any length."""
    ids = np.random.default_rng(0).integers(4, 100, (2, 16))
    sample = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    with quiet_exporters():
        made = config(dynamic=True, dynamic_shapes=dynamic_axes(sample), **settings)
        return exporter().export(model, to_tensors(sample), made).program


def _stock_onnx(
    model: transformers.PreTrainedModel, threads: int
) -> Callable[[Ids], npt.NDArray[np.float32]]:
    import onnxruntime
    from transformers.exporters import OnnxConfig, OnnxExporter

    program = _exported(OnnxExporter, model, OnnxConfig, ort_fusions="cpu")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.onnx")
        with quiet_exporters():
            OnnxExporter.save_program(program, path)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    return lambda ids: session.run(None, _named(names, ids))[0]


def _stock_openvino(
    model: transformers.PreTrainedModel, threads: int
) -> Callable[[Ids], npt.NDArray[np.float32]]:
    import openvino
    from transformers.exporters import OpenVINOConfig, OpenVINOExporter

    program = _exported(OpenVINOExporter, model, OpenVINOConfig)
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # its own choice on CPUs with bf16 would be another precision
    }
    compiled = openvino.Core().compile_model(program, "CPU", settings)
    names = [one.get_any_name() for one in compiled.inputs]
    return lambda ids: compiled(_named(names, ids))[0]


def _named(names: Sequence[str], ids: Ids) -> dict[str, Ids]:
    values = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    return {name: values[name] for name in names}
