"""Raw files to documents: .txt, .jsonl(.gz|.zst), Parquet and `datasets` names, read with flat memory.

A corpus is split into `Unit`s, the share of one task each: a byte range of a plain file, a whole compressed
file, row groups of a Parquet file or a shard of a data set. Units partition the documents exactly, so tasks
may run anywhere and in any order. Whatever cannot be read becomes a `Problem` with its place; the rest of the
file is read on.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import MissingExtraError, UserError
from ..files.compression import damage, is_compressed, open_binary
from ..files.named_sets import DATASETS_PREFIX, open_dataset
from ..files.reading import check_fetched, check_not_pipe

MAX_LINE_BYTES = 64 << 20
MAX_DOCUMENT_CHARS = 1 << 20
_SUFFIXES = {
    ".txt": "txt",
    ".txt.gz": "txt",
    ".txt.zst": "txt",
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl",
    ".jsonl.zst": "jsonl",
    ".parquet": "parquet",
}

Report = Callable[["Problem"], None]


@dataclass(frozen=True)
class Problem:
    """Something that could not be read: where it stands and why."""

    place: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Unit:
    """The share of one task: documents that begin in ``[start, stop)`` of a source.

    ``start`` and ``stop`` count bytes in plain text files, row groups in Parquet files and shards in data
    sets. ``stop`` None means the end, and compressed files have no other. For data sets ``num_shards`` says
    of how many.
    """

    kind: str
    source: str
    start: int = 0
    stop: int | None = None
    num_shards: int = 1


def plan_units(inputs: Sequence[str], *, unit_bytes: int) -> list[Unit]:
    """Split the inputs into units of about ``unit_bytes`` bytes of the file.

    Args:
        inputs: files, folders (all readable files below, in order of name) or
            ``datasets:NAME[:CONFIG][:SPLIT]``.
        unit_bytes: largest share of a plain text file or Parquet file for one task.

    Raises:
        UserError: for a path that does not exist or whose kind is not known, a pipe, or a pointer of Git LFS.
    """
    units: list[Unit] = []
    for name in inputs:
        if name.startswith(DATASETS_PREFIX):
            units += _dataset_units(name)
            continue
        path = Path(name)
        if not path.exists():
            raise UserError(
                f"no such file or folder: {name}. A data set's name is written {DATASETS_PREFIX}NAME"
            )
        files = sorted(file for file in path.rglob("*") if _kind_of(file)) if path.is_dir() else [path]
        if not files:
            raise UserError(f"no file ending in {', '.join(_SUFFIXES)} under {name}")
        for file in files:
            units += _file_units(file, unit_bytes)
    return units


def _kind_of(path: Path) -> str | None:
    for suffix, kind in _SUFFIXES.items():
        if path.name.endswith(suffix):
            return kind
    return None


def _file_units(path: Path, unit_bytes: int) -> list[Unit]:
    check_not_pipe(path)
    kind = _kind_of(path)
    if kind is None:
        raise UserError(f"{path}: need a file ending in {', '.join(_SUFFIXES)}")
    check_fetched(path)
    source = str(path.resolve())
    if kind == "parquet":
        return _parquet_units(source, unit_bytes)
    size = path.stat().st_size
    if size <= unit_bytes or is_compressed(path):
        return [Unit(kind=kind, source=source)]
    return [
        Unit(kind=kind, source=source, start=start, stop=min(start + unit_bytes, size))
        for start in range(0, size, unit_bytes)
    ]


def _parquet_units(source: str, unit_bytes: int) -> list[Unit]:
    parquet = _import_parquet()
    import pyarrow

    try:
        metadata = parquet.ParquetFile(source).metadata
    except (OSError, pyarrow.ArrowInvalid):
        return [Unit(kind="parquet", source=source)]  # the task that reads it reports what is wrong
    units, start, size = [], 0, 0
    for group in range(metadata.num_row_groups):
        size += metadata.row_group(group).total_byte_size
        if size >= unit_bytes or group == metadata.num_row_groups - 1:
            units.append(Unit(kind="parquet", source=source, start=start, stop=group + 1))
            start, size = group + 1, 0
    return units


def _dataset_units(name: str) -> list[Unit]:
    shards = max(1, open_dataset(name, is_streamed=True).num_shards)
    return [
        Unit(kind="datasets", source=name, start=shard, stop=shard + 1, num_shards=shards)
        for shard in range(shards)
    ]


def _import_parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError(feature="reading Parquet", package="pyarrow", extra="pretrain") from error
    return pyarrow.parquet


def read_documents(
    unit: Unit, *, text_column: str, blank_line_ends_document: bool, report: Report
) -> Iterator[str]:
    """Yield the texts of one unit, in the order of the source.

    A text longer than 2**20 characters comes in several parts, cut at line ends where it has any, so that
    memory stays flat.

    Args:
        unit: what to read.
        text_column: key of the text in JSON rows, Parquet files and data sets.
        blank_line_ends_document: for .txt: True takes the lines between two blank lines as one document,
            False every line.
        report: called with each `Problem`.
    """
    if unit.kind == "txt":
        texts = _read_txt(unit, blank_line_ends_document, report)
    else:
        reader = {"jsonl": _read_jsonl, "parquet": _read_parquet, "datasets": _read_dataset}[unit.kind]
        texts = reader(unit, text_column, report)
    for text in texts:
        yield from split_long(text)


def split_long(text: str, limit: int = MAX_DOCUMENT_CHARS) -> Iterator[str]:
    """Cut ``text`` into parts of at most ``limit`` characters, at a line end or space where there is one."""
    start = 0
    while len(text) - start > limit:
        cut = max(text.rfind("\n", start, start + limit), start)
        if cut == start:
            cut = max(text.rfind(" ", start, start + limit), start)
        if cut == start:
            cut = start + limit
        yield text[start:cut]
        start = cut
    if text[start:].strip():
        yield text[start:]


class _Lines:
    """The lines of a unit with their byte offsets; remembers where it stands, for reports."""

    def __init__(self, unit: Unit, report: Report) -> None:
        self.unit = unit
        self.report = report
        self.number = 0  # lines read, the first line of the unit is 1
        self._lines_before: int | None = None if unit.start else 0

    def place(self) -> str:
        """``FILE:LINE``; lines before the unit are counted when the first problem occurs."""
        if self._lines_before is None:
            try:
                self._lines_before = _count_lines(self.unit.source, self.unit.start)
            except OSError:
                return f"{self.unit.source}: line {self.number} after byte {self.unit.start}"
        return f"{self.unit.source}:{self._lines_before + self.number}"

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """Yield ``(byte offset, line)`` from the first line that begins at or after ``start``."""
        damages: tuple[type[Exception], ...] = (OSError, *damage())
        try:
            with open_binary(self.unit.source) as stream:
                yield from self._read(stream)
        except damages as error:
            # Everything before the damage has been yielded.
            self.report(Problem(self.place(), f"the file cannot be read further: {error}"))

    def _read(self, stream: BinaryIO) -> Iterator[tuple[int, str]]:
        offset = self.unit.start
        if offset:
            stream.seek(offset - 1)
            offset += len(stream.readline()) - 1
        while line := stream.readline(MAX_LINE_BYTES):
            self.number += 1
            begin, offset = offset, offset + len(line)
            if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                while rest := stream.readline(MAX_LINE_BYTES):
                    offset += len(rest)
                    if rest.endswith(b"\n"):
                        break
                self._report(begin, f"a line of more than {MAX_LINE_BYTES} bytes was left out")
                continue
            try:
                yield begin, line.decode("utf-8-sig" if begin == 0 else "utf-8")
            except UnicodeDecodeError as error:
                self._report(begin, f"not UTF-8: {error.reason} at byte {error.start} of the line")

    def _report(self, offset: int, reason: str) -> None:
        """Report a line, unless it is the next unit's to report."""
        if self.unit.stop is None or offset < self.unit.stop:
            self.report(Problem(self.place(), reason))


