"""The order of training, logging, validating, saving and stopping. Knows no loss."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from accelerate import Accelerator
from torch import Tensor

from ..errors import DivergedError, UserError
from ..json_types import JsonMapping
from ..runs.checkpoints import CheckpointStore
from ..runs.stop import StopFlag
from .averaging import WeightAverages
from .batches import MaskedBatch
from .diagnostics import derived
from .optimization import StepEngine, distance, parameter_copies
from .phases import Plan
from .provenance import changes_since
from .settings import PretrainLoopConfig
from .stable_part import read_state
from .state import restore, save

log = logging.getLogger(__name__)


class TrainStep(Protocol):
    """Forward, backward and optimizer of one step."""

    engines: dict[str, StepEngine]

    def __call__(self, batches: Sequence[MaskedBatch], step: int) -> Mapping[str, Tensor]:
        """Train; returns sums over the micro-batches of this process, and norms."""

    def evaluate(self, batch: MaskedBatch) -> Mapping[str, Tensor]:
        """Sums over a held-out batch."""


class Loop:
    """Runs a step until the end, or until asked to stop.

    Args:
        step: what one step does.
        load: micro-batches for the steps from a first one on.
        config: when what happens.
        seed: of dropout, together with step and process.
        plan: phases and mask rates.
        averages: of the weights.
        store: of checkpoints.
        stable_steps: steps before the decay of ``wsd``, whose checkpoint is kept; None for other schedules.
        accelerator: processes.
        facts: what the run is made of, which every checkpoint repeats; see `provenance.changes_since`.
        write: takes the figures of a log line; called in the first process only.
        validate: figures on held-out text by the number of steps done; called in every process.
        probe: figures of the probes by the number of steps done, None where none are due; called in every
            process.
        begin: checkpoint of another run to begin with, whose steps count as done.
        started: called once with the number of steps that are done already.
    """

    def __init__(
        self,
        step: TrainStep,
        load: Callable[[int], Iterator[list[MaskedBatch]]],
        *,
        config: PretrainLoopConfig,
        seed: int,
        plan: Plan,
        averages: WeightAverages,
        store: CheckpointStore,
        stable_steps: int | None,
        accelerator: Accelerator,
        facts: Mapping[str, object],
        write: Callable[[dict[str, object]], None],
        validate: Callable[[int], dict[str, float]],
        probe: Callable[[int], dict[str, float] | None],
        begin: Path | None,
        started: Callable[[int], None],
    ) -> None:
        self.step = step
        self.load = load
        self.config = config
        self.seed = seed
        self.plan = plan
        self.averages = averages
        self.store = store
        self.stable_steps = stable_steps
        self.accelerator = accelerator
        self.facts = dict(facts)
        self.write = write
        self.validate = validate
        self.probe = probe
        self.begin = begin
        self.started = started
        self.sums: dict[str, Tensor | float] = {}
        self.steps_in_sums = 0
        self.skipped_in_a_row = 0
        self.done = 0
        """Steps done."""
        self._clock = time.perf_counter()
        self._steps_on_clock = 0

    def run(self, *, resume: bool) -> bool:
        """Train. Returns True at the end, False if SIGTERM or Ctrl-C ended it early, with a checkpoint."""
        flag = StopFlag()
        self.done = done = (self._restore() if resume else 0) or self._begin()
        self.started(done)
        batches = self.load(done)
        self._clock = time.perf_counter()
        with flag.listening():
            for number in range(done, self.config.max_steps):
                self._train_one(number, next(batches))
                self.done = number + 1
                stop = self.any_process(flag.is_set)
                self._after(number + 1, stop)
                if stop and number + 1 < self.config.max_steps:
                    message = "stopped by %s after step %d; a checkpoint is saved: continue with --resume"
                    log.warning(message, flag.reason, number + 1)
                    return False
        return True

    def _train_one(self, number: int, batches: list[MaskedBatch]) -> None:
        # One seed per step and process: dropout repeats exactly after a resume, with no state to save.
        torch.manual_seed(_mix_seed(self.seed, number, self.accelerator.process_index))
        is_last = number + 1 == self.config.max_steps
        is_logged = is_last or (number + 1) % self.config.log_every_steps == 0
        is_logged |= self.plan.ends_phase(number + 1)
        trained = [p for engine in self.step.engines.values() for p in engine.trained] if is_logged else []
        before = parameter_copies(trained)
        moved = [batch.to(self.accelerator.device) for batch in batches]
        figures = self.step(moved, number)
        self.averages.update(number)
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.double()
        self.steps_in_sums += 1
        self._steps_on_clock += 1
        self._watch_skipped(number, figures)
        if is_logged:
            self._log(number + 1, {"update_norm": float(distance(trained, before))})

    def _watch_skipped(self, number: int, figures: Mapping[str, Tensor]) -> None:
        if any(bool(value) for name, value in figures.items() if name.endswith("_skipped")):
            self.skipped_in_a_row += 1
            log.warning("step %d skipped: a gradient is not finite", number + 1)
        else:
            self.skipped_in_a_row = 0
        if self.skipped_in_a_row >= self.config.max_skipped_steps:
            raise DivergedError(
                f"{self.skipped_in_a_row} steps in a row had gradients that are not finite. Lower the "
                "learning rate, or use precision fp32 or bf16, and start again in another folder"
            )

    def _after(self, step: int, stop: bool) -> None:
        """Validate, probe and save where they are due; the speed is that of training, without them."""
        started = time.perf_counter()
        is_last = step == self.config.max_steps
        if step % self.config.eval_every_steps == 0 or is_last:
            figures = self.validate(step)
            self._write({"step": step, **{f"heldout_{name}": value for name, value in figures.items()}})
        if (probed := self.probe(step)) is not None:
            self._write({"step": step, **probed})
        is_kept = step == self.stable_steps
        if step % self.config.save_every_steps == 0 or is_last or stop or is_kept:
            self._save(step)
        self._clock += time.perf_counter() - started

    def _log(self, step: int, more: Mapping[str, float]) -> None:
        sums = self._over_processes()
        seconds = time.perf_counter() - self._clock
        steps = self.steps_in_sums
        figures = derived(sums)
        for engine in self.step.engines.values():
            figures[f"{engine.name}_gradient_norm"] = sums[f"{engine.name}_gradient_norm"] / steps
            figures[f"{engine.name}_skipped_steps"] = sums[f"{engine.name}_skipped"]
        engine = next(iter(self.step.engines.values()))
        figures["learning_rate"] = engine.optimizer.param_groups[0]["lr"]
        figures["mask_prob"] = self.plan.mask_prob(step - 1)
        figures["phase"] = 1 + self.plan.phases.index(self.plan.phase(step - 1))
        figures.update(more)
        self._write({"step": step, **figures, "seconds_per_step": seconds / self._steps_on_clock})
        self.sums, self.steps_in_sums, self._steps_on_clock = {}, 0, 0
        self._clock = time.perf_counter()

    def _over_processes(self) -> dict[str, float]:
        """Sums over tokens added up over processes; norms are equal everywhere."""
        figures = {}
        for name, value in self.sums.items():
            tensor = torch.as_tensor(value)
            is_norm = name.endswith(("_norm", "_skipped"))
            figures[name] = float(tensor if is_norm else self.accelerator.reduce(tensor, "sum"))
        return figures

    def _write(self, figures: dict[str, object]) -> None:
        if self.accelerator.is_main_process:
            self.write(figures)

    def _save(self, step: int) -> None:
        state = {
            **self.facts,
            "step": step,
            "window": self._over_processes(),
            "steps_in_window": self.steps_in_sums,
        }
        writes = self.accelerator.is_main_process
        if writes or any(engine.is_spread for engine in self.step.engines.values()):
            save(self.store, self.step.engines, state, averages=self.averages, writes=writes)
        if writes:
            kept = None if self.stable_steps is None else self.store.path(self.stable_steps)
            self.store.remove_older(best=kept)
        self.accelerator.wait_for_everyone()

    def _restore(self) -> int:
        """Load the newest complete checkpoint, if there is one; returns the steps it has done."""
        newest = self.store.newest()
        if newest is None:
            return 0
        state = read_state(newest)
        if changed := ", ".join(changes_since(state, self.facts)):
            raise UserError(
                "--resume needs the settings, the data and the starting weights of the first run; changed "
                f"since {newest}: {changed}. Put them back, or choose another --out."
            )
        log.info("resuming from %s", newest)
        return self._load(newest, state)

    def _begin(self) -> int:
        """Load the checkpoint of another run to begin with, if there is one; returns its steps."""
        if self.begin is None:
            return 0
        log.info("continuing the stable part of %s", self.begin)
        return self._load(self.begin, read_state(self.begin))

    def _load(self, checkpoint: Path, state: JsonMapping) -> int:
        restore(self.step.engines, checkpoint, self.averages)
        if self.accelerator.is_main_process:
            # JSON has no NaN: a sum that was not finite is null.
            self.sums = {name: math.nan if sum_ is None else sum_ for name, sum_ in state["window"].items()}
        else:
            self.sums = {name: 0.0 for name in state["window"]}
        self.steps_in_sums = state["steps_in_window"]
        return int(state["step"])

    def any_process(self, flag: bool) -> bool:
        """Whether the flag is set in any process; every one of them must call."""
        if self.accelerator.num_processes == 1:
            return flag
        tensor = torch.tensor(float(flag), device=self.accelerator.device)
        return bool(self.accelerator.reduce(tensor, "sum") > 0)


def _mix_seed(seed: int, step: int, rank: int) -> int:
    """A seed for each step and process, by SplitMix64's finalizer."""
    x = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + rank * 0x94D049BB133111EB) % 2**64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return int(x ^ (x >> 31))
