"""The checkpoints of a run: where they are, what they note, and which one continues a stable part. No torch.

A ``wsd`` run keeps the checkpoint at the end of its stable part. Another run may continue it, longer or with
a decay of its own: ``--from RUN --resume-stable``. Up to the checkpoint both runs are one, with the same
settings, data and steps. What comes after it may differ: the number of steps, the decay, and phases that
have not begun.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..files import MANIFEST, sha256_of_file
from ..json_types import JsonMapping, JsonObject
from ..runs.checkpoints import CheckpointStore
from ..runs.record import differences, read_record
from ..runs.settings import current_names
from .settings import PretrainConfig

STATE = "state.json"
_MAY_DIFFER = frozenset(
    {"max_steps", "decay_steps", "decay_shape", "phases", "mean_last", "mean_every_steps"}
    | {"mask_schedule", "mask_points", "mask_prob_end"}  # the plans are compared instead
)


def checkpoints_of(out: Path, *, keep: int = 1) -> CheckpointStore:
    """The checkpoints of the run in ``out``."""
    return CheckpointStore(out, name="step", digits=9, keep=keep)


def read_state(checkpoint: Path) -> JsonObject:
    """What was recorded with a checkpoint."""
    state: dict[str, object] = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    return state


@dataclass(frozen=True)
class StablePart:
    """The checkpoint of a run to continue from.

    Attributes:
        run: the folder of the run.
        checkpoint: in its stable part.
        num_phases: phases that have begun by then.
        start: what the run itself started from, as its ``run.json`` notes it.
    """

    run: Path
    checkpoint: Path
    num_phases: int
    start: Path | None

    def weights(self) -> Path | None:
        """What networks of the right shape are built from, before the checkpoint is loaded into them.

        Raises:
            UserError: if the run started from a checkpoint itself and has exported nothing yet.
        """
        if self.start is None:
            return None
        if not (self.run / "encoder").is_dir():
            raise UserError(
                f"{self.run} has no encoder/ yet, which says how its networks are built: stop it with "
                "Ctrl-C, which exports them, or let it end"
            )
        return self.run

    def content(self) -> dict[str, str]:
        """What identifies the checkpoint."""
        return {"stable part": sha256_of_file(self.checkpoint / MANIFEST)}


def find_stable_part(run: Path, config: PretrainConfig) -> StablePart:
    """Find the newest intact checkpoint of the stable part of a run, and check that a run may continue it.

    Args:
        run: the folder of the run.
        config: of the run that is to continue it.

    Raises:
        UserError: if there is none, or the settings differ in what the steps up to it were made with.
    """
    if config.stable_steps is None:
        raise UserError(f"--resume-stable needs schedule=wsd, and it is {config.optimizer.schedule}")
    record = read_record(run, needs=("config", "contents"))
    before = PretrainConfig.of(**current_names(PretrainConfig, record["config"]))
    if before.stable_steps is None:
        raise UserError(f"{run} has schedule={before.optimizer.schedule}: only a wsd run has a stable part")
    store = checkpoints_of(run)
    checkpoint = store.newest(most=before.stable_steps)
    if checkpoint is None:
        raise UserError(
            f"{run} has no intact checkpoint of its stable part, which ends at step {before.stable_steps:,}"
        )
    steps = store.step_of(checkpoint)
    if config.stable_steps < steps or config.loop.max_steps <= steps:
        raise UserError(
            f"{checkpoint} has {steps:,} steps, and the run would be stable until step "
            f"{config.stable_steps:,} of {config.loop.max_steps:,}: set max_steps or decay_steps so that the "
            "decay begins there or later"
        )
    if changed := ", ".join(_changes(before, config, steps)):
        raise UserError(
            f"--resume-stable needs the settings that {checkpoint} was made with; changed: {changed}. Put "
            "them back, or start from the weights alone, without --resume-stable"
        )
    begun = sum(phase.first_step < steps for phase in config.plan.phases)
    start = record.get("start")
    return StablePart(run, checkpoint, begun, None if start is None else Path(start))


def _changes(before: PretrainConfig, now: PretrainConfig, steps: int) -> Iterator[str]:
    old, new = (
        {name: value for name, value in config.identity().items() if name not in _MAY_DIFFER}
        for config in (before, now)
    )
    yield from differences(old, new)
    if before.plan.until(steps) != now.plan.until(steps):
        yield f"phases or mask rates within the first {steps:,} steps"
    old_points, new_points = (
        [point for point in config.averaging.points(config.loop.max_steps) if point <= steps]
        for config in (before, now)
    )
    if new_points and new_points != old_points:
        yield f"mean_last or mean_every_steps (points of the mean within the first {steps:,} steps)"


def check_contents(part: StablePart, contents: JsonMapping) -> None:
    """Check that data and tokenizer up to the checkpoint are those of the run that made it.

    Args:
        part: what is continued.
        contents: of the run that continues it, see `provenance.run_contents`.

    Raises:
        UserError: if they are not.
    """
    before = read_state(part.checkpoint)["contents"]
    begun = [str(number + 1) for number in range(part.num_phases)]
    old, new = (
        {
            "data": content["data"],
            "tokenizer": content["tokenizer"],
            "phases": {number: content.get("phases", {}).get(number, {}) for number in begun},
        }
        for content in (before, contents)
    )
    if changed := ", ".join(differences(old, new)):
        raise UserError(
            f"--resume-stable needs the data that {part.checkpoint} was made with; changed: {changed}"
        )
