"""A file of rows as its format reads it: decompressed, and decoded line by line if it is text."""

import codecs
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files.compression import read_lines, reading
from .notes import Notes

Found = Iterator[tuple[str, dict[str, object]]]
"""Where each row is (``line 7``), and its fields."""

UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_HEAD_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What the user says about the form of a file."""

    word_column: str | None = None
    """CoNLL: the column of the words, a number from 1."""
    tag_column: str | None = None
    """Likewise of the tags."""
    tag_names: tuple[str, ...] = ()
    """Names of tags that a file writes as numbers from 0."""


AS_FOUND = ReadOptions()
"""Nothing said."""


@dataclass
class SourceFile:
    """A file, what is said about it, and how its text is encoded."""

    path: Path
    options: ReadOptions = AS_FOUND
    notes: Notes = field(default_factory=Notes)
    """What its reading has changed."""
    encoding: str = field(init=False, default="utf-8")

    def head(self) -> bytes:
        """The first bytes, decompressed."""
        with reading(self.path) as stream:
            return stream.read(_HEAD_BYTES)

    def lines(self) -> Iterator[str]:
        r"""The lines of a text file, each with its line end; only ``\n`` ends one.

        UTF-8 with or without a byte order mark, or UTF-16 with one.

        Raises:
            UserError: if a line is neither.
        """
        number = 0
        try:
            if self.head().startswith(UTF16_MARKS):
                self.encoding = "utf-16"
                with reading(self.path) as stream:
                    for text in _utf16_lines(stream):
                        number += 1
                        yield text
                return
            for number, line in enumerate(read_lines(self.path), start=1):
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            where = f"line {number}" if self.encoding == "utf-8" else f"line {number + 1} or after"
            raise UserError(
                f"{self.path} {where} is not {self.encoding.upper()} text (byte {error.start + 1}). "
                "Save the file as UTF-8."
            ) from None


def _utf16_lines(stream: Any) -> Iterator[str]:
    return iter(io.TextIOWrapper(stream, encoding="utf-16", newline="\n"))


def unlike_names(names: list[str], place: str) -> list[str]:
    """Names of columns that differ from each other.

    Raises:
        UserError: if two are the same.
    """
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice == [""]:
        raise UserError(f"{place}: {names.count('')} columns have no name. Name them.")
    if twice:
        raise UserError(f"{place}: columns need different names; two are called {twice[0]!r}. Rename one.")
    return names


class Header:
    """The names of a table's columns, and its rows by them.

    Separators at the end of lines make columns without a name: those are left out, as long as they are empty.

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
        self.names = unlike_names(named, place)

    def fields(self, cells: Sequence[object], place: str) -> dict[str, object] | None:
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
