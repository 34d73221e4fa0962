"""How rows of multiple choice are written, and what a model reads of them: a context and its choices.

Every choice is one input ``[CLS] context [SEP] choice [SEP]``; as in the official ``apps/tasks/race_task.py``
a question goes with the choice. Training and prediction both read rows here, so they form the same pairs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import UserError
from ..json_types import Json, JsonMapping
from .columns import name_of_label
from .labels import is_no_gold, label_text
from .rows import Row, checked_text, column_of, list_in, listed, structured, text_in

LABEL_COLUMNS = ("label", "answer", "answerKey")
"""Columns of the right choice."""

Prompt = Callable[[Row], tuple[str, list[str]]]
"""From a row to its context and the texts of its choices."""

_LISTS = ("options", "choices")


@dataclass(frozen=True, kw_only=True)
class ChoiceForm:
    """How rows of one kind are written."""

    columns: tuple[tuple[str, ...], ...]
    """Of each text its column, by any of its names."""
    prompt: Prompt
    options: Callable[[Row], list[str]]
    """The choices as the row has them, without what the prompt adds."""
    names: tuple[str, ...] = ()
    """What the right one is called, where it is not counted from 0."""

    def fits(self, fields: JsonMapping) -> bool:
        """Whether a row has all columns."""
        return all(any(name in fields for name in names) for names in self.columns)


def race(row: Row) -> tuple[str, list[str]]:
    """Context and question; a gap in the question is filled by the option."""
    question = text_in(row, ("question",))
    options = _list_of(row, _LISTS)
    return text_in(row, ("article", "context")), _joined(question, options)


def _joined(question: str, options: Sequence[str]) -> list[str]:
    return [question.replace("_", one) if "_" in question else f"{question} {one}" for one in options]


def swag(row: Row) -> tuple[str, list[str]]:
    """A sentence, and the beginning of the next one with each of four ends."""
    start = text_in(row, ("sent2", "startphrase"))
    return text_in(row, ("sent1",)), [f"{start} {end}" for end in _endings(row)]


def hellaswag(row: Row) -> tuple[str, list[str]]:
    """A context, and the beginning of the next sentence with each of its ends."""
    start = str(row.fields.get("ctx_b") or "").strip()
    ends = _list_of(row, ("endings",))
    return text_in(row, ("ctx_a",)), [f"{start} {end}".strip() for end in ends]


def copa(row: Row) -> tuple[str, list[str]]:
    """A premise, asked for its cause or effect."""
    asked = (
        "What was the cause of this?"
        if text_in(row, ("question",)) == "cause"
        else "What happened as a result?"
    )
    return f"{text_in(row, ('premise',))} {asked}", _texts("choice1", "choice2")(row)


def cosmosqa(row: Row) -> tuple[str, list[str]]:
    """Context and question, with each of the answers."""
    options = _texts("answer0", "answer1", "answer2", "answer3")(row)
    return text_in(row, ("context",)), _joined(text_in(row, ("question",)), options)


def siqa(row: Row) -> tuple[str, list[str]]:
    """Context and question, with each of the answers."""
    options = _texts("answerA", "answerB", "answerC")(row)
    return text_in(row, ("context",)), _joined(text_in(row, ("question",)), options)


def piqa(row: Row) -> tuple[str, list[str]]:
    """A goal and two ways to it."""
    return text_in(row, ("goal",)), _texts("sol1", "sol2")(row)


def winogrande(row: Row) -> tuple[str, list[str]]:
    """A sentence up to its gap, and what follows with each of two words in it."""
    sentence = text_in(row, ("sentence",))
    before, gap, after = sentence.partition("_")
    if not gap:
        raise UserError(f"{row.place}: the sentence has no gap '_' for the options.")
    return before.strip(), [f"{one}{after}" for one in _texts("option1", "option2")(row)]


def arc(row: Row) -> tuple[str, list[str]]:
    """A question and its answers."""
    nested = _nested(row)
    question = row.fields.get("question") if nested is None else nested.get("stem")
    return checked_text(question, what=f"{row.place}: question"), _listed(row)


def plain(row: Row) -> tuple[str, list[str]]:
    """A context and what may go with it."""
    return text_in(row, ("context",)), _list_of(row, _LISTS[::-1])


def _texts(*names: str) -> Callable[[Row], list[str]]:
    """What reads choices that are a column each."""
    return lambda row: [text_in(row, (name,)) for name in names]


def _nested(row: Row) -> JsonMapping | None:
    """The question of the authors' files of ARC, OpenBookQA and CommonsenseQA: its stem and its choices."""
    question = structured(row.fields.get("question"))
    return question if isinstance(question, dict) and "stem" in question else None


def _listed(row: Row) -> list[str]:
    nested = _nested(row)
    if nested is None:
        return _list_of(row, _LISTS)
    choices = nested.get("choices")
    if not isinstance(choices, list) or not all(isinstance(one, dict) for one in choices):
        raise UserError(f"{row.place}: question.choices must be a list of objects with text and label.")
    return _list_of(Row(row.place, {"choices": [one.get("text") for one in choices]}), ("choices",))


