"""A file of rows: all checked before anything is answered, then cut into chunks."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
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
    checksum: int
    """CRC-32 of all rows."""
    columns: Sequence[str]
    """In the order in which they come."""
    schema: "pyarrow.Schema | None" = None
    """Types of the columns, where the output is Parquet."""

    @property
    def num_tokens(self) -> int:
        """About how many tokens the model reads."""
        return self.num_characters // _CHARACTERS_PER_TOKEN


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
    num_rows = num_labelled = num_characters = checksum = 0
    columns: dict[str, None] = {}
    schemas = _SchemaFinder() if needs_schema and file_format != PARQUET else None
    for row, example in examples(task, path, file_format):
        num_rows += 1
        num_labelled += example.gold is not None
        num_characters += example.num_characters
        columns.update(dict.fromkeys(row.original))
        checksum = zlib.crc32(repr(row.original).encode("utf-8", "surrogatepass"), checksum)
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
        checksum=checksum,
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
    """The examples of a file in order, so many at once as stay in memory; the same chunks in every run."""
    chunk: list[Example] = []
    num_characters = 0
    for _, example in examples(task, source.path, source.file_format):
        chunk.append(example)
        num_characters += example.num_characters
        if len(chunk) == CHUNK_ROWS or num_characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, num_characters = [], 0
    if chunk:
        yield chunk
