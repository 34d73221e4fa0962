"""What is remembered between runs: small texts in the user's cache folder, or in ``DEBERTAV3_CACHE``.

The folder may be deleted at any time. One that cannot be read or written is not an error: then nothing is
remembered, and what was measured is measured again.
"""

import logging
import os
import sys
from pathlib import Path

from ..errors import UserError
from .writing import write_text

logger = logging.getLogger(__name__)


def cache_folder() -> Path | None:
    """The folder; None for a user without a home."""
    if own := os.environ.get("DEBERTAV3_CACHE"):
        return Path(own)
    try:
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "debertav3"
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "debertav3"
    except RuntimeError:  # no home
        return None


def recall(name: str) -> str | None:
    """Return what was remembered under a name, a relative path; None if nothing was."""
    folder = cache_folder()
    try:
        return None if folder is None else (folder / name).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def remember(name: str, text: str) -> None:
    """Keep a text under a name, if that is possible."""
    folder = cache_folder()
    try:
        if folder is None:
            raise UserError("the user has no home folder")
        write_text(folder / name, text)
    except (OSError, UserError) as error:
        logger.info("not cached, so it will be measured again next time: %s", error)
