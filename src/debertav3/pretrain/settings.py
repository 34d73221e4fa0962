"""``PretrainConfig``: the settings of a pre-training run, in groups, and recipes by model size. No torch.

How settings are read is in :mod:`debertav3.runs.settings`.
"""

from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

from ..data.masking_config import MaskingConfig, Strategy
from ..errors import UserError
from ..runs.settings import Settings, all_settings
from ..runs.values import Count, CountOrZero, Former, Positive, Range, Share, Short
from ..sizes import raw_config
from .phases import MaskingChoice, PhaseConfig, Plan, plan
from .schedules import PretrainOptimizerConfig, as_steps, stable_steps

Objective = Literal["rtd", "mlm"]
Sharing = Literal["gdes", "nes", "es"]

_OFFICIAL: dict[Objective, Strategy] = {"rtd": "windowed", "mlm": "ngram"}
"""The official code's masking for each objective."""


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
    """Temperature at which tokens are sampled from the generator."""
    weight: Annotated[float, Range(above=0), Short("rtd_weight")] = 50.0
    """Weight of the discriminator's loss, the paper's lambda; at 0 nothing would train the discriminator."""
    discriminator_learning_rate: Positive | None = None
    """Peak learning rate of the discriminator; none: learning_rate."""


@dataclass(frozen=True, kw_only=True)
class PretrainDataConfig(Settings):
    """Windows and batches."""

    HEADING: ClassVar[str] = "windows and batches"

    batch_size: Annotated[Count, Former("global_batch")] = 8192
    """Windows per optimizer step, over all processes and micro-batches."""
    micro_batch_size: Annotated[Count, Former("micro_batch")] = 32
    """Windows per forward pass; lower it to save memory."""
    max_length: Annotated[Count, Former("length")] = 512
    """Tokens in a window."""
    packing: Literal["documents", "stream"] = "documents"
    """Segments with block masks, or one stream cut every max_length - 2 tokens (official)."""
    loader_workers: CountOrZero = 0
    """Worker processes that make batches, per training process."""
    validation_windows: CountOrZero = 256
    """Held-out windows to validate on, the same each time."""


@dataclass(frozen=True, kw_only=True)
class PretrainLoopConfig(Settings):
    """Number of steps, and when to log, validate and save; all in optimizer steps."""

    HEADING: ClassVar[str] = "steps"

    max_steps: Annotated[Count, Former("steps")] = 500_000
    """Optimizer steps of the run."""
    log_every_steps: Count = 20
    """Steps between two log lines."""
    eval_every_steps: Annotated[Count, Former("validate_every_steps")] = 500
    """Steps between two validations."""
    save_every_steps: Count = 500
    """Steps between two checkpoints."""
    save_total_limit: Annotated[Count, Former("keep_checkpoints")] = 2
    """How many of the newest checkpoints to keep."""
    max_skipped_steps: Count = 10
    """Stop after this many steps in a row with gradients that are not finite."""


@dataclass(frozen=True, kw_only=True)
class AveragingConfig(Settings):
    """Averages of the weights, exported beside them."""

    HEADING: ClassVar[str] = "averages of the weights"

    ema_decay: Annotated[float, Range(above=0, below=1)] | None = None
    """Decay of the exponential moving average in OUT/ema: 0.999 spans about 1,000 steps; none: no average."""
    mean_last: CountOrZero = 0
    """Average the weights at this many points at the end of the run into OUT/mean; 0: no mean."""
    mean_every_steps: Count = 500
    """Optimizer steps between two of these points; the last point is the end of the run."""

    def points(self, num_steps: int) -> list[int]:
        """After which steps, counted from 1, the weights are added to the mean of a run of a length."""
        first = num_steps - (self.mean_last - 1) * self.mean_every_steps
        return list(range(first, num_steps + 1, self.mean_every_steps)) if self.mean_last else []


@dataclass(frozen=True, kw_only=True)
class ProbeConfig(Settings):
    """Short evaluations during training, which do not affect it."""

    HEADING: ClassVar[str] = "probes during training"

    data: Annotated[tuple[str, ...], Short("probe_data")] = ()
    """Files of labelled rows, or of rows with sentence_good and sentence_bad (--probe-data)."""
    every_steps: Annotated[Count, Short("probe_every_steps")] = 5000
    """Steps between two probes; the last step has one, too."""
    rows: Annotated[Count, Short("probe_rows")] = 2000
    """Maximum rows used of a file."""
    max_length: Annotated[Count, Short("probe_max_length")] = 128
    """Tokens in one text of the probes; longer ones are truncated."""
    finetune_steps: Annotated[CountOrZero, Short("probe_finetune_steps")] = 200
    """Steps of fine-tuning a copy on labelled rows; 0: the linear probe alone."""
    learning_rate: Annotated[Positive, Short("probe_learning_rate")] = 1e-4
    """Peak learning rate of that fine-tuning."""
    batch_size: Annotated[Count, Short("probe_batch_size")] = 32
    """Rows per step of that fine-tuning."""


