"""JSONL files, read line by line: errors name the line.

Both plain and gzip files are read, recognised by their first bytes, so the name does not matter.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UserError

_GZIP_MAGIC = b"\x1f\x8b"
_NEEDED = 'Each line must be one JSON object, such as {"text": "..."}.'


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
