"""One network and its optimizer: micro-batches, clipping, learning rate, steps that are not finite."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ..cpu.table_memory import TableMemory
from ..runs.muon import MuonWithAdamW, encoder_matrices
from .schedules import PretrainOptimizerConfig, learning_rate
from .sharding import shard, whole

Item = TypeVar("Item")


def build_optimizer(model: nn.Module, config: PretrainOptimizerConfig) -> torch.optim.Optimizer:
    """AdamW, or Muon and AdamW, over what needs gradients; vectors (biases, LayerNorms) do not decay.

    Raises:
        UserError: if this torch has no Muon and it is wanted.
    """
    matrices = list(encoder_matrices(model)) if config.kind == "muon" else []
    others = {id(matrix) for matrix in matrices}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in others]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in rest if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in rest if p.dim() < 2], "weight_decay": 0.0},
    ]
    options: dict[str, Any] = {
        "lr": config.learning_rate,
        "betas": (config.adam_beta1, config.adam_beta2),
        "eps": config.adam_epsilon,
        "fused": True,  # one pass over memory instead of ten; CPU, CUDA and others have it
    }
    if config.kind == "adamw":
        return torch.optim.AdamW(groups, **options)
    muon = {"params": matrices, "lr": config.learning_rate, "weight_decay": config.weight_decay}
    return MuonWithAdamW([muon], groups, momentum=config.muon_momentum, **options)


class StepEngine:
    """Trains one network.

    Losses are sums divided by counts of the whole optimizer step, so micro-batches and processes weigh right.

    Args:
        model: the network; prepared for the accelerator here.
        config: optimizer and schedule.
        total_steps: of the run, for the schedule.
        accelerator: devices, precision, processes.
        name: prefix of the metrics.
        shard_layers: parts to spread over the processes one by one, and the rest with them; none for whole
            weights in every process.
    """

    def __init__(
        self,
        model: nn.Module,
        config: PretrainOptimizerConfig,
        *,
        total_steps: int,
        accelerator: Accelerator,
        name: str,
        shard_layers: Sequence[nn.Module] = (),
    ) -> None:
        self.config = config
        self.total_steps = total_steps
        self.accelerator = accelerator
        self.name = name
        self.is_spread = bool(shard_layers)
        if shard_layers:
            self.model = accelerator.prepare_model(model, evaluation_mode=True)  # precision, but no DDP
            shard(self.model, shard_layers, accelerator.device, accelerator.num_processes)
            self.optimizer = accelerator.prepare(build_optimizer(self.model, config))
        else:
            self.model, self.optimizer = accelerator.prepare(model, build_optimizer(model, config))
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.is_alone = accelerator.num_processes == 1 and not shard_layers and accelerator.scaler is None
        if self.is_alone and accelerator.device.type == "cpu":
            for part in self.model.modules():
                if hasattr(part, "table_memory"):
                    part.table_memory = TableMemory()

    def named_trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """What is trained, by its name in the model itself, whatever wraps it."""
        model = self.accelerator.unwrap_model(self.model)
        return ((name, weight) for name, weight in model.named_parameters() if weight.requires_grad)

    def total(self, count: int) -> float:
        """A count summed over all processes."""
        if self.accelerator.num_processes == 1:
            return float(count)
        tensor = torch.tensor(
            count, dtype=torch.float64 if self.accelerator.device.type == "cpu" else torch.float32
        )
        return float(self.accelerator.reduce(tensor.to(self.accelerator.device), "sum"))

    def accumulate(self, items: Sequence[Item]) -> Iterator[tuple[Item, AbstractContextManager[object]]]:
        """Each micro-batch with its context; processes exchange gradients only in the last one."""
        for number, item in enumerate(items):
            is_last = number == len(items) - 1
            yield item, contextlib.nullcontext() if is_last else self.accelerator.no_sync(self.model)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of this process's share of the loss."""
        # DDP averages over processes, and the loss is already divided by counts of all of them.
        self.accelerator.backward(loss * self.accelerator.num_processes)

    def update(self, step: int) -> dict[str, Tensor]:
        """Clip, step and clear; a step whose gradients are not finite is left out and counted."""
        rate = learning_rate(self.config, step, self.total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        limit = self.config.max_grad_norm or float("inf")
        norm = self._clip_and_step(limit)
        skipped = torch.isfinite(norm).logical_not()
        self.optimizer.zero_grad()
        return {f"{self.name}_gradient_norm": norm.detach(), f"{self.name}_skipped": skipped}

    def _clip_and_step(self, limit: float) -> Tensor:
        """Returns the norm before clipping."""
        if not self.is_alone:
            norm = whole(self.accelerator.clip_grad_norm_(self.trained, limit))
            if self.accelerator.scaler is not None or bool(torch.isfinite(norm)):
                self.optimizer.step()  # a scaler looks for itself
            return norm
        norm = nn.utils.get_total_norm([p.grad for p in self.trained if p.grad is not None])
        if not bool(torch.isfinite(norm)):
            return norm
        too_large = (norm.float() + 1e-6) / limit
        inner = getattr(self.optimizer, "optimizer", self.optimizer)
        if too_large <= 1:
            self.optimizer.step()
        elif type(inner) is torch.optim.AdamW and norm.device.type == "cpu" and norm.dtype == torch.float32:
            # fused AdamW divides while it reads: a pass over memory less
            vars(inner)["grad_scale"] = too_large
            self.optimizer.step()
            del vars(inner)["grad_scale"]
        else:
            nn.utils.clip_grads_with_norm_(self.trained, limit, norm)
            self.optimizer.step()
        return norm


def parameter_copies(parameters: Iterable[Tensor]) -> list[Tensor]:
    """Detached copies, to measure an update against."""
    return [parameter.detach().clone() for parameter in parameters]


@torch.no_grad()
def distance(parameters: Iterable[Tensor], copies: Iterable[Tensor]) -> Tensor:
    """Euclidean norm of what changed."""
    return (
        torch.stack(
            [whole((new - old).float().square().sum()) for new, old in zip(parameters, copies, strict=True)]
        )
        .sum()
        .sqrt()
    )
