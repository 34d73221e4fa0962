"""What happens around the steps of a training: order of data, extra saves, signals, the progress bar."""

import time
from contextlib import ExitStack
from typing import Any, NoReturn

import torch
from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from ..runs.stop import StopFlag
from .batches import LengthBucketSampler


class EpochOrder(TrainerCallback):
    """Tells the sampler which epoch begins."""

    def __init__(self, sampler: LengthBucketSampler) -> None:
        self.sampler = sampler

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Called before the epoch's data loader is opened, also when a run is resumed within an epoch."""
        self.sampler.epoch = int(state.epoch or 0)


class ExtraSaves(TrainerCallback):
    """Saves between evaluations: every so many steps, and on SIGTERM or Ctrl-C, after which the run stops.

    Where an evaluation is due after the last step of an epoch, its own checkpoint does for both: a resumed
    run has seen just the evaluations that the unbroken one has.

    Args:
        every: steps between checkpoints; None for none.
        evaluates_epochs: whether each epoch ends in an evaluation.
    """

    def __init__(self, every: int | None, *, evaluates_epochs: bool) -> None:
        self.every = every
        self.evaluates_epochs = evaluates_epochs
        self.is_stopped = False
        self._steps_per_epoch = 1
        self.request = StopFlag()
        self._listening = ExitStack()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Count the steps of an epoch and listen to signals."""
        self._steps_per_epoch = max(1, len(kwargs["train_dataloader"]) // args.gradient_accumulation_steps)
        self._listening.enter_context(self.request.listening())

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Called after each optimizer step."""
        self.is_stopped = self.is_stopped or self.request.is_set
        self._agree(args)
        is_due = self.every is not None and state.global_step % self.every == 0
        if (is_due or self.is_stopped) and not self._ends_epoch(state):
            control.should_save = True
        if self.is_stopped:
            control.should_training_stop = True

    def _agree(self, args: TrainingArguments) -> None:
        """Let all processes stop after the same step, whichever got the signal first."""
        if args.world_size > 1:
            flag = torch.tensor(int(self.is_stopped), device=args.device)
            torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
            self.is_stopped = bool(flag)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Also called when an epoch is interrupted: then there is nothing to evaluate."""
        if self.is_stopped and not self._ends_epoch(state):
            control.should_evaluate = control.should_save = control.should_log = False

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Listen no longer."""
        self._listening.close()

    def _ends_epoch(self, state: TrainerState) -> bool:
        is_last = state.global_step % self._steps_per_epoch == 0 or state.global_step >= state.max_steps
        return self.evaluates_epochs and is_last


class Tally(TrainerCallback, ExportableState):
    """What a run adds up over all its parts, however often it is resumed."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """Of training, evaluations included, up to the last step."""
        self.skipped_steps = 0
        self.bad_steps_in_a_row = 0
        """Steps without a finite gradient since the last with one."""
        self._begun = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Start the clock, counting the time spent before a resume."""
        self._begun = time.perf_counter() - self.seconds

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Read the clock."""
        self.seconds = time.perf_counter() - self._begun

    def state(self) -> dict[str, object]:
        """Return what a checkpoint keeps."""
        kept = ("seconds", "skipped_steps", "bad_steps_in_a_row")
        return {"args": {}, "attributes": {name: getattr(self, name) for name in kept}}


class ProgressBar(TrainerCallback):
    """One bar on stderr with the last loss, learning rate and dev score."""

    def __init__(self) -> None:
        self._bar: tqdm[NoReturn] | None = None
        self._shown: dict[str, str] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Open the bar."""
        if state.is_world_process_zero:
            self._bar = tqdm(
                total=state.max_steps, initial=state.global_step, desc="train", unit="step", mininterval=1.0
            )

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Move on by a step."""
        if self._bar is not None:
            self._bar.update(state.global_step - self._bar.n)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: object,
    ) -> None:
        """Show what was logged."""
        if self._bar is None or logs is None:
            return
        if "loss" in logs:
            self._shown |= {"loss": f"{logs['loss']:.4f}", "lr": f"{logs['learning_rate']:.1e}"}
        dev = {key.removeprefix("eval_"): value for key, value in logs.items() if key.startswith("eval_")}
        if dev:
            scores = ", ".join(
                f"{key} {value:.4f}"
                for key, value in dev.items()
                if not key.endswith(("_per_second", "runtime"))
            )
            tqdm.write(
                f"step {state.global_step} (epoch {logs.get('epoch', 0):.2f}): dev {scores}",
                file=self._bar.fp,
            )
        self._bar.set_postfix(self._shown, refresh=False)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
