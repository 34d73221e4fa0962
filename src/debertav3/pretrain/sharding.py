"""Weights, gradients and optimizer spread over processes (FSDP2), for networks that one device cannot hold.

A layer's weights are gathered when it is computed and let go after; gradients go to the process that keeps
their share. Checkpoints and exports are whole, so a run may continue with or without.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def shard(model: nn.Module, layers: Iterable[nn.Module], device: torch.device, num_processes: int) -> None:
    """Spread a network over all processes, in place.

    Args:
        model: what is called as a whole; it keeps together what none of the layers holds.
        layers: its parts that are called on their own, each gathered when it is computed.
        device: of this process.
        num_processes: how many there are.
    """
    mesh = init_device_mesh(device.type, (num_processes,))
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)


def let_go(model: nn.Module) -> None:
    """Drop the gathered weights that a forward pass without a backward one leaves in a spread model.

    Weights that are changed by hand count in the next forward pass only after this.
    """
    for part in model.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def local(tensor: Tensor) -> Tensor:
    """This process's part of a weight that is spread over processes, else the weight; memory is shared.

    Call it where no gradients are recorded.
    """
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """A tensor with all its shares. Call in every process alike."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def whole_state(model: nn.Module) -> dict[str, Tensor]:
    """A model's state with whole tensors, detached. Call in every process alike."""
    return {name: whole(tensor.detach()) for name, tensor in model.state_dict().items()}


def share_like(tensor: Tensor, other: Tensor) -> Tensor:
    """A whole tensor spread as another is. Call in every process alike."""
    tensor = tensor.to(other.device)
    return (
        distribute_tensor(tensor, other.device_mesh, other.placements)
        if isinstance(other, DTensor)
        else tensor
    )


def load_whole_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load whole tensors, ``strict``, into a model that may be spread. Call in every process alike."""
    own = model.state_dict()
    model.load_state_dict(
        {name: share_like(tensor, own[name]) if name in own else tensor for name, tensor in state.items()},
        strict=True,
    )
