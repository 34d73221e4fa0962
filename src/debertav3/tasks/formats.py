"""The file formats of labelled rows: each is a function from a file to its rows, all are in `FORMATS`.

To add one, write ``read(file) -> iterator of (where, fields)`` and put a `Format` into the tuple.
"""

import codecs
import csv
import io
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import MissingExtraError, UserError
from ..files.compression import read_lines, reading
from .labels import label_text

FormatName = Literal["jsonl", "json", "csv", "tsv", "parquet", "xlsx", "conll", "datasets"]
Found = Iterator[tuple[str, dict[str, Any]]]
"""Where each row is (``line 7``), and its fields."""

MAX_DEPTH = 64
"""Lists and objects within each other; deeper ones could not be written again."""
_NEEDED = 'Each line must be one JSON object, such as {"text": "..."}.'
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_HEAD_BYTES = 4096


@dataclass
class SourceFile:
    """A file, and how its text is encoded."""

    path: Path
    encoding: str = field(init=False, default="utf-8")

    def head(self) -> bytes:
        """The first bytes, decompressed."""
        with reading(self.path) as stream:
            return stream.read(_HEAD_BYTES)

    def lines(self) -> Iterator[str]:
        r"""The lines of a text file, each with its line end; only ``\n`` ends one.

        UTF-8 with or without a byte order mark, or UTF-16 with one.

        Raises:
            UserError: if a line is neither.
        """
        number = 0
        try:
            if self.head().startswith(_UTF16_MARKS):
                self.encoding = "utf-16"
                with reading(self.path) as stream:
                    for text in _utf16_lines(stream):
                        number += 1
                        yield text
                return
            for number, line in enumerate(read_lines(self.path), start=1):
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            where = f"line {number}" if self.encoding == "utf-8" else f"line {number + 1} or after"
            raise UserError(
                f"{self.path} {where} is not {self.encoding.upper()} text (byte {error.start + 1}). "
                "Save the file as UTF-8."
            ) from None


def _utf16_lines(stream: Any) -> Iterator[str]:
    return iter(io.TextIOWrapper(stream, encoding="utf-16", newline="\n"))


@dataclass(frozen=True)
class Format:
    """One kind of file."""

    name: FormatName
    endings: tuple[str, ...]
    read: Callable[[SourceFile], Found]
    is_written: bool = False
    is_packed: bool = False
    """Whether it is compressed within, so that it cannot be compressed again."""
    is_typed: bool = False
    """Whether its cells have types of their own, which tasks read as the text that a CSV file has."""


def parse_json(text: str, place: str, *, needed: str = "") -> Any:
    """JSON as JSON has it: NaN is null; numbers without end and half characters are refused.

    Args:
        text: one document.
        place: for messages.
        needed: what the message says is needed.

    Raises:
        UserError: naming the place.
    """
    try:
        value = _DECODER.decode(text)
        if "\\u" in text:  # the only way to half of a surrogate pair, which no UTF-8 can hold
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        is_deep = text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH
    except json.JSONDecodeError as error:
        where = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}"
        raise UserError(f"{place} is not valid JSON ({error.msg} at {where}). {needed}".rstrip()) from None
    except UnicodeEncodeError:
        raise UserError(
            f"{place} has half of a surrogate pair (such as \\ud800), which is no character. Remove it."
        ) from None
    except ValueError as error:
        reason = "an integer of thousands of digits" if "digits" in str(error) else str(error)
        raise UserError(f"{place} is not usable: it holds {reason}.") from None
    except RecursionError:
        is_deep = True
    if is_deep:
        raise UserError(f"{place} is nested too deeply to read, beyond {MAX_DEPTH} levels. {needed}".rstrip())
    return value


def _constant(name: str) -> None:
    if name != "NaN":
        raise ValueError(f"the number {name}, which JSON does not have")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the name {twice!r} twice in one object")
    return fields


_DECODER = json.JSONDecoder(parse_constant=_constant, object_pairs_hook=_unique)
_IN_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')


