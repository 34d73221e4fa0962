"""Rows of labelled data from any source: files of the formats of `formats.FORMATS`, and ``datasets:NAME``."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import UserError
from ..files.compression import ENDINGS as COMPRESSED
from ..files.compression import bare_name
from ..files.named_sets import DATASETS_PREFIX
from .annotations import Annotated
from .annotations.brat import is_brat
from .class_names import names_beside, with_names
from .formats import (
    BRAT,
    CONLL,
    DATASETS,
    ENDINGS,
    FORMATS,
    PARQUET,
    TSV,
    Format,
    format_named,
    format_within,
    is_conll,
)
from .notes import Notes
from .rows import Row
from .source_file import AS_FOUND, ReadOptions, SourceFile
from .typed_tables import cell_text


class Reading:
    """A source as it is read, as often as wanted; iteration gives its rows.

    Args:
        source: a path or ``datasets:NAME``.
        file_format: how it is read.
        options: what the user says about its form.
    """

    def __init__(self, source: str, file_format: Format, options: ReadOptions = AS_FOUND) -> None:
        self.source = source
        self.format = file_format
        self.notes = Notes()
        """What the latest pass has changed or left out so far."""
        self.num_rows = 0
        """Rows of the latest pass so far."""
        self._file = SourceFile(Path(source), options)
        self._is_noted = False
        self._columns: dict[str, None] = {}

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns met so far, in order."""
        return tuple(self._columns)

    @property
    def encoding(self) -> str:
        """Of a text file, known after the first row."""
        return self._file.encoding

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows.

        Raises:
            UserError: naming file and line of the first thing that cannot be read.
            MissingExtraError: for a format whose package is not installed.
        """
        self.num_rows = 0
        self.notes = self._file.notes = Notes()
        found = self.format.read(self._file)
        if names := {} if self.format in (PARQUET, DATASETS) else names_beside(self._file.path):
            found = ((where, with_names(fields, names)) for where, fields in found)
        is_plain = self.format is CONLL  # its sentences are what a task reads
        annotated = Annotated(found, self.source, self._file)
        for where, fields, original in ((*row, None) for row in found) if is_plain else annotated:
            place = f"{self.source} {where}"
            self.num_rows += 1
            self._columns.update(dict.fromkeys(fields if original is None else original))
            if self.format.is_typed:
                cells = {name: cell_text(value) for name, value in fields.items()}
                yield Row(place, cells, fields if original is None else original)
                continue
            for name, value in fields.items():
                if isinstance(value, float) and not math.isfinite(value):
                    _refuse_infinity(value, name, place)
                    fields[name] = None  # NaN, by which pandas marks a gap
            yield Row(place, fields, original)
        if not self._is_noted:
            self._is_noted = True
            self.notes.log(self.source)


def _refuse_infinity(value: float, name: str, place: str) -> None:
    if math.isinf(value):
        raise UserError(f"{place}: {name} is an infinite number. Write a finite one, or leave it out.")


def read_table(
    source: str | Path,
    *,
    named: str | None = None,
    otherwise: Format | None = None,
    options: ReadOptions = AS_FOUND,
) -> Reading:
    """Open a source of rows.

    Args:
        source: a file, plain or compressed (gzip, zstd), a folder of brat, or
            ``datasets:NAME[:CONFIG][:SPLIT]``.
        named: name of its format, for an ending that does not say; None goes by the content.
        otherwise: the format of a text file that shows no other.
        options: what the user says about its form.

    Raises:
        UserError: if there is no such file, or its format is not known.
    """
    source = str(source)
    return Reading(source, format_of(source, named=named, otherwise=otherwise), options)


def format_of(source: str | Path, *, named: str | None = None, otherwise: Format | None = None) -> Format:
    """The format of a source: what its ending says, else what is named, else what its content shows.

    Args:
        source: a path or ``datasets:NAME``.
        named: name of a format.
        otherwise: the format of a text file that shows no other.

    Raises:
        UserError: if the name is unknown, a format that is compressed within is compressed again, or nothing
            tells the format.
    """
    if str(source).startswith(DATASETS_PREFIX):
        return DATASETS
    path = Path(source)
    if path.is_dir() and is_brat(path):
        return BRAT
    given = None if named is None else format_named(named)
    found = format_of_ending(source) or given
    if found is TSV and path.is_file() and is_conll(SourceFile(path)):
        return CONLL  # which is often called .tsv, and has no line with names
    if found is not None:
        return found
    found = format_within(SourceFile(path)) or otherwise
    if found is None:
        raise UserError(
            f"{source}: neither its ending ({path.suffix or 'none'}) nor its content says what it holds. "
            f"Need {', '.join(ENDINGS)} (text also with .gz or .zst), or --format."
        )
    return found


def format_of_ending(path: str | Path) -> Format | None:
    """The format that a file's name says; None if it says none.

    Raises:
        UserError: if a format that is compressed within is compressed again.
    """
    ending = Path(bare_name(path)).suffix
    found = next((one for one in FORMATS if ending in one.endings), None)
    if found is not None and found.is_packed and str(path).lower().endswith(COMPRESSED):
        raise UserError(
            f"{path}: {found.name.capitalize()} is compressed within. Give a name without "
            f"{Path(path).suffix}."
        )
    return found


def expand(sources: Iterable[str], *, role: str) -> tuple[str, ...]:
    """Replace each folder by its files for a role, in order of name.

    Args:
        sources: files, folders and ``datasets:`` names.
        role: ``train`` or ``dev``; of a folder those files are taken whose name begins with it, or for dev
            with ``validation``.

    Raises:
        UserError: if a folder has no such file.
    """
    starts = ("train",) if role == "train" else ("dev", "validation")
    expanded: list[str] = []
    for source in sources:
        folder = Path(source)
        if source.startswith(DATASETS_PREFIX) or not folder.is_dir() or is_brat(folder):
            expanded.append(source)
            continue
        files = sorted(
            path
            for path in folder.iterdir()
            if path.name.startswith(starts) and Path(bare_name(path)).suffix in ENDINGS
        )
        if not files:
            wanted = " or ".join(f"{start}*" for start in starts)
            raise UserError(f"{source} has no file {wanted} of kind {', '.join(ENDINGS)}.")
        expanded += [str(path) for path in files]
    return tuple(expanded)


def given_fields(row: Row) -> dict[str, object]:
    """The fields of a row that hold something: null is as good as left out."""
    return {name: value for name, value in row.fields.items() if value is not None}