@dataclass(frozen=True, kw_only=True)
class ComputeConfig(Settings):
    """How the run is computed: changes speed and memory."""

    HEADING: ClassVar[str] = "computation"

    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Mixed precision in bf16 or fp16, or plain fp32; auto: bf16 where the device computes in it."""
    compile: bool = False
    """Compile the layers with torch.compile: minutes at the start, then faster steps."""
    gradient_checkpointing: bool = False
    """Recompute activations: much less memory for about a third more computation."""
    shard_weights: bool = False
    """Spread weights, gradients and optimizer over the processes (FSDP2): less memory, more traffic."""
    exchange_timeout_seconds: Count = 1800
    """Give up if another process has not responded for this many seconds."""


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(Settings):
    """A pre-training run. Defaults are those of the paper's base model; `recipe` gives those of a size."""

    HEADING: ClassVar[str] = "run"

    size: str = "base"
    """Size of the model: nano, xsmall, small, base, large or mdeberta-base."""
    objective: Objective = "rtd"
    """Replaced token detection, or masked words with the enhanced mask decoder."""
    seed: Annotated[int, Range(min=-(2**63), below=2**64)] = 0
    """Random seed of weights, data order, masks and dropout."""
    dropout: Share = 0.1
    """Dropout of hidden states and attention in pre-training; the exported config keeps the size's own."""
    data: PretrainDataConfig = PretrainDataConfig()
    masking: MaskingChoice = field(default_factory=MaskingChoice)
    rtd: DetectionConfig = DetectionConfig()
    optimizer: PretrainOptimizerConfig = field(default_factory=PretrainOptimizerConfig)
    loop: PretrainLoopConfig = PretrainLoopConfig()
    phases: tuple[PhaseConfig, ...] = ()
    """Each with steps, data, weights, batch_size, max_length and mask_prob; none: one phase, the run."""
    averaging: AveragingConfig = AveragingConfig()
    probes: ProbeConfig = ProbeConfig()
    compute: ComputeConfig = ComputeConfig()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.objective == "rtd" and self.rtd.sharing == "es" and self.rtd.mode != "joint":
            raise UserError(
                "embedding sharing (es) lets both losses train the shared table, which is "
                "impossible in two phases (the official default silently discards the "
                "discriminator's gradient): add --set mode=joint"
            )
        if self.rtd.discriminator_learning_rate is not None and (
            self.objective != "rtd" or self.rtd.mode == "joint"
        ):
            raise UserError(
                f"discriminator_learning_rate={self.rtd.discriminator_learning_rate:g} needs objective=rtd "
                "and mode=two-phase: elsewhere one optimizer trains all weights. Leave it out"
            )
        if self.compute.shard_weights and self.compute.precision == "fp16":
            raise UserError(
                "shard_weights cannot be combined with fp16, whose scaler reads whole gradients: use bf16"
            )
        if self.compute.shard_weights and self.optimizer.kind == "muon":
            raise UserError("optimizer=muon needs whole matrices: leave shard_weights out, or use adamw")
        self._check_steps()
        raw_config(self.size)

    def _check_steps(self) -> None:
        steps, averaging = self.loop.max_steps, self.averaging
        if self.stable_steps is not None and self.stable_steps < self.warmup:
            raise UserError(
                f"the warm-up of {self.warmup:,} and the decay of {steps - self.stable_steps:,} steps do not "
                f"fit into max_steps={steps:,}: lower decay_steps or warmup_steps"
            )
        if averaging.mean_last and (averaging.mean_last - 1) * averaging.mean_every_steps >= steps:
            raise UserError(
                f"mean_last={averaging.mean_last} points {averaging.mean_every_steps:,} steps apart do not "
                f"fit into max_steps={steps:,}: lower mean_every_steps"
            )
        _ = self.plan  # checks the phases

    @property
    def plan(self) -> Plan:
        """What each step reads."""
        return plan(
            self.phases,
            masking=self.masking,
            max_steps=self.loop.max_steps,
            batch_size=self.data.batch_size,
            micro_batch_size=self.data.micro_batch_size,
            max_length=self.data.max_length,
        )

    def masking_config(self) -> MaskingConfig:
        """How tokens are masked: always [MASK] for RTD, 80/10/10 for MLM, as officially.

        The share is that of the validation; `plan` has that of each step.
        """
        return MaskingConfig(
            strategy=self.masking.strategy or _OFFICIAL[self.objective],
            mask_prob=self.masking.mask_prob,
            always_mask=self.objective == "rtd",
        )

    @property
    def warmup(self) -> int:
        """Steps of the warm-up: a tenth of the run where ``warmup_steps`` would leave none after it."""
        warmup, steps = self.optimizer.warmup_steps, self.loop.max_steps
        return steps // 10 if warmup >= steps else as_steps(warmup, steps)

    @property
    def stable_steps(self) -> int | None:
        """Steps before the decay of ``wsd`` begins; None for other schedules."""
        return stable_steps(self.optimizer, self.loop.max_steps) if self.optimizer.schedule == "wsd" else None

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
        """What must not change between a run and its resumption; how often to log may.

        Folders are known by content, see `corpora.Corpora.contents`.
        """
        phases = [
            {name: value for name, value in phase.to_dict().items() if name not in _PHASE_MAY_CHANGE}
            for phase in self.phases
        ]
        return {
            name: phases if name == "phases" else value
            for name, value in self.resolved().items()
            if name not in _MAY_CHANGE
        }


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
        *(setting.short for setting in all_settings(ProbeConfig)),
    }
)
_PHASE_MAY_CHANGE = frozenset({"data", "micro_batch_size"})

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
