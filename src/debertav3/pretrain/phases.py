"""What each step of a run reads: shards, length, batch and mask rate, by phase. No torch.

A run without phases has one. Everything here is arithmetic on the number of the step, so a resumed run, and a
run of any number of processes, switches at the same samples.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from ..data.masking_config import Strategy
from ..errors import UserError
from ..runs.settings import Settings
from ..runs.values import Count, Range, Short

MaskProb = Annotated[float, Range(above=0, max=0.5)]


@dataclass(frozen=True, kw_only=True)
class MaskingChoice(Settings):
    """Which tokens are masked."""

    HEADING: ClassVar[str] = "masking"

    strategy: Annotated[Strategy | None, Short("masking")] = None
    """Which tokens are masked; none: as in the official code, windowed for rtd and ngram for mlm."""
    mask_prob: MaskProb = 0.15
    """Share of the tokens to mask, at the start if it changes; validation always masks this share."""
    mask_schedule: Literal["constant", "linear", "piecewise"] = "constant"
    """constant; linear: to mask_prob_end over the run; piecewise: by mask_points."""
    mask_prob_end: MaskProb | None = None
    """For linear: share at the last step."""
    mask_points: tuple[str, ...] = ()
    """For piecewise: STEP:SHARE, such as [60000:0.15, 90000:0.05], the share from that step on."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, wanted in (("mask_prob_end", "linear"), ("mask_points", "piecewise")):
            is_given = getattr(self, name) not in (None, ())
            if is_given != (self.mask_schedule == wanted):
                cure = f"set mask_schedule={wanted}, or leave it out" if is_given else f"add --set {name}=..."
                lack = "needs no" if is_given else "needs"
                raise UserError(f"mask_schedule={self.mask_schedule} {lack} {name}: {cure}")
        steps = [step for step, _ in self.points()]
        if any(a >= b for a, b in pairwise([0, *steps])):
            raise UserError(
                f"the steps of mask_points must increase from 1; got {', '.join(map(str, steps))}"
            )

    def points(self) -> list[tuple[int, float]]:
        """``mask_points`` as numbers.

        Raises:
            UserError: for one that is not STEP:SHARE.
        """
        found = []
        for text in self.mask_points:
            step, _, share = text.partition(":")
            try:
                point = int(step), float(share)
            except ValueError as error:
                raise UserError(f"mask_points needs STEP:SHARE, such as 60000:0.15; got {text!r}") from error
            if not 0 < point[1] <= 0.5:
                raise UserError(f"mask_points: a share must be above 0 and at most 0.5; got {text!r}")
            found.append(point)
        return found

    def at(self, step: int, num_steps: int) -> float:
        """Share of the tokens masked in a step (counted from 0) of a run of ``num_steps``."""
        if self.mask_schedule == "linear" and self.mask_prob_end is not None:
            return _between(self.mask_prob, self.mask_prob_end, step, num_steps)
        return [self.mask_prob, *(share for first, share in self.points() if first <= step)][-1]


