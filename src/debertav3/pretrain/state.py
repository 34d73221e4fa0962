"""Atomic checkpoints of a run, and exact resume.

A checkpoint is a folder ``step-N`` that appears by one rename when everything in it, ``manifest.json`` last,
is on disk. What is not complete is never seen: the newest folder whose every file has the size and SHA-256 of
its manifest is the one to resume from; a damaged one is reported and skipped. Only safetensors and
JSON are written.
"""

import json
import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import UserError
from ..files import (
    MANIFEST,
    damage_of,
    publish_folder,
    remove_leftovers,
    temporary_folder,
    temporary_path,
    write_json,
    write_manifest,
)
from .optimization import StepEngine
from .sharding import load_whole_state, share_like, whole, whole_state

log = logging.getLogger(__name__)

STATE = "state.json"
_NAME = re.compile(r"step-\d{9,}")
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class CheckpointStore:
    """The checkpoints of one run.

    Args:
        folder: ``DIR/checkpoints``.
        keep: how many of the newest to keep; at least 1.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        if keep < 1:
            raise UserError(f"keep_checkpoints must be at least 1; got {keep}")
        self.folder = folder
        self.keep = keep

    def save(
        self, engines: Mapping[str, StepEngine], state: Mapping[str, Any], *, writes: bool = True
    ) -> Path:
        """Write a checkpoint of ``state["step"]`` and rotate old ones.

        Where weights are spread over processes call it in every one; only one of them ``writes``.
        """
        tensors: dict[str, dict[str, Tensor]] = {}
        for name, engine in engines.items():
            tensors[name], tensors[f"{name}-optimizer"] = _model_tensors(engine), _optimizer_tensors(engine)
        final = self.folder / f"step-{state['step']:09d}"
        if not writes:
            return final
        self.folder.mkdir(parents=True, exist_ok=True)
        with temporary_folder(final) as temporary:
            for name, content in tensors.items():
                save_file(content, temporary / f"{name}.safetensors")
            write_json(temporary / STATE, {**state, "scaler": _scaler_state(engines)})
            write_manifest(temporary)
            publish_folder(temporary, final)
        self._rotate()
        return final

    def newest(self) -> Path | None:
        """The newest complete checkpoint, or None."""
        for folder in self._newest_first():
            fault = damage_of(folder)
            if fault is None:
                return folder
            log.warning("checkpoint %s is damaged (%s): trying the one before", folder, fault)
        return None

    def state(self, folder: Path) -> dict[str, Any]:
        """What `save` recorded with a checkpoint."""
        state: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))
        return state

    def restore(self, engines: Mapping[str, StepEngine], folder: Path) -> None:
        """Load a checkpoint into the engines."""
        scaler = self.state(folder)["scaler"]
        for name, engine in engines.items():
            if not (folder / f"{name}.safetensors").is_file():
                raise UserError(
                    f"{folder} is of another kind of run: it has no {name}. Use the same objective and mode, "
                    "or another --out"
                )
            model = engine.accelerator.unwrap_model(engine.model)
            load_whole_state(model, load_file(folder / f"{name}.safetensors"))
            _load_optimizer(engine, load_file(folder / f"{name}-optimizer.safetensors"))
            if engine.accelerator.scaler is not None and scaler is not None:
                engine.accelerator.scaler.load_state_dict(scaler)

    def _newest_first(self) -> list[Path]:
        found = self.folder.iterdir() if self.folder.is_dir() else ()
        return sorted((path for path in found if _NAME.fullmatch(path.name)), reverse=True)

    def _rotate(self) -> None:
        own = [path for path in self._newest_first() if (path / MANIFEST).is_file()]
        for old in own[self.keep :]:
            # Renamed first: a crash in the middle must not leave half a folder under a checkpoint's name.
            doomed = temporary_path(old)
            old.rename(doomed)
            shutil.rmtree(doomed)

    def clean(self) -> None:
        """Remove what a crash left behind. Call in one process only, before the first save."""
        remove_leftovers(self.folder, _NAME.pattern)


def _model_tensors(engine: StepEngine) -> dict[str, Tensor]:
    model = engine.accelerator.unwrap_model(engine.model)
    # Tied tables appear under several names in one module; safetensors wants each name its own memory.
    return {name: tensor.cpu().clone() for name, tensor in whole_state(model).items()}


def _named_parameters(engine: StepEngine) -> Iterator[tuple[str, Tensor]]:
    model = engine.accelerator.unwrap_model(engine.model)
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)


def _optimizer_tensors(engine: StepEngine) -> dict[str, Tensor]:
    tensors = {}
    for name, parameter in _named_parameters(engine):
        for moment, value in engine.optimizer.state.get(parameter, {}).items():
            tensors[f"{moment}.{name}"] = whole(torch.as_tensor(value).detach()).cpu().clone()
    return tensors


def _load_optimizer(engine: StepEngine, tensors: Mapping[str, Tensor]) -> None:
    optimizer = engine.optimizer.optimizer
    for name, parameter in _named_parameters(engine):
        if f"step.{name}" in tensors:
            step, first, second = (tensors[f"{moment}.{name}"] for moment in _MOMENTS)
            optimizer.state[parameter] = {
                "step": step.to(parameter.device),
                "exp_avg": share_like(first, parameter),
                "exp_avg_sq": share_like(second, parameter),
            }


def _scaler_state(engines: Mapping[str, StepEngine]) -> dict[str, Any] | None:
    for engine in engines.values():
        if engine.accelerator.scaler is not None:
            return dict(engine.accelerator.scaler.state_dict())
    return None
