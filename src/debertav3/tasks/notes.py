"""What the reading of a file has changed or left out, said once, with the first few examples."""

import logging
from typing import NamedTuple

logger = logging.getLogger(__name__)

_SHOWN = 3


class Note(NamedTuple):
    """Something about a source that a user should know before any work."""

    text: str
    option: str = ""
    """What overrides it, where it is a guess."""
    is_left_out: bool = False
    """Whether it names something that is not read."""


class Notes:
    """What was changed or left out while a file was read: counted, with the first few of each kind."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._shown: dict[str, list[str]] = {}
        self.seen: set[object] = set()
        """Ids of the tasks read so far, for exports with a row for each annotator."""
        self._said: dict[str, None] = {}
        self.understood: dict[Note, None] = {}
        """Guesses, and what is left out, for the block that says what was understood."""

    def add(self, what: str, example: str) -> None:
        """Count one thing.

        Args:
            what: says in the plural what it is and what was done.
            example: shows it, and where it is.
        """
        self.counts[what] = self.counts.get(what, 0) + 1
        shown = self._shown.setdefault(what, [])
        if len(shown) < _SHOWN:
            shown.append(example)

    def note(self, text: str, option: str = "", is_left_out: bool = False) -> None:
        """Remember a guess, with the option against it, or something that is left out."""
        self.understood[Note(text, option, is_left_out)] = None

    def say(self, line: str) -> None:
        """Note something that holds for the whole file."""
        self._said[line] = None

    def lines(self) -> list[str]:
        """What was said, and a line for each kind of thing that was counted."""
        return [*self._said] + [
            f"{what} ({count}): {'; '.join(self._shown[what])}{'; ...' if count > _SHOWN else ''}"
            for what, count in self.counts.items()
        ]

    def log(self, source: str) -> None:
        """Warn of all that was noted."""
        for line in self.lines():
            logger.warning("%s: %s", source, line)
