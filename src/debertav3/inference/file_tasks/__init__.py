"""The tasks over rows of files: what a row must hold, what comes back, how it is scored.

A task here reads rows, asks the `Predictor`, and says which scorer compares the answers with the truth.
"""

from .best_of_several import ChoiceTask, RerankTask
from .labels import ClassifyTask, NLITask, ZeroShotTask
from .task import AnswerOptions, FileTask, Result
from .words import FillMaskTask, NERTask, QATask, RTDTask

__all__ = ["FILE_TASKS", "AnswerOptions", "FileTask", "Result"]

FILE_TASKS: dict[str, type[FileTask]] = {
    task.name: task
    for task in (
        NLITask,
        ClassifyTask,
        ZeroShotTask,
        RerankTask,
        NERTask,
        QATask,
        FillMaskTask,
        RTDTask,
        ChoiceTask,
    )
}
"""Every task by name."""
