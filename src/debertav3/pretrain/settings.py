"""``PretrainConfig``: everything a run can be told, recipes by model size, and ``--set key=value``."""

import contextlib
import difflib
import math
import typing
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import yaml

from ..data.masking import MaskingConfig
from ..errors import UserError
from ..sizes import raw_config

if TYPE_CHECKING:
    from .optimization import OptimizerConfig


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """A pre-training run. Defaults are those of the paper's base model; `recipe` gives those of a size."""

    size: str = "base"
    """Which model, see `debertav3.sizes`."""
    objective: str = "rtd"
    """``"rtd"`` or ``"mlm"`` (with the enhanced mask decoder)."""
    sharing: str = "gdes"
    """``"gdes"``, ``"nes"`` or ``"es"``."""
    mode: str = "two-phase"
    """``"two-phase"`` (official) or ``"joint"``; ES needs joint."""
    generator_layers: int | None = None
    """Depth of the generator, at least 1; None for half of the discriminator's, at its width."""

    steps: int = 500_000
    global_batch: int = 8192
    """Windows of one optimiser step, over all processes and micro-batches."""
    micro_batch: int = 32
    """Windows of one forward pass: the lever for memory."""
    length: int = 512
    """Tokens of a window."""
    packing: str = "documents"
    """``"documents"`` (segments with block masks) or ``"stream"`` (official: cut every length - 2 tokens)."""
    masking: str | None = None
    """``"windowed"``, ``"unbiased"``, ``"whole-word"`` or ``"ngram"``; None for the official choice of the
    objective: windowed for RTD, ngram for MLM."""
    mask_prob: float = 0.15
    temperature: float = 1.0
    """Of the generator's draws."""
    rtd_weight: float = 50.0
    """The paper's lambda."""

    learning_rate: float = 6e-4
    discriminator_learning_rate: float | None = None
    """None for the same."""
    warmup_steps: int = 10_000
    """As long as the run or longer, it is shortened to a tenth of the run, with a warning."""
    beta1: float = 0.9
    beta2: float = 0.98
    epsilon: float = 1e-6
    weight_decay: float = 0.01
    max_gradient_norm: float = 1.0
    dropout: float = 0.1
    """Of hidden states and attention in pre-training; the exported config keeps the size's own."""

    precision: str = "auto"
    """``"fp32"``, ``"bf16"``, ``"fp16"``, or ``"auto"``: bf16 where the device computes in it."""
    compile: bool = False
    """Compile the layers with torch.compile: minutes at the start, faster steps after."""
    gradient_checkpointing: bool = False
    """About a third more computation for much less memory."""
    shard_weights: bool = False
    """Spread weights, gradients and optimizer over the processes (FSDP2): less memory, more traffic."""
    seed: int = 0
    loader_workers: int = 0
    """Processes that make batches beside each training process."""

    log_every_steps: int = 20
    validate_every_steps: int = 500
    validation_windows: int = 256
    """Held-out windows to validate on, the same each time."""
    save_every_steps: int = 500
    keep_checkpoints: int = 2
    max_skipped_steps: int = 10
    exchange_timeout_seconds: int = 1800
    """After which a process that hears nothing from the others gives up, for a launcher to start anew."""

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise UserError(f"{name} must be one of {', '.join(allowed)}; got {getattr(self, name)!r}")
        if self.objective == "rtd" and self.sharing == "es" and self.mode != "joint":
            raise UserError(
                "embedding sharing (es) lets both losses train the shared table, which two phases cannot do "
                "(the official default silently throws the discriminator's part away): add --set mode=joint"
            )
        if self.shard_weights and self.precision == "fp16":
            raise UserError(
                "shard_weights does not go with fp16, whose scaler reads whole gradients: use bf16"
            )
        for name, (wanted, is_right) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and is_right(value)):
                raise UserError(f"{name} must be {wanted}; got {value}")
        raw_config(self.size)
        self.masking_config()

    def masking_config(self) -> MaskingConfig:
        """How tokens are masked: always [MASK] for RTD, 80/10/10 for MLM, as officially."""
        return MaskingConfig(
            strategy=self.masking or _MASKING[self.objective],
            mask_prob=self.mask_prob,
            always_mask=self.objective == "rtd",
        )

    @property
    def warmup(self) -> int:
        """Steps of the warm-up: a tenth of the run where ``warmup_steps`` would leave none after it."""
        return self.warmup_steps if self.warmup_steps < self.steps else self.steps // 10

    def optimizer_config(self, *, is_discriminator: bool = False) -> "OptimizerConfig":
        """The optimizer of the generator (or the only one), or of the discriminator."""
        rate = self.learning_rate
        if is_discriminator and self.discriminator_learning_rate is not None:
            rate = self.discriminator_learning_rate
        from .optimization import OptimizerConfig  # which loads torch; wrong settings are told before

        return OptimizerConfig(
            learning_rate=rate,
            warmup_steps=self.warmup,
            beta1=self.beta1,
            beta2=self.beta2,
            epsilon=self.epsilon,
            weight_decay=self.weight_decay,
            max_gradient_norm=self.max_gradient_norm,
        )

    def resolved(self) -> dict[str, Any]:
        """All settings by name, with the masking that None stands for and the warm-up that the run has."""
        return {**asdict(self), "masking": self.masking_config().strategy, "warmup_steps": self.warmup}

    def identity(self) -> dict[str, Any]:
        """What must not change between a run and its resumption; how often to log may."""
        return {name: value for name, value in self.resolved().items() if name not in _MAY_CHANGE}


