"""Rows in tables of text with a header, and sentences in CoNLL form."""

import csv
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from .source_file import Found, Header, SourceFile


class TextTable:
    """A table of text with a header: what separates the columns, and whether cells may be quoted."""

    def __init__(self, delimiters: str, *, is_quoted: bool) -> None:
        self.delimiters = delimiters
        self.is_quoted = is_quoted

    def __call__(self, file: SourceFile) -> Found:
        """Yield the rows."""
        csv.field_size_limit(64 << 20)  # characters; the csv module's own limit is 128 thousand
        lines = file.lines()
        first = next(lines, "")
        plain = re.sub(r'"[^"]*"', "", first) if self.is_quoted else first
        delimiter = max(self.delimiters, key=plain.count)
        quoting: Any = csv.QUOTE_MINIMAL if self.is_quoted else csv.QUOTE_NONE
        reader = csv.reader(
            itertools.chain([first], lines), delimiter=delimiter, quoting=quoting, strict=True
        )
        try:
            header = self._header(next(reader, []), file.path)
            line = reader.line_num + 1
            for cells in reader:
                if cells:  # a blank line has none
                    fields = header.fields(cells, f"{file.path} line {line}")
                    if fields is None:
                        raise UserError(
                            f"{file.path} line {line} has {len(cells)} cells; the first line has "
                            f"{len(header.names)} names ({', '.join(header.names)}). "
                            f"{self._advice(delimiter)}"
                        )
                    yield f"line {line}", fields
                line = reader.line_num + 1
        except csv.Error as error:
            raise UserError(f"{file.path} line {reader.line_num} is not valid CSV ({error}).") from None

    def _advice(self, delimiter: str) -> str:
        if self.is_quoted:
            return f"Quote cells that hold {delimiter!r}."
        return "A cell of a .tsv file holds no tabs or line ends; save such texts as .csv, quoted."

    def _header(self, cells: Sequence[str], path: Path) -> Header:
        names = [name.strip() for name in cells]
        if not names:
            raise UserError(
                f"{path} holds no rows: it is empty. Need a line with the names of the columns, then rows."
            )
        if not self.is_quoted and any(re.fullmatch('".*"', name) for name in names):
            raise UserError(
                f"{path} has quoted columns ({', '.join(names)}), and the quotes of a .tsv file belong to "
                "its texts. Save it as .csv, which may have tabs between its columns."
            )
        return Header(cells, f"{path} line 1")


def read_conll(file: SourceFile) -> Found:
    """Sentences: a word first in each line, its tag last if there is one, blank lines between sentences."""
    words: list[str] = []
    tags: list[str] = []
    first = 1
    narrowest = 0  # columns of the sentence's line that has the fewest
    for number, line in enumerate(itertools.chain(file.lines(), [""]), start=1):
        columns = line.split()
        if columns and columns[0] != "-DOCSTART-":
            narrowest = min(narrowest, len(columns)) if words else len(columns)
            first = first if words else number
            words.append(columns[0])
            tags += columns[1:][-1:]
            if len(tags) not in (0, len(words)):
                found = "a word and no tag" if len(columns) < 2 else "a tag"
                raise UserError(
                    f"{file.path} line {number} has {found}, unlike the lines before it in its sentence. "
                    "Need 'word TAB tag' in all of them, or the word alone."
                )
        elif words:
            if narrowest > 2:
                _refuse_counted(words, f"{file.path} line {first}")
            yield f"line {first}", {"tokens": words, **({"label": tags} if tags else {})}
            words, tags = [], []


def _refuse_counted(words: Sequence[str], place: str) -> None:
    """Refuse a sentence whose first column counts its words, as in CoNLL-U; lines with # are comments there.

    Raises:
        UserError: if it does.
    """
    counted = [word for word in words if word != "#"]
    if len(counted) > 1 and counted == [str(number) for number in range(1, len(counted) + 1)]:
        raise UserError(
            f"{place}: the first column counts the words (1, 2, ...). Need the word first in each line "
            "and its tag last; remove the other columns and the lines with #."
        )
