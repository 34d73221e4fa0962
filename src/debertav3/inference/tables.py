"""Rows of JSONL, CSV, TSV, Parquet and CoNLL files, one after another in flat memory; errors name the line.

CSV cells are text. Only in the columns that a task may read as something else, such as ``label``, a cell that
holds JSON is read as JSON: a number, a list, true or false; an empty one there counts as left out.
"""

import csv
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..data import dialects
from ..data.jsonl import read_jsonl, read_lines
from ..errors import MissingExtraError, UserError

if TYPE_CHECKING:
    import pyarrow

JSONL, CSV, TSV, PARQUET, CONLL = "jsonl", "csv", "tsv", "parquet", "conll"
FORMATS = (JSONL, CSV, TSV, PARQUET, CONLL)
READ_ONLY = (TSV, CONLL)
"""What is read but not written: a text may hold tabs, and CoNLL has one word a line."""
_DIALECTS = {CSV: dialects.CSV, TSV: dialects.TSV}
_FORMAT_OF_ENDING = {
    ".jsonl": JSONL,
    ".json": JSONL,
    ".ndjson": JSONL,
    ".csv": CSV,
    ".tsv": TSV,
    ".parquet": PARQUET,
    ".pq": PARQUET,
    ".conll": CONLL,
    ".bio": CONLL,
    ".iob": CONLL,
}

JSON_COLUMNS = frozenset(
    {
        "label",
        "gold_label",
        "labels",
        "relevance",
        "texts",
        "tokens",
        "words",
        "tags",
        "ner_tags",
        "choices",
        "options",
        "answers",
        "is_impossible",
        "scores",
    }
)
"""Columns that may hold something other than text."""

_LARGEST_CELL = 64 << 20  # characters; the csv module's own limit is 128 thousand


class TableRow(NamedTuple):
    """One row of a file."""

    place: str
    """File and line, for messages."""
    fields: dict[str, Any]
    """As a task reads it."""
    original: dict[str, Any]
    """As it is written again."""


def format_of(path: str | Path, otherwise: str | None = None) -> str:
    """The format that a file's name says, or else ``otherwise``, or else JSONL.

    Raises:
        UserError: if ``otherwise`` is unknown, or the file is compressed Parquet.
    """
    if otherwise is not None and otherwise not in FORMATS:
        raise UserError(f"unknown format {otherwise!r}. Choose one of: {', '.join(FORMATS)}.")
    name = Path(path).name.lower()
    found = _FORMAT_OF_ENDING.get(Path(name.removesuffix(".gz")).suffix, otherwise or JSONL)
    if found == PARQUET and name.endswith(".gz"):
        raise UserError(f"{path}: Parquet is compressed within. Give a name without .gz.")
    return found


def read_table(path: str | Path, file_format: str) -> Iterator[TableRow]:
    """Yield the rows of a file.

    Args:
        path: plain or, but for Parquet, gzip.
        file_format: one of `FORMATS`.

    Raises:
        UserError: naming file and line of the first thing that cannot be read.
        MissingExtraError: for Parquet without pyarrow.
    """
    if file_format == PARQUET:
        return _read_parquet(Path(path))
    if file_format == CONLL:
        return _read_conll(Path(path))
    if file_format in _DIALECTS:
        return _read_csv(Path(path), _DIALECTS[file_format])
    return _read_jsonl(Path(path))


def _read_jsonl(path: Path) -> Iterator[TableRow]:
    for row in read_jsonl(path):
        yield TableRow(f"{path} line {row.number}", row.fields, row.fields)


def _read_csv(path: Path, dialect: dialects.Dialect) -> Iterator[TableRow]:
    csv.field_size_limit(_LARGEST_CELL)
    lines = _text_lines(path)
    header = next(lines, "")
    reader = csv.reader(
        itertools.chain([header], lines),
        delimiter=dialect.delimiter_of(header),
        quoting=dialect.quoting,
        strict=True,
    )
    try:
        first = next(reader, None)
        if first is None:
            return
        names = [name.strip() for name in first]
        if len(set(names)) < len(names) or "" in names:
            raise UserError(
                f"{path} line 1: columns need different names, none empty; got {', '.join(names)}."
            )
        line = reader.line_num + 1
        for cells in reader:
            if cells:  # a blank line has none
                place = f"{path} line {line}"
                if len(cells) != len(names):
                    raise UserError(f"{place} has {len(cells)} cells; the first line has {len(names)} names.")
                original = dict(zip(names, cells, strict=True))
                yield TableRow(place, _read_cells(original), original)
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path} line {reader.line_num} is not valid CSV ({error}).") from None


def _text_lines(path: Path) -> Iterator[str]:
    for number, line in enumerate(read_lines(path), start=1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path} line {number} is not UTF-8 text (byte {error.start + 1}). Save the file as UTF-8."
            ) from None


def _read_cells(cells: dict[str, str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, cell in cells.items():
        if name not in JSON_COLUMNS:
            fields[name] = cell
        elif cell:
            try:
                fields[name] = json.loads(cell)
            except ValueError:
                fields[name] = cell
    return fields


def _read_conll(path: Path) -> Iterator[TableRow]:
    """Sentences: a word first in each line, its tag last if there is one, blank lines between sentences."""
    words: list[str] = []
    tags: list[str] = []
    first = 1
    for number, line in enumerate(itertools.chain(_text_lines(path), [""]), start=1):
        columns = line.split()
        if columns and columns[0] != "-DOCSTART-":
            first = first if words else number
            words.append(columns[0])
            tags += columns[1:][-1:]
            if len(tags) not in (0, len(words)):
                found = "a word and no tag" if len(columns) < 2 else "a tag"
                raise UserError(
                    f"{path} line {number} has {found}, unlike the lines before it in its sentence. "
                    "Need 'word TAB tag' in all of them, or the word alone."
                )
        elif words:
            fields: dict[str, Any] = {"tokens": words, **({"label": tags} if tags else {})}
            yield TableRow(f"{path} line {first}", fields, fields)
            words, tags = [], []


def _read_parquet(path: Path) -> Iterator[TableRow]:
    number = 0
    with _open_parquet(path) as file:
        for batch in file.iter_batches(batch_size=1024):
            for original in batch.to_pylist():
                number += 1
                fields = {name: value for name, value in original.items() if value is not None}
                yield TableRow(f"{path} row {number}", fields, original)


def parquet_schema(path: str | Path) -> "pyarrow.Schema":
    """Names and types of a Parquet file's columns.

    Raises:
        UserError: if the file cannot be read.
        MissingExtraError: without pyarrow.
    """
    with _open_parquet(Path(path)) as file:
        return file.schema_arrow


def _open_parquet(path: Path) -> Any:
    parquet = import_parquet()
    import pyarrow

    try:
        return parquet.ParquetFile(path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist. Give the path of an existing file.") from None
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise UserError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from None


def import_parquet() -> Any:
    """``pyarrow.parquet``.

    Raises:
        MissingExtraError: if pyarrow is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError(feature="Parquet", package="pyarrow", extra="parquet") from error
    return pyarrow.parquet
