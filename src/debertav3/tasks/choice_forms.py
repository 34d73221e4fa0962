"""The forms of multiple-choice rows, and what a model reads of them: a context and its choices.

Every choice is one input ``[CLS] context [SEP] choice [SEP]``; as in the official ``apps/tasks/race_task.py``
a question goes with the choice. Training and prediction both use this, so they build the same pairs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import UserError
from ..json_types import Json
from .choice_options import LISTS, Options, inline_question, nested_question, options_in
from .columns import Columns, actual_name
from .labels import label_text
from .rows import Row, checked_text, is_missing, listed, shortened

LABEL_COLUMNS = ("label", "answer", "answerKey", "correct_answer", "correct", "most-plausible-alternative")
"""Columns of the right choice."""

Prompt = Callable[[str, str, list[str]], tuple[str, list[str]]]
"""Maps a row's text, second text and choices to the context and the texts of the choices."""

_CAUSE, _EFFECT = "cause", "effect"
_NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, kw_only=True)
class ChoiceForm:
    """How rows of one kind are written."""

    text: tuple[str, ...]
    """The column of the text, by any of its names."""
    pair: tuple[str, ...] = ()
    """The column of the second text, likewise; empty if there is none."""
    choices: tuple[str, ...] = LISTS
    """One column per choice, or `LISTS`: a list, or columns named as choices."""
    prompt: Prompt
    names: tuple[str, ...] = ()
    """Names of the correct choice, if it is not counted from 0."""
    pair_values: tuple[str, ...] = ()
    """Allowed values of the second text; empty means any."""
    pair_may_lack: bool = False


class Choices(NamedTuple):
    """What a model reads of a multiple-choice row."""

    context: str
    texts: list[str]
    """The choices, with the prompt."""
    options: list[str]
    """The choices as in the row."""
    names: list[str]
    """Their names in the row; empty if they are counted."""
    columns: tuple[str, ...]
    """Where they are; empty where they are a part of the question."""
    roles: dict[str, str]
    """What its columns are."""
    is_counted_from_1: bool = False
    """Whether the choices' columns are numbered from 1, so that it is unclear where a number counts from."""


def _with_question(context: str, question: str, options: list[str]) -> tuple[str, list[str]]:
    """Fill a gap in the question with the option."""
    return context, [
        question.replace("_", one) if "_" in question else f"{question} {one}" for one in options
    ]


def _beginning(context: str, start: str, ends: list[str]) -> tuple[str, list[str]]:
    """Join the start of a sentence with each ending."""
    return context, [f"{start.strip()} {end}".strip() for end in ends]


def _cause_or_effect(premise: str, asked: str, choices: list[str]) -> tuple[str, list[str]]:
    question = "What was the cause of this?" if asked == _CAUSE else "What happened as a result?"
    return f"{premise} {question}", choices


def _as_they_are(text: str, _: str, choices: list[str]) -> tuple[str, list[str]]:
    return text, choices


def _gap(sentence: str, _: str, options: list[str]) -> tuple[str, list[str]]:
    """Split a sentence at its gap: the part before it, and the rest with each option filled in."""
    before, gap, after = sentence.partition("_")
    if not gap:
        raise UserError("the sentence has no gap '_' for the options.")
    return before.strip(), [f"{one}{after}" for one in options]


