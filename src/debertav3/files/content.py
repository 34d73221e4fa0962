"""What files and folders hold, as SHA-256 sums: identity is by content, never by path, size or time."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import UserError
from .reading import parse_json
from .writing import write_json

MANIFEST = "manifest.json"
_PROSE = (".md", ".html", ".png", ".svg")


def sha256_of_bytes(content: bytes) -> str:
    """Hexadecimal SHA-256 sum."""
    return hashlib.sha256(content).hexdigest()


def sha256_of_file(path: str | Path) -> str:
    """Hexadecimal SHA-256 sum of a file's content.

    Raises:
        UserError: if it cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None


def folder_sums(folder: str | Path, *, recursive: bool = False) -> dict[str, str]:
    """The SHA-256 sum of each file of a folder, by its path below the folder, in sorted order.

    What does not shape a model's answers is left out: hidden files, model cards, reports, pictures.

    Args:
        folder: an existing folder.
        recursive: also files in folders below; else only those directly in it.

    Raises:
        UserError: if a file cannot be read.
    """
    folder = Path(folder)
    files: Iterable[Path] = folder.rglob("*") if recursive else folder.iterdir()
    sums = {}
    for path in sorted(files):
        name = path.relative_to(folder)
        if path.is_file() and path.suffix not in _PROSE and not any(part[0] == "." for part in name.parts):
            sums[name.as_posix()] = sha256_of_file(path)
    return sums


def fingerprint(path: str | Path, *, recursive: bool = False) -> str:
    """One SHA-256 sum over the content of a file, or of a folder with its names (see `folder_sums`).

    Equal content gives the same sum wherever it lies and whenever it was written.

    Raises:
        UserError: if there is nothing at ``path``, or it cannot be read.
    """
    if not Path(path).is_dir():
        return sha256_of_file(path)
    return sum_of(folder_sums(path, recursive=recursive))


def sum_of(sums: Mapping[str, str]) -> str:
    """One SHA-256 sum over named sums."""
    return sha256_of_bytes(json.dumps(dict(sums), sort_keys=True).encode())


def write_manifest(folder: Path) -> None:
    """Write ``manifest.json``: the size and the SHA-256 sum of every other file below ``folder``."""
    sums = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / MANIFEST:
            facts = {"size": path.stat().st_size, "sha256": sha256_of_file(path)}
            sums[path.relative_to(folder).as_posix()] = facts
    write_json(folder / MANIFEST, sums)


def damage_of(folder: Path) -> str | None:
    """What is wrong with a folder that has a manifest; None if every file is what was written.

    Reads every file. A manifest that lists nothing vouches for nothing, so it counts as damage. The older
    form, a sum in place of size and sum, is read too.
    """
    try:
        sums = parse_json((folder / MANIFEST).read_bytes(), MANIFEST)
    except (OSError, UserError):
        return "it has no readable manifest.json"
    if not isinstance(sums, dict) or not sums:
        return "its manifest.json lists no files"
    for name, facts in sums.items():
        wanted = facts if isinstance(facts, dict) else {"sha256": facts}
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if wanted.get("size", path.stat().st_size) != path.stat().st_size:
            return f"{name} does not have the recorded size"
        try:
            if sha256_of_file(path) != wanted.get("sha256"):
                return f"{name} does not have the recorded SHA-256 sum"
        except UserError as error:
            return str(error)
    return None
