"""Entities by character offsets: checked against their text, and brought to whole words.

A model tags words, so an entity covers whole words and a word belongs to one entity. What that changes in a
file is counted in `Notes`.
"""

import bisect
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ...errors import UserError
from ...json_types import Json, JsonMapping
from ..notes import Notes
from ..rows import shortened
from ..words import Span, split_words

TEXT, ENTITIES = "text", "entities"
"""The columns of a row whose entities are known by their characters."""
Fields = JsonMapping

_STARTS = ("start", "start_offset", "startOffset", "begin", "from")
_ENDS = ("end", "end_offset", "endOffset", "stop", "to")
_LABELS = ("label", "labels", "entity_group", "entity_type", "type", "tag", "entity", "category")
_SURFACES = ("text", "word", "surface")
_NEAR = 3
"""Characters by which an offset may be wrong and is still repaired."""


class Mark(NamedTuple):
    """One entity of a text."""

    start: int
    """First character."""
    end: int
    """One past the last."""
    label: str


def first_of(entry: Fields, names: Sequence[str]) -> Json:
    """The value under the first of the names that is there and not null."""
    return next((entry[name] for name in names if entry.get(name) is not None), None)


def is_mark(entry: object) -> bool:
    """Whether a value is an entity with its offsets: ``[0, 4, "PER"]``, or an object with such fields."""
    if isinstance(entry, list | tuple):
        return len(entry) >= 3 and _is_offset(entry[0]) and _is_offset(entry[1]) and isinstance(entry[2], str)
    if not isinstance(entry, Mapping):
        return False
    label = first_of(entry, _LABELS)
    return (
        _is_offset(first_of(entry, _STARTS))
        and _is_offset(first_of(entry, _ENDS))
        and (isinstance(label, str) or _is_list_of_texts(label))
    )


def are_marks(value: object) -> bool:
    """Whether a value is a list of entities with their offsets, not empty."""
    return isinstance(value, list | tuple) and bool(value) and all(map(is_mark, value))


def read_marks(entries: Sequence[Json], text: str, *, place: str, notes: Notes) -> list[Mark]:
    """Entities as a tool writes them, checked against the text.

    Args:
        entries: what `is_mark` accepts.
        text: the text.
        place: of the row, for messages.
        notes: gets what was repaired.

    Raises:
        UserError: for an entry of another form, or one that is not in the text.
    """
    marks = []
    for entry in entries:
        if not is_mark(entry):
            raise UserError(
                f"{place}: {shortened(entry)} is not an entity. Need start, end and a label, such as "
                '[0, 4, "PER"] or {"start": 0, "end": 4, "label": "PER"}.'
            )
        if isinstance(entry, Mapping):
            start, end = first_of(entry, _STARTS), first_of(entry, _ENDS)
            label, surface = first_of(entry, _LABELS), first_of(entry, _SURFACES)
        else:
            (start, end, label), surface = entry[:3], None
        if not isinstance(label, str):
            if len(label) > 1:
                notes.add(
                    "entities have several labels; the first is kept", f"{' and '.join(label)} ({place})"
                )
            label = label[0]
        surface = surface if isinstance(surface, str) else None
        marks.append(locate(Mark(start, end, label), text, surface=surface, place=place, notes=notes))
    return marks


def locate(mark: Mark, text: str, *, surface: str | None, place: str, notes: Notes) -> Mark:
    """An entity at the characters that its tool meant.

    Tools written in JavaScript count UTF-16 units, in which an emoji is two, and some count a line end of two
    characters as one. Where the tool says the entity's own text, it decides which counting is meant.

    Raises:
        UserError: if the offsets are outside the text, or the text there is another one.
    """
    start, end, label = mark
    if surface is None:
        if not 0 <= start < end <= len(text):
            raise UserError(
                f"{place}: entity {start} to {end} ({label}) is not in its text of {len(text)} characters. "
                "Offsets count characters from 0, and the end is one past the last."
            )
        return mark
    wanted = surface.strip()
    for count in (_characters, _utf16, _single_line_ends):
        first, last = count(text, start), count(text, end)
        if first is not None and last is not None and _alike(text[first:last], wanted):
            return Mark(first, last, label)
    for shift in (step * sign for step in range(1, _NEAR + 1) for sign in (-1, 1)):
        if wanted and start + shift >= 0 and text[start + shift : start + shift + len(wanted)] == wanted:
            notes.add(
                "entities were not where their offsets say, but near; they were moved",
                f"{wanted!r} by {shift:+} ({place})",
            )
            return Mark(start + shift, start + shift + len(wanted), label)
    raise UserError(
        f"{place}: characters {start} to {end} are {shortened(text[start:end])}, not {shortened(surface)}, "
        f"which the entity ({label}) says. The text was changed after it was annotated; export both again."
    )


