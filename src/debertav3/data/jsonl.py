"""JSONL files in and files out: errors name the line, and a target file is complete or absent.

Both plain and gzip files are read, recognised by their first bytes, so the name does not matter.
"""

import errno
import gzip
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from ..errors import UserError

_GZIP_MAGIC = b"\x1f\x8b"
_NEEDED = 'Each line must be one JSON object, such as {"text": "..."}.'
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class Row(NamedTuple):
    """One JSON object of a file and the line, counted from 1, on which it stands."""

    number: int
    fields: dict[str, Any]


def read_jsonl(path: str | Path) -> Iterator[Row]:
    """Yield the objects of a JSONL file one at a time; blank lines are passed over.

    Raises:
        UserError: if the file is missing, unreadable or cut short, or a line is not one JSON object in UTF-8.
    """
    path = Path(path)
    for number, line in enumerate(read_lines(path), start=1):
        if line.isspace():
            continue
        place = f"{path} line {number}"
        try:
            fields = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            raise UserError(
                f"{place} is not UTF-8 text (byte {error.start + 1}). Save the file as UTF-8."
            ) from None
        except json.JSONDecodeError as error:
            reason = f"{error.msg} at column {error.colno}"
            raise UserError(f"{place} is not valid JSON ({reason}). {_NEEDED}") from None
        except RecursionError:
            raise UserError(f"{place} is nested too deeply to read. {_NEEDED}") from None
        if not isinstance(fields, dict):
            raise UserError(f"{place} holds a JSON {type(fields).__name__}. {_NEEDED}")
        yield Row(number, fields)


def read_lines(path: str | Path) -> Iterator[bytes]:
    """Yield the lines of a plain or gzip file, each with its line end.

    Raises:
        UserError: if the file is missing, is a folder, cannot be read, or is a gzip file that was cut short.
    """
    path = Path(path)
    try:
        with path.open("rb") as plain:
            is_gzip = plain.read(2) == _GZIP_MAGIC
            plain.seek(0)
            if is_gzip:
                with gzip.open(plain) as unpacked:
                    yield from unpacked
            else:
                yield from plain
    except FileNotFoundError:
        raise UserError(f"{path} does not exist. Give the path of an existing file.") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder. Give the path of a file.") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is a damaged gzip file ({error}). Fetch or write it again.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None


def json_line(fields: Mapping[str, Any]) -> str:
    """One object as a line of JSON with its line end; text stays readable, lone surrogates are escaped."""
    line = json.dumps(fields, ensure_ascii=False)
    try:
        line.encode("utf-8")
    except UnicodeEncodeError:  # JSON can carry half a surrogate pair, UTF-8 cannot
        line = json.dumps(fields)
    return line + "\n"


@contextmanager
def atomic_write(path: str | Path) -> Iterator[IO[str]]:
    """Open a text file that appears under its name only when the block ends without an error.

    It is written beside the target, flushed to the disk and renamed. Parent folders are created; a name that
    ends in ``.gz`` is compressed.

    Raises:
        UserError: if the target cannot be written, the disk is full, or the target is not an ordinary file.
    """
    target = Path(os.path.realpath(path))  # through a link, so that the link stays one
    if target.exists() and not target.is_file():
        raise UserError(f"{path} is not an ordinary file. Give another path for the output.")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = _create(part, compress=target.suffix == ".gz")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}.") from None
    try:
        with file:
            yield file
        with part.open("ab") as written:
            os.fsync(written.fileno())
        part.replace(target)
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        raise UserError(f"{path} cannot be written: {error.strerror}. Nothing was kept.") from None
    finally:
        part.unlink(missing_ok=True)


def _create(path: Path, *, compress: bool) -> IO[str]:
    if compress:
        return cast(IO[str], gzip.open(path, "wt", encoding="utf-8", newline="\n"))
    return path.open("w", encoding="utf-8", newline="\n")


def write_json(path: str | Path, content: object) -> None:
    """Write one indented JSON file, whole or not at all."""
    with atomic_write(path) as file:
        json.dump(content, file, indent=2, ensure_ascii=False)
        file.write("\n")
