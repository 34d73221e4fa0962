"""The answers that a run has so far, kept beside its output, so that a run that was stopped can be resumed.

The first line says what is being answered, how and by what; every other line is the answer of one row, in
order. Answers come in whole chunks, and what a kill tore off the last one is dropped.
"""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple, Self

from ...errors import UserError
from ...files import cannot_write
from ...json_types import Json, JsonObject

logger = logging.getLogger(__name__)

_START = b'{"task": '
"""How the first line of every progress file begins."""


class StoredAnswer(NamedTuple):
    """What one row got."""

    prediction: object
    scores: object
    scored: object
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
        self.about: JsonObject = {}
        self.num_rows = 0
        self._file: IO[bytes] | None = None
        self._is_full = False

    def exists(self) -> bool:
        """Whether an earlier run has left its answers."""
        return self.path.exists()

    def is_ours(self) -> bool:
        """Whether the file was begun by a run, as far as its first line tells."""
        with self.path.open("rb") as file:
            first = file.readline()
        if not first.endswith(b"\n"):  # torn off
            return _START.startswith(first) or first.startswith(_START)
        header = _parse(first)
        return first.startswith(_START) and isinstance(header, dict) and "input checksum" in header

    def begin(self, about: dict[str, object]) -> None:
        """Start over.

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
            raise cannot_write(self.path, error) from None

    def header(self) -> JsonObject:
        """What an earlier run says of itself; empty if it was stopped before it began."""
        with self.path.open("rb") as file:
            header = _parse(file.readline())
        return header if isinstance(header, dict) else {}

    def begin_again(self, about: JsonObject) -> int | None:
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
                    f"{self.path} belongs to another run: {name} was {header.get(name)!r}, "
                    f"now {about[name]!r}. "
                    "Run the command as before, or start over with --overwrite."
                )
        self.about, self.num_rows = header, num_rows
        self._file = self.path.open("r+b")
        return num_rows

    def keep(self, num_rows: int) -> None:
        """Drop all but the first answers, and write on after them."""
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
            self._is_full = True
            raise cannot_write(self.path, error) from None
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
            file, self._file = self._file, None
            try:
                file.close()  # which tries once more to write what a full disk did not take
            except OSError as error:
                if not self._is_full:  # else it was reported already
                    raise cannot_write(self.path, error) from None

    def delete(self) -> None:
        """Remove the file."""
        self.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._file is not None and not self.num_rows:
            self.delete()
        elif error is not None and self.num_rows:
            kept = f"{self.num_rows} rows are answered and kept in {self.path}: continue with --resume."
            if isinstance(error, UserError):  # which is printed as one line
                error.args = (f"{error} {kept}",)
            else:
                logger.warning("%s", kept)
        self.close()

    @property
    def _opened(self) -> IO[bytes]:
        assert self._file is not None, "begin first"
        return self._file

    def _write(self, line: str) -> None:
        self._opened.write(line.encode("ascii") + b"\n")


def _whole_lines(file: IO[bytes]) -> Iterator[Json]:
    """What the lines hold, up to the first that was torn."""
    for line in file:
        answer = _parse(line)
        if answer is None:
            return
        yield answer


def _parse(line: bytes) -> Json:
    if not line.endswith(b"\n"):
        return None
    try:
        return json.loads(line)
    except ValueError:
        return None
