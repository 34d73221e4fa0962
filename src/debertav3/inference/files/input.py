"""A file of rows: all checked before anything is answered, then cut into chunks.

A file is read once for every pass over it. The first pass sums every chunk; later ones compare, so that a
file that changes in between is noticed before its rows are answered or written.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import UserError
from ...files import sha256_of_bytes
from ...json_types import JsonObject
from ...tasks.formats import CONLL, PARQUET
from ...tasks.read_options import ReadOptions
from ...tasks.rows import Row
from ...tasks.tables import Reading, read_table
from ...tasks.typed_tables import open_parquet
from ...tasks.understanding import Understanding
from .file_task import NO_TEXT
from .row_answers import CheckedRow, FileTask

if TYPE_CHECKING:
    import pyarrow

logger = logging.getLogger(__name__)

CHUNK_ROWS = 2048
CHUNK_CHARACTERS = 4_000_000  # about a million tokens, some 100 MB while they are worked on
_CHARACTERS_PER_TOKEN = 4
_MOST_64_BITS = 2**63
_ROWS_SHOWN = 2


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file of rows that was read once and found whole."""

    reading: Reading
    num_rows: int
    num_labelled: int
    num_characters: int
    chunk_sums: Sequence[bytes]
    """Of the rows of each chunk, in order."""
    columns: Sequence[str]
    """In the order in which they come."""
    schema: "pyarrow.Schema | None" = None
    """Types of the columns, where the output is Parquet."""

    @property
    def num_tokens(self) -> int:
        """About how many tokens the model reads."""
        return self.num_characters // _CHARACTERS_PER_TOKEN

    @property
    def checksum(self) -> str:
        """SHA-256 sum over the content of all rows."""
        return sha256_of_bytes(b"".join(self.chunk_sums))


def check_file(
    task: FileTask,
    source: str | Path,
    *,
    source_format: str | None = None,
    needs_schema: bool = False,
    is_logged: bool = True,
) -> Source:
    """Read a whole file without answering it, and say what was understood of it unless ``is_logged`` is off.

    Raises:
        UserError: naming file, line and field of the first fault, or if there are no rows.
    """
    reading = open_rows(task.name, source, replace(task.options.reading, format=source_format))
    shown: list[str] = []
    schema = _parquet_schema(reading) if reading.format is PARQUET else None
    if schema is not None and not needs_schema:
        _refuse_bytes(reading.source, schema)
    num_labelled = num_characters = num_empty = 0
    chunk_sums = []
    schemas = _SchemaFinder(schema) if needs_schema else None
    for chunk in _cut(examples(task, reading)):
        chunk_sums.append(_sum(chunk))
        for row, example in chunk:
            if len(shown) < _ROWS_SHOWN:
                shown.append(task.shown(example))
            num_empty += example.inputs is None
            num_labelled += example.gold is not None
            num_characters += example.num_characters
            if schemas is not None:
                schemas.add(row)
    if not reading.num_rows:
        raise UserError(f"{source} contains no rows. Need at least one, such as a JSON object on a line.")
    if num_empty == reading.num_rows:
        raise UserError(f"{source}: none of its {num_empty} rows has a text. Fill in the texts.")
    reading.num_empty = num_empty
    reading.roles = task.roles
    understood = Understanding(
        source=reading.source,
        format=reading.described,
        num_rows=reading.num_rows,
        columns=reading.all_roles,
        label_kind=task.label_kind() if num_labelled else "",
        shown=shown,
        notes=reading.all_notes(),
    )
    if is_logged:
        understood.log()
        reading.log_skipped()
    return Source(
        reading=reading,
        num_rows=reading.num_rows,
        num_labelled=num_labelled,
        num_characters=num_characters,
        chunk_sums=chunk_sums,
        columns=reading.columns,
        schema=None if schemas is None else schemas.result(reading.source),
    )


def open_rows(task: str, source: str | Path, options: ReadOptions) -> Reading:
    """Open a source of rows for a task by its name.

    Raises:
        UserError: as `read_table`.
    """
    return read_table(source, options, otherwise=CONLL if task == "ner" else None)


def _parquet_schema(reading: Reading) -> "pyarrow.Schema":
    """Names and types of a Parquet file's columns."""
    with open_parquet(Path(reading.source)) as file:
        return file.schema_arrow


def _refuse_bytes(path: str, schema: "pyarrow.Schema") -> None:
    from pyarrow import types

    for field in schema:
        if types.is_binary(field.type) or types.is_large_binary(field.type):
            raise UserError(
                f"{path}: column {field.name!r} contains bytes, which JSONL and CSV cannot "
                "store. Give the output a name that ends in .parquet, or drop the column."
            )


