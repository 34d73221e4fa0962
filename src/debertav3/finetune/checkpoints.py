"""Training checkpoints that are complete or absent: written aside, flushed, summed, renamed.

A folder ``checkpoint-N`` exists only with all its files and ``manifest.json``, their SHA-256 sums. What a
crash leaves behind stands under a dotted name, is never read, and is removed by the next save.
"""

import json
import logging
import os
import re
import shutil
from pathlib import Path

from ..files import sha256_of_file

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
STAGING = ".saving"
_NAME = re.compile(r"checkpoint-(\d+)")


def publish(staged: Path, target: Path) -> None:
    """Turn a finished folder into ``target`` in one rename; an older folder of that name is replaced.

    Args:
        staged: folder on the same file system, complete but for its manifest.
        target: where it shall stand.
    """
    sums = {}
    for file in sorted(path for path in staged.rglob("*") if path.is_file()):
        sums[file.relative_to(staged).as_posix()] = sha256_of_file(file)
        _flush(file)
    manifest = staged / MANIFEST
    manifest.write_text(json.dumps(sums, indent=1), encoding="utf-8")
    _flush(manifest)
    _flush(staged)
    if target.exists():
        shutil.rmtree(target)
    staged.rename(target)
    _flush(target.parent)


def fault(checkpoint: Path) -> str | None:
    """Say what is wrong with a checkpoint folder; None if every file is there with its sum."""
    try:
        sums = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "it has no readable manifest"
    if not isinstance(sums, dict):
        return "its manifest is not a list of files"
    for name, expected in sums.items():
        file = checkpoint / name
        if not file.is_file():
            return f"{name} is missing"
        if sha256_of_file(file) != expected:
            return f"{name} does not have the recorded SHA-256 sum"
    return None


def newest_complete(folder: Path) -> Path | None:
    """Return the newest intact checkpoint under ``folder``; damaged ones are named in a warning."""
    for checkpoint in reversed(numbered(folder)):
        reason = fault(checkpoint)
        if reason is None:
            return checkpoint
        logger.warning("passed over %s: %s", checkpoint, reason)
    return None


def numbered(folder: Path) -> list[Path]:
    """All folders ``checkpoint-N``, oldest first."""
    found = [
        (int(match[1]), path) for path in folder.glob("checkpoint-*") if (match := _NAME.fullmatch(path.name))
    ]
    return [path for _, path in sorted(found)]


def ours(folder: Path) -> list[Path]:
    """All folders ``checkpoint-N`` that a run wrote, by their manifest; others are never removed."""
    return [checkpoint for checkpoint in numbered(folder) if (checkpoint / MANIFEST).is_file()]


def remove_older(folder: Path, *, keep: int, best: str | None) -> None:
    """Delete all but the newest ``keep`` checkpoints and the best one; see `ours`."""
    for checkpoint in ours(folder)[:-keep]:
        if best is None or checkpoint.resolve() != Path(best).resolve():
            shutil.rmtree(checkpoint, ignore_errors=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
