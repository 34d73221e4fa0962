"""Rows of labelled data from any source: files of the formats of `formats.FORMATS`, and ``datasets:NAME``."""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from ..errors import UserError
from .annotations import Annotated
from .around_tables import without_totals
from .class_names import names_beside, with_names
from .columns import ID_NAMES
from .formats import (
    BEIR,
    BRAT,
    CONLL,
    CSV,
    DATASETS,
    PARQUET,
    TSV,
    XLSX,
    Format,
)
from .labels_beside import labels_file, with_labels_beside
from .notes import Note, Notes
from .ranking_rows import triples
from .read_options import AS_FOUND, ReadOptions
from .rows import Row, nested_value
from .source_file import Found, SourceFile
from .sources import format_of
from .typed_tables import cell_text

logger = logging.getLogger(__name__)

_MOST_SHOWN = 20
"""Bad rows that are named one by one."""


TEXT_ROLES = {"text": "text", "words": "text", "question": "text", "second text": "pair", "context": "pair"}
"""What tasks call the columns of their texts, and the names under which a model keeps them."""
_LABEL_ROLES = ("label", "tags", "answers")

Read = TypeVar("Read")
"""What a row is read as."""


class Reading:
    """A source as it is read, as often as wanted; iteration gives its rows.

    Args:
        source: a path or ``datasets:NAME``.
        file_format: how it is read.
        options: what the user says of it.
    """

    def __init__(self, source: str, file_format: Format, options: ReadOptions = AS_FOUND) -> None:
        self.source = source
        self.format = file_format
        self.options = options
        self.num_rows = 0
        """Rows of the latest pass so far."""
        self.num_empty = 0
        """Rows of the latest pass that have no text, as the task that reads them says."""
        self.num_unlabelled = 0
        """Likewise those without a gold label."""
        self.roles: dict[str, str] = {}
        """What the columns are to the task, by role: ``text``, ``second text``, ``label``."""
        self.latest = Row(source, {})
        """The row that was read last."""
        self._file = SourceFile(Path(source), options)
        self._is_noted = False
        self._columns: dict[str, None] = {}

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns met so far, in order."""
        return tuple(self._columns)

    @property
    def all_roles(self) -> dict[str, str]:
        """`roles`, and the column of identifiers where a usual name says that there is one."""
        taken = set(self.roles.values())
        found = next((name for name in self._columns if name.lower() in ID_NAMES and name not in taken), None)
        return self.roles if found is None else {**self.roles, "id": found}

    @property
    def encoding(self) -> str:
        """Of a text file, known after the first row."""
        return self._file.encoding

    @property
    def described(self) -> str:
        """The format in words: what separates columns, and the encoding if it is not UTF-8."""
        parts = [*dict.fromkeys(self._file.details)]
        if self.encoding != "utf-8":
            parts.append(self.encoding)
        return self.format.title + (f": {', '.join(parts)}" if parts else "")

    @property
    def is_one_file(self) -> bool:
        """Whether all that is read is in one file: no texts, labels or names of classes are beside it."""
        path = self._file.path
        has_parts = self.format in (BEIR, BRAT) or labels_file(path).is_file() or bool(names_beside(path))
        return path.is_file() and not has_parts

    @property
    def share_read(self) -> float | None:
        """How much of the file the latest pass has read so far, from 0 to 1; None where that is not known."""
        return self._file.share_read

    @property
    def skipped(self) -> list[str]:
        """What is wrong with the rows of the latest pass that are left out, where bad ones may be."""
        return self._file.skipped

    @property
    def notes(self) -> Notes:
        """What the latest pass has changed, guessed or left out so far."""
        return self._file.notes

    def note(self, text: str, option: str = "", is_left_out: bool = False) -> None:
        """Remember something that the user should know, once."""
        self._file.notes.note(text, option, is_left_out)

    def use(self, roles: Sequence[str], columns: Sequence[str]) -> None:
        """Say what columns are to the task, by the first row."""
        for role, column in zip(roles, columns, strict=False):
            self.roles.setdefault(role, column)

    def skip(self, error: UserError) -> None:
        """Leave out a row that cannot be used, if the user allows it.

        Raises:
            UserError: the error, if not.
        """
        self._file.skip(error)

    def each(self, read: Callable[[Row, "Reading"], Read | None]) -> Iterator[Read]:
        """What ``read`` makes of the rows, one by one.

        Args:
            read: gives None for a row that is left out and counts it.

        Raises:
            UserError: of ``read``, if rows that cannot be used are not skipped.
        """
        for row in self:
            try:
                found = read(row, self)
            except UserError as error:
                self.skip(error)
                continue
            self.note_numbers()
            if found is not None:
                yield found

    def note_numbers(self) -> None:
        """Say of numbers where texts are needed, such as a title ``2012``, that they are read as texts."""
        for role in TEXT_ROLES:
            value = self.latest.fields.get(self.roles.get(role, ""))
            if isinstance(value, int | float):
                self.notes.add(
                    "numbers in the column of texts are read as texts", f"{value} ({self.latest.place})"
                )

    def tell_skipped(self) -> None:
        """Say how many rows are left out, and why."""
        if self.num_empty:
            logger.warning("%s: skipped %d rows without a text", self.source, self.num_empty)
        if self.num_unlabelled:
            logger.warning("%s: skipped %d rows without a gold label", self.source, self.num_unlabelled)
        for line in self.skipped[:_MOST_SHOWN]:
            logger.warning("skipped %s", line)
        if len(self.skipped) > _MOST_SHOWN:
            logger.warning("%s: skipped %d bad rows in all", self.source, len(self.skipped))

    def all_notes(self) -> list[Note]:
        """Guesses, and what is left out, rows included."""
        counts = (
            (self.num_empty, "without a text"),
            (self.num_unlabelled, "without a gold label"),
            (len(self.skipped), "that cannot be read (--skip-bad)"),
        )
        left = [Note(f"{count:,} rows {what}", is_left_out=True) for count, what in counts if count]
        return [*self.notes.understood, *left]

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows.

        Raises:
            UserError: naming file and line of the first thing that cannot be read.
            MissingExtraError: for a format whose package is not installed.
        """
        self.num_rows = self.num_empty = self.num_unlabelled = 0
        self._file.skipped.clear()
        self._file.details.clear()
        self._file.notes = Notes()
        found = self.format.read(self._file)
        if self.format in (CSV, TSV, XLSX):
            found = without_totals(found, self._file)
        if names := {} if self.format in (PARQUET, DATASETS) else names_beside(self._file.path):
            found = ((where, with_names(fields, names)) for where, fields in found)
        found = _pairs_of_triples(with_labels_beside(found, self._file), self.source)
        is_plain = self.format is CONLL  # its sentences are what a task reads
        dotted = [name for name in self.options.columns if "." in name]
        annotated = Annotated(found, self.source, self._file)
        for where, fields, original in ((*row, None) for row in found) if is_plain else annotated:
            place = f"{self.source} {where}"
            self.num_rows += 1
            self._columns.update(dict.fromkeys(fields if original is None else original))
            if dotted and not set(dotted) <= fields.keys():
                original = fields if original is None else original
                fields = {
                    **fields,
                    **{name: nested_value(fields, name) for name in dotted if name not in fields},
                }
            if self.format.is_typed:
                cells = {name: cell_text(value) for name, value in fields.items()}
                self.latest = Row(place, cells, fields if original is None else original)
                yield self.latest
                continue
            for name, value in fields.items():
                if isinstance(value, float) and not math.isfinite(value):
                    _refuse_infinity(value, name, place)
                    fields[name] = None  # NaN, by which pandas marks a gap
            self.latest = Row(place, fields, original)
            yield self.latest
        if not self._is_noted:
            self._is_noted = True
            self.notes.log(self.source)


