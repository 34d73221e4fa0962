"""How each kind of task is learned. To add one, write an `Objective` and put it into `_OBJECTIVES`."""

from ...tasks.choice import ChoiceTask
from ...tasks.ranking import RankingTask
from ...tasks.squad import SpanTask
from ...tasks.tagging import TaggingTask
from ...tasks.task import Task
from ...tasks.text import TextTask
from .choice import ChoiceObjective
from .objective import Objective
from .spans import SpanObjective
from .tagging import TaggingObjective
from .text import RankingObjective, TextObjective

__all__ = ["Objective", "objective_of"]

_OBJECTIVES: tuple[tuple[type[Task], type[Objective[Task]]], ...] = (
    (RankingTask, RankingObjective),
    (TextTask, TextObjective),
    (ChoiceTask, ChoiceObjective),
    (TaggingTask, TaggingObjective),
    (SpanTask, SpanObjective),
)
"""For each kind of task its objective; the first that fits is taken."""


def objective_of(task: Task) -> Objective[Task]:
    """Return how a task is learned."""
    return next(objective(task) for kind, objective in _OBJECTIVES if isinstance(task, kind))
