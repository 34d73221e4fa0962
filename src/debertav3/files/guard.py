"""What a command may write. The one place that decides it, before any work is done.

No output may be an input of the same command, under any spelling, link or hard link; no output may replace a
file of an input folder; nothing that exists is replaced without ``--overwrite``; and every output can be
written.
"""

import errno
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from ..errors import UserError
from .model_folder import user_path
from .signals import signals_delayed
from .writing import cannot_write

PathLike = str | Path
Inputs = Mapping[str, PathLike | Iterable[PathLike] | None]

_MAX_LISTED = 3


@dataclass(frozen=True, kw_only=True)
class Output:
    """One thing that a command writes."""

    option: str
    """As the user gives it, such as ``--out``."""
    path: PathLike | None
    """None is not given, and not checked."""
    is_folder: bool = False
    writes: Sequence[str] = ("*",)
    """Folders: name patterns of what is written directly in it. Only these can be in the way."""
    may_exist: bool = False
    """The command itself tells its own earlier work from other people's, or continues it."""
    is_beside: bool = False
    """It belongs to another output, whose lock keeps it too."""


def check_outputs(outputs: Iterable[Output], *, inputs: Inputs, overwrite: bool = False) -> None:
    """Decide whether a command may write its outputs. Nothing is left behind.

    Args:
        outputs: everything that it writes at paths that the user names.
        inputs: everything that it reads, by option: files and folders. Names that are not paths on this
            machine (Hub names, ``datasets:NAME``) are ignored.
        overwrite: the user allows to replace what exists, yet never an input.

    Raises:
        UserError: for the first output that must not, or cannot, be written.
    """
    read = list(_existing_inputs(inputs))
    given = [output for output in outputs if output.path is not None]
    for output in given:
        _check_possible(output)
        for option, path in read:
            _check_against_input(output, option, path)
        if not (overwrite or output.may_exist):
            _check_new(output)
    for number, output in enumerate(given):
        for other in given[:number]:
            if _is_same(_path(output), _path(other)):
                raise UserError(
                    f"{other.option} and {output.option} are the same file: {output.path}. Give two names."
                )


def _path(output: Output) -> Path:
    assert output.path is not None
    return Path(output.path)


def _existing_inputs(inputs: Inputs) -> Iterator[tuple[str, Path]]:
    for option, value in inputs.items():
        paths = [value] if isinstance(value, str | Path) else value or ()
        for path in map(user_path, paths):  # a model may be named by it
            try:
                exists = path.exists()
            except (OSError, ValueError):  # a name that no file can have
                exists = False
            if exists:
                yield option, path
                yield from ((option, one) for one in _beside(path) if one.is_file())


def _beside(path: Path) -> list[Path]:
    """Files that are read along with a file: brat's document, and labels in a file of their own."""
    document = [path.with_suffix(".txt")] if path.suffix == ".ann" else []
    return [*document, path.with_name(f"{path.stem}-labels.lst")]


def _check_possible(output: Output) -> None:
    """Refuse a path of the wrong kind, or one that cannot be written."""
    path = _path(output)
    wanted = "a folder" if output.is_folder else "a file"
    try:
        if not str(output.path).strip("\0 "):
            raise UserError(f"{output.option} is empty. Give the path of {wanted}.")
        if not output.is_folder and str(output.path).endswith(("/", os.sep)):
            raise UserError(f"{output.option} {output.path} names a folder. Give the path of a file.")
        target = Path(os.path.realpath(path))
        if output.is_folder:
            _check_utf8(output, target)
        try:
            target.lstat()
            exists = True
        except (FileNotFoundError, NotADirectoryError):
            exists = False
        if exists and output.is_folder and not target.is_dir():
            raise UserError(f"{output.option} {output.path} is a file. Give the path of a folder.")
        if exists and not output.is_folder and not target.is_file():
            kind = "a folder" if target.is_dir() else "not an ordinary file"
            raise UserError(f"{output.option} {output.path} is {kind}. Give the path of a file.")
        parent = target if exists and output.is_folder else target.parent
        nearest = next(above for above in (parent, *parent.parents) if above.exists())
        if not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        # Only doing it tells: root may write everywhere by its rights, and yet nothing can be made in /proc.
        with signals_delayed(), tempfile.TemporaryDirectory(prefix=".debertav3-", dir=nearest) as aside:
            (Path(aside) / (target.name or "root")).mkdir()  # the name may be too long or not allowed
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        known = error if isinstance(error, OSError) else OSError(errno.EINVAL, str(error))
        raise cannot_write(f"{output.option} {output.path}", known) from None


def _check_utf8(output: Output, target: Path) -> None:
    """Refuse a folder that the library of weights cannot name, before the work rather than after it."""
    try:
        str(target).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{output.option} {output.path}: the path is not UTF-8, which safetensors needs. Choose another."
        ) from None


def _check_against_input(output: Output, option: str, source: Path) -> None:
    target = _path(output)
    if _is_same(target, source):
        raise UserError(
            f"{output.option} {output.path} is the input of {option}, which it would replace. "
            f"Choose another {output.option}."
        )
    for replaced in _replaced(output):
        if (
            _is_same(replaced, source)
            or (source.is_dir() and _lies_in(replaced, source))
            or (replaced.is_dir() and _lies_in(source, replaced))
        ):
            raise UserError(
                f"{output.option} {output.path} would replace {replaced}, which {option} reads. "
                f"Choose another {output.option}."
            )


def _check_new(output: Output) -> None:
    """Refuse to replace anything; an empty file or folder holds nothing."""
    target = _path(output)
    if output.is_folder:
        found = sorted(path.name for path in _replaced(output))
        if found:
            names = ", ".join(found[:_MAX_LISTED]) + (", ..." if len(found) > _MAX_LISTED else "")
            raise UserError(
                f"{output.option} {output.path} already contains {names}. Choose another "
                "folder, or replace it with --overwrite."
            )
    elif target.exists() and target.stat().st_size:
        raise UserError(
            f"{output.option} {output.path} already exists. Choose another path, or replace "
            "it with --overwrite."
        )


def _replaced(output: Output) -> list[Path]:
    """What exists where the command will write."""
    target = _path(output)
    if not output.is_folder:
        return [target] if target.exists() else []
    if not target.is_dir():
        return []
    return [
        path
        for path in sorted(target.iterdir())
        if any(fnmatch(path.name, pattern) for pattern in output.writes)
        and not (path.name.startswith(".") and path.name.endswith("debertav3-lock"))
    ]


def _is_same(one: Path, other: Path) -> bool:
    """Whether two paths are one file or folder: also through links, hard links and spellings."""
    try:
        return os.path.samefile(one, other)
    except OSError:  # one of them does not exist
        return os.path.realpath(one) == os.path.realpath(other)


def _lies_in(path: Path, folder: Path) -> bool:
    """Whether a file or folder is below ``folder``, by its own name or as one of the files in it."""
    real, real_folder = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    if real_folder in real.parents:
        return True
    if not path.is_file():
        return False
    # Models in a cache are links to files elsewhere, and hard links have no other name.
    return any(below.is_file() and _is_same(path, below) for below in folder.rglob("*"))
