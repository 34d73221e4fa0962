"""The choice among the backends: which one runs a checkpoint or an exported folder."""

import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ...checkpoint.folder import Checkpoint
from ...cpu.kernel.library import kernel
from ...errors import MissingExtraError, UserError
from ...heads import BY_TASK, MULTIPLE_CHOICE
from .exported import (
    FORMATS,
    ONNX,
    TORCH,
    Exported,
    changes_since_export,
    is_installed,
    read_exported,
    require_runtime,
)
from .native import NATIVE, NativeBackend, why_not
from .probes import check_int8
from .protocol import INT8, Backend, device_named
from .speeds import memory_key, recall_fastest

logger = logging.getLogger(__name__)

AUTO, LIGHT = "auto", "light"
BACKENDS = (AUTO, LIGHT, NATIVE, "openvino", "onnx", TORCH)
"""``auto`` is the fastest on this machine, ``light`` the one that gives a first answer soonest."""


@dataclass(frozen=True, kw_only=True)
class BackendConfig:
    """Where and in which precision a checkpoint runs."""

    backend: str = AUTO
    """One of `BACKENDS`; a runtime that is named and cannot run is an error."""
    device: str = "auto"
    """``auto`` or a device of the backend, such as ``cuda:1``."""
    dtype: str = "fp32"
    """``fp32``, ``bf16`` or ``fp16``."""


@dataclass(frozen=True)
class Way:
    """One way to run a checkpoint."""

    name: str
    """Of the backend."""
    checkpoint: Checkpoint
    """Whose files it reads: the checkpoint's, or an export's inside it."""
    opening: Callable[[], Backend]
    dtype: str
    """As asked for."""

    def open(self) -> Backend:
        """Load it; int8 weights are asked whether they compute here what passed their gate: see `probes`.

        Raises:
            UserError: if the files or the backend cannot be used.
        """
        backend = self.opening()
        if backend.dtype == INT8:
            check_int8(backend, self.checkpoint, dtype=self.dtype)
        return backend


def open_backend(checkpoint: Checkpoint, *, task: str | None, how: BackendConfig) -> Backend:
    """Load a checkpoint with the backend asked for.

    With ``auto`` that is the one that was measured to be the fastest here, where this is remembered: see
    `fastest`; otherwise the first of `ways`.

    Raises:
        UserError: if the checkpoint or the backend cannot be used.
    """
    check_runtime(checkpoint, task=task, how=how)
    found = ways(checkpoint, task=task, how=how)
    first = next(found)
    if how.backend == AUTO and may_differ(checkpoint):
        key = memory_key(checkpoint, task=task, device=how.device, dtype=how.dtype)
        if (known := recall_fastest(key)) not in (None, first.name):
            first = next((way for way in found if way.name == known), first)
    backend = first.open()
    logger.info("%s: backend %s on %s in %s", checkpoint.name, backend.name, backend.device, backend.dtype)
    return backend


def ways(checkpoint: Checkpoint, *, task: str | None, how: BackendConfig) -> Iterator[Way]:
    """All ways to run a checkpoint as asked for, the best guess first; one at least.

    An exported folder runs on its own runtime; int8 weights run on torch and on the native backend. What runs
    a checkpoint follows these rules:

    - ``auto``: torch on an accelerator. On a CPU with our C++ kernel the native backend; then exports in the
      checkpoint's folder that fit, OpenVINO before ONNX; and torch, which runs the same kernel, where the
      process has loaded it already. Without the kernel exports, torch, and the native backend.
    - ``light``, for one answer from a cold start: the native backend; what it does not take, the first export
      that fits, ONNX before OpenVINO, and then torch, whose import takes longer than the answer.

    An export fits if its runtime is installed, and its answers are the checkpoint's own: not in int8, and
    only where fp32 is asked for. It runs only if its own files and the checkpoint's weights, ``config.json``
    and tokenizer have the SHA-256 sums that the export noted.

    Raises:
        UserError: if a backend is named, and it cannot run the checkpoint; or if nothing can.
    """
    if not checkpoint.is_export:
        yield from _ways_of_weights(checkpoint, task=task, how=how)
        return
    exported = read_exported(checkpoint)
    if exported.manifest.head == MULTIPLE_CHOICE:
        raise UserError(
            f"{exported.folder}: multiple choice does not run on exported folders. "
            "Use the checkpoint that it was exported from."
        )
    if exported.manifest.format == TORCH:
        exported.check_files()
        yield from _ways_of_weights(checkpoint, task=task, how=how)
    else:
        yield _export_way(exported, task=task, how=how)


