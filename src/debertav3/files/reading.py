"""Files that cannot be read, and JSON that is not standard, are refused in one line that names the file."""

import codecs
import json
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ..errors import UserError
from ..json_types import Json, JsonObject

_POINTER = b"version https://git-lfs.github.com/spec/"
POINTER_BYTES = len(_POINTER)
"""How many bytes at the beginning tell a pointer of Git LFS."""


def check_not_pipe(path: str | Path) -> None:
    """Refuse a pipe or a socket. Call it before opening: to open a pipe to which nobody writes never ends.

    Raises:
        UserError: if it is one.
    """
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):  # which opening reports; ValueError: a NUL in the name
        return
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        raise UserError(
            f"{path} is a pipe, and files are read more than once. Write its content to a file first."
        )


def check_fetched(path: str | Path, head: bytes | None = None) -> None:
    """Refuse the few lines that a clone without Git LFS has in a file's place.

    Args:
        path: the file.
        head: its first bytes, if they are read already.

    Raises:
        UserError: if it is such a pointer.
    """
    if head is None:
        try:
            with Path(path).open("rb") as stream:
                head = stream.read(POINTER_BYTES)
        except OSError:
            return
    if head.startswith(_POINTER):
        raise UserError(f"{path} is a Git LFS pointer, not the file itself. Download it with: git lfs pull")


def parse_json(text: str | bytes, source: str, *, advice: str = "Fix it.") -> Json:
    """Parse one JSON value.

    Args:
        text: UTF-8 with or without a byte order mark, or a string.
        source: what an error calls it, such as ``rows.jsonl line 3``.
        advice: the end of an error about broken JSON.

    Raises:
        UserError: for broken JSON or UTF-8, NaN and infinities, a duplicate key, numbers
            that Python refuses to parse (thousands of digits), and nesting too deep to read.
    """
    try:
        decoded = text.removeprefix(codecs.BOM_UTF8).decode() if isinstance(text, bytes) else text
        return _DECODER.decode(decoded)
    except UnicodeDecodeError as error:
        raise UserError(f"{source} is not UTF-8 text (byte {error.start + 1}). Save it as UTF-8.") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise UserError(f"{source} is not valid JSON ({error.msg} at {where}). {advice}") from None
    except RecursionError:
        raise UserError(f"{source} is nested too deeply to read.") from None
    except ValueError as error:
        raise UserError(f"{source} is not valid JSON ({error}). {advice}") from None


def read_json(path: str | Path) -> Json:
    """Read a JSON file.

    Raises:
        UserError: if it cannot be read, or as `parse_json`.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist. Give the path of an existing file.") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder. Give the path of a file.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    return parse_json(content, str(path))


def read_json_object(path: str | Path, *, needs: Sequence[str] = ()) -> JsonObject:
    """Read a JSON file that holds one object.

    Args:
        path: the file.
        needs: keys that it must have, as a record of ours has.

    Raises:
        UserError: as `read_json`, or if it holds anything else, or a key is missing.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a JSON {type(content).__name__}; need an object.")
    if missing := [key for key in needs if key not in content]:
        raise UserError(f"{path} is damaged or from another program: it has no {missing[0]!r}.")
    return content


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    content = dict(pairs)
    if len(content) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r} occurs twice in one object")
    return content


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_unique)