@dataclass(frozen=True, kw_only=True)
class PhaseConfig(Settings):
    """One phase of a run; what is not set is as in the run."""

    steps: Count | None = None
    """Optimizer steps; none, in the last phase: to the end of the run."""
    data: tuple[str, ...] = ()
    """Folders of shards; none: --data."""
    weights: tuple[float, ...] = ()
    """Sampling weights of the folders; none: in proportion to their windows."""
    batch_size: Count | None = None
    """Windows per optimizer step."""
    micro_batch_size: Count | None = None
    """Windows per forward pass."""
    max_length: Count | None = None
    """Tokens in a window."""
    mask_prob: MaskProb | None = None
    """Share of the tokens to mask, at the start if mask_prob_end is set; none: the run's schedule."""
    mask_prob_end: MaskProb | None = None
    """Share at the last step of the phase, reached linearly; none: constant."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights and len(self.weights) != len(self.data):
            raise UserError(
                f"a phase has {len(self.data)} folders and {len(self.weights)} weights: give one for each"
            )
        if not all(weight > 0 for weight in self.weights):
            raise UserError(f"the weights of a phase must be above 0; got {list(self.weights)}")
        if len(set(self.data)) < len(self.data):
            raise UserError(f"a phase names a folder twice: {', '.join(self.data)}. Give it a larger weight")
        if self.mask_prob_end is not None and self.mask_prob is None:
            raise UserError("a phase with mask_prob_end needs mask_prob, the share at its first step")


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A phase with everything settled; steps and samples are counted from 0 over the whole run."""

    first_step: int
    last_step: int
    """The step after its last one."""
    first_sample: int
    batch_size: int
    micro_batch_size: int
    max_length: int
    data: tuple[str, ...]
    weights: tuple[float, ...]
    mask_prob: float | None
    mask_prob_end: float | None

    @property
    def num_samples(self) -> int:
        """Windows of the whole phase."""
        return (self.last_step - self.first_step) * self.batch_size


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every step of a run."""

    phases: tuple[Phase, ...]
    masking: MaskingChoice

    @property
    def num_steps(self) -> int:
        """Steps of the run."""
        return self.phases[-1].last_step

    @property
    def max_length(self) -> int:
        """Tokens of the longest windows."""
        return max(phase.max_length for phase in self.phases)

    def phase(self, step: int) -> Phase:
        """The phase of a step."""
        return self.phases[bisect_right(self.phases, step, key=lambda phase: phase.first_step) - 1]

    def mask_prob(self, step: int) -> float:
        """Share of the tokens that is masked in a step."""
        phase = self.phase(step)
        if phase.mask_prob is None:
            return self.masking.at(step, self.num_steps)
        if phase.mask_prob_end is None:
            return phase.mask_prob
        steps = phase.last_step - phase.first_step
        return _between(phase.mask_prob, phase.mask_prob_end, step - phase.first_step, steps)

    def tokens(self, steps: int) -> int:
        """Tokens of the first ``steps`` steps."""
        return sum(
            (min(steps, phase.last_step) - phase.first_step) * phase.batch_size * phase.max_length
            for phase in self.phases
            if phase.first_step < steps
        )

    def ends_phase(self, steps: int) -> bool:
        """Whether a phase ends when ``steps`` steps are done."""
        return any(phase.last_step == steps for phase in self.phases)

    def until(self, steps: int) -> list[dict[str, object]]:
        """What the first ``steps`` steps are made of; plans that agree in it read the same masked samples."""
        return [
            {
                "steps": min(steps, phase.last_step) - phase.first_step,
                "batch_size": phase.batch_size,
                "max_length": phase.max_length,
                "weights": phase.weights,
                "mask_prob": self._masking_of(phase, steps),
            }
            for phase in self.phases
            if phase.first_step < steps
        ]

    def _masking_of(self, phase: Phase, steps: int) -> tuple[object, ...]:
        """What the mask rates of a phase follow from, up to a step."""
        if phase.mask_prob is not None:
            num_steps = None if phase.mask_prob_end is None else phase.last_step - phase.first_step
            return phase.mask_prob, phase.mask_prob_end, num_steps
        masking = self.masking
        num_steps = self.num_steps if masking.mask_schedule == "linear" else None
        points = tuple(point for point in masking.points() if point[0] < steps)
        return masking.mask_prob, masking.mask_prob_end, num_steps, points


def _between(first: float, last: float, step: int, num_steps: int) -> float:
    """From ``first`` at step 0 to ``last`` at the last of ``num_steps`` steps, in a line."""
    return first + (last - first) * (step / max(1, num_steps - 1))


def plan(
    phases: Sequence[PhaseConfig],
    *,
    masking: MaskingChoice,
    max_steps: int,
    batch_size: int,
    micro_batch_size: int,
    max_length: int,
) -> Plan:
    """Settle the phases of a run.

    Args:
        phases: as the settings say; none is one phase.
        masking: of the run.
        max_steps: of the run.
        batch_size: of phases that say none, as the two below.
        micro_batch_size: likewise; at most ``batch_size`` counts.
        max_length: likewise.

    Raises:
        UserError: if the steps of the phases are not those of the run.
    """
    given = list(phases) or [PhaseConfig()]
    for number, phase in enumerate(given[:-1], start=1):
        if phase.steps is None:
            raise UserError(f"phase {number} of {len(given)} needs steps: only the last may leave them out")
    before = sum(phase.steps or 0 for phase in given[:-1])
    last = max_steps - before if given[-1].steps is None else given[-1].steps
    if last < 1 or before + last != max_steps:
        advice = "" if last < 1 else f" Set max_steps={before + last}, or leave steps out in the last phase"
        raise UserError(
            f"the phases have {before + max(last, 0):,} steps together and max_steps is {max_steps:,}."
            f"{advice or ' The last phase would have none: set max_steps higher'}"
        )
    if (points := masking.points()) and points[-1][0] >= max_steps:
        raise UserError(f"mask_points names step {points[-1][0]:,} of a run of {max_steps:,} steps")
    settled: list[Phase] = []
    step = sample = 0
    for phase in given:
        settled.append(
            Phase(
                first_step=step,
                last_step=step + (phase.steps or last),
                first_sample=sample,
                batch_size=phase.batch_size or batch_size,
                micro_batch_size=phase.micro_batch_size or micro_batch_size,
                max_length=phase.max_length or max_length,
                data=phase.data,
                weights=phase.weights,
                mask_prob=phase.mask_prob,
                mask_prob_end=phase.mask_prob_end,
            )
        )
        step, sample = settled[-1].last_step, sample + settled[-1].num_samples
    return Plan(phases=tuple(settled), masking=masking)
