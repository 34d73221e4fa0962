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


def find_task(name: str) -> Task:
    """Look a task up by name.

    Raises:
        UserError: for an unknown name; the nearest is suggested.
    """
    if name not in TASKS:
        near = difflib.get_close_matches(name, TASKS, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UserError(f"unknown task {name!r}: known tasks are {', '.join(TASKS)}.{hint}")
    return TASKS[name]
