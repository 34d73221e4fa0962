"""Rows in JSON: one object a line, a list of objects, or SQuAD's official form."""

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import UserError
from .annotations.spacy import pair_as_row, pairs_in
from .class_names import viewer_rows
from .source_file import Found, SourceFile

MAX_DEPTH = 64
"""Lists and objects within each other; deeper ones could not be written again."""
_NEEDED = 'Each line must be one JSON object, such as {"text": "..."}.'


def parse_json(text: str, place: str, *, needed: str = "") -> Any:
    """JSON as JSON has it: NaN is null; numbers without end and half characters are refused.

    Args:
        text: one document.
        place: for messages.
        needed: what the message says is needed.

    Raises:
        UserError: naming the place.
    """
    try:
        value = _DECODER.decode(text)
        if "\\u" in text:  # the only way to half of a surrogate pair, which no UTF-8 can hold
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        is_deep = text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH
    except json.JSONDecodeError as error:
        where = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}"
        raise UserError(f"{place} is not valid JSON ({error.msg} at {where}). {needed}".rstrip()) from None
    except UnicodeEncodeError:
        raise UserError(
            f"{place} has half of a surrogate pair (such as \\ud800), which is no character. Remove it."
        ) from None
    except ValueError as error:
        reason = "an integer of thousands of digits" if "digits" in str(error) else str(error)
        raise UserError(f"{place} is not usable: it holds {reason}.") from None
    except RecursionError:
        is_deep = True
    if is_deep:
        raise UserError(f"{place} is nested too deeply to read, beyond {MAX_DEPTH} levels. {needed}".rstrip())
    return value


def _constant(name: str) -> None:
    if name != "NaN":
        raise ValueError(f"the number {name}, which JSON does not have")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the name {twice!r} twice in one object")
    return fields


_DECODER = json.JSONDecoder(parse_constant=_constant, object_pairs_hook=_unique)
_IN_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')


def _depth(text: str) -> int:
    depth = deepest = 0
    for mark in re.findall(r"[\[\]{}]", _IN_TEXT.sub("", text)):
        depth += 1 if mark in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _object(value: object, place: str) -> dict[str, object]:
    value = pair_as_row(value) or value
    if not isinstance(value, dict):
        raise UserError(f"{place} holds a JSON {type(value).__name__}. {_NEEDED}")
    return value


def read_jsonl(file: SourceFile) -> Found:
    """One JSON object a line; blank lines are skipped."""
    yield from _objects(file, enumerate(file.lines(), start=1))


def _objects(file: SourceFile, lines: Iterator[tuple[int, str]]) -> Found:
    for number, line in lines:
        if not line.isspace():
            place = f"{file.path} line {number}"
            yield f"line {number}", _object(parse_json(line, place, needed=_NEEDED), place)


def read_json(file: SourceFile) -> Found:
    """One list of objects, as data frames are often saved; SQuAD's official form; or JSON lines."""
    lines = enumerate(file.lines(), start=1)
    number, first = next(((number, line) for number, line in lines if not line.isspace()), (0, ""))
    if first.lstrip().startswith("{") and (row := _one_object(first)) is not None and not _is_document(row):
        yield from _objects(file, itertools.chain([(number, first)], lines))
        return
    rest = "".join(line for _, line in lines)
    if not first:
        return
    content = parse_json(first + rest, str(file.path))
    if isinstance(content, dict) and isinstance(content.get("data"), list):
        if any(isinstance(one, dict) and "paragraphs" in one for one in content["data"]):
            yield from _questions(content["data"], str(file.path))
            return
        content = content["data"]
    content = pairs_in(content) or viewer_rows(content) or content
    if not isinstance(content, list):
        raise UserError(
            f"{file.path} is one JSON {type(content).__name__}. Need a list of objects, or lines."
        )
    for number, value in enumerate(content, start=1):
        fields = pair_as_row(value) or value
        if not isinstance(fields, dict):
            raise UserError(f"{file.path} row {number} is no object with named fields.")
        yield f"row {number}", fields


def _one_object(line: str) -> dict[str, object] | None:
    """What a line holds if it is one whole object."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {} if line.rstrip().endswith("}") else None  # one bad line of many is reported with its number
    return value if isinstance(value, dict) else None


def _is_document(row: dict[str, object]) -> bool:
    data = row.get("data")
    if pairs_in(row) is not None or viewer_rows(row) is not None:
        return True
    return isinstance(data, list) and all(isinstance(one, dict) for one in data)


def _questions(articles: Sequence[Any], source: str) -> Found:
    """The questions of SQuAD's official form, as rows of its copy on the Hub."""
    try:
        for article in articles:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    row = {
                        "id": str(question["id"]),
                        **({"title": article["title"]} if "title" in article else {}),
                        "context": paragraph["context"],
                        "question": question["question"],
                    }
                    if "answers" in question:
                        answers = question["answers"]
                        row["answers"] = {
                            name: [one[name] for one in answers] for name in ("text", "answer_start")
                        }
                    yield f"question {question['id']}", row
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{source} is not in SQuAD's format: {type(error).__name__} {error}. Need data, paragraphs, qas."
        ) from error
