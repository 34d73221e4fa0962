"""From the options of ``predict`` and ``evaluate`` to a task over a file that is ready to be opened."""

import logging
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .input_checks import check_file, did_you_mean, open_checkpoint

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
    from ..tasks.sources import is_folder_of_rows

    named = task
    if answering_name(named, {}) not in FILE_TASKS:
        near = did_you_mean(named, list(FILE_TASKS))
        raise UserError(f"unknown task {named!r}.{near} Choose one of: {', '.join(FILE_TASKS)}.")
    checkpoint = None
    if named not in FILE_TASKS:
        checkpoint = open_checkpoint(model)
        task = answering_name(named, checkpoint.folder.json("config.json"))
        logger.info("task %s is treated as %s", named, task)
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
        ("--choice-columns", ",".join(asked.choices) or None),
    ):
        if column is not None and option not in kind.column_options:
            raise UserError(f"task {task} does not read the column that {option} names. Leave it out.")
    _refuse_options_of_others(task, options, nli_labels=nli_labels)
    if labels is not None and not _names_labels(labels) and "--label-column" not in kind.column_options:
        raise UserError(f"task {task} has no labels that --labels could name. Leave it out.")
    columns = find_columns(trained, asked)
    settled = replace(
        options,
        candidate_labels=_candidates(named, labels),
        label_map=_label_map(labels),
        columns=columns,
        trained_task=trained.task,
        reading=options.reading if task == "ner" else options.reading.with_columns(columns.names),
    )
    loading["labels"] = _head_labels(named, labels, nli_labels)
    return TaskPlan(task=task, checkpoint=checkpoint, options=settled, loading=loading)


_OPTION_TASKS = {
    "template": ("zero-shot",),
    "multi_label": ("zero-shot",),
    "aggregation": ("ner",),
    "top_k": ("fill-mask",),
    "n_best": ("qa",),
    "null_threshold": ("qa",),
    "word_column": ("ner",),
    "tag_column": ("ner",),
    "tag_names": ("ner",),
    "nli_labels": ("zero-shot", "rerank"),
}
"""Options that some tasks read: names in `AnswerOptions` or its ``reading``."""


def _refuse_options_of_others(task: str, options: "AnswerOptions", *, nli_labels: str | None) -> None:
    """Refuse options that the task would ignore, and values that it cannot use.

    Raises:
        UserError: naming the option.
    """
    from ..inference.entities import check_aggregation
    from ..inference.files.row_answers import AnswerOptions
    from ..inference.task_steps import check_template

    usual = AnswerOptions()
    given = [name for name in _OPTION_TASKS if getattr(options, name, None) != getattr(usual, name, None)]
    given += [name for name in _OPTION_TASKS if getattr(options.reading, name, None)]
    given += ["nli_labels"] if nli_labels else []
    for name in given:
        if task not in (tasks := _OPTION_TASKS[name]):
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"{option} is for task {' and '.join(tasks)}, not {task}. Leave it out.")
    check_template(options.template)
    check_aggregation(options.aggregation)


def asked_columns(text: str | None, pair: str | None, label: str | None, choices: str | None) -> "Columns":
    """The columns that the user names."""
    from ..tasks.columns import Columns

    return Columns(text=text, pair=pair, label=label, choices=tuple(label_list(choices) or ()))


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
    if found and not all(found):
        raise UserError(
            f"--labels {labels}: label {found.index('') + 1} is empty. Separate labels with one comma."
        )
    return tuple(found) if found else None


def _head_labels(task: str, labels: str | None, nli_labels: str | None) -> list[str] | None:
    own = labels if _names_labels(labels) else None
    return label_list(nli_labels if task == "zero-shot" else own or nli_labels)


def threshold(text: str) -> float | None:
    if text == "none":
        return None
    with suppress(ValueError):
        if not math.isnan(found := float(text)):
            return found
    raise UserError(f"--null-threshold must be a number or none, got {text!r}.")
