"""``PretrainConfig``: the settings of a pre-training run, in groups, and recipes by model size. No torch.

How settings are read is in :mod:`debertav3.runs.settings`.
"""

import math
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from ..data.masking import MaskingConfig, Strategy
from ..errors import UserError
from ..runs.settings import Settings
from ..runs.values import Count, CountOrZero, Former, NotNegative, Positive, Range, Share, Short
from ..sizes import raw_config

Objective = Literal["rtd", "mlm"]
Sharing = Literal["gdes", "nes", "es"]

_OFFICIAL: dict[Objective, Strategy] = {"rtd": "windowed", "mlm": "ngram"}
"""How the official code masks for each objective."""


@dataclass(frozen=True, kw_only=True)
class DetectionConfig(Settings):
    """Replaced token detection: generator and discriminator (arXiv:2111.09543)."""

    HEADING: ClassVar[str] = "replaced token detection"

    sharing: Sharing = "gdes"
    """How the two networks share embeddings."""
    mode: Literal["two-phase", "joint"] = "two-phase"
    """One optimizer for each network (official) or one for both; ES needs joint."""
    generator_layers: Count | None = None
    """Depth of the generator; none: half of the discriminator's, at its width."""
    temperature: Positive = 1.0
    """Of the generator's draws."""
    weight: Annotated[float, Range(min=0), Short("rtd_weight")] = 50.0
    """Factor of the discriminator's loss, the paper's lambda."""
    discriminator_learning_rate: Positive | None = None
    """Highest learning rate of the discriminator; none: learning_rate."""


@dataclass(frozen=True, kw_only=True)
class PretrainDataConfig(Settings):
    """Windows and batches."""

    HEADING: ClassVar[str] = "windows and batches"

    batch_size: Annotated[Count, Former("global_batch")] = 8192
    """Windows of one optimiser step, over all processes and micro-batches."""
    micro_batch_size: Annotated[Count, Former("micro_batch")] = 32
    """Windows of one forward pass; lower it to save memory."""
    max_length: Annotated[Count, Former("length")] = 512
    """Tokens of a window."""
    packing: Literal["documents", "stream"] = "documents"
    """Segments with block masks, or one stream cut every max_length - 2 tokens (official)."""
    loader_workers: CountOrZero = 0
    """Processes that make batches, for each training process."""
    validation_windows: CountOrZero = 256
    """Held-out windows to validate on, the same each time."""


@dataclass(frozen=True, kw_only=True)
class MaskingChoice(Settings):
    """Which tokens the generator must guess; what the objective decides is left out."""

    HEADING: ClassVar[str] = "masking"

    strategy: Annotated[Strategy | None, Short("masking")] = None
    """Which tokens are masked; none: as in the official code, windowed for rtd and ngram for mlm."""
    mask_prob: Annotated[float, Range(above=0, max=0.5)] = 0.15
    """Share of the tokens that is masked."""


@dataclass(frozen=True, kw_only=True)
class PretrainOptimizerConfig(Settings):
    """AdamW with linear warm-up and decay (DeBERTaV3, arXiv:2111.09543, table 14).

    Deviation: the official ``optims/xadam.py`` corrects no bias of the moments; AdamW does, which matters
    only for the first steps of the warm-up. Deviation: the official schedule falls a little at the end of
    the warm-up, ``1 - step / total`` unshifted; here it is continuous.
    """

    HEADING: ClassVar[str] = "optimizer and learning rate"

    learning_rate: Positive = 6e-4
    """Highest learning rate."""
    warmup_steps: NotNegative = 10_000
    """Optimiser steps of linear warm-up; below 1 a share of all steps."""
    adam_beta1: Annotated[Share, Former("beta1")] = 0.9
    """Decay of the first moment."""
    adam_beta2: Annotated[Share, Former("beta2")] = 0.98
    """Decay of the second moment."""
    adam_epsilon: Annotated[Positive, Former("epsilon")] = 1e-6
    """Added to the denominator of the update."""
    weight_decay: NotNegative = 0.01
    """Not for biases and LayerNorms; delta of GDES decays, as officially."""
    max_grad_norm: Annotated[NotNegative, Former("max_gradient_norm")] = 1.0
    """Global norm at which gradients are clipped; 0 turns it off."""


@dataclass(frozen=True, kw_only=True)
class PretrainLoopConfig(Settings):
    """When what happens; all in optimiser steps."""

    HEADING: ClassVar[str] = "steps"

    max_steps: Annotated[Count, Former("steps")] = 500_000
    """Optimiser steps of the run."""
    log_every_steps: Count = 20
    """Steps between two log lines."""
    eval_every_steps: Annotated[Count, Former("validate_every_steps")] = 500
    """Steps between two validations."""
    save_every_steps: Count = 500
    """Steps between two checkpoints."""
    save_total_limit: Annotated[Count, Former("keep_checkpoints")] = 2
    """How many of the newest checkpoints are kept."""
    max_skipped_steps: Count = 10
    """Steps with gradients that are not finite, in a row, after which the run stops."""


