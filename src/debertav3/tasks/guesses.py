"""Guesses which column of the rows is the text, which the label, and what kind of label it is.

Column names decide first, then the values. Every guess is logged, with the option that overrides it; if two
readings are equally likely, the user is asked.
"""

import re
from collections import Counter
from collections.abc import Sequence

from ..errors import UserError
from ..json_types import Json
from .columns import ID_NAMES, ONE_TEXT_NAMES, TEXT_COLUMNS
from .labels import CUSTOM_LABEL_NAMES, NO_VALUES, SEPARATORS, bracketed, is_named_flags, label_text
from .rows import Row, is_missing, listed, nested_names, structured
from .tables import Reading

_LABEL_PART = re.compile(r"label|class|categor|target|sentiment|judge?ment|gold|cats|intent|topic|emotion")
_MORE_PAIRS = (
    ("query", "text"),
    ("query", "passage"),
    ("text_a", "text_b"),
    ("text", "text_b"),
    ("context", "hypothesis"),
    ("t", "h"),
)
"""Names of text pairs in data of other programs, in addition to `TEXT_COLUMNS`."""
MOST_LABELS = 20
"""Integers with more distinct values than this are a quantity, not class names."""
_IDENTIFIER = re.compile(r"[A-Za-z]{0,6}[-_:.#]?\d[\d.-]*|[0-9a-f]{8}-[0-9a-f-]{20,}|[0-9a-f]{32,}")
_PERCENT = re.compile(r"[-+]?\d[\d.,]*\s?%")
_NESTED_SHOWN = 6
_SELDOM = ("/", "+", "&", " ")
"""Marks that separate labels in some files, but more often belong to their names."""
_ENOUGH = 20
"""Minimum number of rows for which it means something that most labels are unique."""
_LONGEST_LABEL = 40
"""Maximum characters in the name of one of several labels."""


