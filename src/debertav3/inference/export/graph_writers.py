"""Writing a graph: `transformers.exporters` converts, this module names the files and shrinks weights."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...checkpoint.quiet import quiet_transformers
from ...errors import MissingExtraError
from ..backends.exported import GRAPH_FILE, ONNX, OPENVINO, TORCH, is_installed
from ..telemetry import without_telemetry
from .graph import Arrays, dynamic_axes, to_tensors
from .torch_weights import halve_fp32

if TYPE_CHECKING:
    from onnx import ModelProto
    from transformers import PreTrainedModel

_HALF_FROM = 1024
"""Constants with fewer numbers stay fp32: they weigh nothing, and some are shapes and limits."""


def write_graph(model: "PreTrainedModel", sample: Arrays, folder: Path, *, format_: str) -> Path:
    """Export a folded model.

    Args:
        model: see `graph.folded_copy`.
        sample: one batch; every axis of it becomes dynamic.
        folder: gets the graph's files.
        format_: ``onnx`` or ``openvino``.

    Returns:
        The graph's file.

    Raises:
        MissingExtraError: if the packages that write the format are not installed.
    """
    _require(format_)
    path = folder / GRAPH_FILE[format_]
    with quiet_exporters(), without_telemetry(), torch.no_grad():
        from transformers import exporters

        exporter: Any = exporters.OnnxExporter if format_ == ONNX else exporters.OpenVINOExporter
        config = exporters.OnnxConfig if format_ == ONNX else exporters.OpenVINOConfig
        settings = config(dynamic=True, dynamic_shapes=dynamic_axes(sample))
        program = exporter().export(model, to_tensors(sample), settings).program
        exporter.save_program(program, path)
    if format_ == ONNX:
        _forget_origins(path)
    return path


def _forget_origins(path: Path) -> None:
    """Remove what the exporter notes at every node: source lines with the paths of this machine."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    onnx.save(model, str(path))


def halve_weights(path: Path, *, format_: str) -> None:
    """Store the large fp32 weights of an export as fp16; it still computes in fp32."""
    if format_ == TORCH:
        halve_fp32(path, at_least=_HALF_FROM)
    elif format_ == OPENVINO:
        _halve_openvino(path)
    else:
        _halve_onnx(path)


def _halve_openvino(path: Path) -> None:
    with without_telemetry():
        import openvino

    model = openvino.Core().read_model(path.read_bytes(), path.with_suffix(".bin").read_bytes())
    openvino.save_model(model, str(path), compress_to_fp16=True)


def _halve_onnx(path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(str(path))
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < _HALF_FROM:
            continue
        name = tensor.name
        half = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{name}.fp16")
        tensor.CopyFrom(half)
        casts.append(
            helper.make_node("Cast", [tensor.name], [name], name=f"{name}.cast", to=TensorProto.FLOAT)
        )
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    save_onnx(model, path)


def save_onnx(model: "ModelProto", path: Path) -> None:
    """Write an ONNX model with its weights in one file beside it."""
    import onnx

    data = path.with_name(path.name + ".data")
    data.unlink(missing_ok=True)  # it would be appended to
    onnx.save(model, str(path), save_as_external_data=True, location=data.name)


def _require(format_: str) -> None:
    import importlib.util

    if not is_installed(format_):
        package = "onnxruntime" if format_ == ONNX else "openvino"
        raise MissingExtraError(feature=f"export to {format_}", package=package, extra=format_)
    if format_ == ONNX:
        for package in ("onnx", "onnxscript"):
            if importlib.util.find_spec(package) is None:
                raise MissingExtraError(feature="export to onnx", package=package, extra="onnx")


@contextlib.contextmanager
def quiet_exporters() -> Iterator[None]:
    """Exporters tell of everything they try, on stdout too; what went wrong is found by verification."""
    names = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir", "transformers.exporters")
    loggers = [logging.getLogger(name) for name in names]
    before = [one.level for one in loggers]
    with quiet_transformers(), warnings.catch_warnings(), contextlib.redirect_stdout(None):
        warnings.simplefilter("ignore")
        for one in loggers:
            one.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for one, level in zip(loggers, before, strict=True):
                one.setLevel(level)
