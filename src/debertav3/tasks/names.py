"""All tasks by name."""

import difflib

from ..errors import UserError
from .choice import CHOICE_TASKS
from .glue import TEXT_TASKS
from .squad import SPAN_TASKS
from .tagging import TAGGING_TASKS
from .task import Task

TASKS: dict[str, Task] = {
    task.name: task for task in (*TEXT_TASKS, *SPAN_TASKS, *TAGGING_TASKS, *CHOICE_TASKS)
}


CUSTOM = "custom"
"""The name of the task that the user's own columns describe."""


def check_task_name(name: str) -> None:
    """Assert that there is such a task.

    Raises:
        UserError: for an unknown name; the nearest is suggested.
    """
    known = [*TASKS, CUSTOM]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UserError(f"unknown task {name!r}: known tasks are {', '.join(known)}.{hint}")
