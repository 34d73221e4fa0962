"""All tasks by name: one name for a task in every command, or an alias that says so.

``finetune``, ``data check``, ``search`` and ``compare`` know tasks by their data (``sst2``), ``predict`` and
``evaluate`` by their answer (``classify``). Each takes the other's names.
"""

import difflib
import logging

from ..errors import UserError
from ..heads import BY_NAME, TOKENS, heads_in
from ..json_types import JsonMapping
from .choice import CHOICE_TASKS
from .glue import TEXT_TASKS
from .squad import SPAN_TASKS
from .tagging import TAGGING_TASKS
from .task import Task

logger = logging.getLogger(__name__)

TASKS: dict[str, Task] = {
    task.name: task for task in (*TEXT_TASKS, *SPAN_TASKS, *TAGGING_TASKS, *CHOICE_TASKS)
}


CUSTOM = "custom"
"""The name of the task that the user's own columns describe."""

_TRAINED_AS = {"classify": (CUSTOM, "auto"), "rerank": (CUSTOM, "ranking"), "qa": ("squad2", None)}
"""Names of `predict` for which training has another: its name and the kind of label."""
_ENTAILMENT = ("nli", "mnli", "rte")


def training_name(name: str) -> tuple[str, str | None]:
    """The task that trains what a name of `predict` answers, and its kind of label if that is decided."""
    if name not in _TRAINED_AS:
        return name, None
    task, kind = _TRAINED_AS[name]
    logger.info("task %s is trained as %s%s", name, task, f" with --label-kind {kind}" if kind else "")
    return task, kind


def answering_name(name: str, config: JsonMapping) -> str:
    """The task of `predict` that answers what a name of training learns; any other name as it is.

    Args:
        name: such as ``sst2`` or ``custom``.
        config: the model's ``config.json``, which decides for ``custom``.
    """
    if name in _ENTAILMENT:
        return "nli"
    if name == CUSTOM:
        heads = heads_in(config.get("architectures"))
        if heads and heads[0].name == TOKENS:
            return heads[0].tasks[0]
        is_ranking = config.get("problem_type") == "multi_label_classification"
        return "rerank" if is_ranking and len(config.get("id2label") or "xx") == 1 else "classify"
    return BY_NAME[TASKS[name].head].tasks[0] if name in TASKS else name


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
