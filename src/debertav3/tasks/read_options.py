"""What a user says about a source of rows, where its content alone should not decide."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How a source is read; what is left out is found in the content."""

    format: str | None = None
    """Name of the format, for an ending that says none or the wrong one."""
    encoding: str | None = None
    """Of a text file, by Python's name: ``latin-1``, ``cp1252``, ``utf-8``."""
    has_header: bool | None = None
    """Whether the first line of a table has the names of the columns. Without, they are called 1, 2, ..."""
    sheet: str | None = None
    """Of a workbook: the sheet, by its name or its number from 1."""
    records: str | None = None
    """Of a JSON file that holds several lists of rows: the name of one, or several with commas between."""
    columns: tuple[str, ...] = ()
    """Columns that the user names: a text file that shows no other format is a table then."""
    word_column: str | None = None
    """CoNLL: the column of the words, a number from 1."""
    tag_column: str | None = None
    """Likewise of the tags."""
    tag_names: tuple[str, ...] = ()
    """Names of tags that a file writes as numbers from 0."""
    skip_bad: bool = False
    """Leave out rows that cannot be read, and list them, in place of stopping at the first."""

    def with_columns(self, columns: tuple[str, ...]) -> Self:
        """The same with the columns that a model was trained on, where the user names none."""
        return self if self.columns else replace(self, columns=columns)


AS_FOUND = ReadOptions()
"""Nothing is said: the content decides."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a user says about the columns of a task, and about the names of its labels."""

    text: str | None = None
    """The column of the text, or of the first of two: by name, or by number from 1."""
    pair: str | None = None
    """Of the second text."""
    label: str | None = None
    choices: tuple[str, ...] = ()
    """Of multiple choice: a column for each choice, or one that holds them all."""
    label_map: Mapping[str, str] = field(default_factory=dict)
    """What the rows call labels, and what the task calls them."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of columns that are said."""
        label = () if self.label is None else (self.label, *self.label.split(","))
        return tuple(
            dict.fromkeys(name.strip() for name in (self.text, self.pair, *label, *self.choices) if name)
        )

    def __bool__(self) -> bool:
        return bool(self.columns or self.label_map)
