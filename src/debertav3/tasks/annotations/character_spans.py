"""Rows with a text and a list of entities by character offsets, under any of the usual names.

doccano's JSONL (``label`` or ``labels`` with ``[start, end, "PER"]``, relation exports with ``entities`` of
``start_offset`` and ``end_offset``), spaCy's ``Doc.to_json`` (``ents``) and training pairs
(``{"entities": [...]}``), and the objects that `debertav3 predict ner` writes.
"""

from collections.abc import Iterator

from ...json_types import JsonObject
from ..notes import Notes
from ..rows import is_missing, structured
from .format import Marked, RowFormat
from .marks import ENTITIES, TEXT, Fields, are_marks, read_marks

_TEXTS = (TEXT, "data", "sentence", "content", "document")
_COLUMNS = (ENTITIES, "label", "labels", "spans", "ents", "annotations", "gold_label", "tags")
_MARKS_ALONE = (ENTITIES, "spans", "ents")
"""Columns that hold nothing else."""
_CLASSES = ("label", "labels", "gold_label", "class", "category", "target")


def _fits(fields: Fields) -> bool | None:
    text = next((name for name in _TEXTS if isinstance(fields.get(name), str)), None)
    if text is None:
        return False
    cells = {name: structured(fields[name]) for name in _COLUMNS if not is_missing(fields.get(name))}
    if any(not isinstance(cells.get(name, []), list | dict) for name in _CLASSES):
        return False  # a class, and entities only as further information
    if any(are_marks(cell) or (cell == [] and name in _MARKS_ALONE) for name, cell in cells.items()):
        return True
    is_open = any(cell == [] for cell in cells.values()) or any(
        name in fields and fields[name] is None for name in _COLUMNS
    )
    return None if is_open else False


def _read(fields: Fields, place: str, notes: Notes) -> Iterator[JsonObject]:
    row = dict(fields)
    text_column = next((name for name in _TEXTS if isinstance(row.get(name), str)), None)
    if text_column is None:
        yield row
        return
    text = row.pop(text_column)
    entries: list[object] | None = None
    for name in _COLUMNS:
        cell = structured(row.get(name))
        if are_marks(cell) or cell == []:
            entries = [*(entries or []), *cell]
            del row[name]
    if entries is None:  # a list that is no list of marks: a damaged one, which is refused by what is in it
        cells = ((name, structured(row.get(name))) for name in _COLUMNS)
        name, entries = next(((name, cell) for name, cell in cells if isinstance(cell, list)), ("", None))
        row.pop(name, None)
    if row.get("relations") is not None:
        del row["relations"]
    marks = None if entries is None else read_marks(entries, text, place=place, notes=notes)
    yield {TEXT: text, **row, ENTITIES: marks}


def _write_doccano(marked: Marked) -> JsonObject:
    """A line for doccano's import "JSONL" of sequence labelling, with its usual column names."""
    return {**marked.others, TEXT: marked.text, "label": [list(mark) for mark in marked.marks]}


DOCCANO = RowFormat(
    name="doccano", title="entities by character offsets", fits=_fits, read=_read, write=_write_doccano
)