def _count_lines(source: str, stop: int) -> int:
    """Line ends before the first line that begins at or after byte ``stop``."""
    count = 0
    with open(source, "rb") as stream:
        left = stop - 1
        while left > 0 and (block := stream.read(min(left, 1 << 20))):
            count += block.count(b"\n")
            left -= len(block)
        count += stream.readline().endswith(b"\n")
    return count


def _read_txt(unit: Unit, blank_line_ends_document: bool, report: Report) -> Iterator[str]:
    if blank_line_ends_document:
        yield from _read_blocks(unit, report)
        return
    for offset, line in _Lines(unit, report):
        if unit.stop is not None and offset >= unit.stop:
            return
        if line.strip():
            yield line.rstrip("\n")


def _read_blocks(unit: Unit, report: Report) -> Iterator[str]:
    """Blocks between blank lines. A block belongs to the unit in which the blank line before it begins."""
    block: list[str] = []
    size = 0
    mine = unit.start == 0
    for offset, line in _Lines(unit, report):
        if line.strip():
            if mine:
                block.append(line)
                size += len(line)
        else:
            if block:
                yield "".join(block)
                block, size = [], 0
            mine = True
            if unit.stop is not None and offset >= unit.stop:
                return
        if size > MAX_DOCUMENT_CHARS:
            yield "".join(block)
            block, size = [], 0
    if block:
        yield "".join(block)


