"""What was understood of a source of rows, in one block that every command shows before it begins to work."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .metrics import tag_entities
from .notes import Note

logger = logging.getLogger(__name__)

_ORDER = {"second text": 1, "label": 2, "id": 3, "group": 4}
"""In which order columns are named; others come first."""
_WIDTH = 100
"""Characters of a row that are shown."""


@dataclass(frozen=True, kw_only=True)
class Understanding:
    """What a source was read as."""

    source: str
    format: str
    """The kind of file, what separates its columns, how its text is encoded."""
    num_rows: int
    columns: Mapping[str, str]
    """By what they are (``text``, ``second text``, ``label``, ``id``, ``group``), the columns' names."""
    label_kind: str = ""
    """What kind of label the rows have, and which labels."""
    shown: Sequence[str] = ()
    """The first rows as the model will see them."""
    notes: Sequence[Note] = field(default=())
    """Guesses, and what was left out."""

    def lines(self) -> list[str]:
        """The block, line by line; guesses name the option that overrides them."""
        parts = [("format", self.format), ("rows", f"{self.num_rows:,}")]
        parts += sorted(self.columns.items(), key=lambda item: _ORDER.get(item[0], 0))
        if self.label_kind:
            parts.append(("labels", self.label_kind))
        parts += [(f"row {number}", row) for number, row in enumerate(self.shown, start=1)]
        for note in self.notes:
            if note.is_left_out:
                parts.append(("left out", note.text + (f" ({note.option})" if note.option else "")))
            elif note.option:
                parts.append(("guess", f"{note.text}; if not: {note.option}"))
            else:
                parts.append(("note", note.text))
        width = max(len(name) for name, _ in parts)
        return [f"{self.source} is read as", *(f"  {name:<{width}}  {value}" for name, value in parts)]

    @property
    def shape(self) -> tuple[object, ...]:
        """What two files of one kind have in common."""
        return self.format, tuple(self.columns.items()), tuple(note.text for note in self.notes)

    def log(self) -> None:
        """Log the block, a line at a time."""
        for line in self.lines():
            logger.info("%s", line)


def log_all(found: Iterable[Understanding]) -> None:
    """Log several sources; of those that are read alike, the first in full."""
    seen: dict[tuple[object, ...], str] = {}
    for one in found:
        if one.shape in seen:
            logger.info("%s is read as %s: rows %s", one.source, seen[one.shape], f"{one.num_rows:,}")
        else:
            seen[one.shape] = one.source
            one.log()


def shown_row(texts: Sequence[str], label: object = None) -> str:
    """A row on one line: its texts as the model gets them, and its label."""
    room = max(20, _WIDTH // max(1, len(texts)))
    parts = " | ".join(_short(text, room) for text in texts)
    return parts if label is None else f"{parts} -> {_label(label)}"


def shown_words(words: Sequence[str], tags: Sequence[str] | None) -> str:
    """A sentence with its entities marked: ``[Anna PER] sleeps``."""
    pieces, place = [], 0
    for start, end, kind in tag_entities(tags) if tags else ():
        pieces += [*words[place:start], f"[{' '.join(words[start:end])} {kind}]"]
        place = end
    return _short(" ".join([*pieces, *words[place:]]), _WIDTH)


def shown_spans(text: str, spans: Sequence[tuple[int, int, str]]) -> str:
    """A text with its entities marked; of spans that overlap, the first."""
    pieces, place = [], 0
    for start, end, kind in sorted(spans):
        if start >= place:
            pieces += [text[place:start], f"[{text[start:end]} {kind}]"]
            place = end
    return _short("".join([*pieces, text[place:]]), _WIDTH)


def listed_labels(labels: Sequence[str], *, most: int = 8) -> str:
    """Names of labels, the first few where there are many."""
    named = ", ".join(_short(label, 30) for label in labels[:most])
    return f"{len(labels)}: {named}{', ...' if len(labels) > most else ''}"


def _label(label: object) -> str:
    if isinstance(label, tuple | list):
        return " + ".join(map(str, label)) or "(none)"
    return _short(str(label), 60)


def _short(text: str, room: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= room else f"{line[: room - 3]}..."
