"""How rows of multiple choice are written, and what a model reads of them: a context and its choices.

Every choice is one input ``[CLS] context [SEP] choice [SEP]``; as in the official ``apps/tasks/race_task.py``
a question goes with the choice. Training and prediction both read rows here, so they form the same pairs.
"""

from collections.abc import Callable, Sequence
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
"""From a row's text, its second text and its choices to the context and the texts of the choices."""

_CAUSE, _EFFECT = "cause", "effect"


@dataclass(frozen=True, kw_only=True)
class ChoiceForm:
    """How rows of one kind are written."""

    text: tuple[str, ...]
    """The column of the text, by any of its names."""
    pair: tuple[str, ...] = ()
    """Likewise of the second text; empty where there is none."""
    choices: tuple[str, ...] = LISTS
    """A column for each choice, or `LISTS`: a list, or columns whose names say that they are choices."""
    prompt: Prompt
    names: tuple[str, ...] = ()
    """What the right one is called, where it is not counted from 0."""
    pair_values: tuple[str, ...] = ()
    """The only values of the second text; empty for any."""
    pair_may_lack: bool = False


class Choices(NamedTuple):
    """What a model reads of a row of multiple choice."""

    context: str
    texts: list[str]
    """The choices with what the prompt adds."""
    options: list[str]
    """As the row has them."""
    names: list[str]
    """What the row calls them; empty if they are counted."""
    columns: tuple[str, ...]
    """Where they are; empty where they are a part of the question."""
    roles: dict[str, str]
    """What its columns are."""


def _with_question(context: str, question: str, options: list[str]) -> tuple[str, list[str]]:
    """A gap in the question is filled by the option."""
    return context, [
        question.replace("_", one) if "_" in question else f"{question} {one}" for one in options
    ]


def _beginning(context: str, start: str, ends: list[str]) -> tuple[str, list[str]]:
    """The beginning of the next sentence goes with each of its ends."""
    return context, [f"{start.strip()} {end}".strip() for end in ends]


def _cause_or_effect(premise: str, asked: str, choices: list[str]) -> tuple[str, list[str]]:
    question = "What was the cause of this?" if asked == _CAUSE else "What happened as a result?"
    return f"{premise} {question}", choices


def _as_they_are(text: str, _: str, choices: list[str]) -> tuple[str, list[str]]:
    return text, choices


def _gap(sentence: str, _: str, options: list[str]) -> tuple[str, list[str]]:
    """A sentence up to its gap, and what follows with each of the words in it."""
    before, gap, after = sentence.partition("_")
    if not gap:
        raise UserError("the sentence has no gap '_' for the options.")
    return before.strip(), [f"{one}{after}" for one in options]


_ENDINGS = ("ending0", "ending1", "ending2", "ending3")
_QUESTION = ChoiceForm(text=("question",), prompt=_as_they_are)
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
    "race": ChoiceForm(text=("article", "context"), pair=("question",), prompt=_with_question),
    "arc": _QUESTION,
    "plain": ChoiceForm(text=("context",), prompt=_as_they_are),
}
"""Every kind, by the task that trains on it; the first that fits a row is taken."""
_GENERAL = ("race", "arc", "plain")
"""Forms that fit columns of any names."""


def read_choices(row: Row, *, trained: str | None = None, columns: Columns | None = None) -> Choices:
    """What a model reads of a row.

    Args:
        row: the row.
        trained: the task that the model was trained on; its form counts first.
        columns: those that the user says, or that the model was trained on.

    Raises:
        UserError: if the row is of no known kind, or one of its texts is missing or empty.
    """
    columns = columns or Columns()
    whole = _column(row, _QUESTION.text, columns.text, columns.is_text_asked)
    nested = None if whole is None else nested_question(row, whole)
    if whole is not None and nested is not None:
        stem, options = nested
        return _choices(row, _QUESTION, [(whole, stem)], options)
    for form in _forms(trained, columns):
        found = _fitting(row, form, columns)
        if found is not None:
            return _choices(row, form, *found)
    raise UserError(f"{row.place}: {_needed(columns)}; it has {listed(row.fields)}.")


def _forms(trained: str | None, columns: Columns) -> list[ChoiceForm]:
    """The forms that may fit, that of the task first; where the user says columns, those that have them."""
    own = [name for name in FORMS if name == trained or name.partition("'")[0] == trained]
    if columns.is_text_asked:
        own = [name for name in own if columns.pair is None or FORMS[name].pair]
        return [FORMS[name] for name in (*own, *_GENERAL)]
    return [FORMS[name] for name in dict.fromkeys((*own, *FORMS))]


def _fitting(row: Row, form: ChoiceForm, columns: Columns) -> tuple[list[tuple[str, str]], Options] | None:
    """The columns and texts of a row, and its choices; None if the row is not of the form."""
    text = _column(row, form.text, columns.text, columns.is_text_asked)
    if text is None or (columns.is_text_asked and columns.pair is not None and not form.pair):
        return None
    texts = [(text, row.fields[text])]
    if form.pair:
        is_said = columns.is_text_asked and columns.pair is not None
        pair = _column(row, form.pair, columns.pair, is_said)
        if pair == text or (pair is None and not form.pair_may_lack):
            return None
        if pair is not None and form.pair_values and row.fields[pair] not in form.pair_values:
            return None
        texts += [(pair, row.fields[pair])] if pair is not None and not is_missing(row.fields[pair]) else []
    own: dict[str, tuple[str, ...]] = {"asked" if columns.is_choices_asked else "trained": columns.choices}
    options = options_in(row, form.choices, **own)
    if options is None:
        inline = inline_question(str(texts[0][1])) if form is _QUESTION else None
        if inline is None:
            return None
        return [(text, inline[0])], inline[1]
    return [(name, checked_text(one, what=f"{row.place}: {name}")) for name, one in texts], options


def _column(row: Row, usual: Sequence[str], own: str | None, is_said: bool) -> str | None:
    """The column of a text: the one that the user says, else the trained one, else a usual one."""
    found = None if own is None else actual_name(row.fields, own, is_said=is_said)
    if found is not None or (is_said and own is not None):
        return found
    return next((name for name in usual if name in row.fields), None)


def _choices(row: Row, form: ChoiceForm, texts: Sequence[tuple[str, str]], options: Options) -> Choices:
    named = dict(zip(("text", "second text"), (name for name, _ in texts), strict=False))
    first, second, *_ = [*(text for _, text in texts), ""]
    try:
        context, shown = form.prompt(first, second, options.texts)
    except UserError as error:
        raise UserError(f"{row.place}: {error}") from None
    roles = named | ({"choices": ",".join(options.columns)} if options.columns else {})
    names = list(options.names or form.names[: len(options.texts)])
    return Choices(context, shown, options.texts, names, options.columns, roles)


def _needed(columns: Columns) -> str:
    said = [
        f"{name!r} ({option})"
        for option, name in (("--text-column", columns.text), ("--pair-column", columns.pair))
        if columns.is_text_asked and name is not None
    ]
    if said:
        return f"needs {' and '.join(said)}, and choices: name their columns with --choice-columns A,B,C,D"
    return (
        "needs the fields 'question' or 'context' or both, and 'choices'; or say --text-column NAME, for a "
        "question about a text --pair-column NAME, and --choice-columns A,B,C,D (or one that holds a list)"
    )


def choice_number(place: str, value: Json, choices: Choices) -> int:
    """Index of the right choice.

    It is given as a name, or without names as a number (2, "2"), a letter ("C"), the name of the choice's
    column or its text.

    Raises:
        UserError: if there is no such choice, or it may be one of two.
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
