"""From the options of ``predict`` and ``evaluate`` to a task over a file that is ready to be opened."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .input_checks import check_file, check_loading, did_you_mean, open_checkpoint

if TYPE_CHECKING:
    from ..inference.files.row_answers import AnswerOptions
    from ..inference.files.workers import TaskPlan
    from ..tasks.columns import Columns

logger = logging.getLogger(__name__)


def plan_of(
    task: str,
    source: Path,
    options: "AnswerOptions",
    *,
    source_format: str | None,
    model: str,
    labels: str | None,
    nli_labels: str | None,
    **loading: Any,
) -> "TaskPlan":
    """How to open a task over a file; mistakes in either are reported before torch is loaded.

    Args:
        task: as the user names it.
        source: the rows.
        options: of the task, as far as they do not depend on ``labels``.
        source_format: of the rows; None goes by what they look like.
        model: folder or Hub name.
        labels: ``--labels``: names of outputs or candidates, or the file of a map.
        nli_labels: ``--nli-labels``.
        loading: backend, device, precision, batches and length, as `Predictor.from_pretrained` takes them.

    Raises:
        UserError: for an unknown task, a faulty file, or an option that means nothing for the task.
    """
    from ..files.named_sets import DATASETS_PREFIX
    from ..inference.files.input import open_rows
    from ..inference.files.row_answers import FILE_TASKS
    from ..inference.files.workers import TaskPlan
    from ..tasks.columns import find_columns
    from ..tasks.names import answering_name
    from ..tasks.tables import is_folder_of_rows

    named = task
    if answering_name(named, {}) not in FILE_TASKS:
        near = did_you_mean(named, list(FILE_TASKS))
        raise UserError(f"unknown task {named!r}.{near} Choose one of: {', '.join(FILE_TASKS)}.")
    check_loading(backend=loading["backend"], dtype=loading["dtype"])
    checkpoint = None
    if named not in FILE_TASKS:
        checkpoint = open_checkpoint(model)
        task = answering_name(named, checkpoint.folder.json("config.json"))
        logger.info("task %s is answered as %s", named, task)
    if not str(source).startswith(DATASETS_PREFIX):
        if not is_folder_of_rows(source):
            check_file("--data", source, advice="Give the path of a file of rows, or datasets:NAME.")
        reading = replace(options.reading, format=source_format)
        next(iter(open_rows(task, source, reading)), None)  # a wrong format shows at once
    checkpoint = checkpoint or open_checkpoint(model)
    trained = checkpoint.trained
    if task != named:
        trained = trained._replace(task=trained.task or named)
    kind, asked = FILE_TASKS[task], options.columns
    for option, column in (
        ("--text-column", asked.text),
        ("--pair-column", asked.pair),
        ("--label-column", asked.label),
    ):
        if column is not None and option not in kind.column_options:
            raise UserError(f"task {task} reads no column that {option} names. Leave it out.")
    for option in ("word_column", "tag_column", "tag_names"):
        if getattr(options.reading, option) and task != "ner":
            raise UserError(f"--{option.replace('_', '-')} is for task ner, not {task}. Leave it out.")
    columns = find_columns(trained, asked)
    settled = replace(
        options,
        candidate_labels=_candidates(named, labels),
        label_map=_label_map(labels),
        columns=columns,
        trained_task=trained.task,
        reading=options.reading.with_columns(columns.names),
    )
    loading["labels"] = _head_labels(named, labels, nli_labels)
    return TaskPlan(task=task, checkpoint=checkpoint, options=settled, loading=loading)


def asked_columns(text: str | None, pair: str | None, label: str | None) -> "Columns":
    from ..tasks.columns import Columns

    return Columns(text=text, pair=pair, label=label)


def label_list(text: str | None) -> list[str] | None:
    """Labels written with commas."""
    return None if text is None else [label.strip() for label in text.split(",")]


def _label_map(labels: str | None) -> Mapping[str, str]:
    """What rows call labels, if ``--labels`` names a file of that."""
    from ..tasks.label_map import ENDINGS, read_label_map

    return read_label_map(labels) if labels is not None and labels.endswith(ENDINGS) else {}


def _names_labels(labels: str | None) -> bool:
    """Whether ``--labels`` has names rather than the file of a map."""
    return labels is not None and not labels.endswith((".yaml", ".yml", ".json"))


def _candidates(task: str, labels: str | None) -> tuple[str, ...] | None:
    found = label_list(labels) if task == "zero-shot" and _names_labels(labels) else None
    return tuple(found) if found else None


def _head_labels(task: str, labels: str | None, nli_labels: str | None) -> list[str] | None:
    own = labels if _names_labels(labels) else None
    return label_list(nli_labels if task == "zero-shot" else own or nli_labels)


def threshold(text: str) -> float | None:
    if text == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise UserError(f"--null-threshold must be a number or none, got {text!r}.") from None
