"""Rows in tables of text with a header."""

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
