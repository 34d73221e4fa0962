"""Where the figures of a run go: ``metrics.jsonl``, TensorBoard, the progress bar."""

import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tqdm import tqdm

from ..files import write_text
from ..json_types import JsonMapping
from .phases import Plan

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

log = logging.getLogger(__name__)


class MetricsLog:
    """``metrics.jsonl``, TensorBoard where it is installed, and the progress bar, in the first process.

    Args:
        out: the run's folder.
        plan: of the run.
        seconds_at_peak: seconds that a token of a step would take if every operation ran at the measured rate
            of matrix products.
        is_main: whether this is the first process.
    """

    def __init__(
        self, out: Path, plan: Plan, *, seconds_at_peak: Callable[[int], float], is_main: bool
    ) -> None:
        self.seconds_at_peak = seconds_at_peak
        self.path = out / "metrics.jsonl"
        self.plan = plan
        self.is_main = is_main

    def __enter__(self) -> "MetricsLog":
        self._bar: tqdm[NoReturn] = tqdm(
            total=self.plan.num_steps, unit="step", disable=None if self.is_main else True
        )
        self._stream: Any = None
        self._board: SummaryWriter | None = None
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()
        for sink in (self._stream, self._board):
            if sink is not None:
                sink.close()

    def forget_after(self, step: int) -> None:
        """Begin at ``step``: what a lost stretch of the run had written beyond it is taken back."""
        if not self.is_main:
            return
        if self.path.exists():
            rows = [line for line in self.path.read_text(encoding="utf-8").splitlines(keepends=True)]
            kept = [line for line in rows if line.endswith("\n") and json.loads(line)["step"] <= step]
            write_text(self.path, "".join(kept))
        self._stream = self.path.open("a", encoding="utf-8", buffering=1)
        self._board = _open_board(self.path.parent / "tensorboard", step)
        self._bar.update(step - self._bar.n)

    def write(self, figures: JsonMapping) -> None:
        """Write one line of figures."""
        step, row = figures["step"], dict(figures)
        if seconds := row.get("seconds_per_step"):
            phase = self.plan.phase(step - 1)  # every step since the row before is of this phase
            row["tokens_per_second"] = phase.batch_size * phase.max_length / seconds
            row["model_flops_utilisation"] = row["tokens_per_second"] * self.seconds_at_peak(step - 1)
            row["hours_left"] = self._seconds_left(step, row["tokens_per_second"]) / 3600
        row = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in row.items()
        }
        self._stream.write(json.dumps(row) + "\n")
        if self._board is not None:
            for name, value in row.items():
                if value is not None:
                    self._board.add_scalar(name, value, step)
        self._bar.update(step - self._bar.n)
        names = [name for name in ("mlm_loss", "rtd_loss", "rtd_f1") if row.get(name) is not None]
        shown = {name: f"{row[name]:.4g}" for name in names}
        if shown:
            self._bar.set_postfix(shown)
            log.info("step %d: %s", step, ", ".join(f"{name} {value}" for name, value in shown.items()))

    def _seconds_left(self, step: int, tokens_per_second: float) -> float:
        return (self.plan.tokens(self.plan.num_steps) - self.plan.tokens(step)) / tokens_per_second


def _open_board(folder: Path, step: int) -> "SummaryWriter | None":
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)