def _depth(text: str) -> int:
    depth = deepest = 0
    for mark in re.findall(r"[\[\]{}]", _IN_TEXT.sub("", text)):
        depth += 1 if mark in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _object(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{place} holds a JSON {type(value).__name__}. {_NEEDED}")
    return value


def read_jsonl(file: SourceFile) -> Found:
    """One JSON object a line; blank lines are skipped."""
    yield from _objects(file, enumerate(file.lines(), start=1))


def _objects(file: SourceFile, lines: Iterator[tuple[int, str]]) -> Found:
    for number, line in lines:
        if not line.isspace():
            place = f"{file.path} line {number}"
            yield f"line {number}", _object(parse_json(line, place, needed=_NEEDED), place)


def read_json(file: SourceFile) -> Found:
    """One list of objects, as data frames are often saved; SQuAD's official form; or JSON lines."""
    lines = enumerate(file.lines(), start=1)
    number, first = next(((number, line) for number, line in lines if not line.isspace()), (0, ""))
    if first.lstrip().startswith("{") and (row := _one_object(first)) is not None and not _is_document(row):
        yield from _objects(file, itertools.chain([(number, first)], lines))
        return
    rest = "".join(line for _, line in lines)
    if not first:
        return
    content = parse_json(first + rest, str(file.path))
    if isinstance(content, dict) and isinstance(content.get("data"), list):
        if any(isinstance(one, dict) and "paragraphs" in one for one in content["data"]):
            yield from _questions(content["data"], str(file.path))
            return
        content = content["data"]
    if not isinstance(content, list):
        raise UserError(
            f"{file.path} is one JSON {type(content).__name__}. Need a list of objects, or lines."
        )
    for number, fields in enumerate(content, start=1):
        if not isinstance(fields, dict):
            raise UserError(f"{file.path} row {number} is no object with named fields.")
        yield f"row {number}", fields


def _one_object(line: str) -> dict[str, Any] | None:
    """What a line holds if it is one whole object."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {} if line.rstrip().endswith("}") else None  # a bad line of many is told with its number
    return value if isinstance(value, dict) else None


def _is_document(row: dict[str, Any]) -> bool:
    data = row.get("data")
    return isinstance(data, list) and all(isinstance(one, dict) for one in data)


def _questions(articles: Sequence[Any], source: str) -> Found:
    """The questions of SQuAD's official form, as rows of its copy on the Hub."""
    try:
        for article in articles:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    row = {
                        "id": str(question["id"]),
                        **({"title": article["title"]} if "title" in article else {}),
                        "context": paragraph["context"],
                        "question": question["question"],
                    }
                    if "answers" in question:
                        answers = question["answers"]
                        row["answers"] = {
                            name: [one[name] for one in answers] for name in ("text", "answer_start")
                        }
                    yield f"question {question['id']}", row
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{source} is not in SQuAD's format: {type(error).__name__} {error}. Need data, paragraphs, qas."
        ) from error


class _Table:
    """A table of text with a header: what separates the columns, and whether cells may be quoted."""

    def __init__(self, delimiters: str, *, is_quoted: bool) -> None:
        self.delimiters = delimiters
        self.is_quoted = is_quoted

    def __call__(self, file: SourceFile) -> Found:
        csv.field_size_limit(64 << 20)  # characters; the csv module's own limit is 128 thousand
        lines = file.lines()
        header = next(lines, "")
        plain = re.sub(r'"[^"]*"', "", header) if self.is_quoted else header
        delimiter = max(self.delimiters, key=plain.count)
        quoting: Any = csv.QUOTE_MINIMAL if self.is_quoted else csv.QUOTE_NONE
        reader = csv.reader(
            itertools.chain([header], lines), delimiter=delimiter, quoting=quoting, strict=True
        )
        try:
            names = self._names(next(reader, []), file.path)
            line = reader.line_num + 1
            for cells in reader:
                if cells:  # a blank line has none
                    if len(cells) != len(names):
                        raise UserError(
                            f"{file.path} line {line} has {len(cells)} cells; the first line has "
                            f"{len(names)} names ({', '.join(names)}). {self._advice(delimiter)}"
                        )
                    yield f"line {line}", dict(zip(names, cells, strict=True))
                line = reader.line_num + 1
        except csv.Error as error:
            raise UserError(f"{file.path} line {reader.line_num} is not valid CSV ({error}).") from None

    def _advice(self, delimiter: str) -> str:
        if self.is_quoted:
            return f"Quote cells that hold {delimiter!r}."
        return "A cell of a .tsv file holds no tabs or line ends; save such texts as .csv, quoted."

    def _names(self, header: Sequence[str], path: Path) -> list[str]:
        names = [name.strip() for name in header]
        if not names:
            raise UserError(
                f"{path} holds no rows: it is empty. Need a line with the names of the columns, then rows."
            )
        if not self.is_quoted and any(re.fullmatch('".*"', name) for name in names):
            raise UserError(
                f"{path} has quoted columns ({', '.join(names)}), and the quotes of a .tsv file belong to "
                "its texts. Save it as .csv, which may have tabs between its columns."
            )
        return unlike_names(names, f"{path} line 1")


