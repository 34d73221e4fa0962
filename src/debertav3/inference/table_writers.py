"""Rows written as JSONL, CSV or Parquet; a file appears whole or not at all.

JSON carries any value. In CSV and Parquet what is neither text nor number stands as JSON text, and
``prediction`` is a column of numbers where all tasks of the file predict one.
"""

import csv
import datetime
import decimal
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.jsonl import json_line
from ..errors import UserError
from ..files import cannot_write, replacing, replacing_text
from .tables import CSV, PARQUET, import_parquet

if TYPE_CHECKING:
    import pyarrow

PREDICTION, SCORES = "prediction", "scores"
Rows = Sequence[Mapping[str, Any]]
WriteRows = Callable[[Rows], None]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What the rows of an output file look like."""

    file_format: str
    """One of `tables.FORMATS`."""
    columns: Sequence[str]
    """Columns of the input in order; CSV and Parquet write these and the two of the answer."""
    schema: "pyarrow.Schema | None" = None
    """Types of the input's columns, for Parquet."""
    has_numbers: bool = False
    """Whether the prediction is a number."""

    @property
    def all_columns(self) -> list[str]:
        """Columns of the output."""
        return list(dict.fromkeys([*self.columns, PREDICTION, SCORES]))


def open_writer(path: str | Path, layout: Layout) -> AbstractContextManager[WriteRows]:
    """Open a file and give the function that writes rows to it.

    Raises:
        UserError: if the file cannot be written, or a value cannot stand in its format.
        MissingExtraError: for Parquet without pyarrow.
    """
    if layout.file_format == PARQUET:
        return _open_parquet(Path(path), layout)
    return _open_csv(path, layout) if layout.file_format == CSV else _open_jsonl(path)


@contextmanager
def _open_jsonl(path: str | Path) -> Iterator[WriteRows]:
    with replacing_text(path) as file:

        def write(rows: Rows) -> None:
            for row in rows:
                try:
                    file.write(json_line(row))
                except TypeError:  # dates and decimals of a Parquet file
                    file.write(json_line(as_json(row)))

        yield write


@contextmanager
def _open_csv(path: str | Path, layout: Layout) -> Iterator[WriteRows]:
    with replacing_text(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(layout.all_columns)

        def write(rows: Rows) -> None:
            writer.writerows([_cell(row.get(name)) for name in layout.all_columns] for row in rows)

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
    except OSError as error:
        raise cannot_write(path, error) from None
    except pyarrow.ArrowException as error:
        raise UserError(f"{path} cannot be written as Parquet: {str(error).splitlines()[0]}") from None


def _output_schema(layout: Layout) -> "pyarrow.Schema":
    import pyarrow

    types = {} if layout.schema is None else {field.name: field for field in layout.schema}
    prediction = pyarrow.float64() if layout.has_numbers else pyarrow.string()
    types |= {
        PREDICTION: pyarrow.field(PREDICTION, prediction),
        SCORES: pyarrow.field(SCORES, pyarrow.string()),
    }
    return pyarrow.schema([types[name] for name in layout.all_columns])


def _as_columns(row: Mapping[str, Any], *, has_numbers: bool) -> dict[str, Any]:
    prediction = row[PREDICTION]
    return {PREDICTION: prediction if has_numbers else _cell(prediction), SCORES: _cell(row[SCORES])}


def _cell(value: Any) -> str:
    """A value as the text of one cell."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(as_json(value), ensure_ascii=False)


def as_json(value: Any) -> Any:
    """A value with dates and decimals, as Parquet may hold them, in JSON's own types.

    Raises:
        UserError: for bytes and other things that JSON has no form for.
    """
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): as_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(one) for one in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | datetime.timedelta):
        return str(value)
    raise UserError(
        f"a {type(value).__name__} cannot stand in JSON or CSV. Write Parquet, or drop the column."
    )
