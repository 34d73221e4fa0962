"""A file of rows as its format reads it: decompressed, and decoded line by line if it is text."""

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ..errors import UserError
from ..files.compression import is_compressed, read_lines, reading
from ..json_types import JsonObject
from .encodings import MARKED, checked_encoding, guess_encoding, wide_encoding
from .notes import Note, Notes
from .read_options import ReadOptions

Found = Iterator[tuple[str, dict[str, object]]]
"""Where each row is (``line 7``), and its fields."""

_HEAD_BYTES = 1 << 16
_UNNAMED = "Unnamed: "


@dataclass
class SourceFile:
    """A file, how it is to be read, and what was found out about it."""

    path: Path
    options: ReadOptions = field(default_factory=ReadOptions)
    encoding: str = field(init=False, default="utf-8")
    notes: Notes = field(default_factory=Notes)
    """What its reading has changed, guessed and left out."""
    details: list[str] = field(init=False, default_factory=list)
    """What is to be said of the format: what separates the columns."""

    skipped: list[str] = field(init=False, default_factory=list)
    """What is wrong with the rows of the latest pass that are left out, where the user allows it."""

    _num_bytes: int = field(init=False, default=0)

    @property
    def share_read(self) -> float | None:
        """How much of a text file has been read, from 0 to 1; None where that is not known."""
        if not self._num_bytes or is_compressed(self.path):
            return None
        return min(1.0, self._num_bytes / self.path.stat().st_size)

    def skip(self, error: UserError) -> None:
        """Leave out a row that cannot be used, if the user allows it.

        Raises:
            UserError: the error, if not.
        """
        if not self.options.skip_bad:
            raise error
        self.skipped.append(str(error))

    def head(self) -> bytes:
        """The first bytes, decompressed."""
        with reading(self.path) as stream:
            return stream.read(_HEAD_BYTES)

    def head_text(self) -> str:
        """The first bytes as text, whatever of them can be read."""
        head = self.head()
        named = self.options.encoding
        usual = wide_encoding(head) or "utf-8-sig"
        return head.decode(checked_encoding(named) if named else usual, "ignore")

    def lines(self, *, may_guess: bool = True) -> Iterator[str]:
        r"""The lines of a text file, each with its line end: ``\n``, or ``\r`` where there is no other.

        UTF-8 with or without a byte order mark, UTF-16 with one, or what the user says. What is none of these
        is read in the likeliest encoding, which is noted, if everything before was ASCII.

        Args:
            may_guess: false for JSON, which is UTF-8 by its standard.

        Raises:
            UserError: if a line cannot be decoded.
        """
        number = 0
        try:
            named, wide = self.options.encoding, wide_encoding(self.head())
            if named or wide:
                self.encoding = checked_encoding(named) if named else str(wide)
                if not named and self.encoding not in MARKED:
                    self.notes.note(
                        f"every second byte is 0; the file is read as {self.encoding}", "--encoding NAME"
                    )
                codec = "utf-8-sig" if self.encoding == "utf-8" else self.encoding
                with reading(self.path) as stream:
                    for text in _decoded_lines(stream, codec):
                        number += 1
                        yield text
                return
            self.encoding = "utf-8"
            is_ascii = True
            self._num_bytes = 0
            for number, line in enumerate(self._raw_lines(), start=1):
                self._num_bytes += len(line)
                if self.encoding == "utf-8":
                    try:
                        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                        is_ascii = is_ascii and line.isascii()
                        yield text
                        continue
                    except UnicodeDecodeError:
                        self._guess(line, number, can=may_guess and is_ascii)
                yield line.decode(self.encoding)
        except UnicodeDecodeError as error:
            where = f"line {number}" if self.encoding == "utf-8" else f"line {number + 1} or after"
            raise UserError(
                f"{self.path} {where} is not {self.encoding.upper()} text (byte {error.start + 1}). "
                "Save the file as UTF-8, or say --encoding NAME, such as latin-1."
            ) from None

    def _raw_lines(self) -> Iterator[bytes]:
        r"""The lines as bytes; those of a file that has no ``\n`` and several ``\r`` end at these."""
        head = self.head()
        if b"\n" in head or head.count(b"\r") < 2:
            yield from read_lines(self.path)
            return
        with reading(self.path) as stream:
            rest = b""
            while block := stream.read(_HEAD_BYTES):
                *whole, rest = (rest + block).split(b"\r")
                yield from (line + b"\n" for line in whole)
            if rest:
                yield rest

    def _guess(self, line: bytes, number: int, *, can: bool) -> None:
        """Settle on the likeliest encoding of a line that is not UTF-8, and of those after it.

        Raises:
            UnicodeDecodeError: the one of the line, where there is nothing to go by.
        """
        found = guess_encoding(self.path, line) if can else None
        if found is None:
            line.decode("utf-8")
        self.encoding = str(found)
        self.notes.note(f"line {number} is not UTF-8; it is read as {found}", "--encoding NAME")


def _decoded_lines(stream: IO[bytes], encoding: str) -> Iterator[str]:
    return iter(io.TextIOWrapper(stream, encoding=encoding, newline="\n"))


def unlike_names(names: list[str], place: str) -> list[str]:
    """Names of columns that differ from each other.

    Raises:
        UserError: if two are the same.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(
            f"{place}: columns need different names; two are called {twice[0]!r}. Rename one, or say "
            "--no-header if this line is a row."
        )
    return names


class Header:
    """The names of a table's columns, and its rows by them.

    Separators at the end of lines make columns without a name: those are left out, as long as they are empty.
    Several others without a name, as an index of two levels has, are called as pandas calls them.

    Args:
        cells: of the line with the names.
        place: where that is, for messages.

    Raises:
        UserError: if two columns have the same name, or two without a name are among others.
    """

    def __init__(self, cells: Sequence[object], place: str) -> None:
        named = ["" if cell is None else str(cell).strip() for cell in cells]
        self.width = len(named)
        while len(named) > 1 and not named[-1]:
            named.pop()
        if named.count("") > 1:  # as pandas calls them, so that each keeps its cells
            named = [name or f"{_UNNAMED}{number}" for number, name in enumerate(named)]
        self.names = unlike_names(named, place)

    @property
    def notes(self) -> list[Note]:
        """What is left out of the rows, or of what is looked at."""
        found = []
        empty = self.width - len(self.names)
        if empty:
            columns = "1 column" if empty == 1 else f"{empty} columns"
            found.append(Note(f"{columns} at the end, without a name and empty", is_left_out=True))
        unnamed = [
            str(place) for place, name in enumerate(self.names, 1) if not name or name.startswith(_UNNAMED)
        ]
        if len(unnamed) == 1:
            found.append(Note(f"column {unnamed[0]}, which has no name: an index", is_left_out=True))
        elif unnamed:
            found.append(Note(f"columns {', '.join(unnamed)}, which have no name", is_left_out=True))
        return found

    def fields(self, cells: Sequence[object], place: str) -> JsonObject | None:
        """A row by column; None if it has fewer cells than there are names, or more than the header.

        Raises:
            UserError: if there is something in a column without a name.
        """
        surplus = cells[len(self.names) :]
        filled = next((cell for cell in surplus if cell is not None and str(cell).strip()), None)
        if len(cells) < len(self.names) or (filled is not None and len(cells) > self.width):
            return None
        if filled is not None:
            raise UserError(
                f"{place}: {str(filled)[:40]!r} is in a column without a name. Name it in the first line."
            )
        return dict(zip(self.names, cells, strict=False))
