"""Rows written as JSON lines, a JSON list, CSV, Parquet or Excel; a file appears whole or not at all.

JSON carries any value but NaN and infinity, which become null. In tables what is neither text nor number is
written as JSON text, and ``prediction`` is a column of numbers where the task predicts one.
"""

import csv
import datetime
import decimal
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..files import replacing, replacing_text
from ..json_types import Json
from .formats import CSV, FORMATS, JSON, JSONL, PARQUET, XLSX, Format, format_named
from .sources import format_of_ending
from .typed_tables import import_openpyxl, import_parquet

if TYPE_CHECKING:
    import pyarrow

PREDICTION, SCORES = "prediction", "scores"
_MOST_SHEET_ROWS = 1 << 20
_MOST_CELL_CHARACTERS = 32_767
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
"""Characters that a workbook cannot hold."""
Rows = Sequence[Mapping[str, object]]
WriteRows = Callable[[Rows], None]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What the rows of an output file look like."""

    file_format: Format
    """One that is written."""
    columns: Sequence[str]
    """Columns of the input in order; tables have these and the two of the answer."""
    schema: "pyarrow.Schema | None" = None
    """Types of the input's columns, for Parquet."""
    has_numbers: bool = False
    """Whether the prediction is a number."""
    is_ascii: bool = False
    """Whether JSON has escapes for other characters, for programs that guess how a file is encoded."""

    @property
    def all_columns(self) -> list[str]:
        """Columns of the output."""
        return list(dict.fromkeys([*self.columns, PREDICTION, SCORES]))


def written_format(path: str | Path, *, named: str | None = None) -> Format:
    """The format in which a file is written: what its ending says, else what is named.

    Args:
        path: the file.
        named: a format's name; one that is only read counts as JSON lines.

    Raises:
        UserError: if nothing tells the format, or it is only read.
    """
    if Path(path).is_dir():
        raise UserError(f"{path} is a folder, not an ordinary file. Give the path of a file.")
    given = None if named is None else format_named(named)
    found = format_of_ending(path) or (JSONL if given is not None and not given.is_written else given)
    endings = ", ".join(one.endings[0] for one in FORMATS if one.is_written)
    if found is None:
        raise UserError(
            f"{path}: its ending ({Path(path).suffix or 'none'}) does not say what to write. "
            f"Need {endings} (text also with .gz or .zst), or --format."
        )
    if not found.is_written:
        raise UserError(
            f"{path}: files of format {found.name} are read, not written. Give a name that ends in {endings}."
        )
    return found


def open_writer(path: str | Path, layout: Layout) -> AbstractContextManager[WriteRows]:
    """Open a file and give the function that writes rows to it.

    Raises:
        UserError: if the file cannot be written, or a value has no form in its format.
        MissingExtraError: for a format whose package is not installed.
    """
    if layout.file_format is PARQUET:
        return _open_parquet(Path(path), layout)
    if layout.file_format is XLSX:
        return _open_xlsx(Path(path), layout)
    if layout.file_format is CSV:
        return _open_csv(path, layout)
    opened = _open_list if layout.file_format is JSON else _open_jsonl
    return opened(path, layout)


def json_line(fields: Mapping[str, object], *, is_ascii: bool = False) -> str:
    """One object as a line of strict JSON with its line end; text stays readable, unless it is to be ASCII.

    What JSON has no form for is written as `as_json` says, half a surrogate pair as an escape.
    """
    try:
        line = json.dumps(fields, ensure_ascii=is_ascii, allow_nan=False)
    except (TypeError, ValueError):  # dates and decimals of a Parquet file, NaN
        line = json.dumps(as_json(fields), ensure_ascii=is_ascii, allow_nan=False)
    try:
        line.encode("utf-8")
    except UnicodeEncodeError:  # JSON can carry half a surrogate pair, UTF-8 cannot
        line = json.dumps(json.loads(line))
    return line + "\n"


@contextmanager
def _open_jsonl(path: str | Path, layout: Layout) -> Iterator[WriteRows]:
    with replacing_text(path) as file:
        yield lambda rows: file.writelines(json_line(row, is_ascii=layout.is_ascii) for row in rows)


@contextmanager
def _open_list(path: str | Path, layout: Layout) -> Iterator[WriteRows]:
    with replacing_text(path) as file:
        between = "[\n"

        def write(rows: Rows) -> None:
            nonlocal between
            for row in rows:
                file.write(between + json_line(row, is_ascii=layout.is_ascii).rstrip("\n"))
                between = ",\n"

        yield write
        file.write("\n]\n" if between == ",\n" else "[]\n")


