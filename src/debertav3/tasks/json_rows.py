"""Rows in JSON: one object a line, or one document in any of the shapes of `json_shapes`."""

import itertools
import json
from collections.abc import Iterator

from ..errors import UserError
from ..json_types import Json, JsonObject
from .choice_documents import is_race, race_rows
from .json_shapes import is_one_document, rows_of_document
from .python_cells import python_value
from .source_file import Found, SourceFile
from .strict_json import parse_json, parse_several

_NEEDED = 'Each line must be one JSON object, such as {"text": "..."}.'


def read_json(file: SourceFile) -> Found:
    """Objects one a line, or one document: what the first line shows, whatever the ending says."""
    lines = enumerate(file.lines(may_guess=False), start=1)
    number, first = next(((number, line) for number, line in lines if not line.isspace()), (0, ""))
    if not first:
        return
    start = first.lstrip()
    value = _whole(first)
    second = next(((number, line) for number, line in lines if not line.isspace()), None)
    rest = itertools.chain([(number, first)], [] if second is None else [second], lines)
    is_line = (
        start.startswith("{")
        and value is not None
        and not (second is None and (is_one_document(value) or file.options.records is not None))
    )
    if is_line or (value is None and not start.startswith(("{", "["))):
        file.details.append("one object a line")
        yield from _objects(file, rest)
        return
    text = "".join(line for _, line in rest)
    if start.startswith("["):
        documents = [parse_json(text, str(file.path))] if second is None or value is None else []
    else:
        documents = list(parse_several(text, str(file.path)))
    if not documents:  # lists one a line: the first has the columns or is a row as well
        file.details.append("one list a line")
        yield from rows_of_document(
            [parse_json(line, str(file.path)) for line in text.split("\n") if line.strip()], file
        )
    elif len(documents) == 1:
        yield from rows_of_document(documents[0], file)
    else:
        file.details.append("objects on several lines each")
        yield from rows_of_document(documents, file)


def read_jsonl(file: SourceFile) -> Found:
    """One JSON object a line; blank lines are skipped."""
    start = file.head_text().lstrip()
    first, *others = start.splitlines()[:2] or [""]
    if start.startswith("[") and (not _is_flat(start) or (others and others[0].startswith("["))):
        yield from read_json(file)
        return
    if start.startswith("{") and not first.rstrip().endswith(("}", "},")):
        yield from read_json(file)
        return
    yield from _objects(file, enumerate(file.lines(may_guess=False), start=1))


def _is_flat(start: str) -> bool:
    """Whether a file begins with a whole list on its first line, of which no row can be made."""
    value = _whole(start.splitlines()[0])
    return isinstance(value, list) and not any(isinstance(one, dict | list) for one in value)


def _objects(file: SourceFile, lines: Iterator[tuple[int, str]]) -> Found:
    for number, line in lines:
        if not line.isspace():
            place = f"{file.path} line {number}"
            bare = line.rstrip()
            if bare.endswith("},"):
                file.notes.note("commas after the objects", is_left_out=True)
                line = bare[:-1]
            try:
                fields = _object(_parsed(line, place, file), place)
            except UserError as error:
                file.skip(error)
                continue
            if is_race(fields):
                yield from race_rows(fields, place)
            else:
                yield f"line {number}", fields


def _parsed(line: str, place: str, file: SourceFile) -> Json:
    """The value of a line: JSON, or a dict as Python prints it.

    Raises:
        UserError: if it is neither.
    """
    try:
        return parse_json(line, place, needed=_NEEDED)
    except UserError:
        try:
            value = python_value(line) if line.lstrip().startswith("{'") else None
        except (ValueError, TypeError):
            value = None
        if value is None:
            raise
    file.notes.note("objects are written as Python prints them, not as JSON")
    return value


def _object(value: Json, place: str) -> JsonObject:
    if not isinstance(value, dict):
        raise UserError(f"{place} holds a JSON {type(value).__name__}. {_NEEDED}")
    return value


def _whole(line: str) -> Json:
    """What a line holds if it is one whole value; an object that is broken counts as one, and is reported."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return {} if line.rstrip().endswith("}") else None
