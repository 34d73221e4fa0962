"""Texts out of files, one by one, in flat memory: plain lines or one column of JSON lines."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import UserError
from ..files.compression import bare_name, read_lines
from ..files.reading import check_ordinary

DEFAULT_COLUMNS = ("text",)


def read_texts(path: str | Path, *, columns: Sequence[str] = DEFAULT_COLUMNS) -> Iterator[str]:
    r"""Yield the texts of one file in order.

    A ``.txt`` file gives one text a line, without its line end; only ``\n`` ends a line. A ``.jsonl`` file
    gives, for every row, each of ``columns`` that the row has. Either may be compressed with gzip or zstd.

    Raises:
        UserError: for a missing file, a pipe, an unknown ending, bytes that are not UTF-8, or a malformed row
            (with its number).
    """
    path = Path(path)
    name = bare_name(path)
    check_ordinary(path)
    if not path.is_file():
        raise UserError(f"no such file: {path}. Give an existing .txt or .jsonl file (also .gz and .zst).")
    if not name.endswith((".txt", ".jsonl")):
        raise UserError(
            f"cannot read {path}: got the ending {path.suffix!r}, need .txt or .jsonl (also .gz and .zst)."
        )
    if name.endswith(".txt"):
        for _, line in _lines(path):
            yield line
        return
    for number, line in _lines(path):
        if line.strip():
            yield from _row_texts(line, columns, place=f"{path} line {number}")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    number = 0
    try:
        for number, raw in enumerate(read_lines(path), start=1):
            yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} line {number} is not UTF-8 ({error.reason}). Convert the file to UTF-8."
        ) from error


def _row_texts(line: str, columns: Sequence[str], *, place: str) -> Iterator[str]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{place} is not JSON ({error.msg} at column {error.colno}). Correct or remove the line."
        ) from error
    except (ValueError, RecursionError) as error:  # integers of thousands of digits, lists in lists in lists
        raise UserError(f"{place} cannot be read ({error}). Correct or remove the line.") from error
    if not isinstance(row, dict):
        raise UserError(f"{place} is a JSON {type(row).__name__}, need an object with a text column.")
    found = [column for column in columns if column in row]
    if not found:
        raise UserError(
            f"{place} has the columns {', '.join(map(repr, row)) or 'none'}, need one of "
            f"{', '.join(map(repr, columns))}. Name the text column with --text-column."
        )
    for column in found:
        if not isinstance(row[column], str):
            raise UserError(f"{place}: column {column!r} is a {type(row[column]).__name__}, need a string.")
        yield row[column]