def _read_jsonl(unit: Unit, text_column: str, report: Report) -> Iterator[str]:
    lines = _Lines(unit, report)
    for offset, line in lines:
        if unit.stop is not None and offset >= unit.stop:
            return
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            report(Problem(lines.place(), f"not JSON: {error}"))
            continue
        yield from _text_of(row, text_column, lines.place, report)


def _text_of(row: object, text_column: str, place: Callable[[], str], report: Report) -> Iterator[str]:
    text = row.get(text_column) if isinstance(row, dict) else None
    if isinstance(text, str):
        if text.strip():
            # A lone surrogate is legal JSON but no text: it cannot be tokenized.
            yield text.encode("utf-8", "replace").decode("utf-8")
        return
    found = f"keys {sorted(row)[:8]}" if isinstance(row, dict) else type(row).__name__
    report(Problem(place(), _no_text(text_column, found)))


def _no_text(text_column: str, found: str) -> str:
    return f"no text under {text_column!r}: got {found}. Name the right one with --text-column"


def _read_parquet(unit: Unit, text_column: str, report: Report) -> Iterator[str]:
    parquet = _import_parquet()
    import pyarrow

    place = f"{unit.source}: row groups {unit.start} to {unit.stop}"
    try:
        file = parquet.ParquetFile(unit.source)
        if text_column not in file.schema_arrow.names:
            found = f"columns {file.schema_arrow.names[:8]}"
            report(Problem(unit.source, _no_text(text_column, found)))
            return
        for group in range(unit.start, unit.stop if unit.stop is not None else file.num_row_groups):
            place = f"{unit.source}: row group {group}"
            for batch in file.iter_batches(batch_size=256, row_groups=[group], columns=[text_column]):
                yield from (
                    text for text in batch.column(0).to_pylist() if isinstance(text, str) and text.strip()
                )
    except (OSError, UnicodeDecodeError, pyarrow.ArrowException) as error:
        report(Problem(place, f"the file cannot be read further: {error}"))


def _read_dataset(unit: Unit, text_column: str, report: Report) -> Iterator[str]:
    rows = open_dataset(unit.source, is_streamed=True)
    if unit.num_shards > 1:
        rows = rows.shard(num_shards=unit.num_shards, index=unit.start)
    try:
        for number, row in enumerate(rows):
            where = f"{unit.source}: shard {unit.start}, row {number}"
            yield from _text_of(row, text_column, lambda where=where: where, report)  # type: ignore[misc]
    except (OSError, ValueError) as error:
        report(Problem(f"{unit.source}: shard {unit.start}", f"the data set cannot be read further: {error}"))