_CHOICES: dict[str, tuple[str, ...]] = {
    "objective": ("rtd", "mlm"),
    "sharing": ("gdes", "nes", "es"),
    "mode": ("two-phase", "joint"),
    "packing": ("documents", "stream"),
    "precision": ("auto", "fp32", "bf16", "fp16"),
}

_MASKING = {"rtd": "windowed", "mlm": "ngram"}
"""What the official code does for each objective."""

_Range = tuple[str, Callable[[float], bool]]
_AT_LEAST_0: _Range = ("at least 0", lambda x: x >= 0)
_AT_LEAST_1: _Range = ("at least 1", lambda x: x >= 1)
_ABOVE_0: _Range = ("above 0", lambda x: x > 0)
_BELOW_1: _Range = ("at least 0 and below 1", lambda x: 0 <= x < 1)
_RANGES: dict[str, _Range] = {
    **dict.fromkeys(("steps", "global_batch", "micro_batch", "generator_layers"), _AT_LEAST_1),
    **dict.fromkeys(("log_every_steps", "validate_every_steps", "save_every_steps"), _AT_LEAST_1),
    **dict.fromkeys(("keep_checkpoints", "max_skipped_steps", "exchange_timeout_seconds"), _AT_LEAST_1),
    **dict.fromkeys(("warmup_steps", "loader_workers", "validation_windows"), _AT_LEAST_0),
    **dict.fromkeys(("rtd_weight", "weight_decay", "max_gradient_norm"), _AT_LEAST_0),
    **dict.fromkeys(("learning_rate", "discriminator_learning_rate", "epsilon", "temperature"), _ABOVE_0),
    **dict.fromkeys(("beta1", "beta2", "dropout"), _BELOW_1),
    "seed": ("from -2**63 to 2**64 - 1", lambda x: -(2**63) <= x < 2**64),
}

_MAY_CHANGE = frozenset(
    {
        "micro_batch",
        "precision",
        "compile",
        "gradient_checkpointing",
        "shard_weights",
        "loader_workers",
        "log_every_steps",
        "validate_every_steps",
        "validation_windows",
        "save_every_steps",
        "keep_checkpoints",
        "max_skipped_steps",
        "exchange_timeout_seconds",
    }
)

# DeBERTaV3, arXiv:2111.09543, table 14: batch 8192, 500k steps, warm-up 10k; rate 3e-4 for large, else 6e-4.
_RECIPES: dict[str, dict[str, Any]] = {
    "xsmall": {},
    "small": {},
    "base": {},
    "large": {"learning_rate": 3e-4, "gradient_checkpointing": True, "micro_batch": 16},
    "mdeberta-base": {},
    # Ours, for two processor cores and a few hours; a model this small needs no dropout and a high rate.
    "nano": {
        "steps": 20_000,
        "global_batch": 32,
        "micro_batch": 32,
        "length": 128,
        "packing": "stream",
        "masking": "unbiased",
        "learning_rate": 1e-3,
        "warmup_steps": 400,
        "dropout": 0.0,
        "save_every_steps": 200,
        "validate_every_steps": 500,
    },
}


def recipe(size: str) -> PretrainConfig:
    """The configuration of a size; V2 sizes get large's.

    Raises:
        UserError: if there is no such size.
    """
    raw_config(size)
    return PretrainConfig(size=size, **_RECIPES.get(size, _RECIPES["large"]))


def with_overrides(config: PretrainConfig, assignments: Sequence[str]) -> PretrainConfig:
    """Apply ``key=value`` strings.

    Raises:
        UserError: for a key that does not exist (with the nearest one), or a value of the wrong type.
    """
    types = typing.get_type_hints(PretrainConfig)
    names = [field.name for field in fields(PretrainConfig)]
    changes: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise UserError(f"--set needs key=value; got {assignment!r}")
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(names)}"
            raise UserError(f"--set: there is no {name!r}.{hint}")
        changes[name] = _read_value(name, text, types[name])
    return replace(config, **changes)


def _read_value(name: str, text: str, wanted: Any) -> Any:
    allowed = typing.get_args(wanted) or (wanted,)
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    if isinstance(value, str) and float in allowed:
        with contextlib.suppress(ValueError):  # YAML reads 3e-4 as a string
            value = float(value)
    if float in allowed and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if str in allowed and not isinstance(value, str):
        value = text  # "no", "on" and numbers are words here
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        kinds = " or ".join("nothing" if kind is type(None) else kind.__name__ for kind in allowed)
        raise UserError(f"--set {name}: need {kinds}; got {text!r}")
    return value