def unlike_names(names: list[str], place: str) -> list[str]:
    """Names of columns that differ from each other.

    Raises:
        UserError: if two are the same.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"{place}: columns need different names; two are called {twice[0]!r}. Rename one.")
    return names


def read_conll(file: SourceFile) -> Found:
    """Sentences: a word first in each line, its tag last if there is one, blank lines between sentences."""
    words: list[str] = []
    tags: list[str] = []
    first = 1
    for number, line in enumerate(itertools.chain(file.lines(), [""]), start=1):
        columns = line.split()
        if columns and columns[0] != "-DOCSTART-":
            first = first if words else number
            words.append(columns[0])
            tags += columns[1:][-1:]
            if len(tags) not in (0, len(words)):
                found = "a word and no tag" if len(columns) < 2 else "a tag"
                raise UserError(
                    f"{file.path} line {number} has {found}, unlike the lines before it in its sentence. "
                    "Need 'word TAB tag' in all of them, or the word alone."
                )
        elif words:
            yield f"line {first}", {"tokens": words, **({"label": tags} if tags else {})}
            words, tags = [], []


def read_parquet(file: SourceFile) -> Found:
    """Rows of a Parquet file, a few at a time."""
    number = 0
    with open_parquet(file.path) as parquet:
        for batch in parquet.iter_batches(batch_size=1024):
            for fields in batch.to_pylist():
                number += 1
                yield f"row {number}", fields


def open_parquet(path: Path) -> Any:
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


def import_openpyxl() -> Any:
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
    """Rows of the first sheet of an Excel workbook; its first row names the columns."""
    openpyxl = import_openpyxl()
    import zipfile

    try:
        book = openpyxl.load_workbook(file.path, read_only=True, data_only=True)
    except FileNotFoundError:
        raise UserError(f"{file.path} does not exist. Give the path of an existing file.") from None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{file.path} cannot be read as an Excel workbook: {error}.") from None
    with closing(book):
        rows = book.worksheets[0].iter_rows(values_only=True)
        header = list(next(rows, ()))
        while header and header[-1] is None:
            header.pop()
        if not header:
            raise UserError(
                f"{file.path} holds no rows: its first sheet is empty. Need a row with names of columns."
            )
        names = unlike_names(
            ["" if name is None else str(name).strip() for name in header], f"{file.path} row 1"
        )
        for number, cells in enumerate(rows, start=2):
            values = list(cells[: len(names)])
            if any(value is not None for value in values):
                values += [None] * (len(names) - len(values))
                yield f"row {number}", dict(zip(names, values, strict=True))


def cell_text(value: Any) -> str:
    """A cell of a spreadsheet as the text that a CSV file has in its place."""
    return "" if value is None else label_text(value) if isinstance(value, bool | float) else str(value)


DATASETS_PREFIX = "datasets:"


def read_dataset(file: SourceFile) -> Found:
    """Rows of ``datasets:NAME[:CONFIG][:SPLIT]``; numbers of named classes as their names."""
    source = str(file.path)
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
        yield f"row {number}", fields


def _named(value: Any, names: list[str]) -> Any:
    """A number, or a list of numbers, as names; what is below 0 has none."""
    if isinstance(value, list):
        return [_named(one, names) for one in value]
    return names[value] if isinstance(value, int) and value >= 0 else value


JSONL = Format("jsonl", (".jsonl", ".ndjson"), read_jsonl, is_written=True)
JSON = Format("json", (".json",), read_json, is_written=True)
CSV = Format("csv", (".csv",), _Table(",;\t|", is_quoted=True), is_written=True)
TSV = Format("tsv", (".tsv",), _Table("\t", is_quoted=False))
"""As the official files of GLUE: a quote is a character of the text, and cells are never quoted."""
PARQUET = Format("parquet", (".parquet", ".pq"), read_parquet, is_written=True, is_packed=True)
XLSX = Format("xlsx", (".xlsx",), read_xlsx, is_written=True, is_packed=True, is_typed=True)
CONLL = Format("conll", (".conll", ".bio", ".iob", ".iob2"), read_conll)
DATASETS = Format("datasets", (), read_dataset)
FORMATS = (JSONL, JSON, CSV, TSV, PARQUET, XLSX, CONLL)
"""Every format of a file."""
ENDINGS = tuple(ending for one in FORMATS for ending in one.endings)


def format_named(name: str) -> Format:
    """The format of a name.

    Raises:
        UserError: if there is none.
    """
    for one in FORMATS:
        if one.name == name:
            return one
    names = ", ".join(one.name for one in FORMATS)
    raise UserError(f"unknown format {name!r}. Choose one of: {names}.")


_TAG = re.compile(r"O|[BIESLU](-\S+)?")


def format_within(file: SourceFile) -> Format | None:
    """The format that the first bytes of a file show; None if they do not."""
    head = file.head()
    if head.startswith(b"PAR1"):
        return PARQUET
    if head.startswith(b"PK\x03\x04"):
        return XLSX
    text = head.decode("utf-16" if head.startswith(_UTF16_MARKS) else "utf-8-sig", "ignore").lstrip()
    if text.startswith("{"):
        return JSON
    if text.startswith("["):
        return JSON
    rows = [line.split() for line in text.splitlines()[:-1] or text.splitlines() if line.strip()]
    rows = [row for row in rows if row[0] != "-DOCSTART-"]
    is_conll = bool(rows) and all(len(row) > 1 and _TAG.fullmatch(row[-1]) for row in rows)
    return CONLL if is_conll else None
