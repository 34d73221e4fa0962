"""The choice among the backends: which one runs a checkpoint or an exported folder."""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path

from ...checkpoint.folder import Checkpoint
from ...cpu.kernel.library import kernel
from ...errors import MissingExtraError, UserError
from ...heads import BY_TASK, MULTIPLE_CHOICE
from .exported import (
    ONNX,
    TORCH,
    Exported,
    changes_since_export,
    is_installed,
    read_exported,
    require_runtime,
)
from .native import NATIVE, NativeBackend, why_not
from .protocol import INT8, Backend, device_named

logger = logging.getLogger(__name__)

BACKENDS = ("auto", "light", "native", "openvino", "onnx", "torch")
"""``auto`` is the fastest that is installed, ``light`` the one that gives a first answer soonest."""


@dataclass(frozen=True, kw_only=True)
class BackendConfig:
    """Where and in which precision a checkpoint runs."""

    backend: str = "auto"
    """One of `BACKENDS`; a runtime that is named and cannot run is an error."""
    device: str = "auto"
    """``auto`` or a device of the backend, such as ``cuda:1``."""
    dtype: str = "fp32"
    """``fp32``, ``bf16`` or ``fp16``."""


def open_backend(checkpoint: Checkpoint, *, task: str | None, how: BackendConfig) -> Backend:
    """Load a checkpoint with the backend asked for.

    An exported folder runs on its own runtime; int8 weights run on torch and on the native backend. What runs
    a checkpoint follows these rules:

    - ``auto``, for many inputs: torch on an accelerator, and on a CPU with our C++ kernel; otherwise the
      first export in the checkpoint's folder that fits, OpenVINO before ONNX. Where torch is not installed,
      the native backend takes its place.
    - ``light``, for one answer from a cold start: the native backend; what it does not take, the first export
      that fits, ONNX before OpenVINO, and then torch, whose import takes longer than the answer.

    An export fits if its runtime is installed, and its answers are the checkpoint's own: not in int8, and
    only where fp32 is asked for. It runs only if its own files and the checkpoint's weights, ``config.json``
    and tokenizer have the SHA-256 sums that the export noted.

    Raises:
        UserError: if the checkpoint or the backend cannot be used.
    """
    check_runtime(checkpoint, task=task, how=how)
    if checkpoint.is_export:
        backend = _open_checked(read_exported(checkpoint), task=task, how=how)
    elif how.backend == "light" and why_not(checkpoint, device=how.device, dtype=how.dtype) is None:
        backend = _open_native(checkpoint, task=task, how=how)
    elif (export := _export_instead(checkpoint, task=task, how=how)) is not None:
        backend = _open_checked(export, task=task, how=how)
    elif how.backend == NATIVE:
        backend = _open_native(checkpoint, task=task, how=how)
    else:
        backend = _open_torch_or_native(checkpoint, task=task, how=how)
    logger.info("%s: backend %s on %s in %s", checkpoint.name, backend.name, backend.device, backend.dtype)
    return backend


def check_runtime(checkpoint: Checkpoint, *, task: str | None, how: BackendConfig) -> None:
    """Check what can be said of a choice without loading a runtime.

    Raises:
        UserError: if there is no such backend or kind of device, or an exported folder is of another
            backend or head, or its runtime is not installed.
    """
    if how.backend not in BACKENDS:
        raise UserError(f"unknown backend {how.backend!r}. Choose one of: {', '.join(BACKENDS)}.")
    if how.device != "auto":
        device_named(how.device)
    if not checkpoint.is_export:
        return
    exported = read_exported(checkpoint)
    runs_natively = (NATIVE,) if exported.manifest.format == TORCH else ()
    if how.backend not in ("auto", "light", exported.manifest.format, *runs_natively):
        raise UserError(
            f"{checkpoint.name} was exported for {exported.manifest.format}; it does not run on backend "
            f"{how.backend!r}. Use --backend {exported.manifest.format}, or give the checkpoint itself."
        )
    exported.require(task)
    if exported.manifest.format != TORCH:  # int8 weights also run without torch
        require_runtime(exported.manifest.format)