class Guesser:
    """What the first rows of a source tell about its columns.

    Args:
        rows: some of them, at least one.
        reading: their source, where guesses are recorded.
    """

    def __init__(self, rows: Sequence[Row], reading: Reading) -> None:
        self.rows = rows
        self.reading = reading
        names: dict[str, None] = {}
        for row in rows:
            names.update(dict.fromkeys(row.fields))
        self.columns = [name for name in names if not _is_index_name(name)]

    def cells(self, column: str) -> list[Json]:
        """The non-empty values of a column."""
        values = [row.fields.get(column) for row in self.rows]
        return [value for value in values if not is_missing(value)]

    def num_different(self, column: str) -> int:
        """Number of distinct values in a column."""
        return len({str(value) for value in self.cells(column)})

    def text_sizes(self, taken: Sequence[str | None]) -> dict[str, int]:
        """Total length of the texts or lists in each column that has them."""
        sizes: dict[str, int] = {}
        for row in self.rows:
            for column, value in row.fields.items():
                if column not in taken and column in self.columns and isinstance(value, str | list):
                    sizes[column] = sizes.get(column, 0) + len(value)
        return sizes

    def label(self, taken: Sequence[str | None]) -> str:
        """The label column, or several, separated by commas.

        Raises:
            UserError: if there is none, or if several are possible.
        """
        free = [name for name in self.columns if name not in taken]
        by_lower = {name.lower(): name for name in free}
        for name in CUSTOM_LABEL_NAMES:
            if name in by_lower:
                return by_lower[name]
        flags = self._flags(free)
        if len(flags) > 1:
            found = ",".join(flags)
            self.reading.note(
                f"the columns {listed(flags)} are a label each, with 1 for yes", "--label-column NAME"
            )
            return found
        by_name = [name for name in free if _LABEL_PART.search(name.lower()) and self._may_be_label(name)]
        if len(by_name) == 1:
            return self._guessed(by_name[0], "by its name")
        others = [name for name in free if name not in flags]
        sizes = self.text_sizes(taken)
        texts = [name for name in others if name in sizes and not self._is_code(name)]
        longest = max(texts, key=lambda name: sizes[name], default=None)
        few = [
            name
            for name in free
            if name != longest and self._repeats(name) and name.lower() not in ONE_TEXT_NAMES
        ]
        if not by_name and len(few) == 1 and longest is not None:
            return self._guessed(few[0], "by its few values")
        self._ask_for_label(by_name or few)
        raise AssertionError("unreachable")

    def _guessed(self, label: str, why: str) -> str:
        self.reading.note(f"the label is {label!r}, {why}", "--label-column NAME")
        return label

    def _ask_for_label(self, likely: Sequence[str]) -> None:
        first = self.rows[0].fields
        hint = ""
        if len(likely) > 1:
            hint = f" (perhaps one of {listed(list(likely)[:4])})"
        elif likely:
            hint = f" (perhaps {likely[0]!r})"
        about = ""
        if any(re.fullmatch(r"[-+]?\d[\d.,]*", name) for name in first) and "1" not in first:
            about = "Its first line is read as the names; if it is a row, say --no-header. "
        about += self._about()
        raise UserError(
            f"which column is the label? {self.reading.source} has {listed(first)}. "
            f"{about}Say --label-column NAME{hint}."
        )

    def _about(self) -> str:
        """What else there is where the label or the text may be."""
        first, about = self.rows[0].fields, ""
        nested = [name for name in nested_names(first) if name not in first]
        if nested:
            about += f"Columns within others are called {', '.join(nested[:_NESTED_SHOWN])}. "
        elif len(self.rows) == 1 and self.reading.format.name in ("json", "jsonl"):
            about += (
                'The file is one object, so one row; rows are a list: [{"text": ..., "label": ...}, ...]. '
            )
        left = [note for note in self.reading.notes.understood if note.is_left_out and note.option]
        about += "".join(f"Left out: {note.text} ({note.option}). " for note in left)
        return about

    def _flags(self, free: Sequence[str]) -> list[str]:
        """Columns with only 0 and 1."""
        return [
            name
            for name in free
            if name.lower() not in ID_NAMES
            and (cells := self.cells(name))
            and len(cells) > 1
            and all(label_text(value).lower() in ("0", "1", "true", "false") for value in cells)
        ]

    def _may_be_label(self, name: str) -> bool:
        """Whether values repeat, or are lists, or are flags by their names."""
        cells = [structured(value) for value in self.cells(name)]
        return self._has_few(name) or any(isinstance(value, list | dict) for value in cells)

    def _repeats(self, name: str) -> bool:
        """Whether a column has few values, short and repeated."""
        return self._has_few(name) and self.num_different(name) < len(self.cells(name))

    def _has_few(self, name: str) -> bool:
        """Whether a column has few distinct values, all short."""
        cells = self.cells(name)
        count = self.num_different(name)
        is_short = all(not isinstance(value, list | dict) and len(str(value)) <= 60 for value in cells)
        return is_short and 1 < count <= max(2, len(cells) // 2)

    def _is_code(self, name: str) -> bool:
        """Whether a column has identifiers rather than texts."""
        cells = [value for value in self.cells(name) if isinstance(value, str)]
        return name.lower() in ID_NAMES or not any(" " in value.strip() for value in cells)

    def texts(self, label: str, *, text: str | None) -> tuple[str, ...]:
        """The text column, or the two columns of a pair.

        Args:
            label: the label's column or columns.
            text: the first column of a pair, if the user named it.

        Raises:
            UserError: if none holds texts.
        """
        taken = [label, *label.split(",")]
        names = [name for name in self.columns if name not in taken]
        pair = _pair_by_name([name for name in names if name in self.text_sizes(taken)])
        if text is None and pair is not None:
            self.reading.note(f"{pair[0]!r} and {pair[1]!r} are a pair", "--text-column NAME alone")
            return pair
        sizes = self.text_sizes(taken)
        if not sizes:
            raise UserError(
                f"which column is the text? {self.reading.source} has {listed(self.rows[0].fields)}. "
                f"{self._about()}Say --text-column NAME."
            )
        by_lower = {name.lower(): name for name in sizes}
        for name in ONE_TEXT_NAMES:
            if name in by_lower:
                return (by_lower[name],)
        most = max(sizes.values())
        long = [name for name in sizes if 3 * sizes[name] > most]
        found = max(long, key=lambda name: (self.num_different(name), sizes[name]))
        if (
            self._is_code(found)
            and len(self.cells(found)) > 1
            and self.num_different(found) == len(self.rows)
        ):
            spaced = [name for name in sizes if not self._is_code(name)]
            if spaced and not isinstance(self.cells(found)[0], list):
                found = max(spaced, key=lambda name: sizes[name])
        self._refuse_identifiers(found)
        others = [name for name in long if name != found and not self._is_code(name)]
        if len(sizes) > 1:
            also = f"; {listed(others)} not read (a pair needs --pair-column)" if others else ""
            self.reading.note(f"the text is {found!r}, by its values{also}", "--text-column NAME")
        return (found,)

    def _refuse_identifiers(self, name: str) -> None:
        """Refuse a column of numbers or codes as the text.

        Raises:
            UserError: if it is one.
        """
        cells = self.cells(name)
        are_texts = all(isinstance(one, str) for one in cells)
        if len(cells) > 1 and are_texts and all(_IDENTIFIER.fullmatch(one.strip()) for one in cells):
            raise UserError(
                f"which column is the text? {self.reading.source} has {listed(self.rows[0].fields)}, and "
                f"{name!r} has identifiers, such as {cells[0]!r}. Give a file with the texts, or say "
                f"--text-column {name}."
            )

    def kind(self, label: str, text: str) -> tuple[str, str]:
        """The kind of label in a column, and the separator of several labels in one cell.

        Raises:
            UserError: if it is unclear whether cells hold one label or several.
        """
        if label not in self.rows[0].fields and "," in label:
            return "several-labels", "|"
        given = [structured(value) for value in self.cells(label)]
        given = [value for value in given if not isinstance(value, str) or value.strip() not in NO_VALUES]
        if any(isinstance(value, list) for value in given):
            has_words = any(isinstance(structured(one), list) for one in self.cells(text))
            return "tags" if has_words else "several-labels", "|"
        flags = [value for value in given if isinstance(value, dict) and is_named_flags(value)]
        if any(sum(value.values()) != 1 for value in flags):
            return "several-labels", "|"
        texts = [value for value in given if isinstance(value, str)]
        lists = [found for found in map(bracketed, texts) if isinstance(found, list)]
        if len(lists) == len(given) and any(len(one) > 1 for one in lists):
            return "several-labels", ","
        if texts and len(texts) == len(given) and all(map(_PERCENT.fullmatch, texts)):
            raise UserError(
                f"{self.reading.source}: are {texts[0]!r} and the like in column {label!r} numbers or names "
                "of classes? Write numbers without %, or say --label-kind one-label."
            )
        numbers = [_number(value) for value in given]
        if all(number is not None for number in numbers):
            distinct = set(numbers)
            is_whole = all(number is not None and number.is_integer() for number in distinct)
            return ("one-label" if is_whole and len(distinct) <= MOST_LABELS else "number"), "|"
        for separator in SEPARATORS:
            if self._separates(separator, [value for value in given if isinstance(value, str)], label):
                return "several-labels", separator
        return "one-label", "|"

    def separator(self, label: str) -> str:
        """The separator of labels, given that cells hold several."""
        cells = [value for value in map(structured, self.cells(label)) if isinstance(value, str)]
        return max(SEPARATORS, key=lambda one: (sum(one in cell for cell in cells), -SEPARATORS.index(one)))

    def _separates(self, separator: str, cells: Sequence[str], label: str) -> bool:
        """Whether a mark separates several labels in one cell.

        Raises:
            UserError: if it might also belong to the label's name.
        """
        split = [[part.strip() for part in cell.split(separator)] for cell in cells]
        marked = [parts for parts in split if len(parts) > 1]
        example = next((cell for cell in cells if separator in cell), "")
        if not marked:
            return False
        if separator == "|":
            return True
        if any(len(part) > _LONGEST_LABEL for parts in split for part in parts):
            return False
        are_numbers = all(part.isdecimal() for parts in split for part in parts if part)
        count = Counter(part for parts in {tuple(parts) for parts in split} for part in parts)
        shared = [parts for parts in marked if any(count[part] > 1 for part in parts)]
        if are_numbers and separator == ",":  # "1,5" may be a decimal number, next to "2" as well
            is_several = any(len(parts) > 2 for parts in marked)
        elif are_numbers:
            is_several = len(marked) < len(cells) or any(len(parts) > 2 for parts in marked)
        elif 2 * len(shared) <= len(marked):
            return False
        else:
            is_several = len(set(cells)) * 2 > len(cells)
        if separator in _SELDOM:
            return is_several and self._ask_about(separator, split, example, label)
        if not is_several and separator != "\n":
            or_number = ", or number for a decimal comma" if are_numbers and separator == "," else ""
            raise UserError(
                f"{self.reading.source}: is {example!r} in column {label!r} one label or several? "
                f"Say --label-kind one-label or --label-kind several-labels{or_number}."
            )
        self.reading.note(
            f"cells with {separator!r} have several labels, such as {example!r}",
            "--label-kind one-label",
        )
        return True

    def _ask_about(self, separator: str, split: Sequence[Sequence[str]], example: str, label: str) -> bool:
        """Ask whether a mark that seldom separates labels does so here.

        Raises:
            UserError: if most cells would be unique labels, while few parts occur again and again.
        """
        parts = {part for cells in split for part in cells}
        has_space = separator != " " and any(" " in part for part in parts)
        if has_space or 2 * len(parts) > len(split) + len(parts) or len(split) < _ENOUGH:
            return False
        raise UserError(
            f"{self.reading.source}: is {example!r} in column {label!r} one label or several? Say "
            "--label-kind one-label or --label-kind several-labels."
        )


def _is_index_name(name: str) -> bool:
    return not name or re.fullmatch(r"Unnamed: \d+|__index_level_\d+__|level_\d+", name) is not None


def _pair_by_name(names: Sequence[str]) -> tuple[str, str] | None:
    """Two columns whose names belong together."""
    by_lower = {name.lower(): name for name in names}
    for first, second in (*(pair for pair in TEXT_COLUMNS if len(pair) == 2), *_MORE_PAIRS):
        if first.lower() in by_lower and second.lower() in by_lower:
            return by_lower[first.lower()], by_lower[second.lower()]
    for name in by_lower:
        stem = re.sub(r"[_ ]?b$", "", name)
        for first in (stem, f"{stem}_a", f"{stem} a"):
            if re.search(r"[_ ]b$", name) and first in by_lower:
                return by_lower[first], by_lower[name]
    return None


def _number(value: Json) -> float | None:
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):  # Python reads 1_1 as 11
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
