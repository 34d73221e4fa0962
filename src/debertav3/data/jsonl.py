"""Files out: a target file is complete or absent."""

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ..compression import create_text
from ..errors import UserError

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def json_line(fields: Mapping[str, Any]) -> str:
    """One object as a line of JSON with its line end; text stays readable, lone surrogates are escaped.

    Raises:
        ValueError: for NaN and infinity, which JSON does not have.
    """
    line = json.dumps(fields, ensure_ascii=False, allow_nan=False)
    try:
        line.encode("utf-8")
    except UnicodeEncodeError:  # JSON can carry half a surrogate pair, UTF-8 cannot
        line = json.dumps(fields)
    return line + "\n"


@contextmanager
def atomic_write(path: str | Path) -> Iterator[IO[str]]:
    """Open a text file that appears under its name only when the block ends without an error.

    It is written beside the target, flushed to the disk and renamed. Parent folders are created; a name that
    ends in ``.gz`` or ``.zst`` is compressed.

    Raises:
        UserError: if the target cannot be written, the disk is full, or the target is not an ordinary file.
    """
    target = Path(os.path.realpath(path))  # through a link, so that the link stays one
    if target.exists() and not target.is_file():
        raise UserError(f"{path} is not an ordinary file. Give another path for the output.")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = create_text(part, ending=target.suffix)
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


def write_json(path: str | Path, content: object) -> None:
    """Write one indented JSON file, whole or not at all."""
    with atomic_write(path) as file:
        json.dump(content, file, indent=2, ensure_ascii=False)
        file.write("\n")
