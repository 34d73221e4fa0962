"""int8: NNCF for OpenVINO, calibrated on examples; for ONNX Runtime and torch ranges are found at run time.

Only products with weights are quantized: scores of attention and their softmax stay in float.
"""

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from ...checkpoint.files import read_header
from ...checkpoint.int8 import int8_layers, save_int8
from ...errors import MissingExtraError
from ..backends.exported import GRAPH_FILE, OPENVINO, TORCH
from ..telemetry import without_telemetry
from .graph import Arrays
from .graph_writers import save_onnx

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def quantize(
    graph: Path,
    folder: Path,
    *,
    format_: str,
    batches: Sequence[Arrays],
    kept: Sequence[str],
    needs_vnni: bool = False,
) -> Path:
    """Write the int8 form of a graph, or of torch's weights.

    Without VNNI, ONNX Runtime and oneDNN add two products of 8 bits in 16, which overflow without a word. So
    weights of graphs keep to 7 bits.

    Args:
        graph: in fp32.
        folder: gets the int8 graph.
        format_: of the graph.
        batches: inputs of the graph, to learn the ranges of activations from.
        kept: nodes to leave in float; see `weighted_products`.
        needs_vnni: use all 8 bits of weights in a graph, for processors with VNNI alone.

    Raises:
        MissingExtraError: if the quantizer is not installed.
    """
    target = folder / GRAPH_FILE[format_]
    if format_ == TORCH:
        save_int8(graph, target, kept=kept)
    elif format_ == OPENVINO:
        _quantize_openvino(graph, target, batches=batches, kept=kept, needs_vnni=needs_vnni)
    else:
        _quantize_onnx(graph, target, kept=kept, needs_vnni=needs_vnni)
    return target


def weighted_products(graph: Path, folded: "PreTrainedModel", *, format_: str) -> dict[str, str]:
    """Which node of a graph computes which linear layer of the model, by layer name.

    They are matched by their weights: exporters rename what they convert. For torch, layers that may be int8.
    """
    if format_ == TORCH:
        return {name: name for name in int8_layers(read_header(graph))}
    products = _openvino_products(graph) if format_ == OPENVINO else _onnx_products(graph)
    found = {}
    for name, module in folded.named_modules():
        if not isinstance(module, nn.Linear):
            continue
        weight = module.weight.detach().numpy()
        for node, constant in products.items():
            if _is_same(weight, constant):
                found[name] = node
                break
    return found


def _is_same(weight: np.ndarray, constant: np.ndarray) -> bool:
    return any(weight.shape == one.shape and np.array_equal(weight, one) for one in (constant, constant.T))


def _quantize_openvino(
    graph: Path, target: Path, *, batches: Sequence[Arrays], kept: Sequence[str], needs_vnni: bool
) -> None:
    nncf = _nncf()
    import openvino
    from nncf.quantization.advanced_parameters import OverflowFix as fix

    model = openvino.Core().read_model(str(graph))
    free = [node.get_friendly_name() for node in model.get_ordered_ops() if _multiplies_activations(node)]
    with contextlib.redirect_stdout(None):  # its bars
        quantized = nncf.quantize(
            model,
            nncf.Dataset(list(batches)),
            subset_size=len(batches),
            model_type=nncf.ModelType.TRANSFORMER,
            ignored_scope=nncf.IgnoredScope(names=[*free, *kept], validate=False),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=fix.DISABLE if needs_vnni else fix.ENABLE
            ),
        )
    openvino.save_model(quantized, str(target), compress_to_fp16=False)


def _nncf() -> ModuleType:
    with without_telemetry():
        try:
            import nncf
        except ImportError as error:
            raise MissingExtraError(feature="int8 for openvino", package="nncf", extra="quant") from error
    nncf.set_log_level(logging.ERROR)
    return nncf


def _openvino_products(graph: Path) -> dict[str, np.ndarray]:
    with without_telemetry():
        import openvino

    model = openvino.Core().read_model(str(graph))
    return {
        node.get_friendly_name(): constant
        for node in model.get_ordered_ops()
        if node.get_type_name() == "MatMul" and (constant := _constant(node)) is not None
    }


def _constant(node: Any) -> np.ndarray | None:
    """The weight of a product, None if both sides are activations."""
    source = node.input_value(1).get_node()
    return source.get_data() if source.get_type_name() == "Constant" else None


def _multiplies_activations(node: Any) -> bool:
    return node.get_type_name() == "MatMul" and _constant(node) is None


def _onnx_products(graph: Path) -> dict[str, np.ndarray]:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(graph))
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    return {
        node.name: numpy_helper.to_array(constants[node.input[1]])
        for node in model.graph.node
        if node.op_type in ("MatMul", "Gemm") and node.input[1] in constants
    }


def _quantize_onnx(graph: Path, target: Path, *, kept: Sequence[str], needs_vnni: bool) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(str(graph))
    del model.graph.value_info[
        :
    ]  # the quantizer transposes weights and trips over shapes that it left behind
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        plain = Path(scratch) / graph.name
        save_onnx(model, plain)
        with _without_advice():
            quantize_dynamic(
                plain,
                target,
                op_types_to_quantize=["MatMul", "Gemm"],
                per_channel=True,
                reduce_range=not needs_vnni,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=list(kept),
                use_external_data_format=True,
                extra_options={"MatMulConstBOnly": True},
            )


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    """ONNX Runtime's quantizer recommends a preparation that is not for graphs of free lengths."""
    root = logging.getLogger()

    def passes(record: logging.LogRecord) -> bool:
        return "pre-processing before quantization" not in record.getMessage()

    root.addFilter(passes)
    try:
        yield
    finally:
        root.removeFilter(passes)