_ENDINGS = ("ending0", "ending1", "ending2", "ending3")
_QUESTION = ChoiceForm(text=("question", "question_stem", "stem", "prompt", "query"), prompt=_as_they_are)
FORMS: dict[str, ChoiceForm] = {
    "swag": ChoiceForm(text=("sent1",), pair=("sent2", "startphrase"), choices=_ENDINGS, prompt=_beginning),
    "hellaswag": ChoiceForm(
        text=("ctx_a",), pair=("ctx_b",), pair_may_lack=True, choices=("endings",), prompt=_beginning
    ),
    "copa": ChoiceForm(
        text=("premise",),
        pair=("question",),
        pair_values=(_CAUSE, _EFFECT),
        choices=("choice1", "choice2"),
        prompt=_cause_or_effect,
    ),
    "copa's XML": ChoiceForm(
        text=("p",),
        pair=("asks-for",),
        pair_values=(_CAUSE, _EFFECT),
        choices=("a1", "a2"),
        names=("1", "2"),
        prompt=_cause_or_effect,
    ),
    "cosmosqa": ChoiceForm(
        text=("context",),
        pair=("question",),
        choices=("answer0", "answer1", "answer2", "answer3"),
        prompt=_with_question,
    ),
    "siqa": ChoiceForm(
        text=("context",),
        pair=("question",),
        choices=("answerA", "answerB", "answerC"),
        names=("1", "2", "3"),
        prompt=_with_question,
    ),
    "piqa": ChoiceForm(text=("goal",), choices=("sol1", "sol2"), prompt=_as_they_are),
    "winogrande": ChoiceForm(
        text=("sentence",), choices=("option1", "option2"), names=("1", "2"), prompt=_gap
    ),
    "race": ChoiceForm(text=("article", "context"), pair=("question", "query"), prompt=_with_question),
    "arc": _QUESTION,
    "plain": ChoiceForm(text=("context",), prompt=_as_they_are),
}
"""Every form, by the task that trains on it; the first one that fits a row is used."""
_GENERAL = ("race", "arc", "plain")
"""Forms that fit columns of any names."""


def read_choices(row: Row, *, trained: str | None = None, columns: Columns | None = None) -> Choices:
    """What a model reads of a row.

    Uses the first form that fits and whose columns are those that the user names, or those of the training.
    Without such a form, these columns are read as a text, a question about it, and choices.

    Args:
        row: the row.
        trained: the task that the model was trained on; its form is tried first.
        columns: those that the user names, or that the model was trained on.

    Raises:
        UserError: if the row has no known form, or one of its texts is missing or empty.
    """
    wanted, is_asked = _wanted(row, columns or Columns())
    own = [name for name in FORMS if name == trained or name.partition("'")[0] == trained]
    forms = [FORMS[name] for name in dict.fromkeys((*own, *FORMS))]
    usual = (_nested(row), *(_fitting(row, form) for form in forms))
    fitting = [one for one in usual if one is not None]
    for found in fitting:
        if wanted.items() <= found.roles.items():
            return found
    if wanted:
        for form in (*(FORMS[name] for name in own), *(FORMS[name] for name in _GENERAL)):
            as_said = _nested(row, wanted) or _fitting(row, form, wanted)
            if as_said is not None:
                return as_said
    if fitting and not is_asked:
        return fitting[0]
    raise UserError(f"{row.place}: {_needed(wanted if is_asked else {})}; it has {listed(row.fields)}.")


def _wanted(row: Row, columns: Columns) -> tuple[dict[str, str], bool]:
    """Columns by role, named by the user or known from training, and whether the user named any.

    Raises:
        UserError: if the row has no column of a name that the user gave.
    """
    said = {"text": columns.text, "second text": columns.pair}
    asked = [role for role in said if columns.is_text_asked and said[role] is not None]
    by_role: dict[str, tuple[str, ...]] = {role: (name,) for role, name in said.items() if name is not None}
    by_role |= {"choices": columns.choices} if columns.choices else {}
    asked += ["choices"] if columns.is_choices_asked else []
    found = {
        role: [actual_name(row.fields, name, is_said=role in asked) for name in names]
        for role, names in by_role.items()
    }
    for role in asked:
        if None in found[role]:
            lacking = by_role[role][found[role].index(None)]
            raise UserError(f"{row.place}: has no column {lacking!r}; it has {listed(row.fields)}.")
    is_whole = all(None not in names for names in found.values())
    return {
        role: ",".join(map(str, names)) for role, names in found.items() if is_whole or role in asked
    }, bool(asked)


def _nested(row: Row, wanted: Mapping[str, str] = _NOTHING) -> Choices | None:
    column = wanted.get("text", "question")
    found = nested_question(row, column) if column in row.fields and "second text" not in wanted else None
    return None if found is None else _choices(row, _QUESTION, [(column, found[0])], found[1])


