"""The examples by which int8 is judged, checked before anything is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...checkpoint.folder import Checkpoint
from ...errors import UserError
from ...heads import BY_NAME, ENCODER, MULTIPLE_CHOICE, SEQUENCE, heads_in
from ...tasks.columns import Columns, Trained, find_columns
from ..backends.protocol import head_for
from ..files.input import check_file
from ..files.row_answers import AnswerOptions
from ..files.workers import TaskPlan
from ..output_labels import is_nli, label_names

MIN_EXAMPLES = 20


@dataclass(frozen=True)
class Calibration:
    """The examples by which int8 is judged."""

    path: Path
    """Rows as ``debertav3 predict`` reads them."""
    columns: Columns = field(default_factory=Columns)
    """Those that the user says."""
    trained: Trained = field(default_factory=Trained)
    """What the checkpoint says of its data."""

    def options(self, task: str) -> AnswerOptions:
        """How a task reads the rows: in the same way as prediction with the checkpoint."""
        return AnswerOptions(
            columns=find_columns(self.trained, self.columns),
            trained_task=self.trained.task if task == "choice" else None,
        )

    def check_number(self, number: int) -> None:
        """Assert that there are enough examples.

        Raises:
            UserError: otherwise.
        """
        if number < MIN_EXAMPLES:
            raise UserError(
                f"{self.path} has {number} rows; the int8 gate needs at least "
                f"{MIN_EXAMPLES}, better a few hundred."
            )

    def check(self, checkpoint: Checkpoint, *, task: str | None) -> None:
        """Read all rows as the gate will, and say what was understood of them; loads no weights.

        Raises:
            UserError: if the checkpoint has no head that int8 could be checked by, a row cannot be read, or
                there are too few.
        """
        head = head_to_export(checkpoint.config, task=task, place=checkpoint.name)
        answers = task or task_of(head, checkpoint.config)
        plan = TaskPlan(task=answers, checkpoint=checkpoint, options=self.options(answers))
        self.check_number(check_file(plan.open(), self.path).num_rows)


def head_to_export(raw: Mapping[str, object], *, task: str | None, place: str) -> str:
    """Which head a checkpoint is exported with: see `head_for`; a bare encoder also goes.

    Raises:
        UserError: if nothing says which.
    """
    if task is None and {head.name for head in heads_in(raw.get("architectures"))} == {ENCODER}:
        return ENCODER
    return head_for(raw, task=task, place=place)


def task_of(head: str, config: Mapping[str, object]) -> str:
    """The task whose rows a head reads.

    Args:
        head: what is exported.
        config: the checkpoint's ``config.json``.

    Raises:
        UserError: if there is none.
    """
    if head == SEQUENCE:
        return "nli" if is_nli(label_names(config)) else "classify"
    if head in (MULTIPLE_CHOICE, ENCODER):
        raise UserError(f"a {head} head makes no decisions that int8 could be checked with; export fp32.")
    return BY_NAME[head].tasks[0]
