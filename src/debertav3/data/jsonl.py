"""Files out: a target file is complete or absent."""

import errno
import gzip
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from ..errors import UserError

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


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