def _alike(found: str, wanted: str) -> bool:
    """Whether two spellings of an entity's text are the same but for white space."""
    return found.split() == wanted.split() and bool(wanted)


def _characters(text: str, offset: int) -> int | None:
    return offset if 0 <= offset <= len(text) else None


def _utf16(text: str, offset: int) -> int | None:
    """The character at an offset in UTF-16 units."""
    units = text.encode("utf-16-le", "surrogatepass")
    if not 0 <= 2 * offset <= len(units):
        return None
    return len(units[: 2 * offset].decode("utf-16-le", "replace"))


def _single_line_ends(text: str, offset: int) -> int | None:
    r"""The character at an offset that counts ``\r\n`` as one."""
    parts = text.split("\r\n")
    position = 0
    for part in parts:
        if offset <= len(part):
            return position + offset if offset >= 0 else None
        offset -= len(part) + 1
        position += len(part) + 2
    return None


def whole_words(marks: Sequence[Mark], text: str, *, place: str, notes: Notes) -> list[Mark]:
    """Entities that begin and end with words and do not overlap, in order.

    An entity that begins or ends inside a word is widened to it. Of entities that share a word the longest is
    kept, of equal ones the first.

    Args:
        marks: the entities, in any order.
        text: the text.
        place: of the row, for messages.
        notes: gets what was changed.
    """
    words = split_words(text)
    starts, ends = [start for start, _ in words], [end for _, end in words]
    fitted = []
    for mark in marks:
        first = bisect.bisect_right(ends, mark.start)
        last = bisect.bisect_left(starts, mark.end) - 1
        if first > last:
            notes.add("entities hold only white space and were left out", f"{mark.label} ({place})")
            continue
        whole = Mark(words[first][0], words[last][1], mark.label)
        shown = text[mark.start : mark.end]
        inner = text[whole.start : whole.end]
        if shown.strip() != inner:
            notes.add(
                "entities begin or end inside a word and were widened to whole words",
                f"{shortened(shown)} to {shortened(inner)} ({place})",
            )
        fitted.append(whole)
    kept: list[Mark] = []
    for mark in sorted(fitted, key=lambda one: (one.start - one.end, one.start)):
        other = next((one for one in kept if one.start < mark.end and mark.start < one.end), None)
        if other is None:
            kept.append(mark)
        elif other != mark:
            notes.add(
                "entities share a word with a longer or earlier one and were left out: a word has one tag",
                f"{shortened(text[mark.start : mark.end])} ({mark.label}) in "
                f"{shortened(text[other.start : other.end])} ({other.label}) ({place})",
            )
    return sorted(kept)


def tag_text(text: str, marks: Sequence[Mark]) -> tuple[list[Span], list[str]]:
    """The words of a text and the tag of each; arguments as of `tag_words`."""
    words = split_words(text)
    return words, tag_words(words, marks)


def tag_words(words: Sequence[Span], marks: Sequence[Mark]) -> list[str]:
    """The tag of each word, B and I before the label, ``O`` outside.

    Args:
        words: first character of each word and one past its last.
        marks: entities of whole words, as `whole_words` returns.
    """
    tags = ["O"] * len(words)
    starts = [start for start, _ in words]
    for mark in marks:
        for number in range(bisect.bisect_left(starts, mark.start), bisect.bisect_left(starts, mark.end)):
            tags[number] = f"{'B' if words[number][0] == mark.start else 'I'}-{mark.label}"
    return tags


def _is_offset(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_list_of_texts(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(one, str) for one in value)
