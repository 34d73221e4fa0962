"""One command at a time writes one output: a lock beside it that ends with the process."""

import errno
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ..errors import UserError
from .content import sha256_of_bytes
from .guard import Inputs, Output, check_outputs
from .signals import signals_delayed
from .writing import cannot_write

_HELD = (errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK)
_MOST = 50
"""Characters of an output's name in that of its lock: file names have at most 255 bytes."""
_mine: dict[Path, int] = {}
"""The locks of this process, and the thread that holds each."""


@contextmanager
def lock(path: str | Path, *, option: str = "--out") -> Iterator[None]:
    """Hold the lock of an output file or folder while the block runs; never wait for it.

    It is the system's own lock on the file ``.NAME.debertav3-lock`` beside the output, so it ends with the
    process, however that ends. Where the file system has no locks, nothing is locked. The thread that holds
    a lock may take it again: a command locks its outputs first, the function that writes them once more.

    Args:
        path: the output, which need not exist. Links to one file share its lock.
        option: what the message advises to change.

    Raises:
        UserError: if another command holds it, or the lock file cannot be made.
    """
    target = Path(os.path.realpath(path))
    name = target.with_name(f".{_short(target.name)}.debertav3-lock")
    if not os.access(_existing(name.parent), os.W_OK) and target.is_dir():
        name = target / ".debertav3-lock"  # a mount point: only the folder itself can be written
    if _mine.get(name) == threading.get_ident():
        yield
        return
    created = [folder for folder in (name.parent, *name.parent.parents) if not folder.exists()]
    with ExitStack() as stack:
        with signals_delayed():  # between making the file and remembering to remove it
            handle = _acquire(name, path, option)
            stack.callback(_release, name, handle, created)
        _mine[name] = threading.get_ident()
        yield


def _short(name: str) -> str:
    """A name of limited length, different for different names."""
    return name if len(name) <= _MOST else f"{name[:_MOST]}-{sha256_of_bytes(name.encode())[:16]}"


def _release(name: Path, handle: int, created: Sequence[Path]) -> None:
    with signals_delayed():
        _mine.pop(name, None)
        # Removed while it is held: a command that opened it meanwhile finds it gone and opens it again.
        with suppress(OSError):
            name.unlink()
        os.close(handle)
        for folder in created:  # deepest first; what the command has filled stays
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def hold_outputs(outputs: Sequence[Output], *, inputs: Inputs, overwrite: bool = False) -> Iterator[None]:
    """Refuse outputs that must not be written, then keep everybody else out of them while the block runs.

    Under torchrun the first process does it for all.

    Args:
        outputs: everything that is written.
        inputs: everything that is read, by option.
        overwrite: the user allows to replace what exists.

    Raises:
        UserError: as `check_outputs`, or if another command writes one of them now.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    check_outputs(outputs, inputs=inputs, overwrite=overwrite)
    with ExitStack() as locks:
        for output in outputs:
            if output.path is not None and not output.is_beside:
                locks.enter_context(lock(output.path, option=output.option))
        # Once more: another command may have finished between the check and the lock.
        check_outputs(outputs, inputs=inputs, overwrite=overwrite)
        yield


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _acquire(name: Path, path: str | Path, option: str) -> int:
    while True:
        try:
            name.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(name, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            continue  # another command has just removed the empty folder that it had made
        except OSError as error:
            raise cannot_write(path, error) from None
        try:
            if not _try_to_lock(handle):
                raise UserError(
                    f"{path} is being written by another debertav3 command. "
                    f"Wait until it ends, or choose another {option}."
                )
            if _is_still(name, handle):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # its holder removed it between our opening and locking


def _is_still(name: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(name), os.fstat(handle))
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _try_to_lock(handle: int) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_to_lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in _HELD  # a file system without locks: continue without
        return True
