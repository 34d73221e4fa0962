"""Files to examples: every row is checked before training begins, and an error names file and line."""

import logging
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.jsonl import read_jsonl
from ..errors import UserError
from .task import Task

logger = logging.getLogger(__name__)

_NO_GOLD = ("-1", "-", "")
"""How public NLI sets write that the annotators did not agree; such rows are passed over."""


@dataclass(frozen=True, slots=True)
class Example:
    """One or two texts and the right answer."""

    texts: tuple[str, ...]
    label: str | float
    """The label's name in the task's normal form, or a number for regression."""


def read_examples(task: Task, path: str | Path) -> list[Example]:
    """Read a JSONL file (plain or gzip).

    Raises:
        UserError: if the file is missing, malformed or empty, a column is missing, a text is empty or a label
            unknown.
    """
    examples, passed_over = [], 0
    for number, fields in read_jsonl(path):
        place = f"{path} line {number}"
        texts = tuple(_text(fields, names, place) for names in task.columns)
        value = fields[_column(fields, task.label_column, place)]
        if not task.is_regression and (value is None or str(value).strip() in _NO_GOLD):
            passed_over += 1
            continue
        examples.append(Example(texts, _label(task, value, place)))
    if passed_over:
        logger.warning("%s: passed over %d rows without a gold label", path, passed_over)
    if not examples:
        columns = ", ".join(names[0] for names in task.columns)
        raise UserError(
            f"{path} has no labelled rows. Need JSON lines with {columns} and {task.label_column[0]}."
        )
    return examples


def _column(fields: dict[str, Any], names: Sequence[str], place: str) -> str:
    for name in names:
        if name in fields:
            return name
    raise UserError(
        f"{place} has no column {' or '.join(map(repr, names))}; "
        f"it has {', '.join(map(repr, fields)) or 'none'}."
    )


def _text(fields: dict[str, Any], names: Sequence[str], place: str) -> str:
    column = _column(fields, names, place)
    text = fields[column]
    if not isinstance(text, str):
        raise UserError(f"{place}: {column} must be a text, got {type(text).__name__}.")
    if not text.strip():
        raise UserError(f"{place}: {column} is empty. Fill it in or leave the row out.")
    return text


def _label(task: Task, value: Any, place: str) -> str | float:
    if task.is_regression:
        try:
            return float(value)
        except (TypeError, ValueError):
            raise UserError(f"{place}: the label must be a number, got {value!r}.") from None
    label = task.normal_label(value)
    known = sorted({name for names in task.label_sets for name in names})
    if label not in known:
        raise UserError(f"{place}: unknown label {value!r}; task {task.name} knows {', '.join(known)}.")
    return label


def choose_labels(task: Task, examples: Sequence[Example], *, source: str) -> tuple[str, ...]:
    """Return the first of the task's label sets that has every label of the examples; empty for regression.

    Raises:
        UserError: if no set has them all, or only one label occurs.
    """
    if task.is_regression:
        return ()
    seen = Counter(str(example.label) for example in examples)
    for names in task.label_sets:
        if set(seen) <= set(names):
            if len(seen) == 1:
                raise UserError(
                    f"{source}: all {len(examples)} rows are {next(iter(seen))!r}; need at least two labels."
                )
            return names
    sets = " or ".join("/".join(names) for names in task.label_sets)
    raise UserError(f"{source}: labels {', '.join(sorted(seen))} do not go together; need {sets}.")


def check_labels(examples: Sequence[Example], labels: Sequence[str], *, source: str) -> None:
    """Assert that a dev set has no label that training does not know.

    Raises:
        UserError: otherwise.
    """
    unknown = sorted({str(example.label) for example in examples} - set(labels))
    if labels and unknown:
        raise UserError(
            f"{source}: label {unknown[0]!r} does not occur in training, which has {', '.join(labels)}."
        )


def warn_of_overlap(train: Sequence[Example], dev: Sequence[Example], *, source: str) -> int:
    """Count dev examples whose texts also stand in the training data, and warn if there are any."""
    known = {example.texts for example in train}
    shared = sum(example.texts in known for example in dev)
    if shared:
        logger.warning(
            "%s: %d of %d examples are also in the training data; its scores will be too good",
            source,
            shared,
            len(dev),
        )
    return shared


def take_balanced(examples: Sequence[Example], limit: int | None, *, seed: int) -> list[Example]:
    """Draw ``limit`` examples, labels as balanced as the data allow; None means all."""
    if limit is None or limit >= len(examples):
        return list(examples)
    generator = random.Random(seed)
    shuffled = generator.sample(range(len(examples)), len(examples))
    by_label: dict[str, list[int]] = defaultdict(list)
    for index in shuffled:
        label = examples[index].label
        by_label[label if isinstance(label, str) else ""].append(index)
    turns = sorted(
        (turn, name, index) for name, indices in by_label.items() for turn, index in enumerate(indices)
    )
    return [examples[index] for index in sorted(index for _, _, index in turns[:limit])]
