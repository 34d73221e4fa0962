"""What a pre-training checkpoint holds: weights and moments of each engine, and the state of the run.

Only safetensors and JSON are written. Resuming is exact.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import UserError
from ..files import write_json
from ..json_types import JsonMapping, JsonObject
from ..runs.checkpoints import CheckpointStore
from .optimization import StepEngine
from .sharding import load_whole_state, share_like, whole, whole_state

STATE = "state.json"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def checkpoints_of(out: Path, *, keep: int) -> CheckpointStore:
    """The checkpoints of the run in ``out``."""
    return CheckpointStore(out, name="step", digits=9, keep=keep)


def save(
    store: CheckpointStore,
    engines: Mapping[str, StepEngine],
    state: JsonMapping,
    *,
    writes: bool = True,
) -> None:
    """Write a checkpoint of ``state["step"]`` and remove old ones.

    Where weights are spread over processes call it in every one; only one of them ``writes``.

    Raises:
        UserError: if it cannot be written.
    """
    tensors: dict[str, dict[str, Tensor]] = {}
    for name, engine in engines.items():
        tensors[name], tensors[f"{name}-optimizer"] = _model_tensors(engine), _optimizer_tensors(engine)
    if not writes:
        return
    with store.saving(state["step"]) as staged:
        for name, content in tensors.items():
            save_file(content, staged / f"{name}.safetensors")
        write_json(staged / STATE, {**state, "scaler": _scaler_state(engines)})
    store.remove_older()


def read_state(checkpoint: Path) -> JsonObject:
    """What `save` recorded with a checkpoint."""
    state: dict[str, object] = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    return state


def restore(engines: Mapping[str, StepEngine], checkpoint: Path) -> None:
    """Load a checkpoint into the engines.

    Raises:
        UserError: if it is of a run with other engines.
    """
    scaler = read_state(checkpoint)["scaler"]
    for name, engine in engines.items():
        if not (checkpoint / f"{name}.safetensors").is_file():
            raise UserError(
                f"{checkpoint} is of another kind of run: it has no {name}. Use the same objective and mode, "
                "or another --out"
            )
        model = engine.accelerator.unwrap_model(engine.model)
        load_whole_state(model, load_file(checkpoint / f"{name}.safetensors"))
        _load_optimizer(engine, load_file(checkpoint / f"{name}-optimizer.safetensors"))
        if engine.accelerator.scaler is not None and scaler is not None:
            engine.accelerator.scaler.load_state_dict(scaler)


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


def _scaler_state(engines: Mapping[str, StepEngine]) -> dict[str, object] | None:
    for engine in engines.values():
        if engine.accelerator.scaler is not None:
            return dict(engine.accelerator.scaler.state_dict())
    return None