def _pairs_of_triples(found: Found, source: str) -> Found:
    """Rows with a query, passages that answer it and passages that do not, as a row for each passage."""
    for where, fields in found:
        pairs = triples(fields, f"{source} {where}")
        if pairs is None:
            yield where, fields
        else:
            for number, pair in enumerate(pairs, start=1):
                yield f"{where} passage {number}", pair


def _refuse_infinity(value: float, name: str, place: str) -> None:
    if math.isinf(value):
        raise UserError(f"{place}: {name} is an infinite number. Write a finite one, or leave it out.")


def read_table(
    source: str | Path, options: ReadOptions = AS_FOUND, *, otherwise: Format | None = None
) -> Reading:
    """Open a source of rows.

    Args:
        source: a file, plain or compressed (gzip, zstd), a folder of brat, or
            ``datasets:NAME[:CONFIG][:SPLIT]``.
        options: what the user says of it.
        otherwise: the format of a text file that shows no other.

    Raises:
        UserError: if there is no such file, or its format is not known.
    """
    source = str(source)
    return Reading(source, format_of(source, options, otherwise=otherwise), options)


def named_columns(reading: Reading) -> dict[str, object]:
    """The columns of a source that was read, as a model remembers them: text, pair, label, choices.

    Nothing of formats that have no columns, and of those of annotation tools.
    """
    roles = reading.roles
    if reading.format is CONLL or "entities" in roles:
        return {}
    found: dict[str, object] = {TEXT_ROLES[role]: name for role, name in roles.items() if role in TEXT_ROLES}
    if label := next((roles[role] for role in _LABEL_ROLES if role in roles), None):
        found["label"] = label
    return found | ({"choices": roles["choices"].split(",")} if "choices" in roles else {})


def given_fields(row: Row) -> dict[str, object]:
    """The fields of a row that hold something: null is as good as left out."""
    return {name: value for name, value in row.fields.items() if value is not None}
