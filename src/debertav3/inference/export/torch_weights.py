"""Exports for torch: a checkpoint whose weights int8 may round. There is no graph: the model is the code."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

from ...checkpoint.weights import SCALES
from ..backends.exported import GRAPH_FILE, TORCH

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def write_weights(model: "PreTrainedModel", folder: Path) -> Path:
    """Write a model's weights in fp32, under the name of those in int8.

    Returns:
        The file.
    """
    tied = set(model.all_tied_weights_keys)
    tensors = {name: tensor for name, tensor in model.state_dict().items() if name not in tied}
    path = folder / GRAPH_FILE[TORCH]
    save_file(tensors, path, metadata={"format": "pt"})
    return path


def halve_fp32(path: Path, *, at_least: int) -> None:
    """Store fp32 tensors with so many numbers as fp16, but for the scales of int8 weights."""
    tensors = load_file(path)
    for name, tensor in tensors.items():
        if tensor.dtype == torch.float32 and tensor.numel() >= at_least and not name.endswith(SCALES):
            tensors[name] = tensor.half()
    save_file(tensors, path, metadata={"format": "pt"})
