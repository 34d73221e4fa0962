"""The answers of a question as rows have them: in the forms of SQuAD, as a list of texts, or as columns."""

from collections.abc import Mapping
from typing import NamedTuple

from ..errors import UserError
from ..json_types import Json
from .columns import actual_name
from .labels import label_text, whole_number
from .rows import Row, is_missing, listed, shortened, structured

ANSWERS = "answers"
_TEXTS = ("answer", "answer_text")
_STARTS = ("answer_start", "start", "start_position")
"""Columns of one answer and of where it begins, in tables."""


class Answer(NamedTuple):
    """One accepted answer."""

    text: str
    start: int | None
    """Its first character in the context; None where the row does not say it."""


def answers_in(row: Row, column: str = ANSWERS, *, is_said: bool = False) -> tuple[str, list[Answer]] | None:
    """The column and the accepted answers of a row, none for "no answer"; None where nothing is said of them.

    Args:
        row: the row.
        column: of the answers.
        is_said: whether the user names it, so that no other will do.

    Raises:
        UserError: if there is no such column, or something else in it.
    """
    fields = row.fields
    name = actual_name(fields, column, is_said=is_said)
    if name is None and is_said:
        raise UserError(
            f"{row.place}: has no column {column!r}, which --label-column names; it has {listed(fields)}."
        )
    if name is None or (is_missing(fields[name]) and not is_said):
        name = next((one for one in _TEXTS if not is_missing(fields.get(one))), name)
    if name is None and "answer_start" in fields and not is_missing(fields.get("text")):
        name = "text"
    value = None if name is None else structured(fields[name])
    if name is None or is_missing(value):
        return (name or column, []) if says_impossible(fields) else None
    if isinstance(value, str):
        start = next((fields[one] for one in _STARTS if not is_missing(fields.get(one))), None)
        return name, [_answer(value, structured(start), row.place)]
    return name, _listed(value, name, row.place)


def _listed(value: Json, name: str, place: str) -> list[Answer]:
    if isinstance(value, list):
        if all(isinstance(one, str) for one in value):
            return [_answer(one, None, place) for one in value]
        if all(isinstance(one, Mapping) and "text" in one for one in value):
            return [_answer(one["text"], one.get("answer_start"), place) for one in value]
    if isinstance(value, Mapping) and "text" in value:
        texts, starts = value["text"], value.get("answer_start")
        if isinstance(texts, str):
            texts, starts = [texts], [starts]
        starts = [None] * len(texts) if starts is None and isinstance(texts, list) else starts
        if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
            raise UserError(
                f"{place}: text and answer_start must be lists of the same length (both [] for no answer), "
                f"got {texts!r} and {starts!r}."
            )
        return [_answer(text, start, place) for text, start in zip(texts, starts, strict=True)]
    raise UserError(
        f"{place}: {name} must be a list of texts, or have text and answer_start; got {shortened(value)}."
    )


def _answer(text: Json, start: Json, place: str) -> Answer:
    text = str(text) if isinstance(text, int | float) and not isinstance(text, bool) else text
    if not isinstance(text, str) or not text.strip():
        raise UserError(f"{place}: an answer must be a text that is not empty, got {text!r}.")
    number = None if is_missing(start) else whole_number(start)
    if not is_missing(start) and (number is None or number < 0):
        raise UserError(f"{place}: answer_start must be a number of characters, 0 or more, got {start!r}.")
    return Answer(text, number)


def says_impossible(fields: Mapping[str, object]) -> bool:
    """Whether a row says that its question has no answer."""
    return label_text(fields.get("is_impossible")) in ("true", "1")
