"""The user's own files as a task: columns by name, and the kind of label from the data unless it is said."""

import difflib
import logging
import re
from collections.abc import Sequence
from itertools import islice
from typing import Any

from ..errors import UserError
from .formats import CONLL
from .labels import SEVERAL_SEPARATOR
from .metrics import MetricName
from .ranking import RankingTask
from .rows import Row, is_missing, listed, structured
from .tables import read_table
from .tagging import TaggingTask
from .task import Task
from .text import Target, TextTask

logger = logging.getLogger(__name__)

_LABEL_NAMES = (
    "label",
    "labels",
    "class",
    "category",
    "target",
    "sentiment",
    "score",
    "rating",
    "stars",
    "relevance",
    "relevant",
    "tags",
    "ner_tags",
)
_ROWS_LOOKED_AT = 1000
_MOST_LABELS = 20
"""Whole numbers with more different values than this are taken for a quantity, not for names of classes."""
_METRICS: dict[str, tuple[MetricName, ...]] = {
    "one-label": ("accuracy", "macro_f1", "matthews_corrcoef"),
    "several-labels": ("micro_f1", "macro_f1"),
    "number": ("pearson", "spearman", "rmse", "mae"),
}


def custom_task(
    source: str,
    *,
    text_column: str | None = None,
    pair_column: str | None = None,
    label_column: str | None = None,
    label_kind: str = "auto",
) -> Task:
    """Describe a user's data.

    Args:
        source: first training source, which is looked at for what is not said.
        text_column: of the text, or the first of two.
        pair_column: of the second text.
        label_column: of the label.
        label_kind: ``auto``, ``one-label``, ``several-labels``, ``number``, ``tags`` or ``ranking``.

    Raises:
        UserError: if a named column does not exist, or no column can be told to be the label.
    """
    reading = read_table(source)
    if reading.format is CONLL:
        return TaggingTask(name="custom")
    rows = list(islice(reading, _ROWS_LOOKED_AT))
    if not rows:
        raise UserError(f"{source} has no rows.")
    label = _label_column(rows, label_column, source)
    text = _text_column(rows, text_column, source, taken=(label, pair_column))
    texts = (text,) if pair_column is None else (text, _existing(rows, pair_column, source))
    kind = (
        label_kind
        if label_kind != "auto"
        else _kind_of([row.fields.get(label) for row in rows], [row.fields.get(text) for row in rows])
    )
    pair = f" and {texts[1]!r}" if len(texts) > 1 else ""
    logger.info("custom: text %r%s, label %r, read as %s", text, pair, label, kind)
    _hint(rows, texts=texts, label=label, kind=kind)
    if kind == "tags":
        return TaggingTask(name="custom", words_column=(text,), tags_column=(label,))
    if kind == "ranking":
        if len(texts) < 2:
            raise UserError(
                "ranking needs a query and a text: name their columns with --text-column NAME and "
                "--pair-column NAME."
            )
        return RankingTask(name="custom", columns=(texts,), label_column=(label,))
    target: Target = kind  # type: ignore[assignment]
    return TextTask(
        name="custom",
        columns=(texts,),
        label_column=(label,),
        target=target,
        no_gold=(),
        metrics=_METRICS[kind],
    )


def named_columns(task: Task) -> dict[str, str]:
    """The columns that task custom has settled on: ``text``, ``pair`` if there is one, and ``label``."""
    if isinstance(task, TextTask):
        texts, label = task.columns[0], task.label_column
    elif isinstance(task, TaggingTask):
        texts, label = task.words_column[:1], task.tags_column
    else:
        return {}
    return dict(zip(("text", "pair"), texts, strict=False)) | {"label": label[0]}


def _hint(rows: Sequence[Row], *, texts: Sequence[str], label: str, kind: str) -> None:
    """Say what may be meant otherwise: a second text that is left aside, labels that no bar divides."""
    sizes = _text_sizes(rows, taken=(label,))
    others = [column for column in sizes if column not in texts]
    near = [column for column in others if 3 * sizes[column] > sizes.get(texts[0], 0)]
    if len(texts) == 1 and near and kind != "tags":
        logger.info(
            "custom: column %r is not read; if the two are a pair, add --pair-column %s", near[0], near[0]
        )
    values = [str(row.fields.get(label)) for row in rows if isinstance(row.fields.get(label), str)]
    if kind == "several-labels" and not any(SEVERAL_SEPARATOR in value for value in values):
        marked = next((value for value in values if re.search(r"[,;]", value)), None)
        if marked is not None:
            logger.info(
                "custom: %r counts as one label; several have %r between them", marked, SEVERAL_SEPARATOR
            )


def _existing(rows: Sequence[Row], name: str, source: str) -> str:
    if name in rows[0].fields:
        return name
    near = difflib.get_close_matches(name.lower(), [column.lower() for column in rows[0].fields], n=1)
    meant = [column for column in rows[0].fields if near and column.lower() == near[0]]
    hint = f" Did you mean {meant[0]!r}?" if meant else ""
    raise UserError(f"{source} has no column {name!r}; it has {listed(rows[0].fields)}.{hint}")


def _label_column(rows: Sequence[Row], named: str | None, source: str) -> str:
    if named is not None:
        return _existing(rows, named, source)
    by_lower = {column.lower(): column for column in rows[0].fields}
    for name in _LABEL_NAMES:
        if name in by_lower:
            return by_lower[name]
    likely = min(rows[0].fields, key=lambda column: _distinct(rows, column))
    raise UserError(
        f"which column is the label? {source} has {listed(rows[0].fields)}. Say --label-column NAME; the "
        f"fewest different values ({_distinct(rows, likely)}) are in {likely!r}."
    )


def _distinct(rows: Sequence[Row], column: str) -> int:
    """How many different values a column has, empty ones aside; one value in all rows is no label."""
    values = [row.fields.get(column) for row in rows]
    count = len({str(value) for value in values if not is_missing(value)})
    return count if count > 1 else len(rows) + 1


def _text_column(rows: Sequence[Row], named: str | None, source: str, *, taken: Sequence[str | None]) -> str:
    """The column that is named, or else the one with the longest texts."""
    if named is not None:
        return _existing(rows, named, source)
    sizes = _text_sizes(rows, taken=taken)
    if not sizes:
        raise UserError(
            f"which column is the text? {source} has {listed(rows[0].fields)}. Say --text-column NAME."
        )
    return max(sizes, key=lambda column: sizes[column])


def _text_sizes(rows: Sequence[Row], *, taken: Sequence[str | None]) -> dict[str, int]:
    """Length of all texts of each column that holds texts, or of its lists."""
    sizes: dict[str, int] = {}
    for row in rows:
        for column, value in row.fields.items():
            if column not in taken and isinstance(value, str | list):
                sizes[column] = sizes.get(column, 0) + len(value)
    return sizes


def _kind_of(values: Sequence[Any], texts: Sequence[Any]) -> str:
    given = [structured(value) for value in values if not is_missing(value)]
    if any(isinstance(value, list) for value in given):
        has_words = any(isinstance(structured(text), list) for text in texts)
        return "tags" if has_words else "several-labels"
    numbers = [_number(value) for value in given]
    if all(number is not None for number in numbers):
        distinct = set(numbers)
        is_whole = all(number is not None and number.is_integer() for number in distinct)
        return "one-label" if is_whole and len(distinct) <= _MOST_LABELS else "number"
    return "several-labels" if any(SEVERAL_SEPARATOR in str(value) for value in given) else "one-label"


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
