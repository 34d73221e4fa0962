"""The best of several choices: from a row of RACE, SWAG, COPA or ARC to a context and its choices.

Every choice is one input ``[CLS] context [SEP] choice [SEP]``; as in the official ``apps/tasks/race_task.py``
a question goes with the choice. Training and prediction both read rows here, so they form the same pairs.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..errors import UserError
from ..heads import MULTIPLE_CHOICE, HeadName
from .labels import is_no_gold, label_text
from .metrics import MetricName
from .rows import Row, checked_text, column_of, list_in, listed, structured, text_in
from .scorers import ChoiceScorer, Scorer
from .tables import read_table
from .task import Example, Task, kept_examples

LABEL_COLUMNS = ("label", "answer", "answerKey")
"""Columns of the right choice."""


Prompt = Callable[[Row], tuple[str, list[str]]]
"""From a row to its context and the texts of its choices."""

_LISTS = ("options", "choices")


def race(row: Row) -> tuple[str, list[str]]:
    """Context and question; a gap in the question is filled by the option."""
    question = text_in(row, ("question",))
    options = _list_of(row, _LISTS)
    joined = [
        question.replace("_", option) if "_" in question else f"{question} {option}" for option in options
    ]
    return text_in(row, ("article", "context")), joined


def swag(row: Row) -> tuple[str, list[str]]:
    """A sentence, and the beginning of the next one with each of four ends."""
    start = text_in(row, ("sent2", "startphrase"))
    return text_in(row, ("sent1",)), [f"{start} {end}" for end in _endings(row)]


def copa(row: Row) -> tuple[str, list[str]]:
    """A premise, asked for its cause or effect."""
    asked = (
        "What was the cause of this?"
        if text_in(row, ("question",)) == "cause"
        else "What happened as a result?"
    )
    return f"{text_in(row, ('premise',))} {asked}", _two_choices(row)


def arc(row: Row) -> tuple[str, list[str]]:
    """A question and its answers."""
    return text_in(row, ("question",)), _list_of(row, _LISTS[::-1])


def plain(row: Row) -> tuple[str, list[str]]:
    """A context and what may go with it."""
    return text_in(row, ("context",)), _list_of(row, _LISTS[::-1])


@dataclass(frozen=True, kw_only=True)
class ChoiceForm:
    """How rows of one kind are written."""

    columns: tuple[tuple[str, ...], ...]
    """Of each text its column, by any of its names."""
    prompt: Prompt
    options: Callable[[Row], list[str]]
    """The choices as the row has them, without what the prompt adds."""

    def fits(self, fields: Mapping[str, object]) -> bool:
        """Whether a row has all columns."""
        return all(any(name in fields for name in names) for names in self.columns)


def _endings(row: Row) -> list[str]:
    return [text_in(row, (f"ending{number}",)) for number in range(4)]


def _two_choices(row: Row) -> list[str]:
    return [text_in(row, (name,)) for name in ("choice1", "choice2")]


def _listed(row: Row) -> list[str]:
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


def form_of(fields: Mapping[str, object], *, trained: str | None = None) -> ChoiceForm:
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
    raise UserError(
        f"needs the fields 'question' or 'context' or both and 'choices', or those of swag or copa; "
        f"it has {listed(fields)}."
    )


def any_form(row: Row) -> tuple[str, list[str]]:
    """Whatever the columns of the row say that it is."""
    try:
        return form_of(row.fields).prompt(row)
    except UserError as error:
        raise UserError(f"{row.place}: {error}" if row.place not in str(error) else str(error)) from error


def choice_number(row: Row, value: object, count: int, *, names: Sequence[str] = ()) -> int:
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


def choice_names(row: Row, count: int) -> list[str]:
    """What ARC calls the choices of a row: A to D in some rows, 1 to 4 in others; empty without names.

    Raises:
        UserError: if not each choice has a name of its own.
    """
    choices = structured(row.fields.get("choices"))
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


def _list_of(row: Row, names: Sequence[str]) -> list[str]:
    column = column_of(row, names)
    values = structured(row.fields[column])
    if isinstance(values, dict):  # ARC on the Hub: {"text": [...], "label": ["A", ...]}
        values = values.get("text")
    values = list_in(Row(row.place, {names[0]: values}), names[:1], least=2)
    return [checked_text(one, what=f"{row.place}: choice {index}") for index, one in enumerate(values)]


@dataclass(frozen=True, kw_only=True)
class ChoiceTask(Task):
    """Which of the texts goes with the context."""

    name: str
    prompt: Prompt
    label_column: tuple[str, ...] = LABEL_COLUMNS
    metrics: tuple[MetricName, ...] = ("accuracy",)
    head: HeadName = MULTIPLE_CHOICE

    def read(self, source: str) -> list[Example]:
        """Read rows; those with another number of choices than most have are skipped."""
        examples, skipped = [], 0
        for row in read_table(source):
            context, choices = self.prompt(row)
            value = row.fields[column_of(row, self.label_column)]
            if is_no_gold(value, marks=("-1",)):
                skipped += 1
                continue
            right = choice_number(row, value, len(choices), names=choice_names(row, len(choices)))
            examples.append(Example(texts=(context, *choices), label=str(right)))
        if examples:
            usual = Counter(len(example.texts) for example in examples).most_common(1)[0][0]
            fitting = [example for example in examples if len(example.texts) == usual]
            skipped += len(examples) - len(fitting)
            examples = fitting
        return kept_examples(
            examples, skipped, source=source, needs="a context, choices and the number of the right one"
        )

    def choose_labels(self, examples: Sequence[Example], *, source: str) -> tuple[str, ...]:
        """None: the head has one output, which is compared between choices."""
        if len({len(example.texts) for example in examples}) > 1:
            raise UserError(
                f"{source}: the files have different numbers of choices; train on one kind at a time."
            )
        return ()

    def scorer(self, labels: Sequence[str]) -> Scorer:
        """The share of right choices."""
        return ChoiceScorer()

    def gold(self, example: Example) -> int:
        """Return the index of the right choice."""
        return int(example.label)

    def baseline(
        self, train: Sequence[Example], dev: Sequence[Example], *, labels: Sequence[str]
    ) -> dict[str, float]:
        """Always the index that is right most often."""
        commonest = int(Counter(example.label for example in train).most_common(1)[0][0])
        return self.own(self.scores(dev, [commonest] * len(dev), labels=labels))


CHOICE_TASKS = (
    ChoiceTask(name="race", prompt=race),
    ChoiceTask(name="swag", prompt=swag),
    ChoiceTask(name="copa", prompt=copa),
    ChoiceTask(name="arc", prompt=arc),
    ChoiceTask(name="choice", prompt=any_form),
)
