"""What computes the logits: one small protocol, and the choice among what implements it.

A backend knows one checkpoint and one head. It gets padded numpy batches and returns numpy logits; text,
labels and answers are none of its business, so a new runtime is one file.
"""

import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import UserError

if TYPE_CHECKING:
    from .exported import Exported

logger = logging.getLogger(__name__)

Batch = Mapping[str, npt.NDArray[np.int64]]
"""``input_ids``, ``attention_mask`` and ``token_type_ids``, each ``(B, L)``; for `MASKED_LM` also
``masked_positions``, ``(B, M)``: which tokens to predict, rows filled up with 0."""
Logits = Mapping[str, npt.NDArray[np.float32]]
"""By output name: ``logits``, or ``start_logits`` and ``end_logits``; real numbers in fp32."""

SEQUENCE = "sequence-classification"
TOKENS = "token-classification"
SPANS = "question-answering"
MASKED_LM = "masked-lm"
REPLACED_TOKENS = "replaced-token-detection"
MULTIPLE_CHOICE = "multiple-choice"

HEAD_OF_ARCHITECTURE = {
    "DebertaV2ForSequenceClassification": SEQUENCE,
    "DebertaV2ForTokenClassification": TOKENS,
    "DebertaV2ForQuestionAnswering": SPANS,
    "DebertaV2ForMaskedLM": MASKED_LM,
    "DebertaV2ForReplacedTokenDetection": REPLACED_TOKENS,
    "DebertaV2ForMultipleChoice": MULTIPLE_CHOICE,
}
"""Which head a ``config.json`` names in ``architectures``."""

HEAD_OF_TASK = {
    "nli": SEQUENCE,
    "classify": SEQUENCE,
    "zero-shot": SEQUENCE,
    "rerank": SEQUENCE,
    "ner": TOKENS,
    "qa": SPANS,
    "fill-mask": MASKED_LM,
    "rtd": REPLACED_TOKENS,
    "choice": MULTIPLE_CHOICE,
}
"""Which head a task needs."""

INT8 = "int8"
"""How weights are stored, and what products with them compute in."""

BACKENDS = ("auto", "light", "openvino", "onnx", "torch")
"""``auto`` is the fastest that is installed, ``light`` the one that gives a first answer soonest."""


