"""The user's own files as a task: columns by name, and the kind of label from the data unless it is said."""

import difflib
import logging
import re
from collections.abc import Sequence
from itertools import islice
from typing import Any

from ..errors import UserError
from .columns import TEXT_COLUMNS
from .formats import CONLL
from .labels import SEVERAL_SEPARATOR, is_named_flags
from .metrics import MetricName
from .ranking import RankingTask
from .rows import Row, is_missing, listed, python_list, shortened, structured
from .source_file import AS_FOUND, ReadOptions
from .tables import read_table
from .tagging import TaggingTask, is_marked_text
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
_LABEL_PART = re.compile(r"label|class|categor|target|sentiment|judge?ment|gold|cats|intent|topic")
_MORE_PAIRS = (("text_a", "text_b"), ("text", "text_b"), ("context", "hypothesis"), ("t", "h"))
"""Names of two texts in data of other programs, in addition to `TEXT_COLUMNS`."""
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
    options: ReadOptions = AS_FOUND,
) -> Task:
    """Describe a user's data.

    Args:
        source: first training source, which is looked at for what is not said.
        text_column: of the text, or the first of two.
        pair_column: of the second text.
        label_column: of the label.
        label_kind: ``auto``, ``one-label``, ``several-labels``, ``number``, ``tags`` or ``ranking``.
        options: what is said about the form of files with words and tags.

    Raises:
        UserError: if a named column does not exist, or no column can be recognised as the label.
    """
    reading = read_table(source, options=options)
    if reading.format is CONLL:
        return TaggingTask(name="custom", options=options)
    rows = list(islice(reading, _ROWS_LOOKED_AT))
    if not rows:
        raise UserError(f"{source} has no rows.")
    if label_column is None and label_kind in ("auto", "tags") and _marks_entities(rows[0], text_column):
        return TaggingTask(name="custom", options=options)
    label = _label_column(rows, label_column, source)
    text = _text_column(rows, text_column, source, taken=(label, pair_column))
    texts = (text,) if pair_column is None else (text, _existing(rows, pair_column, source))
    kind = (
        label_kind
        if label_kind != "auto"
        else _kind_of([row.fields.get(label) for row in rows], [row.fields.get(text) for row in rows])
    )
    if text_column is None and pair_column is None and kind != "tags":
        _ask_about_texts(rows, text, label=label)
    _ask_about_labels(rows, label, kind=kind, is_said=label_kind != "auto")
    pair = f" and {texts[1]!r}" if len(texts) > 1 else ""
    logger.info("custom: text %r%s, label %r, read as %s", text, pair, label, kind)
    _hint(rows, texts=texts, label=label, kind=kind)
    if kind == "tags":
        return TaggingTask(name="custom", words_column=(text,), tags_column=(label,), options=options)
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


def _marks_entities(row: Row, text_column: str | None) -> bool:
    """Whether a row has a text with entities, or words and tags under the usual names, and no class."""
    if is_marked_text(row):
        return not any(name in row.fields for name in _LABEL_NAMES)
    cells = [python_list(structured(row.fields.get(name))) for name in ("tokens", "ner_tags")]
    return text_column is None and all(isinstance(cell, list) for cell in cells)


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
    raise UserError(
        f"which column is the label? {source} has {listed(rows[0].fields)}. "
        f"{_about_header(rows)}Say --label-column NAME{_likely_label(rows)}."
    )


def _about_header(rows: Sequence[Row]) -> str:
    """A sentence for a file whose first line looks like a row, not like names of columns."""
    if any(re.fullmatch(r"[-+]?\d[\d.,]*", name) for name in rows[0].fields):
        return "Its first line is read as the names; if it is a row, put a line with names before it. "
    return ""


def _likely_label(rows: Sequence[Row]) -> str:
    """What helps to name the label: columns of 0 and 1, or the likeliest one by name and values."""
    flags = [column for column in rows[0].fields if _is_flag(rows, column)]
    if len(flags) > 1:
        return (
            f"; if {listed(flags)} are labels with 1 for yes, write the names of those that hold into one "
            f"column, with {SEVERAL_SEPARATOR!r} between them"
        )
    sizes = _text_sizes(rows, taken=())
    text = max(sizes, key=lambda column: sizes[column], default=None)
    counts = {column: _distinct(rows, column) for column in rows[0].fields if column != text}
    named = [column for column in counts if _LABEL_PART.search(column.lower())]
    candidates = named or [column for column, count in counts.items() if count < len(rows)]
    if not candidates:
        return ""
    likely = min(candidates, key=lambda column: counts[column])
    reason = "by its name" if named else f"which has the fewest different values ({counts[likely]})"
    return f"; the likeliest is {likely!r}, {reason}"


