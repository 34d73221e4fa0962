"""Checkpoints whose encoder multiplies in int8: which layers may, how they are stored, how they are opened.

A layer's ``weight`` is stored as int8, with one fp32 number for each of its rows in ``weight_scale``; what
else there is stands as in any checkpoint. The file has a name of its own, `files.INT8_WEIGHTS`. Everything
that opens checkpoints reads such weights as the fp32 numbers that they stand for; inference then puts layers
in their place that multiply the integers.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import cast

from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel

from ..cpu.int8 import Int8Linear, quantize_rows
from . import files, keys
from .opening import OpenedModel
from .weights import SCALES, WEIGHT

_OF_THE_TABLE = ("pos_key_proj", "pos_query_proj")
"""Linear layers that read the relative table alone: once for each checkpoint, so there is nothing to win."""


def int8_layers(stored: Mapping[str, files.StoredTensor]) -> list[str]:
    """Names of the linear layers that may be int8: those that every token goes through, in every layer.

    Args:
        stored: what a file says of its tensors, by their official names.
    """
    return [
        name.removesuffix(WEIGHT)
        for name, tensor in stored.items()
        if len(tensor.shape) == 2 and _is_of_every_token(name)
    ]


def _is_of_every_token(name: str) -> bool:
    is_weight = bool(keys.LAYER.match(name)) and name.endswith(WEIGHT)
    return is_weight and not name.removesuffix(WEIGHT).endswith(_OF_THE_TABLE)


def save_int8(source: Path, target: Path, *, kept: Collection[str]) -> None:
    """Write a copy of a safetensors file with int8 weights.

    Args:
        source: the file to read.
        target: the file to write.
        kept: those of `int8_layers` that stay as they are.

    Raises:
        UserError: if a weight is not finite.
    """
    tensors = files.read_safetensors(source)
    for layer in int8_layers(files.read_header(source)):
        if layer not in kept:
            tensors[layer + WEIGHT], tensors[layer + SCALES] = quantize_rows(tensors[layer + WEIGHT])
    save_file(tensors, target, metadata={"format": "pt"})


def restore_int8(opened: OpenedModel[PreTrainedModel]) -> None:
    """Let an opened model multiply the integers of its file, where there are any; it cannot be trained then.

    Args:
        opened: a model with a head, opened with ``keeps_int8``; a bare encoder has other names than its file.
    """
    for name in filter(_is_of_every_token, opened.int8):
        parent, _, child = name.removesuffix(WEIGHT).rpartition(".")
        module = opened.model.get_submodule(parent)
        quantized = Int8Linear.from_linear(cast(nn.Linear, module.get_submodule(child)))
        quantized.weight, quantized.weight_scale = opened.int8[name]
        setattr(module, child, quantized)
