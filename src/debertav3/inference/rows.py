"""Rows of data files to the inputs and the truth of a task; every message names the field."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..data.fields import is_missing
from ..errors import UserError
from .columns import LABEL_FIELDS
from .inputs import check_text, check_texts, shortened
from .labels import NLI_LABELS, NOT_ENTAILMENT, find_label

Fields = Mapping[str, Any]

PAIR_FIELDS = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("text1", "text2"),
)
"""Names of the two texts of an NLI row; the first pair that a row has is taken."""

TEXT_FIELDS = (
    ("text", "text_pair"),
    *PAIR_FIELDS,
    ("question", "sentence"),
    ("question", "passage"),
    ("question1", "question2"),
    ("text",),
    ("sentence",),
)
"""Names of the text or texts of a row to classify; those of the GLUE tasks are among them."""

SEVERAL_SEPARATOR = "|"
"""Between the labels of a text that has several, as in training."""

_NUMBERED_TAGS = ("ner_tags", "tags", "labels")
_NO_GOLD = ("-", "-1", -1)  # how public NLI sets write that the annotators did not agree


class Example(NamedTuple):
    """One row, checked."""

    inputs: Any
    """What the task's method of `Predictor` takes."""
    gold: Any
    """The truth in the form of the task's scorer; None where the row has none."""
    num_characters: int
    """How much text the model reads for it."""


def texts_of(
    fields: Fields, choices: Sequence[tuple[str, ...]], *, options: Sequence[str] = ()
) -> tuple[str, ...]:
    """The texts under the first names that a row has all of.

    Args:
        fields: the row.
        choices: the names.
        options: what the command line calls the options that say other names.

    Raises:
        UserError: if it has none of them, or one is no text or empty.
    """
    for names in choices:
        if all(name in fields for name in names):
            return tuple(check_text(fields[name], what=f"field {name!r}") for name in names)
    needed = " or ".join(" and ".join(map(repr, names)) for names in choices)
    advice = f" Say which are meant with {' and '.join(options)}." if options else ""
    raise UserError(f"needs the fields {needed}; it has {', '.join(map(repr, fields)) or 'none'}.{advice}")


def text_list(fields: Fields, name: str) -> list[str]:
    """The texts of one field that holds a list.

    Raises:
        UserError: if it is missing, no list, empty, or holds what is no text.
    """
    if name not in fields:
        raise UserError(f"needs the field {name!r}; it has {', '.join(map(repr, fields)) or 'none'}.")
    texts = fields[name]
    if not isinstance(texts, list) or not texts:
        raise UserError(f"field {name!r} must be a list of texts, not empty; got {shortened(texts)}.")
    return check_texts(texts, what=f"field {name!r}, entry")


def gold_of(
    fields: Fields, names: Sequence[str] = LABEL_FIELDS, *, known: Sequence[str] = (), is_number: bool = False
) -> Any:
    """The label of a row as it stands; None where there is none, or the annotators did not agree.

    Args:
        fields: the row.
        names: where it may stand; the first that the row has counts.
        known: labels of the model: one called ``-1`` is a label.
        is_number: whether -1 is a number like others.
    """
    value = next((fields[name] for name in names if name in fields), None)
    if is_missing(value):
        return None
    is_no_gold = isinstance(value, str | int) and value in _NO_GOLD and str(value) not in known
    return None if is_no_gold and not is_number else value


