"""A file of rows: all checked before anything is answered, then cut into chunks.

A file is read once for every pass over it. The first pass sums every chunk; later ones compare, so that a
file that changes in between is noticed before its rows are answered or written.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..files import sha256_of_bytes
from .file_tasks import FileTask
from .rows import Example
from .tables import PARQUET, TableRow, format_of, parquet_schema, read_table

if TYPE_CHECKING:
    import pyarrow

CHUNK_ROWS = 2048
CHUNK_CHARACTERS = 4_000_000  # about a million tokens, some 100 MB while they are worked on
_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file of rows that was read once and found whole."""

    path: Path
    file_format: str
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
    task: FileTask, source: str | Path, *, source_format: str | None = None, needs_schema: bool = False
) -> Source:
    """Read a whole file without answering it.

    Raises:
        UserError: naming file, line and field of the first fault, or if there are no rows.
    """
    path, file_format = Path(source), format_of(source, source_format)
    schema = parquet_schema(path) if file_format == PARQUET else None
    if schema is not None and not needs_schema:
        _refuse_bytes(path, schema)
    num_rows = num_labelled = num_characters = 0
    chunk_sums = []
    columns: dict[str, None] = {}
    schemas = _SchemaFinder() if needs_schema and file_format != PARQUET else None
    for chunk in _cut(examples(task, path, file_format)):
        chunk_sums.append(_sum(chunk))
        for row, example in chunk:
            num_rows += 1
            num_labelled += example.gold is not None
            num_characters += example.num_characters
            columns.update(dict.fromkeys(row.original))
            if schemas is not None:
                schemas.add(row.original)
    if not num_rows:
        raise UserError(f"{source} holds no rows. Need at least one, such as a JSON object on a line.")
    return Source(
        path=path,
        file_format=file_format,
        num_rows=num_rows,
        num_labelled=num_labelled,
        num_characters=num_characters,
        chunk_sums=chunk_sums,
        columns=list(columns),
        schema=schema if schemas is None else schemas.result(path),
    )


def _refuse_bytes(path: Path, schema: "pyarrow.Schema") -> None:
    from pyarrow import types

    for field in schema:
        if types.is_binary(field.type) or types.is_large_binary(field.type):
            raise UserError(
                f"{path}: column {field.name!r} holds bytes, which JSONL and CSV cannot. "
                "Give the output a name that ends in .parquet, or drop the column."
            )


class _SchemaFinder:
    """The Arrow types that hold all rows, found block by block."""

    def __init__(self) -> None:
        self._schema: pyarrow.Schema | None = None
        self._rows: list[dict[str, Any]] = []
        self._error: str | None = None

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) == CHUNK_ROWS:
            self._take_in()

    def _take_in(self) -> None:
        import pyarrow

        names = dict.fromkeys(name for row in self._rows for name in row)
        try:
            block = pyarrow.schema(
                [(name, pyarrow.infer_type([row.get(name) for row in self._rows])) for name in names]
            )
            known = [] if self._schema is None else [self._schema]
            self._schema = pyarrow.unify_schemas([*known, block], promote_options="permissive")
        except pyarrow.ArrowException as error:
            self._error = self._error or str(error).splitlines()[0]
        self._rows = []

    def result(self, path: Path) -> "pyarrow.Schema":
        self._take_in()
        if self._schema is None or self._error:
            raise UserError(
                f"{path}: a column mixes types, which Parquet cannot ({self._error}). Write JSONL."
            )
        return self._schema


def examples(task: FileTask, path: Path, file_format: str) -> Iterator[tuple[TableRow, Example]]:
    """Every row, and what the task reads in it.

    Raises:
        UserError: naming file, line and field of the first fault.
    """
    for row in read_table(path, file_format):
        try:
            yield row, task.read(row.fields)
        except UserError as error:
            raise UserError(f"{row.place}: {error}") from error


def chunks_of(task: FileTask, source: Source) -> Iterator[list[Example]]:
    """The examples of a file in order, in chunks that fit in memory; the same chunks in every run.

    Raises:
        UserError: as `rows_of`.
    """
    for chunk in rows_of(task, source):
        yield [example for _, example in chunk]


def rows_of(task: FileTask, source: Source) -> Iterator[list[tuple[TableRow, Example]]]:
    """Another pass over a file that was checked: its rows, and what the task reads in them, in chunks.

    Raises:
        UserError: if a row is not what it was when the file was checked.
    """
    num_chunks = 0
    for chunk in _cut(examples(task, source.path, source.file_format)):
        if num_chunks == len(source.chunk_sums) or _sum(chunk) != source.chunk_sums[num_chunks]:
            raise _changed(source)
        num_chunks += 1
        yield chunk
    if num_chunks < len(source.chunk_sums):
        raise _changed(source)


def _changed(source: Source) -> UserError:
    return UserError(
        f"{source.path} has changed since this run began, so answers and rows would not belong together. "
        "No output was written. Run the command again when the file is complete, with --overwrite."
    )


def _cut(rows: Iterator[tuple[TableRow, Example]]) -> Iterator[list[tuple[TableRow, Example]]]:
    chunk: list[tuple[TableRow, Example]] = []
    num_characters = 0
    for row, example in rows:
        chunk.append((row, example))
        num_characters += example.num_characters
        if len(chunk) == CHUNK_ROWS or num_characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, num_characters = [], 0
    if chunk:
        yield chunk


def _sum(chunk: Sequence[tuple[TableRow, Example]]) -> bytes:
    digest = hashlib.sha256()
    for row, _ in chunk:
        digest.update(repr(row.original).encode("utf-8", "surrogatepass") + b"\n")
    return digest.digest()
