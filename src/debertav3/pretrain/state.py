"""What a pre-training checkpoint holds: weights and moments of each engine, and the state of the run.

Only safetensors and JSON are written. Resuming is exact.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import UserError
from ..files import write_json
from ..json_types import JsonMapping
from ..runs.checkpoints import CheckpointStore
from .averaging import WeightAverages
from .optimization import StepEngine
from .sharding import load_whole_state, share_like, whole, whole_state
from .stable_part import STATE, read_state

_MOMENTS = ("step", "exp_avg", "exp_avg_sq", "momentum_buffer")
"""Of AdamW, and the last one of Muon."""


def save(
    store: CheckpointStore,
    engines: Mapping[str, StepEngine],
    state: JsonMapping,
    *,
    averages: WeightAverages,
    writes: bool = True,
) -> None:
    """Write a checkpoint of ``state["step"]``.

    Where weights are spread over processes call it in every one; only one of them ``writes``.

    Args:
        store: of the run.
        engines: by name.
        state: what is recorded beside the weights.
        averages: of the weights.
        writes: whether this process does.

    Raises:
        UserError: if it cannot be written.
    """
    tensors = averages.tensors()
    for name, engine in engines.items():
        tensors[name], tensors[f"{name}-optimizer"] = _model_tensors(engine), _optimizer_tensors(engine)
    if not writes:
        return
    with store.saving(state["step"]) as staged:
        for name, content in tensors.items():
            save_file(content, staged / f"{name}.safetensors")
        write_json(staged / STATE, {**state, "scaler": _scaler_state(engines)})


def restore(engines: Mapping[str, StepEngine], checkpoint: Path, averages: WeightAverages) -> None:
    """Load a checkpoint into the engines and the averages.

    Raises:
        UserError: if it is of a run with other engines.
    """
    state = read_state(checkpoint)
    scaler, step = state["scaler"], int(state["step"])
    for name, engine in engines.items():
        if not (checkpoint / f"{name}.safetensors").is_file():
            raise UserError(
                f"{checkpoint} belongs to another kind of run: it has no {name}. Use the "
                "same objective and mode, "
                "or another --out"
            )
        model = engine.accelerator.unwrap_model(engine.model)
        load_whole_state(model, load_file(checkpoint / f"{name}.safetensors"))
        _load_optimizer(engine, load_file(checkpoint / f"{name}-optimizer.safetensors"))
        if engine.accelerator.scaler is not None and scaler is not None:
            engine.accelerator.scaler.load_state_dict(scaler)
    stored = {name: checkpoint / f"{name}.safetensors" for name in averages.file_names()}
    averages.load({name: load_file(path) for name, path in stored.items() if path.is_file()}, step)


def _model_tensors(engine: StepEngine) -> dict[str, Tensor]:
    model = engine.accelerator.unwrap_model(engine.model)
    # Tied tables appear under several names in one module; safetensors wants each name its own memory.
    return {name: tensor.cpu().clone() for name, tensor in whole_state(model).items()}


def _optimizer_tensors(engine: StepEngine) -> dict[str, Tensor]:
    tensors = {}
    for name, parameter in engine.named_trained():
        for moment, value in engine.optimizer.state.get(parameter, {}).items():
            tensors[f"{moment}.{name}"] = whole(torch.as_tensor(value).detach()).cpu().clone()
    return tensors


def _load_optimizer(engine: StepEngine, tensors: Mapping[str, Tensor]) -> None:
    optimizer = engine.optimizer.optimizer
    for name, parameter in engine.named_trained():
        if stored := {one: tensors[key] for one in _MOMENTS if (key := f"{one}.{name}") in tensors}:
            optimizer.state[parameter] = {
                one: value.to(parameter.device) if one == "step" else share_like(value, parameter)
                for one, value in stored.items()
            }


def _scaler_state(engines: Mapping[str, StepEngine]) -> dict[str, object] | None:
    for engine in engines.values():
        if engine.accelerator.scaler is not None:
            return dict(engine.accelerator.scaler.state_dict())
    return None