def from_text(value: Any) -> Any:
    """What a cell of a table says: JSON where it is JSON, such as a number or a list, else its text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def nli_label(value: Any, labels: Sequence[str]) -> str:
    """The normal form of a row's NLI label.

    Numbers are those of the public copies (0 entailment, 1 neutral, 2 contradiction), never the head's order.

    Args:
        value: a name in any case, or a number.
        labels: the labels that the model knows.

    Raises:
        UserError: if it is unknown, or a number and the model has two labels, where it could mean either.
    """
    if isinstance(value, int) and NOT_ENTAILMENT in labels:
        raise UserError(
            f"label {value!r} is a number; a model with two labels needs names, such as entailment."
        )
    known = (*NLI_LABELS, NOT_ENTAILMENT)
    return known[find_label(value, known[:3] if isinstance(value, int) else known)]


def label_set(value: Any, names: Sequence[str]) -> list[str]:
    """The normal form of several labels, a list or a text with `SEVERAL_SEPARATOR` between.

    Raises:
        UserError: if it is neither, or a label is unknown.
    """
    if isinstance(value, str):
        is_list = value.lstrip().startswith("[")
        value = (
            from_text(value) if is_list else [one for one in value.split(SEVERAL_SEPARATOR) if one.strip()]
        )
    if isinstance(value, int | float):
        value = [value]  # a cell of a table that holds the name of one
    if not isinstance(value, list):
        raise UserError(f"where several labels may hold, 'label' must be a list; got {shortened(value)}.")
    return [names[find_label(one, names)] for one in value]


def number(value: Any) -> float:
    """A label that is a number.

    Raises:
        UserError: if it is none.
    """
    value = from_text(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"label must be a number, since the model predicts one; got {shortened(value)}.")
    return float(value)


def relevance(value: Any) -> float:
    """How well a text answers a query: a number from 0 on.

    Raises:
        UserError: if it is none.
    """
    found = number(value)
    if not found >= 0:
        raise UserError(f"relevance must be at least 0; got {shortened(value)}.")
    return found


def right_places(value: Any, *, count: int) -> list[int]:
    """Which of ``count`` texts are right: from one place, or a list with 0 or 1 for each text.

    Raises:
        UserError: if it is neither.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < count:
        return [value]
    if isinstance(value, list) and len(value) == count and all(one in (0, 1) for one in value):
        return [place for place, one in enumerate(value) if one]
    raise UserError(
        f"label must be the place of the right text, 0 to {count - 1}, or {count} numbers 0 or 1; "
        f"got {shortened(value)}."
    )


def entity_list(value: Any, *, kind_field: str | None) -> list[tuple[int, int, str]]:
    """Entities or words of a text: objects with ``start`` and ``end``, and the type where asked for.

    Raises:
        UserError: if an entry has another form.
    """
    needed = ["start", "end", *([kind_field] if kind_field else [])]
    entries = value if isinstance(value, list) else [value]
    for entry in entries:
        if not isinstance(entry, dict) or any(name not in entry for name in needed):
            raise UserError(
                f"label must be a list of objects with {', '.join(needed)}; got {shortened(value)}."
            )
    return [
        (entry["start"], entry["end"], str(entry[kind_field]) if kind_field else "word") for entry in entries
    ]


def words_of(value: Any, *, what: str) -> list[str]:
    """Given words: a list, or a text with white space between them.

    Raises:
        UserError: if they are no texts.
    """
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise UserError(f"{what} must be a list of texts; got {shortened(words)}.")
    return words


def tags_of(fields: Fields, names: Sequence[str]) -> Any:
    """The tags of given words as they stand; None where there are none.

    Public copies write ``ner_tags`` as numbers whose meaning they keep elsewhere: those are no tags.
    """
    for name in names:
        value = gold_of(fields, [name])
        is_numbers = isinstance(value, list) and value and all(isinstance(tag, int) for tag in value)
        if value is not None and not (is_numbers and name in _NUMBERED_TAGS):
            return value.split() if isinstance(value, str) else value
    return None


def tag_list(value: Any, *, count: int) -> list[str]:
    """The tags of ``count`` words.

    Raises:
        UserError: if there are not as many, or they are no texts.
    """
    if not isinstance(value, list) or len(value) != count or not all(isinstance(tag, str) for tag in value):
        raise UserError(f"label must be a list of {count} tags, one for each token; got {shortened(value)}.")
    return value


def gold_answers(fields: Fields) -> list[str] | None:
    """The right answers of a question, as SQuAD, its copy on the Hub, or a plain list has them.

    ``[""]`` stands for "no answer"; None where the row says nothing.

    Raises:
        UserError: if ``answers`` has another form.
    """
    if "answers" not in fields:
        return [""] if fields.get("is_impossible") is True else None
    answers = fields["answers"]
    if isinstance(answers, dict):
        answers = answers.get("text")
    if isinstance(answers, list):
        texts = [answer.get("text") if isinstance(answer, dict) else answer for answer in answers]
        strings = [text for text in texts if isinstance(text, str)]
        if len(strings) == len(texts):
            return strings or [""]
    raise UserError(f"answers must be a list of texts or of objects with 'text'; got {shortened(answers)}.")


def length_of(texts: Iterable[str]) -> int:
    """Characters of several texts."""
    return sum(map(len, texts))
