"""Rows of labelled data: from JSON lines, CSV, Parquet, a folder of such files, or a `datasets` name.

Every row comes with its place, ``file line 7``, so that an error can name it.
"""

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..data import dialects
from ..data.jsonl import read_jsonl, read_lines
from ..errors import MissingExtraError, UserError

DATASETS_PREFIX = "datasets:"
_TABLES = {".csv": dialects.CSV, ".tsv": dialects.TSV}
_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".conll")


class Row(NamedTuple):
    """One row and where it stands."""

    place: str
    fields: dict[str, Any]


def read_rows(source: str) -> Iterator[Row]:
    """Yield the rows of a source.

    Args:
        source: a file that ends in .jsonl, .json (lines, or one list), .csv, .tsv (each also .gz) or
            .parquet, or ``datasets:NAME[:CONFIG][:SPLIT]``.

    Raises:
        UserError: if it does not exist, is of no known kind or is damaged.
    """
    if source.startswith(DATASETS_PREFIX):
        yield from _dataset_rows(source)
        return
    kind = suffix_of(source)
    if kind in _TABLES:
        yield from _table_rows(source, _TABLES[kind])
    elif kind == ".parquet":
        yield from _parquet_rows(source)
    elif kind == ".json" and (content := b"".join(read_lines(source)).lstrip()).startswith(b"["):
        yield from _list_rows(source, content)
    else:
        yield from (Row(f"{source} line {number}", fields) for number, fields in read_jsonl(source))


def _list_rows(source: str, content: bytes) -> Iterator[Row]:
    """Rows of one JSON list of objects, as data frames are often saved."""
    try:
        rows = json.loads(content)
    except ValueError as error:
        raise UserError(f"{source} is not JSON: {error}.") from error
    for number, fields in enumerate(rows, start=1):
        if not isinstance(fields, dict):
            raise UserError(f"{source} row {number} is no object with named fields.")
        yield Row(f"{source} row {number}", fields)


def suffix_of(source: str) -> str:
    """The kind of a file by its name, ``.gz`` aside."""
    return Path(source.removesuffix(".gz")).suffix.lower()


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
        if source.startswith(DATASETS_PREFIX) or not folder.is_dir():
            expanded.append(source)
            continue
        files = sorted(path for path in folder.iterdir() if path.name.startswith(starts) and _is_known(path))
        if not files:
            wanted = " or ".join(f"{start}*" for start in starts)
            raise UserError(f"{source} has no file {wanted} of kind {', '.join(_SUFFIXES)}.")
        expanded += [str(path) for path in files]
    return tuple(expanded)


def _is_known(path: Path) -> bool:
    return suffix_of(path.name) in _SUFFIXES


def _table_rows(source: str, dialect: dialects.Dialect) -> Iterator[Row]:
    """Rows of a table with a header; in a CSV file quoted fields may hold line ends."""
    text, quoting = _decoded(source), dialect.quoting
    delimiter = dialect.delimiter_of(text.split("\n", 1)[0])
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # one field may be a whole book
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)
    try:
        reader.fieldnames = names = _column_names(source, reader.fieldnames or (), quoting=quoting)
        for fields in reader:
            place = f"{source} line {reader.line_num}"
            if None in fields or None in fields.values():
                advice = (
                    f"Quote fields that hold {delimiter!r}."
                    if quoting == csv.QUOTE_MINIMAL
                    else "A field of a .tsv file holds no tabs or line ends; save such texts as .csv, quoted."
                )
                raise UserError(
                    f"{place} does not have the {len(names)} columns of the header ({', '.join(names)}). "
                    f"{advice}"
                )
            yield Row(place, fields)
    except csv.Error as error:
        raise UserError(f"{source} line {reader.line_num} cannot be read: {error}.") from error


def _decoded(source: str) -> str:
    """The content of a text file, UTF-8 with or without mark, or UTF-16 with one."""
    content = b"".join(read_lines(source))
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{source} is not UTF-8 text (byte {error.start + 1}). Save the file as UTF-8."
        ) from error


def _column_names(source: str, header: Sequence[str], *, quoting: int) -> list[str]:
    names = [name.strip() for name in header]
    if not names:
        raise UserError(f"{source} is empty. Need a line with the names of the columns, then the rows.")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"{source} has two columns called {twice[0]!r}. Rename one.")
    if quoting == csv.QUOTE_NONE and any(re.fullmatch('".*"', name) for name in names):
        raise UserError(
            f"{source} has quoted columns ({', '.join(names)}), and the quotes of a .tsv file belong to "
            "its texts. Save it as .csv, which may have tabs between its columns."
        )
    return names


def _parquet_rows(source: str) -> Iterator[Row]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError(feature="reading Parquet", package="pyarrow", extra="train") from error
    try:
        file = pyarrow.parquet.ParquetFile(source)
    except FileNotFoundError:
        raise UserError(f"{source} does not exist. Give the path of an existing file.") from None
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise UserError(f"{source} is not a Parquet file: {error}") from error
    number = 0
    for batch in file.iter_batches():
        for fields in batch.to_pylist():
            number += 1
            yield Row(f"{source} row {number}", fields)


def _dataset_rows(source: str) -> Iterator[Row]:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(
            feature="reading a data set by name", package="datasets", extra="train"
        ) from error
    path, _, rest = source.removeprefix(DATASETS_PREFIX).partition(":")
    config, _, split = rest.partition(":")
    try:
        loaded = datasets.load_dataset(path, config or None, split=split or "train")
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"data set {source} cannot be opened: {reason}") from error
    names: dict[str, list[str]] = {}
    for column, feature in loaded.features.items():
        one = feature.feature if isinstance(feature, datasets.List) else feature
        if isinstance(one, datasets.ClassLabel):
            names[column] = one.names
    for number, fields in enumerate(loaded, start=1):
        for column, labels in names.items():
            fields[column] = _named(fields[column], labels)
        yield Row(f"{source} row {number}", fields)


def _named(value: Any, names: list[str]) -> Any:
    """A number, or a list of numbers, as names; what is below 0 has none."""
    if isinstance(value, list):
        return [_named(one, names) for one in value]
    return names[value] if isinstance(value, int) and value >= 0 else value