def _export_instead(checkpoint: Checkpoint, *, task: str | None, how: BackendConfig) -> Exported | None:
    """The export in a checkpoint's folder that runs instead of it; None if torch runs the checkpoint.

    Raises:
        UserError: if an export is asked for by name, and there is none of the checkpoint as it is now.
    """
    if how.backend in (NATIVE, TORCH):
        return None
    found = [
        one
        for one in map(read_exported, checkpoint.exports)
        if task is None or (task in BY_TASK and BY_TASK[task].name == one.manifest.head)
    ]
    command = f"debertav3 export --model {checkpoint.name} --format"
    if how.backend not in ("auto", "light"):
        export = next((one for one in found if one.manifest.format == how.backend), None)
        if export is None:
            raise UserError(
                f"backend {how.backend!r} runs exported graphs; {checkpoint.name} holds none for this task. "
                f"Run: {command} {how.backend} --out FOLDER"
            )
        if changed := changes_since_export(export, checkpoint):
            raise UserError(
                f"{export.folder} is not an export of the present checkpoint: {', '.join(changed)} changed "
                f"since. Run: {command} {how.backend} --out {export.folder}"
            )
        return export
    preferred = _preferred(found, how)
    if preferred is None:
        return None
    if changed := changes_since_export(preferred, checkpoint):
        logger.warning(
            "%s is not an export of the present checkpoint: %s changed since; torch runs the checkpoint. "
            "To renew the export, run: %s %s --out %s",
            preferred.folder,
            ", ".join(changed),
            command,
            preferred.manifest.format,
            preferred.folder,
        )
        return None
    return preferred


def _preferred(found: list[Exported], how: BackendConfig) -> Exported | None:
    """The export that ``auto`` or ``light`` prefers to torch, if it is up to date; None for torch."""
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
    if how.device == "auto" and _has_accelerator() and is_installed(TORCH):
        logger.info("auto: torch, for there is an accelerator")
        return None
    if _has_cpu_kernel():
        logger.info("auto: the CPU kernel is faster than the exports; --backend names one of them")
        return None
    return fitting[0]


def _open_native(checkpoint: Checkpoint, *, task: str | None, how: BackendConfig) -> Backend:
    return NativeBackend.open(checkpoint, task=task, device=how.device, dtype=how.dtype)


def _open_torch_or_native(checkpoint: Checkpoint, *, task: str | None, how: BackendConfig) -> Backend:
    """Open torch; with ``auto`` and ``light`` the native backend where torch is not installed.

    Raises:
        MissingExtraError: if torch is needed and not installed.
    """
    if not is_installed(TORCH) and how.backend != TORCH:
        reason = why_not(checkpoint, device=how.device, dtype=how.dtype)
        if reason is None:
            logger.info("%s: torch is not installed", how.backend)
            return _open_native(checkpoint, task=task, how=how)
        feature = f"backend torch (native does not run {checkpoint.name}: {reason})"
        raise MissingExtraError(feature=feature, package="torch", extra=TORCH)
    require_runtime(TORCH)
    from .torch import TorchBackend

    return TorchBackend.open(checkpoint, task=task, device=how.device, dtype=how.dtype)


def _open_checked(exported: Exported, *, task: str | None, how: BackendConfig) -> Backend:
    """Open an export, if its head fits the task and its files are those that were exported."""
    if exported.manifest.head == MULTIPLE_CHOICE:
        raise UserError(
            f"{exported.folder}: multiple choice is answered by backend torch alone. "
            "Give the checkpoint that it was made from, with --backend torch."
        )
    exported.check_files()
    if exported.manifest.format == TORCH:
        one = exported.checkpoint
        takes = how.backend == "light" and why_not(one, device=how.device, dtype=how.dtype) is None
        opened = _open_native if takes or how.backend == NATIVE else _open_torch_or_native
        return opened(one, task=task, how=how)
    return open_exported(exported, device=how.device, dtype=how.dtype, task=task)


def open_exported(
    exported: Exported, *, device: str = "cpu", dtype: str = "fp32", task: str | None = None
) -> Backend:
    """Open the runtime of an exported folder, without a look at its checksums.

    Raises:
        UserError: if the runtime is not installed, cannot read the files, or lacks the device or dtype.
    """
    if exported.manifest.format == TORCH:
        from .torch import TorchBackend

        return TorchBackend.open(exported.checkpoint, task=task, device=device, dtype=dtype)
    if exported.manifest.format == ONNX:
        from .onnx import OnnxBackend

        return OnnxBackend.open(exported, device=device, dtype=dtype)
    from .openvino import OpenVinoBackend

    return OpenVinoBackend.open(exported, device=device, dtype=dtype)


def _has_cpu_kernel() -> bool:
    """Whether our C++ kernel runs here."""
    return kernel() is not None


def _has_accelerator() -> bool:
    """Whether torch might compute on something faster than a CPU; asked without importing torch."""
    places = ("/dev/nvidia0", "/dev/davinci0", "/dev/kfd")
    return sys.platform == "darwin" or any(Path(place).exists() for place in places)
