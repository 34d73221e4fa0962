"""The user's own files as a task: columns by name, and the kind of label from the data unless it is said."""

import difflib
from collections.abc import Mapping
from itertools import islice

from ..errors import UserError
from .columns import actual_name
from .formats import CONLL
from .guesses import Guesser
from .labels import CUSTOM_LABEL_NAMES
from .metrics import MetricName
from .notes import Note
from .ranking import RankingTask
from .read_options import AS_FOUND, ReadOptions
from .rows import Row, listed, structured
from .tables import read_table
from .tagging import TaggingTask, is_marked_text
from .task import Task
from .text import Target, TextTask

_ROWS_LOOKED_AT = 1000
_INTENT = "intent"
"""A class that texts with entities have, too, in the files of SNIPS and Rasa."""
_METRICS: dict[str, tuple[MetricName, ...]] = {
    "one-label": ("accuracy", "macro_f1", "matthews_corrcoef"),
    "several-labels": ("micro_f1", "macro_f1"),
    "number": ("pearson", "spearman", "rmse", "mae"),
}


def custom_task(
    source: str,
    options: ReadOptions = AS_FOUND,
    *,
    text_column: str | None = None,
    pair_column: str | None = None,
    label_column: str | None = None,
    label_kind: str = "auto",
    label_map: Mapping[str, str] | None = None,
) -> Task:
    """Describe a user's data.

    Args:
        source: first training source, which is looked at for what is not said.
        options: how it is read.
        text_column: of the text, or the first of two.
        pair_column: of the second text.
        label_column: of the label, or several with commas between them.
        label_kind: ``auto``, ``one-label``, ``several-labels``, ``number``, ``tags`` or ``ranking``.
        label_map: what the user calls labels, and what they are to be called.

    Raises:
        UserError: if a named column does not exist, or no column can be recognized as the label.
    """
    reading = read_table(source, options)
    if reading.format is CONLL:
        return TaggingTask(name="custom", label_map=label_map or {})
    rows = list(islice(reading, _ROWS_LOOKED_AT))
    if not rows:
        raise UserError(f"{source} has no rows.")
    if label_column is None and label_kind in ("auto", "tags") and _marks_entities(rows[0], text_column):
        has_class = _INTENT in rows[0].fields
        both = Note(f"the label is the entities, and not {_INTENT!r}", f"--label-column {_INTENT}")
        return TaggingTask(name="custom", label_map=label_map or {}, notes=(both,) if has_class else ())
    known = set(reading.notes.understood)
    found = Guesser(rows, reading)
    said = [None if name is None else _existing(rows, name, source) for name in (text_column, pair_column)]
    text, pair = said
    label = _labels(rows, label_column, source) if label_column else found.label([text, pair])
    texts = (text,) if text is not None else found.texts(label, text=pair)
    if pair is not None:
        texts = (texts[0], pair)
    kind, separator = label_kind, "|"
    if label_kind == "auto":
        kind, separator = found.kind(label, texts[0])
    elif kind == "several-labels" and label in rows[0].fields:
        separator = found.separator(label)
    notes = tuple(note for note in reading.notes.understood if note not in known)
    if kind == "tags":
        return TaggingTask(
            name="custom", words_column=(texts[0],), tags_column=(label,), label_map=label_map or {}
        )
    if kind == "ranking":
        if len(texts) < 2:
            raise UserError(
                "ranking needs a query and a text: name their columns with --text-column NAME and "
                "--pair-column NAME."
            )
        return RankingTask(
            name="custom", columns=(texts,), label_column=(label,), label_map=label_map or {}, notes=notes
        )
    target: Target = kind  # type: ignore[assignment]
    return TextTask(
        name="custom",
        columns=(texts,),
        label_column=(label,),
        target=target,
        separator=separator,
        label_map=label_map or {},
        no_gold=(),
        metrics=_METRICS[kind],
        notes=notes,
    )


def _marks_entities(row: Row, text_column: str | None) -> bool:
    """Whether a row has a text with entities, or words and tags under the usual names, and no class."""
    if is_marked_text(row):
        classes = (name for name in CUSTOM_LABEL_NAMES if name != _INTENT)
        return not any(name in row.fields for name in classes)
    cells = [structured(row.fields.get(name)) for name in ("tokens", "ner_tags")]
    return text_column is None and all(isinstance(cell, list) for cell in cells)


def _labels(rows: list[Row], named: str, source: str) -> str:
    """The label column, or several with commas between their names."""
    if actual_name(rows[0].fields, named, is_said=True) is not None or "," not in named:
        return _existing(rows, named, source)
    return ",".join(_existing(rows, part.strip(), source) for part in named.split(","))


def _existing(rows: list[Row], name: str, source: str) -> str:
    fields = {column: None for row in rows[:20] for column in row.fields}
    if name in fields:
        return name
    if name.isdecimal() and (found := actual_name(rows[0].fields, name, is_said=True)) is not None:
        return found
    near = difflib.get_close_matches(name.lower(), [column.lower() for column in fields], n=1)
    meant = [column for column in fields if near and column.lower() == near[0]]
    hint = f" Did you mean {meant[0]!r}?" if meant else ""
    raise UserError(f"{source} has no column {name!r}; it has {listed(fields)}.{hint}")
