"""All tasks by name."""

import difflib

from ..errors import UserError
from .glue import GLUE_TASKS
from .task import Task

TASKS: dict[str, Task] = {task.name: task for task in GLUE_TASKS}


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