class Backend(Protocol):
    """One checkpoint, ready to run."""

    name: str
    """``torch``, ``onnx`` or ``openvino``."""
    device: Any
    """Where it computes; written in the log."""
    dtype: str
    """In what it computes: ``fp32``, ``bf16`` or ``fp16``; ``int8`` where products with weights do."""
    head: str
    """One of the values of `HEAD_OF_TASK`."""
    config: Mapping[str, Any]
    """The checkpoint's ``config.json``."""
    batch_tokens: int
    """How many tokens a batch should hold, padding included, where the user does not say."""

    def run(self, batch: Batch) -> Logits:
        """Compute the logits of one batch.

        Returns:
            ``logits``, ``(B, labels)`` for `SEQUENCE`, ``(B, 1)`` for `MULTIPLE_CHOICE`, whose choices are
            inputs each for itself, ``(B, L, labels)`` for `TOKENS`, ``(B, L)`` for
            `REPLACED_TOKENS`, ``(B, M, vocabulary)`` for `MASKED_LM`; ``start_logits`` and ``end_logits``,
            each ``(B, L)``, for `SPANS`.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class BackendConfig:
    """Where and in which precision a checkpoint runs."""

    backend: str = "auto"
    """One of `BACKENDS`; a runtime that is named and cannot run is an error."""
    device: str = "auto"
    """``auto`` or a device of the backend, such as ``cuda:1``."""
    dtype: str = "fp32"
    """``fp32``, ``bf16`` or ``fp16``."""


def head_for(config: Mapping[str, Any], *, task: str | None, place: str) -> str:
    """Decide which head to load.

    A checkpoint that names its head is taken at its word; pre-training checkpoints hold both pre-training
    heads and often name none, so there the task decides.

    Args:
        config: the checkpoint's ``config.json``.
        task: a key of `HEAD_OF_TASK`, or None to go by the checkpoint alone.
        place: the checkpoint, for messages.

    Raises:
        UserError: if the task is unknown, the checkpoint has another task's head, or nothing says which.
    """
    if task is not None and task not in HEAD_OF_TASK:
        raise UserError(f"unknown task {task!r}. Choose one of: {', '.join(HEAD_OF_TASK)}.")
    architectures = config.get("architectures") or []
    named = next((HEAD_OF_ARCHITECTURE[name] for name in architectures if name in HEAD_OF_ARCHITECTURE), None)
    wanted = HEAD_OF_TASK[task] if task is not None else named
    if wanted is None:
        found = (
            f"its config.json says {', '.join(architectures)}"
            if architectures
            else "its config.json names no head"
        )
        raise UserError(
            f"{place} does not say what it predicts: {found}. Say which task, or fine-tune it first."
        )
    is_pretraining = wanted in (MASKED_LM, REPLACED_TOKENS)
    if named == wanted or (is_pretraining and named in (None, MASKED_LM, REPLACED_TOKENS)):
        return wanted
    has = f"has a {named} head" if named else "has no fine-tuned head"
    raise UserError(
        f"task {task!r} needs a {wanted} head; {place} {has}. Give a checkpoint fine-tuned for {task}."
    )


def open_backend(path_or_name: str | Path, *, task: str | None, how: BackendConfig) -> Backend:
    """Load a checkpoint with the backend asked for.

    An exported folder runs on its own runtime. A checkpoint runs on torch, or in its place an export that
    lies in its folder, by these rules:

    - ``auto``, for many inputs: torch on an accelerator, and on a CPU with our C++ kernel, which is the
      fastest there (figures in docs/export.md); otherwise the first export that fits, OpenVINO before ONNX.
    - ``light``, for one answer from a cold start: the first export that fits, ONNX before OpenVINO. Neither
      imports torch, whose import takes longer than the answer.

    An export fits if its runtime is installed, it was made from the present weights, and its answers are the
    checkpoint's own: not in int8, and only where fp32 is asked for.

    Raises:
        UserError: if the checkpoint or the backend cannot be used.
    """
    if how.backend not in BACKENDS:
        raise UserError(f"unknown backend {how.backend!r}. Choose one of: {', '.join(BACKENDS)}.")
    from .exported import is_exported, read_exported

    if is_exported(path_or_name):
        exported = read_exported(path_or_name)
        if how.backend not in ("auto", "light", exported.manifest.format):
            raise UserError(
                f"{path_or_name} was exported for {exported.manifest.format}; it does not run on backend "
                f"{how.backend!r}. Use --backend {exported.manifest.format}, or give the checkpoint itself."
            )
        backend = _open_exported(exported, task=task, how=how)
    elif (export := _export_instead(path_or_name, task=task, how=how)) is not None:
        backend = _open_exported(export, task=task, how=how)
    elif how.backend in ("auto", "light", "torch"):
        backend = _open_torch(path_or_name, task=task, how=how)
    else:
        raise UserError(
            f"backend {how.backend!r} runs exported graphs; {path_or_name} holds none of its present weights "
            f"for this task. Run: debertav3 export --model {path_or_name} --format {how.backend} --out FOLDER"
        )
    logger.info("%s: backend %s on %s in %s", path_or_name, backend.name, backend.device, backend.dtype)
    return backend


def _export_instead(path_or_name: str | Path, *, task: str | None, how: BackendConfig) -> "Exported | None":
    """The export in a checkpoint's folder that runs in its place; None where torch is to run."""
    from .exported import ONNX, find_exports, is_installed

    if how.backend == "torch":
        return None
    found = [
        one
        for one in find_exports(path_or_name)
        if task is None or HEAD_OF_TASK.get(task) == one.manifest.head
    ]
    if how.backend not in ("auto", "light"):
        return next((one for one in found if one.manifest.format == how.backend), None)
    fitting = [
        one
        for one in found
        if one.manifest.head != MULTIPLE_CHOICE
        and how.dtype == "fp32"
        and one.manifest.weights != INT8
        and is_installed(one.manifest.format)
    ]
    if not fitting or how.device not in ("auto", "cpu"):
        return None
    if how.backend == "light":
        return min(fitting, key=lambda one: one.manifest.format != ONNX)
    if how.device == "auto" and _has_accelerator():
        logger.info("auto: torch, for there is an accelerator")
        return None
    if _has_cpu_kernel():
        logger.info("auto: torch, whose CPU kernel is faster than the exports; light takes one of them")
        return None
    return fitting[0]


def _open_torch(path_or_name: str | Path, *, task: str | None, how: BackendConfig) -> Backend:
    from .torch_backend import TorchBackend

    return TorchBackend.open(path_or_name, task=task, device=how.device, dtype=how.dtype)


def _open_exported(exported: "Exported", *, task: str | None, how: BackendConfig) -> Backend:
    exported.require(task)
    if exported.manifest.head == MULTIPLE_CHOICE:
        raise UserError(
            f"{exported.folder}: multiple choice is answered by backend torch alone. "
            "Give the checkpoint that it was made from, with --backend torch."
        )
    if exported.manifest.format == "torch":
        return _open_torch(exported.folder, task=task, how=how)
    if exported.manifest.format == "onnx":
        from .onnx_backend import OnnxBackend

        return OnnxBackend.open(exported, device=how.device, dtype=how.dtype)
    from .openvino_backend import OpenVinoBackend

    return OpenVinoBackend.open(exported, device=how.device, dtype=how.dtype)


def _has_cpu_kernel() -> bool:
    """Whether torch has our C++ kernel here; torch is imported only where one was built."""
    from ..layers.cpu_kernel.build import INSTRUCTIONS, library_file

    if not any(library_file(name).is_file() for name in INSTRUCTIONS):
        return False
    from ..layers.cpu_kernel.library import kernel

    return kernel() is not None


def _has_accelerator() -> bool:
    """Whether torch might compute on something faster than a CPU; asked without importing torch."""
    places = ("/dev/nvidia0", "/dev/davinci0", "/dev/kfd")
    return sys.platform == "darwin" or any(Path(place).exists() for place in places)