class _SchemaFinder:
    """The Arrow types that hold all rows, found block by block.

    Args:
        given: the schema of the file that the rows come from. Its columns keep their types, unless reading
            has changed what is in them, as the numbers of classes into names.
    """

    def __init__(self, given: "pyarrow.Schema | None" = None) -> None:
        self._given: dict[str, pyarrow.Field] = {} if given is None else {one.name: one for one in given}
        self._found: dict[str, pyarrow.Schema] = {}
        self._rows: list[JsonObject] = []
        self._errors: dict[str, str] = {}

    def add(self, row: Row) -> None:
        for name, value in row.original.items():
            if (
                name not in self._given
                and isinstance(value, int)
                and not -_MOST_64_BITS <= value < _MOST_64_BITS
            ):
                raise UserError(
                    f"{row.place}: {name} is a number beyond 64 bits, which Parquet cannot "
                    "store. Write JSONL."
                )
        self._rows.append(row.original)
        if len(self._rows) == CHUNK_ROWS:
            self._take_in()

    def _take_in(self) -> None:
        import pyarrow

        for name in dict.fromkeys(name for row in self._rows for name in row):
            values = [row.get(name) for row in self._rows]
            if name in self._given:
                try:
                    pyarrow.array(values, type=self._given[name].type)
                except (pyarrow.ArrowException, TypeError, ValueError):
                    del self._given[name]
            try:
                block = pyarrow.schema([(name, pyarrow.infer_type(values))])
                known = [self._found[name]] if name in self._found else []
                self._found[name] = pyarrow.unify_schemas([*known, block], promote_options="permissive")
            except pyarrow.ArrowException as error:
                self._found.setdefault(name, pyarrow.schema([]))
                self._errors.setdefault(name, str(error).splitlines()[0])
        self._rows = []

    def result(self, path: str) -> "pyarrow.Schema":
        import pyarrow

        self._take_in()
        if wrong := [name for name in self._found if name in self._errors and name not in self._given]:
            raise UserError(
                f"{path}: column {wrong[0]!r} mixes types, which Parquet cannot store "
                f"({self._errors[wrong[0]]}). Write JSONL."
            )
        return pyarrow.schema(
            [self._given[name] if name in self._given else own.field(0) for name, own in self._found.items()]
        )


def examples(task: FileTask, reading: Reading) -> Iterator[tuple[Row, CheckedRow]]:
    """Every row, and what the task reads in it.

    Raises:
        UserError: naming file, line and field of the first fault.
    """
    for row in reading:
        try:
            example = task.read(row)
        except UserError as error:
            message = str(error)
            placed = UserError(message if message.startswith(row.place) else f"{row.place}: {message}")
            if not reading.options.skip_bad:
                raise placed from error
            reading.skip(placed)
            example = NO_TEXT
        reading.roles = task.roles
        reading.note_numbers()
        yield row, example


def chunks_of(task: FileTask, source: Source) -> Iterator[list[CheckedRow]]:
    """The examples of a file in order, in chunks that fit in memory; the same chunks in every run.

    Raises:
        UserError: as `rows_of`.
    """
    for chunk in rows_of(task, source):
        yield [example for _, example in chunk]


def rows_of(task: FileTask, source: Source) -> Iterator[list[tuple[Row, CheckedRow]]]:
    """Another pass over a file that was checked: its rows, and what the task reads in them, in chunks.

    Raises:
        UserError: if a row is not what it was when the file was checked.
    """
    num_chunks = 0
    for chunk in _cut(examples(task, source.reading)):
        if num_chunks == len(source.chunk_sums) or _sum(chunk) != source.chunk_sums[num_chunks]:
            raise _changed(source)
        num_chunks += 1
        yield chunk
    if num_chunks < len(source.chunk_sums):
        raise _changed(source)


def _changed(source: Source) -> UserError:
    return UserError(
        f"{source.reading.source} has changed since this run began, so answers and rows would not match. "
        "No output was written. Run the command again when the file is complete, with --overwrite."
    )


def _cut(rows: Iterator[tuple[Row, CheckedRow]]) -> Iterator[list[tuple[Row, CheckedRow]]]:
    chunk: list[tuple[Row, CheckedRow]] = []
    num_characters = 0
    for row, example in rows:
        chunk.append((row, example))
        num_characters += example.num_characters
        if len(chunk) == CHUNK_ROWS or num_characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, num_characters = [], 0
    if chunk:
        yield chunk


def _sum(chunk: Sequence[tuple[Row, CheckedRow]]) -> bytes:
    digest = hashlib.sha256()
    for row, _ in chunk:
        digest.update(repr(row.original).encode("utf-8", "surrogatepass") + b"\n")
    return digest.digest()
