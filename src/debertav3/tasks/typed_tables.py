"""Rows whose columns have types: Parquet, Excel workbooks, data sets by name. Each needs its own package."""

import itertools
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from ..errors import MissingExtraError, UserError
from ..files.named_sets import open_dataset, open_saved
from ..files.reading import check_fetched, check_not_pipe
from ..json_types import Json, JsonObject
from .around_tables import above_note, num_above
from .class_names import named, names_in_metadata, with_names
from .dialect import has_names, numbered_note
from .labels import label_text
from .source_file import Found, Header, SourceFile, unlike_names


def read_parquet(file: SourceFile) -> Found:
    """Rows of a Parquet file, a few at a time."""
    import pyarrow

    number = 0
    with open_parquet(file.path) as parquet:
        unlike_names(parquet.schema_arrow.names, str(file.path))
        names = names_in_metadata(parquet.schema_arrow.metadata)
        try:
            for batch in parquet.iter_batches(batch_size=1024):
                for fields in batch.to_pylist():
                    number += 1
                    yield f"row {number}", with_names(fields, names)
        except (OSError, UnicodeDecodeError, pyarrow.ArrowException) as error:
            raise UserError(
                f"{file.path} is damaged after row {number} ({str(error).splitlines()[0]}). Download or "
                "create it again."
            ) from None


def open_parquet(path: Path) -> Json:
    """A ``pyarrow.parquet.ParquetFile``.

    Raises:
        UserError: if the file cannot be read.
        MissingExtraError: without pyarrow.
    """
    parquet = import_parquet()
    import pyarrow

    check_not_pipe(path)
    check_fetched(path)
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


_BROKEN_WORKBOOK = (
    OSError,
    SyntaxError,  # of the XML within
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RuntimeError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
)
"""What openpyxl raises for a workbook that is none, or a damaged one."""

_OLD_WORKBOOK = b"\xd0\xcf\x11\xe0"


def read_xlsx(file: SourceFile) -> Found:
    """Rows of a sheet of a workbook, the first or the one that is named; its first row has the names.

    Raises:
        UserError: if it cannot be read as one, or there is no such sheet.
        MissingExtraError: without openpyxl.
    """
    if file.head().startswith(_OLD_WORKBOOK):
        raise UserError(
            f"{file.path} is a workbook with a password, or of the old kind. Save it as .xlsx without a "
            "password, or as CSV."
        )
    try:
        yield from _rows_of_workbook(file)
    except UserError:
        raise
    except _BROKEN_WORKBOOK as error:
        raise UserError(
            f"{file.path} cannot be read as an Excel workbook: {' '.join(str(error).split())}. Save it "
            "again, or as CSV."
        ) from None


def _rows_of_workbook(file: SourceFile) -> Found:
    openpyxl = import_openpyxl()
    has_merged = _has_merged_cells(file.path)
    # as a stream: of a name openpyxl wants a certain ending
    with (
        file.path.open("rb") as stream,
        closing(openpyxl.load_workbook(stream, read_only=not has_merged, data_only=True)) as book,
    ):
        sheet = _sheet_of(book, file)
        if has_merged and _fill_merged(sheet):
            file.notes.note("a cell that is merged over several rows counts for each of them")
        if not has_merged:
            # Some programs write wrong ones, and openpyxl would read no further.
            sheet.reset_dimensions()
            sheet.calculate_dimension(force=True)
        rows = sheet.iter_rows(values_only=True)
        head = list(itertools.islice(rows, 60))
        above = 0 if file.options.has_header is not None else num_above(head)
        cells = head[above] if above < len(head) else ()
        if all(cell is None for cell in cells):
            raise UserError(
                f"{file.path} contains no rows: sheet {sheet.title!r} is empty. Need a row with the names of "
                "columns."
            )
        has_header = file.options.has_header
        if has_header is None:
            texts = [["" if one is None else str(one) for one in row] for row in head[above:] if any(row)]
            has_header = has_names(texts, file.options.columns)
        below = above + has_header
        header = Header(
            cells if has_header else [str(number) for number in range(1, len(cells) + 1)],
            f"{file.path} row {above + 1}",
        )
        is_guess = not has_header and file.options.has_header is None
        for note in (
            *([above_note(above)] if above else []),
            *([numbered_note(header.names)] if is_guess else []),
            *header.notes,
        ):
            file.notes.note(*note)
        for number, cells in enumerate(itertools.chain(head[below:], rows), start=below + 1):
            if any(value is not None for value in cells):
                padded = [*cells, *[None] * (len(header.names) - len(cells))]
                fields = header.fields(padded, f"{file.path} row {number}")
                if fields is None:
                    file.skip(
                        UserError(f"{file.path} row {number} has more cells than there are names of columns.")
                    )
                else:
                    yield f"row {number}", fields


def _has_merged_cells(path: Path) -> bool:
    """Whether a sheet of a workbook has some; only a workbook that is read whole says which."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.startswith("xl/worksheets/") and name.endswith(".xml"):
                with archive.open(name) as sheet:
                    before = b""
                    while block := sheet.read(1 << 16):
                        if b"<mergeCell " in before + block:
                            return True
                        before = block[-16:]
    return False


def _fill_merged(sheet: Json) -> bool:
    """Write the value of a cell that is merged over rows into each of them; whether there is such a cell."""
    found = False
    for place in list(sheet.merged_cells.ranges):
        if place.max_row > place.min_row:
            value = sheet.cell(place.min_row, place.min_col).value
            sheet.unmerge_cells(str(place))
            for row in range(place.min_row, place.max_row + 1):
                sheet.cell(row, place.min_col).value = value
            found = True
    return found


def _sheet_of(book: Json, file: SourceFile) -> Json:
    """The sheet that is named, by name or number, else the first, with a word about the others."""
    names, named = book.sheetnames, file.options.sheet
    if not book.worksheets:
        raise UserError(f"{file.path} has no sheet with cells. Save its table as CSV.")
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
    """Rows of ``datasets:NAME[:CONFIG][:SPLIT]`` or a folder of ``save_to_disk``; classes by their names."""
    loaded = open_saved(file.path) if file.path.is_dir() else open_dataset(str(file.path), is_streamed=False)
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
