"""What people and programs write above and below a table: titles, ``sep=;``, comments, a row with totals."""

import re
from collections import Counter
from collections.abc import Sequence

from .columns import USUAL_NAMES
from .notes import Note
from .source_file import Found, SourceFile

_MOST_ABOVE = 10
_SEPARATOR = re.compile(r"sep=(.)\s*", re.IGNORECASE)
_TOTAL = re.compile(r"(grand |sub)?total|sum|gesamt|summe|somme|suma|average|mean", re.IGNORECASE)


def separator_said(line: str) -> str | None:
    """What a first line such as ``sep=;``, which Excel writes and reads, says; None for another line."""
    match = _SEPARATOR.fullmatch(line.lstrip("\ufeff"))
    return None if match is None else match.group(1)


def num_above(rows: Sequence[Sequence[object]]) -> int:
    """How many rows are above the one with the names of the columns: titles, blank rows, names of groups.

    Args:
        rows: the first of a sheet or file, as cells.
    """
    for place, row in enumerate(rows[:_MOST_ABOVE]):
        filled = [str(cell).strip() for cell in row if cell is not None and str(cell).strip()]
        below = [_num_filled(one) for one in rows[place + 1 : place + 50]]
        below = [count for count in below if count]
        if not below or Counter(below).most_common(1)[0][0] < 2:
            return 0
        if len(filled) > 1 and not _are_groups(filled, rows[place + 1]):
            return place
        if len(filled) == 1 and not _is_title(filled[0], row, rows[place + 1]):
            return place
    return 0


def above_note(count: int) -> Note:
    """What is said of rows that are above the names."""
    rows = "the first row, which is" if count == 1 else f"the first {count} rows, which are"
    return Note(f"{rows} above the names of the columns", "--header", is_left_out=True)


def _num_filled(row: Sequence[object]) -> int:
    return sum(cell is not None and bool(str(cell).strip()) for cell in row)


def _are_groups(names: Sequence[str], below: Sequence[object]) -> bool:
    """Whether names are repeated, and those below them are the names of columns."""
    own = [str(cell).strip().lower() for cell in below if cell is not None and str(cell).strip()]
    is_twice = len(set(names)) < len(names)
    return is_twice and len(set(own)) == len(own) and any(name in USUAL_NAMES for name in own)


def _is_title(text: str, row: Sequence[object], below: Sequence[object]) -> bool:
    """Whether the only cell of a row is about the table, and not the name of its only column."""
    if text.lower() in USUAL_NAMES:
        return False
    return len(row) > 1 or " " in text or text.startswith("#") or not _num_filled(below)


def without_totals(found: Found, file: SourceFile) -> Found:
    """Rows of a table but a last one that begins with a word such as Total and else has numbers."""
    previous = None
    for one in found:
        if previous is not None:
            yield previous
        previous = one
    if previous is None:
        return
    cells = [str(cell).strip() for cell in previous[1].values() if cell is not None and str(cell).strip()]
    are_numbers = all(re.fullmatch(r"[-+]?[\d.,]+%?", cell) for cell in cells[1:])
    if len(cells) > 1 and _TOTAL.fullmatch(cells[0].rstrip(":")) and are_numbers:
        file.notes.note(f"{previous[0]}, which begins with {cells[0]!r}: a row of totals", is_left_out=True)
    else:
        yield previous
