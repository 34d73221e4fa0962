"""How a table of text is written: what separates columns, whether quotes enclose cells, if it has a header.

All of it is found in the first lines. What is only likely is noted as a guess, with the option against it.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .columns import USUAL_NAMES
from .notes import Note
from .read_options import ReadOptions

if TYPE_CHECKING:
    from _csv import Reader

_NUMBER_LIKE = re.compile(r"[-+]?\d[\d.,;:/|-]*%?")
_CODE = re.compile(r"[A-Za-z]+[-_:]?\d+")
_NAME = re.compile(r"[^\W\d][\w .#-]{0,39}")
_DOUBLED = re.compile(r'"(?:[^"]|"")*""(?:[^"]|"")*"')
_PLAIN_QUOTED = re.compile(r'"(?:[^"]|"")*"')


@dataclass(frozen=True)
class Dialect:
    """How a table of text is written."""

    delimiter: str
    is_quoted: bool
    """Whether quotes enclose cells; else they belong to the texts."""
    names: tuple[str, ...] | None
    """Of the columns, where the first line is a row; None where it has the names."""

    def reader(self, lines: Iterable[str], *, strict: bool = True) -> "Reader":
        """A ``csv.reader`` over lines."""
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if self.is_quoted else csv.QUOTE_NONE
        return csv.reader(iter(lines), delimiter=self.delimiter, quoting=quoting, strict=strict)


def find_dialect(
    head: Sequence[str],
    delimiters: str,
    *,
    is_quoted: bool,
    is_cut: bool,
    options: ReadOptions,
    is_triples: bool = False,
) -> tuple[Dialect, list[Note]]:
    """Find how a table is written.

    Args:
        head: its first lines, not all blank.
        delimiters: what may separate columns; the first one where nothing does.
        is_quoted: whether quotes enclose cells where both readings are possible.
        is_cut: whether the file has more lines.
        options: what the user says.
        is_triples: whether the file is called as those of MS MARCO that hold a query and two passages.

    Returns:
        The dialect, and what of it is a guess.
    """
    delimiter = _delimiter(head, delimiters, is_quoted=is_quoted)
    notes = []
    if delimiter == "\t":
        quoted = _has_quoted_cells(head, is_cut, otherwise=is_quoted)
    else:
        quoted = is_quoted and not _has_stray_quotes(head, delimiter, is_cut)
        if is_quoted and not quoted:
            notes.append(Note("quotes belong to the texts, since not all of them enclose a cell"))
    rows = _rows(head, delimiter, is_quoted=quoted, is_cut=is_cut) or []
    has_header = options.has_header
    numbered = _numbers(_width(rows))
    if is_triples and len(numbered) == 3:
        numbered = ("query", "positive", "negative")
    if has_header is None:
        has_header = has_names(rows, options.columns)
        if is_triples and has_header and rows:
            has_header = any(cell.strip().lower() in USUAL_NAMES for cell in rows[0])
    if options.has_header is None and not has_header:
        notes.append(numbered_note(numbered))
    return Dialect(delimiter, quoted, None if has_header else numbered), notes


def numbered_note(names: Sequence[str]) -> Note:
    """What is said of a table whose first line is taken for a row."""
    called = ", ".join(names)
    return Note(f"the first line is a row, not the names of columns, which are called {called}", "--header")


def likeliest_delimiter(head: Sequence[str], delimiters: str, *, is_quoted: bool) -> str:
    """What separates the columns of most of the first lines, whatever the very first one is."""
    found = Counter(
        _delimiter(head[place : place + 20], delimiters, is_quoted=is_quoted)
        for place in range(min(len(head), 12))
        if any(one in head[place] for one in delimiters)
    )
    return found.most_common(1)[0][0] if found else delimiters[0]


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(str(number) for number in range(1, count + 1))


def _width(rows: Sequence[Sequence[str]]) -> int:
    return Counter(map(len, rows)).most_common(1)[0][0] if rows else 1


def _delimiter(head: Sequence[str], delimiters: str, *, is_quoted: bool) -> str:
    """The one that cuts all lines into as many cells; of several, the commonest in the first line."""
    first = re.sub(r'"[^"]*"', "", head[0]) if is_quoted else head[0]
    candidates = [one for one in delimiters if one in first] or [delimiters[0]]

    def rank(one: str) -> tuple[float, int]:
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if is_quoted else csv.QUOTE_NONE
        widths = Counter(len(row) for row in csv.reader(iter(head), delimiter=one, quoting=quoting) if row)
        width, count = max(widths.items(), key=lambda item: item[1])
        return (round(count / widths.total(), 1) if width > 1 else 0.0), first.count(one)

    return max(candidates, key=rank) if len(candidates) > 1 else candidates[0]


def _rows(
    head: Sequence[str], delimiter: str, *, is_quoted: bool, is_cut: bool, strict: bool = False
) -> list[list[str]] | None:
    """The first rows; None if they cannot be read so."""
    reader = Dialect(delimiter, is_quoted, None).reader(head, strict=strict)
    rows = []
    try:
        for cells in reader:
            if cells:
                rows.append(cells)
    except csv.Error:
        if not is_cut or reader.line_num < len(head):
            return None
    return rows[:-1] if is_cut and len(rows) > 1 else rows


def _has_stray_quotes(head: Sequence[str], delimiter: str, is_cut: bool) -> bool:
    """Whether quotes cannot enclose cells, and without them all rows have as many.

    A cell that begins with its only quote was never closed: that is a damaged table, not a stray quote.
    """
    if _rows(head, delimiter, is_quoted=True, is_cut=is_cut, strict=True) is not None:
        return False
    plain = _rows(head, delimiter, is_quoted=False, is_cut=is_cut) or []
    if any(cell.startswith('"') and cell.count('"') == 1 for row in plain for cell in row):
        return False
    return len({len(row) for row in plain}) == 1


def _has_quoted_cells(head: Sequence[str], is_cut: bool, *, otherwise: bool) -> bool:
    """Whether quotes enclose cells of a table with tabs, as pandas and Excel write them."""
    quoted = _rows(head, "\t", is_quoted=True, is_cut=is_cut, strict=True)
    plain = _rows(head, "\t", is_quoted=False, is_cut=is_cut) or []
    if quoted is None or len(set(map(len, quoted))) > 1:
        return quoted is not None and otherwise and len(set(map(len, plain))) > 1
    if len(set(map(len, plain))) > 1:
        return True
    marked = [cell.strip() for row in plain for cell in row if cell.strip().startswith('"')]
    if any(not _PLAIN_QUOTED.fullmatch(cell) for cell in marked):
        return False
    first = [cell.strip() for cell in (plain[0] if plain else [])]
    is_header_quoted = any(len(cell) > 1 and _PLAIN_QUOTED.fullmatch(cell) for cell in first)
    return otherwise or is_header_quoted or any(_DOUBLED.fullmatch(cell) for cell in marked)


def has_names(rows: Sequence[Sequence[str]], asked: Sequence[str]) -> bool:
    """Whether the first row of a table has names, by what it holds and what is below it."""
    if len(rows) < 2:
        return True
    first = [cell.strip() for cell in rows[0]]
    if {name for name in asked if not name.isdecimal()} & set(first):
        return True
    below = [{row[place].strip() for row in rows[1:] if place < len(row)} for place in range(len(first))]
    if any(name.lower() in USUAL_NAMES and name not in below[place] for place, name in enumerate(first)):
        return True
    if all(
        not name or name == str(place) for place, name in enumerate(first, start=-1 if not first[0] else 0)
    ):
        return True  # pandas numbers columns that have no names, from 0
    if asked and all(name.isdecimal() for name in asked):
        return False
    has_data = False
    for place, cell in enumerate(first):
        filled = [row[place].strip() for row in rows[1:] if place < len(row) and row[place].strip()]
        if not cell or not filled:
            continue
        if _is_name_of_texts(cell, filled):
            return True
        has_data = has_data or _is_like(cell, filled)
    return not has_data


def _is_name_of_texts(cell: str, below: Sequence[str]) -> bool:
    """Whether one word is above texts of several words."""
    words = sorted(len(text.split()) for text in below)
    return bool(_NAME.fullmatch(cell)) and len(cell.split()) < 3 <= words[len(words) // 2]


def _is_like(cell: str, below: Sequence[str]) -> bool:
    """Whether a cell is of the kind of those below it: one of few values, a number, an identifier."""
    if cell in below and len(set(below)) <= max(2, len(below) // 2 + 1):
        return True
    return any(
        pattern.fullmatch(cell) and all(map(pattern.fullmatch, below)) for pattern in (_NUMBER_LIKE, _CODE)
    )
