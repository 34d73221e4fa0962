"""Multiple choice: from a row of RACE, SWAG, COPA or ARC to a context and the texts that may go with it.

Every choice is one input ``[CLS] context [SEP] choice [SEP]``; as in the official ``apps/tasks/race_task.py``
a question stands with the choice. Training and prediction both read rows here, so they form the same pairs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import UserError
from .fields import PlacedRow, column_of, text_in

LABEL_FIELDS = ("label", "answer", "answerKey")
"""Under which of the names the right choice stands."""


Prompt = Callable[[PlacedRow], tuple[str, list[str]]]
"""From a row to its context and the texts of its choices."""

_LISTS = ("options", "choices")


def race(row: PlacedRow) -> tuple[str, list[str]]:
    """Context and question; a gap in the question is filled by the option."""
    question = text_in(row, ("question",))
    options = _list_of(row, _LISTS)
    joined = [
        question.replace("_", option) if "_" in question else f"{question} {option}" for option in options
    ]
    return text_in(row, ("article", "context")), joined


def swag(row: PlacedRow) -> tuple[str, list[str]]:
    """A sentence, and the beginning of the next one with each of four ends."""
    start = text_in(row, ("sent2", "startphrase"))
    return text_in(row, ("sent1",)), [f"{start} {end}" for end in _endings(row)]


def copa(row: PlacedRow) -> tuple[str, list[str]]:
    """A premise, asked for its cause or effect."""
    asked = (
        "What was the cause of this?"
        if text_in(row, ("question",)) == "cause"
        else "What happened as a result?"
    )
    return f"{text_in(row, ('premise',))} {asked}", _two_choices(row)


def arc(row: PlacedRow) -> tuple[str, list[str]]:
    """A question and its answers."""
    return text_in(row, ("question",)), _list_of(row, _LISTS[::-1])


def plain(row: PlacedRow) -> tuple[str, list[str]]:
    """A context and what may go with it."""
    return text_in(row, ("context",)), _list_of(row, _LISTS[::-1])


@dataclass(frozen=True, kw_only=True)
class ChoiceForm:
    """How rows of one kind are written."""

    columns: tuple[tuple[str, ...], ...]
    """Of each text its column, by any of its names."""
    prompt: Prompt
    options: Callable[[PlacedRow], list[str]]
    """The choices as the row has them, without what the prompt adds."""

    def fits(self, fields: Mapping[str, Any]) -> bool:
        """Whether a row has all columns."""
        return all(any(name in fields for name in names) for names in self.columns)


def _endings(row: PlacedRow) -> list[str]:
    return [text_in(row, (f"ending{number}",)) for number in range(4)]


def _two_choices(row: PlacedRow) -> list[str]:
    return [text_in(row, (name,)) for name in ("choice1", "choice2")]


def _listed(row: PlacedRow) -> list[str]:
    return _list_of(row, _LISTS)


FORMS: dict[str, ChoiceForm] = {
    "swag": ChoiceForm(
        columns=(("sent1",), ("sent2", "startphrase"), ("ending0",)), prompt=swag, options=_endings
    ),
    "copa": ChoiceForm(
        columns=(("premise",), ("question",), ("choice1",), ("choice2",)), prompt=copa, options=_two_choices
    ),
    "race": ChoiceForm(columns=(("article", "context"), ("question",), _LISTS), prompt=race, options=_listed),
    "arc": ChoiceForm(columns=(("question",), _LISTS), prompt=arc, options=_listed),
    "plain": ChoiceForm(columns=(("context",), _LISTS), prompt=plain, options=_listed),
}
"""Every kind, by the task that trains on it; the first that fits a row is taken."""


def form_of(fields: Mapping[str, Any], *, trained: str | None = None) -> ChoiceForm:
    """How a row is to be read.

    Args:
        fields: the row.
        trained: the task that the model was trained on; its form counts first.

    Raises:
        UserError: if it is of no known kind.
    """
    names = [*([trained] if trained in FORMS else []), *FORMS]
    for name in names:
        if FORMS[str(name)].fits(fields):
            return FORMS[str(name)]
    present = ", ".join(map(repr, fields)) or "none"
    raise UserError(
        f"needs the fields 'question' or 'context' or both and 'choices', or those of swag or copa; "
        f"it has {present}."
    )


def choice_number(row: PlacedRow, value: Any, count: int, *, names: Sequence[str] = ()) -> int:
    """The place of the right choice: of its name among ``names``; without names of 2, "2" or "C", from 0.

    Raises:
        UserError: if there is no such choice.
    """
    text = str(value).strip()
    if names:
        if text not in names:
            raise UserError(
                f"{row.place}: the right choice is {value!r}; the choices are called {', '.join(names)}."
            )
        return names.index(text)
    number = ord(text.upper()) - ord("A") if len(text) == 1 and text.isalpha() else -1
    if text.isdecimal():
        number = int(text)
    if not 0 <= number < count:
        raise UserError(
            f"{row.place}: the right choice is {value!r}; need 0 to {count - 1}, or a letter from A."
        )
    return number


def choice_names(row: PlacedRow, count: int) -> list[str]:
    """What ARC calls the choices of a row: A to D in some rows, 1 to 4 in others; empty without names.

    Raises:
        UserError: if not each choice has a name of its own.
    """
    choices = row.fields.get("choices")
    if not isinstance(choices, dict) or choices.get("label") is None:
        return []
    given = choices["label"]
    names = [str(name).strip() for name in given] if isinstance(given, list) else []
    if len(names) != count or len(set(names)) != count:
        raise UserError(
            f"{row.place}: choices.label must give each of the {count} choices a name of its own, "
            f"got {given!r}."
        )
    return names


def _list_of(row: PlacedRow, names: Sequence[str]) -> list[str]:
    values = row.fields[column_of(row, names)]
    if isinstance(values, dict):  # ARC on the Hub: {"text": [...], "label": ["A", ...]}
        values = values.get("text")
    if not isinstance(values, list) or len(values) < 2 or not all(isinstance(value, str) for value in values):
        raise UserError(f"{row.place}: {names[0]} must be a list of at least two texts, got {values!r}.")
    return values