def _is_flag(rows: Sequence[Row], column: str) -> bool:
    """Whether a column holds nothing but 0 and 1."""
    return {str(row.fields.get(column)) for row in rows} in ({"0", "1"}, {"0.0", "1.0"}, {"True", "False"})


def _ask_about_texts(rows: Sequence[Row], text: str, *, label: str) -> None:
    """Ask where the column with the longest texts need not be the text, or not alone.

    Raises:
        UserError: if two columns have the names of a pair, or the longest texts repeat more than others do.
    """
    names = [column for column in _text_sizes(rows, taken=(label,)) if column != label]
    pair = _pair_by_name(names)
    if pair is not None:
        raise UserError(
            f"are {pair[0]!r} and {pair[1]!r} a pair? Say --text-column {pair[0]} --pair-column {pair[1]}; "
            "or, for one text, --text-column NAME alone."
        )
    sizes = _text_sizes(rows, taken=(label,))
    for other in names:
        if 3 * sizes[other] > sizes[text] and _num_different(rows, text) < _num_different(rows, other):
            raise UserError(
                f"which column is the text? {text!r} has the longest texts, but repeats them; {other!r} has "
                "more different ones. Say --text-column NAME."
            )


def _pair_by_name(names: Sequence[str]) -> tuple[str, str] | None:
    """Two columns whose names say that their texts belong together."""
    by_lower = {name.lower(): name for name in names}
    for first, second in (*(pair for pair in TEXT_COLUMNS if len(pair) == 2), *_MORE_PAIRS):
        if first.lower() in by_lower and second.lower() in by_lower:
            return by_lower[first.lower()], by_lower[second.lower()]
    for name in by_lower:
        stem = re.sub(r"[_ ]?b$", "", name)
        for first in (stem, f"{stem}_a", f"{stem} a"):
            if re.search(r"[_ ]b$", name) and first in by_lower:
                return by_lower[first], by_lower[name]
    return None


def _ask_about_labels(rows: Sequence[Row], label: str, *, kind: str, is_said: bool) -> None:
    """Ask where cells hold several labels in a spelling that would be read as one label.

    Raises:
        UserError: if so.
    """
    if kind not in ("one-label", "several-labels"):
        return
    values = [row.fields.get(label) for row in rows]
    said = ", or say --label-kind one-label" if kind == "one-label" else ""
    advice = f"Write them with {SEVERAL_SEPARATOR!r} between them, or as a JSON list{said}."
    cells = [value.strip() for value in values if isinstance(value, str)]
    if kind == "one-label" and is_said:
        return
    written = next((one for one in cells if re.match(r"[\[(]\s*['\"]", one) and one == structured(one)), None)
    if written is not None:
        raise UserError(f"label {shortened(written)} is a list in Python's spelling. {advice}")
    whole = set(cells)
    for cell in cells:
        parts = [part.strip() for part in re.split("[,;]", cell)]
        if not is_said and kind == "one-label" and len(parts) > 1 and whole.intersection(parts):
            raise UserError(f"label {shortened(cell)} looks like several labels. {advice}")


def _distinct(rows: Sequence[Row], column: str) -> int:
    """How many different values a column has; one alone makes no label and counts as the most."""
    count = _num_different(rows, column)
    return count if count > 1 else len(rows) + 1


def _num_different(rows: Sequence[Row], column: str) -> int:
    """How many different values a column has, empty ones aside."""
    values = [row.fields.get(column) for row in rows]
    return len({str(value) for value in values if not is_missing(value)})


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


def _kind_of(values: Sequence[object], texts: Sequence[object]) -> str:
    given = [structured(value) for value in values if not is_missing(value)]
    if any(isinstance(value, list) for value in given):
        has_words = any(isinstance(structured(text), list) for text in texts)
        return "tags" if has_words else "several-labels"
    if any(isinstance(value, dict) and is_named_flags(value) and sum(value.values()) != 1 for value in given):
        return "several-labels"
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
