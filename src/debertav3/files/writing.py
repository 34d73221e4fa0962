"""Files and folders that appear whole or not at all: written beside the target, flushed, renamed.

The temporary names are ``.NAME.RANDOM.debertav3-partial``, which no other program uses. A process that is
killed leaves one behind; it is never read, and may be removed.
"""

import contextlib
import errno
import io
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ..errors import UserError
from .compression import compressing

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of a disk that is full, over its quota or broken."""

_SUFFIX = ".debertav3-partial"
_PARTIAL = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}" + re.escape(_SUFFIX))
_MAX_NAME_BYTES = 255
_ADVICE = {
    errno.ENOSPC: "Free some space and run the same command again.",
    errno.EDQUOT: "Free some space and run the same command again.",
    errno.EFBIG: "Raise the limit on file sizes, or write to another disk.",
    errno.EACCES: "Choose another path, or change its permissions.",
    errno.EPERM: "Choose another path, or change its permissions.",
    errno.EROFS: "Choose a path on a disk that may be written.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.ENOTDIR: "A part of the path is a file. Choose another path.",
    errno.EISDIR: "Give the path of a file.",
}


def cannot_write(path: str | Path, error: OSError) -> UserError:
    """The one line for a path that cannot be written.

    Args:
        path: what was to be written.
        error: what the system said.
    """
    advice = _ADVICE.get(error.errno or 0, "Choose another path.")
    return UserError(f"{path} cannot be written: {error.strerror or error}. {advice}")


def temporary_path(target: str | Path) -> Path:
    """A new name beside ``target``, on the same file system, that nobody else uses."""
    target = Path(target)
    tail = f".{secrets.token_hex(4)}{_SUFFIX}"
    room = _MAX_NAME_BYTES - len(tail) - 1  # a legal name must not get an illegal temporary one
    name = os.fsencode(target.name)[:room].decode("utf-8", "ignore")
    return target.with_name(f".{name}{tail}")


def remove_leftovers(folder: str | Path, pattern: str = ".+") -> None:
    """Remove what killed processes have left in a folder under our temporary names.

    Call it only under the folder's lock: the partial files of a living process look the same.

    Args:
        folder: need not exist.
        pattern: regular expression for the whole name of the target.
    """
    folder = Path(folder)
    for path in folder.iterdir() if folder.is_dir() else ():
        match = _PARTIAL.fullmatch(path.name)
        if match and re.fullmatch(pattern, match["name"]):
            _remove(path)


@contextmanager
def replacing(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a binary file that becomes ``path`` when the block ends well, and vanishes when it does not.

    Missing folders above it are created. A symbolic link is written through, so that it stays one.

    Raises:
        UserError: if the target cannot be written, the disk is full, or the target is not an ordinary file.
    """
    target = Path(os.path.realpath(path))
    part = temporary_path(target)
    try:
        try:
            if target.exists() and not target.is_file():
                raise UserError(f"{path} is not an ordinary file. Give another path.")
            target.parent.mkdir(parents=True, exist_ok=True)
            file = part.open("wb")
        except OSError as error:
            raise cannot_write(path, error) from None
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
        finally:
            with contextlib.suppress(OSError):  # a full disk: closing tries once more to write the buffer
                file.close()
        _take_over_permissions(part, target)
        _rename(part, target, path)
        _flush_quietly(target.parent)
    except OSError as error:
        if error.errno not in DISK_ERRORS:  # an error of the block itself
            raise
        raise cannot_write(path, error) from None
    finally:
        with contextlib.suppress(NotADirectoryError):  # a part of the path is a file
            part.unlink(missing_ok=True)


