"""Training checkpoints that are complete or absent: written aside, flushed, summed, renamed.

A folder ``checkpoint-N`` exists only with all its files and ``manifest.json``, their SHA-256 sums. What a
crash leaves behind has a dotted name, is never read, and is removed by the next save.
"""

import logging
import re
import shutil
from pathlib import Path

from ..files import MANIFEST, damage_of, publish_folder, write_manifest

logger = logging.getLogger(__name__)

STAGING = ".saving"
_NAME = re.compile(r"checkpoint-(\d+)")


def publish(staged: Path, target: Path) -> None:
    """Turn a finished folder into ``target``; an older folder of that name is replaced.

    Args:
        staged: folder on the same file system, complete but for its manifest.
        target: its name from now on.
    """
    write_manifest(staged)
    publish_folder(staged, target)


def newest_complete(folder: Path) -> Path | None:
    """Return the newest intact checkpoint under ``folder``; damaged ones are named in a warning."""
    for checkpoint in reversed(numbered(folder)):
        reason = damage_of(checkpoint)
        if reason is None:
            return checkpoint
        logger.warning("skipped %s: %s", checkpoint, reason)
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