def _ways_of_weights(checkpoint: Checkpoint, *, task: str | None, how: BackendConfig) -> Iterator[Way]:
    def native() -> Backend:
        return NativeBackend.open(checkpoint, task=task, device=how.device, dtype=how.dtype)

    def torch() -> Backend:
        require_runtime(TORCH)
        from .torch import TorchBackend

        return TorchBackend.open(checkpoint, task=task, device=how.device, dtype=how.dtype)

    natively, on_torch = (
        Way(name, checkpoint, opening, how.dtype) for name, opening in ((NATIVE, native), (TORCH, torch))
    )
    if how.backend == TORCH:
        yield on_torch
        return
    if how.backend == NATIVE:
        yield natively
        return
    if how.backend in FORMATS:
        yield _export_way(_named_export(checkpoint, task=task, how=how), task=task, how=how)
        return
    has_torch = is_installed(TORCH)
    if how.backend == AUTO and how.device == "auto" and has_torch and _has_accelerator():
        logger.info("auto: torch, because there is an accelerator")
        yield on_torch
        return
    reason = why_not(checkpoint, device=how.device, dtype=how.dtype)
    if reason is None and (how.backend == LIGHT or _has_cpu_kernel()):
        yield natively
        if how.backend == LIGHT:
            return
    for export in _exports_instead(checkpoint, task=task, how=how):
        yield _export_way(export, task=task, how=how)
    if has_torch and (reason is not None or "torch" in sys.modules or not _has_cpu_kernel()):
        yield on_torch
    if reason is None and not _has_cpu_kernel():
        yield natively
    elif reason is not None and not has_torch:
        feature = f"backend torch (native does not run {checkpoint.name}: {reason})"
        raise MissingExtraError(feature=feature, package="torch", extra=TORCH)


def may_differ(checkpoint: Checkpoint) -> bool:
    """Whether there may be more than one way to run a checkpoint with ``auto``; asked in a moment."""
    return bool(checkpoint.exports) or "torch" in sys.modules or not _has_cpu_kernel()


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
    if how.backend not in (AUTO, LIGHT, exported.manifest.format, *runs_natively):
        raise UserError(
            f"{checkpoint.name} was exported for {exported.manifest.format}; it does not run on backend "
            f"{how.backend!r}. Use --backend {exported.manifest.format}, or give the checkpoint itself."
        )
    exported.require(task)
    if exported.manifest.format != TORCH:  # int8 weights also run without torch
        require_runtime(exported.manifest.format)


def _exports_inside(checkpoint: Checkpoint, task: str | None) -> list[Exported]:
    """The exports in a checkpoint's folder whose head fits a task."""
    return [
        one
        for one in map(read_exported, checkpoint.exports)
        if task is None or (task in BY_TASK and BY_TASK[task].name == one.manifest.head)
    ]


def _named_export(checkpoint: Checkpoint, *, task: str | None, how: BackendConfig) -> Exported:
    """The export in a checkpoint's folder for the backend that is named.

    Raises:
        UserError: if there is none of the checkpoint as it is now.
    """
    command = f"debertav3 export --model {checkpoint.name} --format {how.backend} --out"
    found = _exports_inside(checkpoint, task)
    export = next((one for one in found if one.manifest.format == how.backend), None)
    if export is None:
        raise UserError(
            f"backend {how.backend!r} runs exported graphs; {checkpoint.name} contains none for this task. "
            f"Run: {command} FOLDER"
        )
    if changed := changes_since_export(export, checkpoint):
        raise UserError(
            f"{export.folder} is not an export of the present checkpoint: {', '.join(changed)} changed "
            f"since. Run: {command} {export.folder}"
        )
    return export


def _exports_instead(checkpoint: Checkpoint, *, task: str | None, how: BackendConfig) -> Iterator[Exported]:
    """The exports in a checkpoint's folder that may run instead of it, the preferred one first.

    One that is not of the checkpoint as it is now is left out, with a warning.
    """
    if how.dtype != "fp32" or how.device not in ("auto", "cpu"):
        return
    fitting = [
        one
        for one in _exports_inside(checkpoint, task)
        if one.manifest.head != MULTIPLE_CHOICE
        and one.manifest.weights != INT8
        and is_installed(one.manifest.format)
    ]
    if how.backend == LIGHT:
        fitting.sort(key=lambda one: one.manifest.format != ONNX)
    for export in fitting:
        if changed := changes_since_export(export, checkpoint):
            logger.warning(
                "%s is not an export of the present checkpoint: %s changed since; another backend runs the "
                "checkpoint. To renew the export, run: debertav3 export --model %s --format %s --out %s",
                export.folder,
                ", ".join(changed),
                checkpoint.name,
                export.manifest.format,
                export.folder,
            )
        else:
            yield export


def _export_way(exported: Exported, *, task: str | None, how: BackendConfig) -> Way:
    def opening() -> Backend:
        exported.check_files()
        return open_exported(exported, device=how.device, dtype=how.dtype, task=task)

    return Way(exported.manifest.format, exported.checkpoint, opening, how.dtype)


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