@contextmanager
def replacing_text(path: str | Path) -> Iterator[IO[str]]:
    """As `replacing`, for UTF-8 text with Unix line ends; ``.gz`` and ``.zst`` are compressed.

    Bytes of a file's name that are not UTF-8 are written as escapes.
    """
    with replacing(path) as raw:
        binary = compressing(raw, ending=Path(os.path.realpath(path)).suffix)
        text = io.TextIOWrapper(binary, encoding="utf-8", errors="backslashreplace", newline="\n")
        try:
            yield text
            text.flush()
        finally:
            with contextlib.suppress(OSError, ValueError):
                text.detach()  # leaves ``raw`` open for its own flush
        if binary is not raw:
            binary.close()


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a whole file."""
    with replacing(path) as stream:
        stream.write(content)


def write_text(path: str | Path, content: str) -> None:
    """Write a whole UTF-8 file; as `replacing_text`, but never compressed."""
    write_bytes(path, content.encode("utf-8", "backslashreplace"))


def json_text(content: object) -> str:
    """Indented standard JSON with a line end; NaN and infinities, which JSON does not have, become null."""
    try:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # JSON can carry half a surrogate pair, UTF-8 cannot
        text = json.dumps(json.loads(text), indent=2)
    return text + "\n"


def _finite(content: object) -> object:
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return content


def write_json(path: str | Path, content: object) -> None:
    """Write one indented JSON file."""
    write_text(path, json_text(content))


@contextmanager
def temporary_folder(target: str | Path) -> Iterator[Path]:
    """A new folder beside ``target``, or in it if it exists; removed at the end unless it was renamed."""
    target = Path(target)
    # In it: a mount point has no neighbours on its own disk.
    part = temporary_path(target / target.name if target.is_dir() else target)
    try:
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            part.mkdir()
        except OSError as error:
            raise cannot_write(target, error) from None
        yield part
    finally:
        _remove(part)


@contextmanager
def replacing_folder(target: str | Path, *, obsolete: Iterable[str] = ()) -> Iterator[Path]:
    """Give a temporary folder whose files become those of ``target`` when the block ends well.

    A new folder appears by one rename. In an existing one the files are replaced one by one, ``config.json``
    last, and files of other names stay.

    Args:
        target: the folder.
        obsolete: files that an earlier run wrote there; those that are not written again are removed.

    Raises:
        UserError: if ``target`` is a file, or it or the folder above it cannot be written.
    """
    given, target = target, Path(os.path.realpath(target))
    if target.exists() and not target.is_dir():
        raise UserError(f"{given} is a file. Give the path of a folder.")
    with temporary_folder(target) as part:
        try:
            yield part
            _flush_tree(part)
            if not target.exists():
                part.rename(target)
            else:
                for name in {Path(name).name for name in obsolete} - {path.name for path in part.iterdir()}:
                    (target / name).unlink(missing_ok=True)
                for path in sorted(part.iterdir(), key=lambda p: p.name == "config.json"):
                    if path.is_dir() and (target / path.name).is_dir():  # a rename replaces no full folder
                        (target / path.name).rename(part / f".old.{path.name}")
                    path.replace(target / path.name)
            flush(target.parent)
        except OSError as error:
            raise cannot_write(given, error) from error


def publish_folder(staged: Path, target: Path) -> None:
    """Rename a finished folder to ``target``; an older folder of that name is replaced as a whole.

    Args:
        staged: a folder on the same file system, complete.
        target: its name from now on.
    """
    _flush_tree(staged)
    if target.exists():
        doomed = temporary_path(target)
        target.rename(doomed)
        staged.rename(target)
        _remove(doomed)
    else:
        staged.rename(target)
    flush(target.parent)


def flush(path: Path) -> None:
    """Wait until a file, or a folder's list of files, is on the disk."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:
        if path.is_dir():  # Windows cannot open folders
            return
        raise
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _flush_tree(folder: Path) -> None:
    """Flush every file and folder; give them the permissions of ordinary new files."""
    mask = _umask()
    for path in [*folder.rglob("*"), folder]:
        # safetensors makes files private; other users may serve them
        path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)
        flush(path)


def _flush_quietly(folder: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems cannot flush folders; the file is there
        flush(folder)


def _rename(part: Path, target: Path, given: str | Path) -> None:
    try:
        part.replace(target)
    except OSError as error:
        raise cannot_write(given, error) from None


def _take_over_permissions(part: Path, target: Path) -> None:
    with contextlib.suppress(OSError):  # the target is new, or not ours
        part.chmod(target.stat().st_mode & 0o777)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