_QUESTION_FORM = ChoiceForm(columns=(("question",), _LISTS), prompt=arc, options=_listed)
FORMS: dict[str, ChoiceForm] = {
    "swag": ChoiceForm(
        columns=(("sent1",), ("sent2", "startphrase"), ("ending0",)),
        prompt=swag,
        options=lambda row: _endings(row),
    ),
    "hellaswag": ChoiceForm(
        columns=(("ctx_a",), ("endings",)), prompt=hellaswag, options=lambda row: _list_of(row, ("endings",))
    ),
    "copa": ChoiceForm(
        columns=(("premise",), ("question",), ("choice1",), ("choice2",)),
        prompt=copa,
        options=_texts("choice1", "choice2"),
    ),
    "cosmosqa": ChoiceForm(
        columns=(("context",), ("question",), ("answer0",), ("answer3",)),
        prompt=cosmosqa,
        options=_texts("answer0", "answer1", "answer2", "answer3"),
    ),
    "siqa": ChoiceForm(
        columns=(("context",), ("question",), ("answerA",), ("answerC",)),
        prompt=siqa,
        options=_texts("answerA", "answerB", "answerC"),
        names=("1", "2", "3"),
    ),
    "piqa": ChoiceForm(
        columns=(("goal",), ("sol1",), ("sol2",)), prompt=piqa, options=_texts("sol1", "sol2")
    ),
    "winogrande": ChoiceForm(
        columns=(("sentence",), ("option1",), ("option2",)),
        prompt=winogrande,
        options=_texts("option1", "option2"),
        names=("1", "2"),
    ),
    "race": ChoiceForm(columns=(("article", "context"), ("question",), _LISTS), prompt=race, options=_listed),
    "arc": _QUESTION_FORM,
    "nested": ChoiceForm(columns=(("question",),), prompt=arc, options=_listed),
    "plain": ChoiceForm(columns=(("context",), _LISTS), prompt=plain, options=_listed),
}
"""Every kind, by the task that trains on it; the first that fits a row is taken."""


def _endings(row: Row) -> list[str]:
    return _texts(*(f"ending{number}" for number in range(4)))(row)


def form_of(row: Row, *, trained: str | None = None) -> ChoiceForm:
    """How a row is to be read.

    Args:
        row: the row.
        trained: the task that the model was trained on; its form counts first.

    Raises:
        UserError: if it is of no known kind.
    """
    fields = row.fields
    for name in [*([trained] if trained in FORMS else []), *FORMS]:
        if FORMS[str(name)].fits(fields) and (name != "nested" or _nested(row) is not None):
            return FORMS[str(name)]
    raise UserError(
        f"{row.place}: needs the fields 'question' or 'context' or both and 'choices', or those of swag or "
        f"copa; it has {listed(fields)}."
    )


def any_form(row: Row) -> tuple[str, list[str]]:
    """Whatever the columns of the row say that it is."""
    return form_of(row).prompt(row)


class Right(NamedTuple):
    """The right choice of a row."""

    choice: int
    """From 0."""
    column: str


def right_choice(
    row: Row,
    columns: Sequence[str],
    *,
    count: int,
    trained: str | None = None,
    label_map: Mapping[str, str] | None = None,
    is_said: bool = False,
) -> Right | None:
    """The right choice of a row; None where it says none.

    Args:
        row: the row.
        columns: where the label may be.
        count: how many choices there are.
        trained: the task whose form counts first.
        label_map: what the user calls the choices, and their names or numbers.
        is_said: whether the user names the columns.

    Raises:
        UserError: if there is no such column, or no such choice.
    """
    column = name_of_label(row, columns, is_said=is_said)
    if column is None:
        column = column_of(row, columns)
    value = row.fields[column]
    if is_no_gold(value, marks=("-1", "")):
        return None
    if label_map:
        value = label_map.get(label_text(value), value)
    return Right(choice_number(row, value, count, names=choice_names(row, count, trained=trained)), column)


def choice_number(row: Row, value: Json, count: int, *, names: Sequence[str] = ()) -> int:
    """Index of the right choice: given as a name, or without names as a number (2, "2") or a letter ("C").

    Raises:
        UserError: if there is no such choice.
    """
    text = label_text(value)
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


def choice_names(row: Row, count: int, *, trained: str | None = None) -> list[str]:
    """What the choices of a row are called, in ARC A to D in some rows, 1 to 4 in others; empty for no names.

    Raises:
        UserError: if not each choice has a name of its own.
    """
    form = form_of(row, trained=trained)
    if form.names:
        return list(form.names[:count])
    nested = _nested(row)
    choices = structured(row.fields.get("choices"))
    if nested is not None:
        given: Json = [one.get("label") for one in nested["choices"]]
    elif isinstance(choices, dict) and choices.get("label") is not None:
        given = choices["label"]
    else:
        return []
    names = [str(name).strip() for name in given] if isinstance(given, list) else []
    if len(names) != count or len(set(names)) != count:
        raise UserError(
            f"{row.place}: choices.label must give each of the {count} choices a name of its own, "
            f"got {given!r}."
        )
    return names


def _list_of(row: Row, names: Sequence[str]) -> list[str]:
    column = column_of(row, names)
    values = structured(row.fields[column])
    if isinstance(values, dict):  # ARC on the Hub: {"text": [...], "label": ["A", ...]}
        values = values.get("text")
    values = list_in(Row(row.place, {names[0]: values}), names[:1], least=2)
    return [checked_text(one, what=f"{row.place}: choice {index}") for index, one in enumerate(values)]
