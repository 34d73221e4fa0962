"""The optimizer's settings, and the learning rate of every step. No torch."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from ..errors import UserError
from ..runs.settings import Settings
from ..runs.values import Former, NotNegative, Positive, Share, Short

DECAY = 0.1
"""Share of a ``wsd`` run that decays by default."""


@dataclass(frozen=True, kw_only=True)
class PretrainOptimizerConfig(Settings):
    """AdamW with linear warm-up and decay (DeBERTaV3, arXiv:2111.09543, table 14), or a newer choice.

    Deviation: the official ``optims/xadam.py`` corrects no bias of the moments; AdamW does, which matters
    only for the first steps of the warm-up. Deviation: the official schedule falls a little at the end of
    the warm-up, ``1 - step / total`` unshifted; here it is continuous.
    """

    HEADING: ClassVar[str] = "optimizer and learning rate"

    kind: Annotated[Literal["adamw", "muon"], Short("optimizer")] = "adamw"
    """AdamW; or Muon for the matrices of the layers, with AdamW for tables, norms, biases and heads."""
    learning_rate: Positive = 6e-4
    """Peak learning rate."""
    warmup_steps: NotNegative = 10_000
    """Optimizer steps of linear warm-up; below 1: a share of all steps."""
    schedule: Literal["linear", "wsd", "cosine"] = "linear"
    """After the warm-up: linear to 0, cosine to 0, or constant until a decay at the end (wsd)."""
    decay_steps: NotNegative | None = None
    """For wsd: optimizer steps of the decay; below 1: a share of all steps; none: a tenth of them."""
    decay_shape: Literal["sqrt", "linear"] = "sqrt"
    """For wsd: 1 - sqrt(t) or 1 - t over the decay."""
    adam_beta1: Annotated[Share, Former("beta1")] = 0.9
    """Decay of the first moment."""
    adam_beta2: Annotated[Share, Former("beta2")] = 0.98
    """Decay of the second moment."""
    adam_epsilon: Annotated[Positive, Former("epsilon")] = 1e-6
    """Added to the denominator of the update."""
    weight_decay: NotNegative = 0.01
    """Weight decay, except for biases and LayerNorms; delta of GDES decays, as in the official code."""
    max_grad_norm: Annotated[NotNegative, Former("max_gradient_norm")] = 1.0
    """Global norm at which gradients are clipped; 0 turns it off."""
    muon_momentum: Share = 0.95
    """Momentum of Muon, whose learning rate and weight decay are those of AdamW."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decay_steps is not None and self.schedule != "wsd":
            raise UserError(
                f"decay_steps={self.decay_steps:g} needs schedule=wsd, and the schedule is "
                f"{self.schedule}: add --set schedule=wsd, or leave decay_steps out"
            )
        if self.decay_steps == 1:
            raise UserError(
                "decay_steps=1 decays nothing, because the first step of a decay still has the full rate: "
                "use at least 2 steps, a share of all steps (below 1), or 0 for no decay"
            )


def as_steps(number: float, num_steps: int) -> int:
    """A number of steps; below 1 it is a share of ``num_steps``, rounded up as in transformers' Trainer."""
    return int(number) if number >= 1 else math.ceil(number * num_steps)


def learning_rate(config: PretrainOptimizerConfig, step: int, num_steps: int) -> float:
    """Learning rate of ``step``, counted from 0, of a run of ``num_steps``.

    It rises linearly over the warm-up. After it:

    - ``linear``: linearly to 0 (DeBERTaV3);
    - ``cosine``: along half a cosine to 0 (Loshchilov and Hutter 2017, arXiv:1608.03983);
    - ``wsd``: constant until ``decay_steps`` before the end, then to 0 by ``1 - sqrt(t)`` or ``1 - t``,
      with t from 0 to 1 over the decay (Hägele et al. 2024, arXiv:2405.18392).
    """
    warmup = as_steps(config.warmup_steps, num_steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    if config.schedule == "wsd":
        return config.learning_rate * _decayed(config, step, num_steps)
    passed = (step - warmup) / max(1, num_steps - warmup)
    if config.schedule == "cosine":
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, passed)))
    return config.learning_rate * max(0.0, (num_steps - step) / max(1, num_steps - warmup))


def stable_steps(config: PretrainOptimizerConfig, num_steps: int) -> int:
    """Steps of a ``wsd`` run before its decay begins."""
    decay = DECAY if config.decay_steps is None else config.decay_steps
    return num_steps - as_steps(decay, num_steps)


def _decayed(config: PretrainOptimizerConfig, step: int, num_steps: int) -> float:
    begin = stable_steps(config, num_steps)
    if step < begin:
        return 1.0
    t = min(1.0, (step - begin) / max(1, num_steps - begin))
    return 1 - (math.sqrt(t) if config.decay_shape == "sqrt" else t)
