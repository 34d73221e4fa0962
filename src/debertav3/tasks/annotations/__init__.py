"""Files of annotation tools: recognized by their rows, and read as the rows that tasks know.

`ROW_FORMATS` are all formats of lists of objects, a file of this folder each. brat's folders and spaCy's
``.spacy`` files are formats of their own in `tasks.formats`, and CoNLL is `conll`. To add one, write
``fits`` and ``read`` and put a `RowFormat` into the tuple.
"""

import itertools
from collections.abc import Iterator

from ...errors import UserError
from ...json_types import JsonObject
from ..source_file import Found, SourceFile
from .character_spans import DOCCANO
from .chat import CHAT
from .format import RowFormat
from .label_studio import LABEL_STUDIO, LABEL_STUDIO_CHOICES, LABEL_STUDIO_SHORT
from .marks import ENTITIES, TEXT, Mark, whole_words
from .prodigy import PRODIGY
from .spacy import SPACY_JSON
from .word_rows import grouped, refuse_word_columns

ROW_FORMATS: tuple[RowFormat, ...] = (
    LABEL_STUDIO,
    LABEL_STUDIO_SHORT,
    LABEL_STUDIO_CHOICES,
    PRODIGY,
    SPACY_JSON,
    DOCCANO,
    CHAT,
)
"""In the order in which they are tried: those with marks of their own first."""

_LOOKED_AT = 1000
"""Rows after which a file that could be of such a format, but shows nothing of it, is read as it is."""


class Annotated:
    """The rows of a file, those of annotation tools as tasks know them.

    Args:
        found: the rows as they are.
        source: where they come from, for messages.
        file: has the notes, which get what is changed, and what the user says.
    """

    def __init__(self, found: Found, source: str, file: SourceFile) -> None:
        self._found = found
        self._source = source
        self._file = file

    def __iter__(self) -> Iterator[tuple[str, JsonObject, JsonObject | None]]:
        """Yield where each row is, its fields, and the object as the file has it where that differs.

        Raises:
            UserError: naming the row that cannot be read.
        """
        rows = iter(self._found)
        head: list[tuple[str, JsonObject]] = []
        found: RowFormat | None = None
        for where, fields in rows:
            head.append((where, fields))
            verdicts = [one.fits(fields) for one in ROW_FORMATS]
            found = next((one for one, fits in zip(ROW_FORMATS, verdicts, strict=True) if fits), None)
            if found or None not in verdicts or len(head) == _LOOKED_AT:
                break
        rest = itertools.chain(head, rows)
        if found is None:
            for where, fields in grouped(rest, self._file.options, source=self._source):
                yield where, fields, None
            return
        refuse_word_columns(self._file.options, self._source)
        for where, fields in rest:
            for row in self._converted(found, fields, where):
                yield where, row, fields if found.is_one_to_one else None

    def _converted(self, found: RowFormat, fields: JsonObject, where: str) -> Iterator[JsonObject]:
        notes = self._file.notes
        try:
            for row in found.read(fields, where, notes):
                if isinstance(row.get(ENTITIES), list):
                    kept = whole_words(row[ENTITIES], row[TEXT], place=where, notes=notes)
                    row[ENTITIES] = [mark._asdict() for mark in kept]
                yield row
        except UserError as error:
            self._file.skip(UserError(f"{self._source} {error}"))


__all__ = ["ENTITIES", "ROW_FORMATS", "TEXT", "Annotated", "Mark", "RowFormat"]
