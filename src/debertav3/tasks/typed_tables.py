"""Rows whose columns have types: Parquet, Excel workbooks, data sets by name. Each needs its own package."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from ..errors import MissingExtraError, UserError
from ..files.named_sets import open_dataset
from ..json_types import Json, JsonObject
from .class_names import named, names_in_metadata, with_names
from .labels import label_text
from .source_file import Found, Header, SourceFile


def read_parquet(file: SourceFile) -> Found:
    """Rows of a Parquet file, a few at a time."""
    number = 0
    with open_parquet(file.path) as parquet:
        names = names_in_metadata(parquet.schema_arrow.metadata)
        for batch in parquet.iter_batches(batch_size=1024):
            for fields in batch.to_pylist():
                number += 1
                yield f"row {number}", with_names(fields, names)


def open_parquet(path: Path) -> Json:
    """A ``pyarrow.parquet.ParquetFile``.

    Raises:
        UserError: if the file cannot be read.
        MissingExtraError: without pyarrow.
    """
    parquet = import_parquet()
    import pyarrow

    try:
        return parquet.ParquetFile(path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist. Give the path of an existing file.") from None
    except (OSError, pyarrow.ArrowInvalid) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} cannot be read as Parquet: it is not a Parquet file ({reason}).") from None


def import_parquet() -> Json:
    """``pyarrow.parquet``.

    Raises:
        MissingExtraError: if pyarrow is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError(feature="Parquet", package="pyarrow", extra="parquet") from error
    return pyarrow.parquet


def import_openpyxl() -> Json:
    """``openpyxl``.

    Raises:
        MissingExtraError: if it is not installed.
    """
    try:
        import openpyxl
    except ImportError as error:
        raise MissingExtraError(feature="Excel files", package="openpyxl", extra="excel") from error
    return openpyxl


def read_xlsx(file: SourceFile) -> Found:
    """Rows of a sheet of a workbook, the first or the one that is named; its first row has the names."""
    openpyxl = import_openpyxl()
    import zipfile

    try:
        book = openpyxl.load_workbook(file.path, read_only=True, data_only=True)
    except FileNotFoundError:
        raise UserError(f"{file.path} does not exist. Give the path of an existing file.") from None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{file.path} cannot be read as an Excel workbook: {error}.") from None
    with closing(book):
        sheet = _sheet_of(book, file)
        rows = sheet.iter_rows(values_only=True)
        cells = next(rows, ())
        if all(cell is None for cell in cells):
            raise UserError(
                f"{file.path} holds no rows: sheet {sheet.title!r} is empty. Need a row with names of "
                "columns."
            )
        header = Header(cells, f"{file.path} row 1")
        for note in header.notes:
            file.notes.note(*note)
        for number, cells in enumerate(rows, start=2):
            if any(value is not None for value in cells):
                padded = [*cells, *[None] * (len(header.names) - len(cells))]
                fields = header.fields(padded, f"{file.path} row {number}")
                if fields is None:
                    raise UserError(f"{file.path} row {number} has more cells than the first row has names.")
                yield f"row {number}", fields


def _sheet_of(book: Json, file: SourceFile) -> Json:
    """The sheet that is named, by name or number, else the first, with a word about the others."""
    names, named = book.sheetnames, file.options.sheet
    if named is None:
        others = ", ".join(map(repr, names[1:]))
        if others:
            file.details.append(f"sheet {names[0]!r}")
            file.notes.note(f"the other sheets: {others}", "--sheet NAME", is_left_out=True)
        return book.worksheets[0]
    if named not in names and not (named.isdecimal() and 0 < int(named) <= len(book.worksheets)):
        raise UserError(f"{file.path} has no sheet {named!r}; it has {', '.join(map(repr, names))}.")
    sheet = book[named] if named in names else book.worksheets[int(named) - 1]
    file.details.append(f"sheet {sheet.title!r}")
    return sheet


def cell_text(value: Json) -> Json:
    """A cell of a spreadsheet as the text that a CSV file has in its place; lists as they are."""
    if isinstance(value, list | dict):
        return value
    return "" if value is None else label_text(value) if isinstance(value, bool | float) else str(value)


def read_dataset(file: SourceFile) -> Found:
    """Rows of ``datasets:NAME[:CONFIG][:SPLIT]``; numbers of named classes as their names."""
    loaded = open_dataset(str(file.path), is_streamed=False)
    for number, fields in enumerate(dataset_rows(loaded), start=1):
        yield f"row {number}", fields


def dataset_rows(loaded: Json) -> Iterator[JsonObject]:
    """The rows of a ``datasets.Dataset`` or ``IterableDataset``; numbers of named classes as their names."""
    import datasets

    names: dict[str, list[str]] = {}
    for column, feature in (loaded.features or {}).items():
        one = feature.feature if isinstance(feature, datasets.List) else feature
        if isinstance(one, datasets.ClassLabel):
            names[column] = one.names
    for fields in loaded:
        yield {
            column: named(value, names[column]) if column in names else value
            for column, value in fields.items()
        }