def _fitting(row: Row, form: ChoiceForm, wanted: Mapping[str, str] = _NOTHING) -> Choices | None:
    """Read a row by a form and the wanted columns; None if it does not have that form."""
    text = wanted.get("text") or _first(row, form.text)
    if text is None or ("second text" in wanted and not form.pair):
        return None
    texts = [(text, row.fields[text])]
    if form.pair:
        pair = wanted.get("second text") or _first(row, form.pair)
        if pair == text or (pair is None and not form.pair_may_lack):
            return None
        if pair is not None and form.pair_values and row.fields[pair] not in form.pair_values:
            return None
        texts += [(pair, row.fields[pair])] if pair is not None and not is_missing(row.fields[pair]) else []
    said = wanted.get("choices")
    options = options_in(row, tuple(said.split(",")) if said else form.choices)
    if options is None:
        inline = inline_question(str(texts[0][1])) if form is _QUESTION else None
        return None if inline is None else _choices(row, form, [(text, inline[0])], inline[1])
    checked = [(name, checked_text(one, what=f"{row.place}: {name}")) for name, one in texts]
    return _choices(row, form, checked, options)


def _first(row: Row, names: Sequence[str]) -> str | None:
    return next((name for name in names if name in row.fields), None)


def _choices(row: Row, form: ChoiceForm, texts: Sequence[tuple[str, str]], options: Options) -> Choices:
    named = dict(zip(("text", "second text"), (name for name, _ in texts), strict=False))
    first, second, *_ = [*(text for _, text in texts), ""]
    try:
        context, shown = form.prompt(first, second, options.texts)
    except UserError as error:
        raise UserError(f"{row.place}: {error}") from None
    roles = named | ({"choices": ",".join(options.columns)} if options.columns else {})
    names = list(options.names or form.names[: len(options.texts)])
    last = options.columns[-1] if len(options.columns) > 1 and form in map(FORMS.get, _GENERAL) else ""
    from_1 = last.endswith(str(len(options.columns))) and options.columns[0].endswith("1")
    return Choices(context, shown, options.texts, names, options.columns, roles, from_1)


def _needed(wanted: Mapping[str, str]) -> str:
    if wanted:
        said = " and ".join(f"{name!r} as the {role}" for role, name in wanted.items() if role != "choices")
        return f"needs choices to {said or 'a question'}: name their columns with --choice-columns A,B,C,D"
    return (
        "needs the fields 'question' or 'context' or both, and 'choices'; or use --text-column NAME, for a "
        "question about a text --pair-column NAME, and --choice-columns A,B,C,D (or one that holds a list)"
    )


def choice_number(place: str, value: Json, choices: Choices) -> int:
    """Index of the right choice.

    It is given as a name; or, if choices have no names, as a number (2, "2"), a letter ("C"), the choice's
    column, or its text.

    Raises:
        UserError: if there is no such choice, or it is ambiguous.
    """
    text, count, names = label_text(value), len(choices.options), choices.names
    for called in (names, choices.columns if len(choices.columns) > 1 else ()):
        if text in called:
            return list(called).index(text)
    number = -1
    if not names:
        is_letter = len(text) == 1 and text.isascii() and text.isalpha()
        number = int(text) if text.isdecimal() else ord(text.upper()) - ord("A") if is_letter else -1
    is_number = 0 <= number < count
    if choices.is_counted_from_1 and text.isdecimal() and number > 0:
        raise UserError(
            f"{place}: does the right choice {value!r} count from 0 or from 1? Say --labels FILE, a YAML "
            "file with lines '0: A', '1: B', ... or '1: A', '2: B', ..."
        )
    same = [
        n for n, one in enumerate(choices.options) if isinstance(value, str) and one.strip() == value.strip()
    ]
    if same and is_number and same != [number]:
        raise UserError(
            f"{place}: is {value!r} the number of the right choice, counted from 0, or its text? Write "
            "letters (A, B, ...) into the column of the label."
        )
    if len(same) == 1:
        return same[0]
    if is_number:
        return number
    if names:
        raise UserError(f"{place}: the right choice is {value!r}; the choices are called {', '.join(names)}.")
    counted = ""
    if number == count:
        counted = " If the rows count from 1, say --labels FILE, a YAML file with lines '1: A', '2: B', ..."
    raise UserError(
        f"{place}: the right choice is {shortened(value)}; need 0 to {count - 1}, a letter from A, or the "
        f"text of a choice.{counted}"
    )
