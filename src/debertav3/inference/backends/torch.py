"""The backend that runs our own models in torch, on any device that torch knows."""

import importlib.util
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from ...checkpoint.folder import Checkpoint
from ...checkpoint.int8 import restore_int8
from ...checkpoint.opening import open_model
from ...cpu.kernel.library import kernel
from ...cpu.pack import pack_for_inference
from ...errors import UserError
from ...heads import BY_NAME, MULTIPLE_CHOICE
from ...models import class_of
from .protocol import DEVICES, INT8, Batch, Logits, device_named, head_for

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

_CPU_BATCH_TOKENS = 1024
"""With the C++ kernel larger batches are no faster, in fp32 or int8, and where inputs are few their lengths
differ more in them; without it they are slower: docs/prediction.md has the figures."""
_ACCELERATOR_BATCH_TOKENS = 32768


class TorchBackend:
    """One of our models in evaluation mode: see `Backend`.

    Args:
        model: the model, on its device.
        head: what it predicts, a head's name in ``heads.py``.
        is_int8: whether its encoder multiplies in int8.
    """

    name = "torch"

    def __init__(self, model: "PreTrainedModel", *, head: str, is_int8: bool = False) -> None:
        self.model = model.eval()
        self.head = head
        self.device = model.device
        self.dtype = INT8 if is_int8 else next(name for name, dtype in DTYPES.items() if dtype == model.dtype)
        self.config: Mapping[str, object] = model.config.to_dict()
        self.batch_tokens = _CPU_BATCH_TOKENS if self.device.type == "cpu" else _ACCELERATOR_BATCH_TOKENS

    @classmethod
    def open(cls, checkpoint: Checkpoint, *, task: str | None, device: str, dtype: str) -> Self:
        """Load a checkpoint with the head that it names or the task needs.

        One with int8 weights multiplies in int8 on the CPU.

        Args:
            checkpoint: what to load.
            task: see `head_for`.
            device: ``auto``, or a device by torch's name, such as ``cuda:1``.
            dtype: one of `DTYPES`.

        Raises:
            UserError: if the checkpoint, the device or the dtype cannot be used.
        """
        if dtype not in DTYPES:
            raise UserError(f"unknown dtype {dtype!r}. Choose one of: {', '.join(DTYPES)}.")
        place = choose_device(device)
        head = head_for(checkpoint.config, task=task, place=checkpoint.name)
        opened = open_model(checkpoint, head=class_of(head), dtype=DTYPES[dtype], keeps_int8=True)
        is_int8 = bool(opened.report.int8)
        if is_int8:
            place = _place_of_int8(checkpoint, device=device, dtype=dtype)
            restore_int8(opened)
        model: Any = opened.model  # transformers wraps `to` so that mypy takes its argument for self
        model = model.to(place)
        if pack_for_inference(model):
            logger.info("linear layers packed for this CPU")
        return cls(model, head=head, is_int8=is_int8)

    def run(self, batch: Batch) -> Logits:
        """Compute the logits of one batch: see `Backend.run`.

        Raises:
            UserError: if the device has not enough memory.
        """
        try:
            return self._run(batch)
        except (MemoryError, RuntimeError) as error:
            is_full = isinstance(error, MemoryError | torch.OutOfMemoryError)
            if not is_full and "DefaultCPUAllocator" not in str(error):
                raise
            size = " x ".join(map(str, batch["input_ids"].shape))
            raise UserError(
                f"{self.device} does not have enough memory for a batch of {size} tokens. "
                "Lower batch_tokens or max_length."
            ) from error

    def _run(self, batch: Batch) -> Logits:
        tensors = {name: torch.from_numpy(array).to(self.device) for name, array in batch.items()}
        if self.head == MULTIPLE_CHOICE:  # each input is a question with one choice
            tensors = {name: tensor.unsqueeze(1) for name, tensor in tensors.items()}
        with torch.inference_mode():
            output = self.model(**tensors)
            return {name: _numpy(output[name]) for name in BY_NAME[self.head].outputs}


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.float().cpu().numpy()


def _place_of_int8(checkpoint: Checkpoint, *, device: str, dtype: str) -> torch.device:
    """Where int8 weights run: on the CPU, with fp32 between products.

    Raises:
        UserError: if anything else was asked for.
    """
    if dtype != "fp32":
        raise UserError(
            f"{checkpoint.name} computes in int8 and fp32; got dtype {dtype!r}. "
            f"Use fp32, or, for {dtype}, the checkpoint that it was exported from."
        )
    if device not in ("auto", "cpu"):
        raise UserError(
            f"{checkpoint.name} has int8 weights, which run on the CPU; got device {device!r}. "
            "Use auto or cpu, or the checkpoint that it was exported from."
        )
    if kernel() is None:
        logger.info("int8 without the CPU kernel: torch computes it, which is slower than fp32")
    return torch.device("cpu")


def choose_device(name: str) -> torch.device:
    """Find the device of that name, or with ``auto`` the first of `DEVICES` that is there.

    Raises:
        UserError: if the name is unknown, or the device is not there.
    """
    if name == "auto":
        return torch.device(next(kind for kind in DEVICES if _count(kind)))
    kind, number = device_named(name)
    count = _count(kind)
    if number >= count:
        there = ", ".join(other for other in DEVICES if _count(other))
        found = f"torch finds {count} of that kind" if count else f"torch finds none; it finds {there}"
        raise UserError(f"device {name!r} cannot be used: {found}. Choose another, or auto.")
    return torch.device(name)


def _count(kind: str) -> int:
    """How many devices of a kind torch can use."""
    if kind == "cpu":
        return 1
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    if kind == "npu":
        if importlib.util.find_spec("torch_npu") is None:
            return 0
        importlib.import_module("torch_npu")  # adds torch.npu
    module = getattr(torch, kind)
    return module.device_count() if module.is_available() else 0
