"""The answers that a run has so far, kept beside its output, so that a run that was stopped can go on.

The first line says what is being answered, how and by what; every other line is the answer of one row, in
order. Answers come in whole chunks, and what a kill tore off the last one is dropped.
"""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

from ..errors import UserError

logger = logging.getLogger(__name__)


class StoredAnswer(NamedTuple):
    """What one row got."""

    prediction: Any
    scores: Any
    scored: Any
    """The prediction in the form of the scorer, for labelled rows."""


class Journal:
    """The answers of one run.

    Args:
        target: the output that they are for.

    Leaving a ``with`` block closes the file; an empty one is deleted.
    """

    def __init__(self, target: str | Path) -> None:
        target = Path(os.path.realpath(target))
        self.path = target.with_name(f"{target.name}.progress")
        self.about: dict[str, Any] = {}
        self.num_rows = 0
        self._file: IO[bytes] | None = None

    def exists(self) -> bool:
        """Whether an earlier run has left its answers."""
        return self.path.exists()

    def begin(self, about: dict[str, Any]) -> None:
        """Start anew.

        Args:
            about: what tells this run from others.

        Raises:
            UserError: if the file cannot be written.
        """
        self.about = about
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("w+b")
            self._write(json.dumps(about))
            self._file.flush()
        except OSError as error:
            raise UserError(f"{self.path} cannot be written: {error.strerror}.") from None

    def begin_again(self, about: dict[str, Any]) -> int | None:
        """Open what an earlier run has written; `keep` then says how much of it counts.

        Args:
            about: what tells this run from others; must equal the earlier run's.

        Returns:
            How many rows are answered; None if that run was stopped before it began.

        Raises:
            UserError: if the answers are another run's.
        """
        with self.path.open("rb") as file:
            header = _parse(file.readline())
            num_rows = sum(1 for _ in _whole_lines(file))
        if header is None:
            return None
        for name in about:
            if header.get(name) != about[name]:
                raise UserError(
                    f"{self.path} is of another run: {name} was {header.get(name)!r}, now {about[name]!r}. "
                    "Run with what it was, or begin anew with --overwrite."
                )
        self.about, self.num_rows = header, num_rows
        self._file = self.path.open("r+b")
        return num_rows

    def keep(self, num_rows: int) -> None:
        """Drop all but the first answers, and write on behind them."""
        file = self._opened
        file.seek(0)
        for _ in range(num_rows + 1):
            file.readline()
        file.truncate(file.tell())
        self.num_rows = num_rows

    def add(self, answers: Sequence[StoredAnswer]) -> None:
        """Append a chunk.

        Raises:
            UserError: if the disk is full or fails.
        """
        try:
            for answer in answers:
                self._write(json.dumps(answer, ensure_ascii=True))
            self._opened.flush()
        except OSError as error:
            raise UserError(f"{self.path} cannot be written: {error.strerror}.") from None
        self.num_rows += len(answers)

    def read(self) -> Iterator[StoredAnswer]:
        """All answers in order."""
        self._opened.flush()
        with self.path.open("rb") as file:
            file.readline()
            for answer in _whole_lines(file):
                yield StoredAnswer(*answer)

    def close(self) -> None:
        """Stop writing; the file stays."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def delete(self) -> None:
        """Remove the file."""
        self.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._file is not None and not self.num_rows:
            self.delete()
        elif kind is not None and self.num_rows:
            logger.warning(
                "%d rows are answered and kept in %s: go on with --resume", self.num_rows, self.path
            )
        self.close()

    @property
    def _opened(self) -> IO[bytes]:
        assert self._file is not None, "begin first"
        return self._file

    def _write(self, line: str) -> None:
        self._opened.write(line.encode("ascii") + b"\n")


def _whole_lines(file: IO[bytes]) -> Iterator[Any]:
    """What the lines hold, up to the first that was torn."""
    for line in file:
        answer = _parse(line)
        if answer is None:
            return
        yield answer


def _parse(line: bytes) -> Any:
    if not line.endswith(b"\n"):
        return None
    try:
        return json.loads(line)
    except ValueError:
        return None
