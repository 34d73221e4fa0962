"""Inputs that can be checked in a moment, before torch is loaded."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..files.reading import check_not_pipe

if TYPE_CHECKING:
    from ..checkpoint.folder import Checkpoint


def open_checkpoint(model: str | Path, *, with_generator: bool = False) -> "Checkpoint":
    """Open the checkpoint of a command, which passes it on; a Hub name is downloaded.

    Raises:
        UserError: as `Checkpoint.open`, or if it has no readable ``config.json``.
    """
    from ..checkpoint.folder import Checkpoint
    from ..checkpoint.foreign_folders import no_checkpoint

    checkpoint = Checkpoint.open(model, with_generator=with_generator)
    if not checkpoint.folder.has("config.json"):
        raise no_checkpoint(checkpoint.folder)
    checkpoint.folder.json("config.json")
    return checkpoint


def check_file(option: str, path: str | Path | None, *, advice: str = "Give the path of a file.") -> None:
    """Check that an input file can be opened and is not empty.

    Raises:
        UserError: if not.
    """
    if path is None:
        return
    try:
        check_not_pipe(path)
        with open(path, "rb") as stream:
            if not stream.read(1):
                raise UserError(f"{option} {path} is empty. {advice}")
    except UserError:  # which is a ValueError, too
        raise
    except FileNotFoundError:
        raise UserError(f"{option} {path} does not exist. {advice}") from None
    except IsADirectoryError:
        raise UserError(f"{option} {path} is a folder. {advice}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{option} {path} cannot be read: {reason}. {advice}") from None


def did_you_mean(value: str, known: Sequence[str]) -> str:
    """A sentence with the nearest of some names, or nothing."""
    near = get_close_matches(value, known, n=1, cutoff=0.7)
    return f" Did you mean {near[0]!r}?" if near else ""