@contextmanager
def _open_csv(path: str | Path, layout: Layout) -> Iterator[WriteRows]:
    with replacing_text(path) as file:
        plain = csv.writer(file, lineterminator="\n")
        # the csv module leaves a cell with a carriage return bare, where every reader ends the row
        quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)

        def write_row(cells: list[str]) -> None:
            (quoted if any("\r" in cell for cell in cells) else plain).writerow(cells)

        def write(rows: Rows) -> None:
            for row in rows:
                write_row([_cell(row.get(name)) for name in layout.all_columns])

        write_row(layout.all_columns)
        yield write


@contextmanager
def _open_parquet(path: Path, layout: Layout) -> Iterator[WriteRows]:
    parquet = import_parquet()
    import pyarrow

    schema = _output_schema(layout)
    try:
        with replacing(path) as stream, parquet.ParquetWriter(stream, schema) as writer:

            def write(rows: Rows) -> None:
                table = [{**row, **_as_columns(row, has_numbers=layout.has_numbers)} for row in rows]
                writer.write_table(pyarrow.Table.from_pylist(table, schema=schema))

            yield write
    except pyarrow.ArrowException as error:
        raise UserError(f"{path} cannot be written as Parquet: {str(error).splitlines()[0]}") from None


@contextmanager
def _open_xlsx(path: Path, layout: Layout) -> Iterator[WriteRows]:
    openpyxl = import_openpyxl()
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("predictions")
    sheet.append(layout.all_columns)
    num_rows = 1

    def write(rows: Rows) -> None:
        nonlocal num_rows
        num_rows += len(rows)
        if num_rows > _MOST_SHEET_ROWS:
            raise UserError(f"{path}: a sheet has at most {_MOST_SHEET_ROWS} rows. Write .csv or .parquet.")
        for row in rows:
            cells = []
            for name in layout.all_columns:
                value = _sheet_cell(row.get(name), f"{path}: column {name!r}")
                if isinstance(value, str) and value.startswith("="):  # a text, never a formula
                    cell = openpyxl.cell.WriteOnlyCell(sheet, value=value)
                    cell.data_type = "s"
                    value = cell
                cells.append(value)
            sheet.append(cells)

    yield write
    with replacing(path) as stream:
        book.save(stream)


def _sheet_cell(value: object, what: str) -> object:
    """A value as a cell of a spreadsheet, which holds texts of 32,767 characters and numbers of 15 digits."""
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) < 10**15):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime.date | datetime.time) and getattr(value, "tzinfo", None) is None:
        return value
    text = _cell(value)
    if len(text) > _MOST_CELL_CHARACTERS:
        raise UserError(
            f"{what} has a text of {len(text)} characters; a cell can have "
            f"{_MOST_CELL_CHARACTERS}. Write .csv."
        )
    return _CONTROL.sub("\ufffd", text) or None


def _output_schema(layout: Layout) -> "pyarrow.Schema":
    import pyarrow

    types = {} if layout.schema is None else {field.name: field for field in layout.schema}
    prediction = pyarrow.float64() if layout.has_numbers else pyarrow.string()
    types |= {
        PREDICTION: pyarrow.field(PREDICTION, prediction),
        SCORES: pyarrow.field(SCORES, pyarrow.string()),
    }
    return pyarrow.schema([types[name] for name in layout.all_columns])


def _as_columns(row: Mapping[str, object], *, has_numbers: bool) -> dict[str, object]:
    prediction = row[PREDICTION]
    if prediction is None:
        return {PREDICTION: None, SCORES: None}
    return {PREDICTION: prediction if has_numbers else _cell(prediction), SCORES: _cell(row[SCORES])}


def _cell(value: object) -> str:
    """A value as the text of one cell."""
    if value is None:
        return ""
    plain = as_json(value)  # dates and decimals are texts then
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def as_json(value: object) -> Json:
    """A value with dates and decimals, as Parquet may hold them, in JSON's own types.

    Raises:
        UserError: for bytes and other things that JSON has no form for.
    """
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): as_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(one) for one in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | datetime.timedelta):
        return str(value)
    raise UserError(
        f"a {type(value).__name__} cannot be written to JSON or CSV. Write Parquet, or drop the column."
    )