@dataclass(frozen=True, kw_only=True)
class ComputeConfig(Settings):
    """How it is computed; changes speed and memory."""

    HEADING: ClassVar[str] = "computation"

    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Autocast to bf16 or fp16, or fp32; auto: bf16 where the device computes in it."""
    compile: bool = False
    """Compile the layers with torch.compile: minutes at the start, faster steps after."""
    gradient_checkpointing: bool = False
    """About a third more computation for much less memory."""
    shard_weights: bool = False
    """Spread weights, gradients and optimizer over the processes (FSDP2): less memory, more traffic."""
    exchange_timeout_seconds: Count = 1800
    """Seconds without word from the other processes after which a process gives up."""


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(Settings):
    """A pre-training run. Defaults are those of the paper's base model; `recipe` gives those of a size."""

    HEADING: ClassVar[str] = "run"

    size: str = "base"
    """Which model, see `debertav3.sizes`."""
    objective: Objective = "rtd"
    """Replaced token detection, or masked words with the enhanced mask decoder."""
    seed: Annotated[int, Range(min=-(2**63), below=2**64)] = 0
    """Of weights, order, masks and dropout."""
    dropout: Share = 0.1
    """Of hidden states and attention in pre-training; the exported config keeps the size's own."""
    data: PretrainDataConfig = PretrainDataConfig()
    masking: MaskingChoice = MaskingChoice()
    rtd: DetectionConfig = DetectionConfig()
    optimizer: PretrainOptimizerConfig = PretrainOptimizerConfig()
    loop: PretrainLoopConfig = PretrainLoopConfig()
    compute: ComputeConfig = ComputeConfig()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.objective == "rtd" and self.rtd.sharing == "es" and self.rtd.mode != "joint":
            raise UserError(
                "embedding sharing (es) lets both losses train the shared table, which two phases cannot do "
                "(the official default silently throws the discriminator's part away): add --set mode=joint"
            )
        if self.compute.shard_weights and self.compute.precision == "fp16":
            raise UserError(
                "shard_weights does not go with fp16, whose scaler reads whole gradients: use bf16"
            )
        raw_config(self.size)

    def masking_config(self) -> MaskingConfig:
        """How tokens are masked: always [MASK] for RTD, 80/10/10 for MLM, as officially."""
        return MaskingConfig(
            strategy=self.masking.strategy or _OFFICIAL[self.objective],
            mask_prob=self.masking.mask_prob,
            always_mask=self.objective == "rtd",
        )

    @property
    def warmup(self) -> int:
        """Steps of the warm-up: a tenth of the run where ``warmup_steps`` would leave none after it."""
        warmup, steps = self.optimizer.warmup_steps, self.loop.max_steps
        if warmup >= steps:
            return steps // 10
        return int(warmup) if warmup >= 1 else math.ceil(warmup * steps)  # as transformers' Trainer

    def optimizer_config(self, *, is_discriminator: bool = False) -> PretrainOptimizerConfig:
        """The optimizer of the generator (or the only one), or of the discriminator."""
        rate = self.rtd.discriminator_learning_rate if is_discriminator else None
        return replace(
            self.optimizer, learning_rate=rate or self.optimizer.learning_rate, warmup_steps=self.warmup
        )

    def resolved(self) -> dict[str, object]:
        """All settings by short name, with the masking that None stands for and the warm-up of the run."""
        resolved = {"masking": self.masking_config().strategy, "warmup_steps": self.warmup}
        return {**self.to_dict(), **resolved}

    def identity(self) -> dict[str, object]:
        """What must not change between a run and its resumption; how often to log may."""
        return {name: value for name, value in self.resolved().items() if name not in _MAY_CHANGE}


_MAY_CHANGE = frozenset(
    {
        "micro_batch_size",
        "precision",
        "compile",
        "gradient_checkpointing",
        "shard_weights",
        "loader_workers",
        "log_every_steps",
        "eval_every_steps",
        "validation_windows",
        "save_every_steps",
        "save_total_limit",
        "max_skipped_steps",
        "exchange_timeout_seconds",
    }
)

# DeBERTaV3, arXiv:2111.09543, table 14: batch 8192, 500k steps, warm-up 10k; rate 3e-4 for large, else 6e-4.
_RECIPES: dict[str, dict[str, object]] = {
    "xsmall": {},
    "small": {},
    "base": {},
    "large": {"learning_rate": 3e-4, "gradient_checkpointing": True, "micro_batch_size": 16},
    "mdeberta-base": {},
    # Ours, for two processor cores and a few hours; a model this small needs no dropout and a high rate.
    "nano": {
        "max_steps": 20_000,
        "batch_size": 32,
        "micro_batch_size": 32,
        "max_length": 128,
        "packing": "stream",
        "masking": "unbiased",
        "learning_rate": 1e-3,
        "warmup_steps": 400,
        "dropout": 0.0,
        "save_every_steps": 200,
        "eval_every_steps": 500,
    },
}


def recipe(size: str) -> PretrainConfig:
    """The configuration of a size; V2 sizes get large's.

    Raises:
        UserError: if there is no such size.
    """
    raw_config(size)
    return PretrainConfig.of(size=size, **_RECIPES.get(size, _RECIPES["large"]))
