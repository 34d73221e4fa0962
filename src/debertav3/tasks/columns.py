"""Which columns of a file are read: what the user says, else those of the training, else the usual ones."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from ..errors import UserError
from ..files.model_folder import ModelFolder
from ..json_types import Json, JsonMapping
from .labels import CUSTOM_LABEL_NAMES, LABEL_COLUMNS, label_text
from .read_options import Said
from .rows import Row, checked_text, is_missing, lacks, structured

logger = logging.getLogger(__name__)

RUN = "run.json"
_ROLES = ("text", "pair", "label")

PAIR_COLUMNS = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("text1", "text2"),
    ("context", "hypothesis"),
    ("sentence_A", "sentence_B"),
    ("t", "h"),
    ("context", "query"),
)
"""Names of the two texts of an NLI row; the first pair that a row has is taken.

After the usual names those of ANLI, SICK, the RTE challenges and FEVER-NLI.
"""

SENTENCE_COLUMNS = (("sentence",), ("text",))
SENTENCES_COLUMNS = (("sentence1", "sentence2"), ("#1 String", "#2 String"), ("sentence_A", "sentence_B"))
"""Of a paraphrase row: as on the Hub, in MRPC's own files, in SICK."""
QUESTION_SENTENCE_COLUMNS = (("question", "sentence"),)
QUESTION_PASSAGE_COLUMNS = (("question", "passage"),)
QUESTIONS_COLUMNS = (("question1", "question2"),)
QUESTION_CONTEXT_COLUMNS = (("question", "context"),)

TEXT_COLUMNS = tuple(
    dict.fromkeys(
        (
            ("text", "text_pair"),
            *PAIR_COLUMNS,
            *SENTENCES_COLUMNS,
            *QUESTION_SENTENCE_COLUMNS,
            *QUESTION_PASSAGE_COLUMNS,
            *QUESTIONS_COLUMNS,
            ("text_a", "text_b"),
            ("text", "text_b"),
            *SENTENCE_COLUMNS[::-1],
        )
    )
)
"""Names of the text or texts of a row to classify: those of every task over texts, a pair before one text."""

ONE_TEXT_NAMES = (
    "text",
    "sentence",
    "comment_text",
    "review_text",
    "review_body",
    "tweet_text",
    "comment",
    "review",
    "tweet",
    "message",
    "content",
    "body",
    "document",
    "utterance",
    "post",
    "abstract",
    "headline",
    "query",
    "question",
)
"""Names of a column that is the text before any other, the surest first."""
ID_NAMES = ("id", "idx", "index", "uid", "guid", "pair_id", "pairid", "row_id", "doc_id", "example_id", "qid")
USUAL_NAMES = frozenset(
    name.lower()
    for name in (
        *ONE_TEXT_NAMES,
        *ID_NAMES,
        *(name for names in TEXT_COLUMNS for name in names),
        *LABEL_COLUMNS,
        *CUSTOM_LABEL_NAMES,
        *("title", "split", "date", "answer", "answers", "options", "choices", "tokens", "words", "quality"),
    )
    if len(name) > 1
)
"""What a line that names columns is known by."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Column names in addition to the usual ones."""

    text: str | None = None
    pair: str | None = None
    """Of the second text."""
    label: str | None = None
    choices: tuple[str, ...] = ()
    """Of multiple choice: a column for each choice, or one that holds them all."""
    is_text_asked: bool = False
    """Whether the user has said the texts' columns, so that no other will do."""
    is_label_asked: bool = False
    is_choices_asked: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names that are said or trained with."""
        return Said(text=self.text, pair=self.pair, label=self.label, choices=self.choices).columns

    def texts(self, usual: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
        """The names to look for, those of the user or the training before the usual ones."""
        counts = {len(names) for names in usual}
        own = [
            names
            for names in ((self.text, self.pair), (self.text,))
            if len(names) in counts and None not in names
        ]
        first = [tuple(map(str, names)) for names in own[:1]]
        if self.is_text_asked and not first:
            raise UserError(
                "this task reads two texts: name both columns, with --text-column and --pair-column."
            )
        return first if self.is_text_asked else [*first, *usual]

    def labels(self, usual: Sequence[str] = LABEL_COLUMNS) -> list[str]:
        """The names under which the gold label may be, likewise."""
        own = [] if self.label is None else [self.label]
        return own if self.is_label_asked else [*own, *usual]


def actual_name(fields: JsonMapping, name: str, *, is_said: bool = False) -> str | None:
    """The column that a name means: the one so called, else the one called so but for case.

    Args:
        fields: a row.
        name: what is looked for.
        is_said: whether the user names the column, who may give its number from 1 as well.
    """
    if name in fields:
        return name
    return _actual_name(tuple(fields), name, is_said)


@lru_cache(maxsize=1024)
def _actual_name(columns: tuple[str, ...], name: str, is_said: bool) -> str | None:
    same = [column for column in columns if column.lower() == name.lower()]
    if len(same) == 1:
        return same[0]
    if is_said and name.isdecimal() and 0 < int(name) <= len(columns):
        return columns[int(name) - 1]
    return None


def said_texts(said: Said, *, num_texts: int, task: str) -> tuple[str, ...] | None:
    """The columns of a task's texts as a user says them; None if nothing is said.

    Raises:
        UserError: if there are more or fewer than the task reads.
    """
    if said.text is None and said.pair is None:
        return None
    if num_texts == 1 and said.pair is not None:
        raise UserError(f"task {task} reads one text: leave --pair-column out, or use task custom.")
    if num_texts == 2 and (said.text is None or said.pair is None):
        raise UserError(
            f"task {task} reads two texts: name both columns, with --text-column and --pair-column."
        )
    return tuple(name for name in (said.text, said.pair) if name is not None)


def names_of_texts(
    row: Row, choices: Sequence[tuple[str, ...]], *, options: Sequence[str] = (), is_said: bool = False
) -> tuple[str, ...]:
    """The columns of a row's text or texts.

    The first names count that a row has all of, those without null before others.

    Args:
        row: the row.
        choices: the names: those that the user said, or that the model was trained with, then the usual ones.
        options: what the command line calls the options that say other names.
        is_said: whether the user names them.

    Raises:
        UserError: if the row has none of the choices.
    """
    fields = row.fields
    found = ([actual_name(fields, name, is_said=is_said) for name in names] for names in choices)
    present = [tuple(map(str, names)) for names in found if None not in names]
    filled = [names for names in present if all(fields[name] is not None for name in names)]
    for names in [*filled, *present][:1]:
        return names
    advice = f" Say which are meant with {' and '.join(options)}." if options else ""
    raise UserError(f"{row.place}: {lacks(choices, fields)}{advice}")


def texts_in(row: Row, names: Sequence[str]) -> tuple[str, ...] | None:
    """The texts of columns that a row has; None if one of them is empty: such rows are skipped.

    Raises:
        UserError: if one of the values is not a text.
    """
    if any(is_missing(row.fields[name]) for name in names):
        return None
    return tuple(checked_text(row.fields[name], what=f"{row.place}: field {name!r}") for name in names)


def texts_of(
    row: Row, choices: Sequence[tuple[str, ...]], *, options: Sequence[str] = (), is_said: bool = False
) -> tuple[str, ...] | None:
    """The text or texts of a row, for training as for prediction: `names_of_texts` and `texts_in`."""
    return texts_in(row, names_of_texts(row, choices, options=options, is_said=is_said))


def name_of_label(row: Row, names: Sequence[str], *, is_said: bool = False) -> str | None:
    """The first of some label columns that a row has; None if it has none of them.

    Several with commas between them, such as ``toxic,insult``, are one label column: see `label_cell`.

    Args:
        row: the row.
        names: to look for, in this order.
        is_said: whether the user names them.
    """
    for name in names:
        found = actual_name(row.fields, name, is_said=is_said)
        if found is not None:
            return found
        parts = [part.strip() for part in name.split(",")]
        own = [actual_name(row.fields, part, is_said=True) for part in parts]
        if len(parts) > 1 and None not in own:
            return ",".join(map(str, own))
    return None


def label_cell(row: Row, name: str) -> Json:
    """What a label column holds; of several columns, the names of those that say yes.

    Raises:
        UserError: if one of several columns says neither yes nor no.
    """
    if name in row.fields:
        return structured(row.fields[name])
    return [part for part in name.split(",") if says_yes(row.fields[part], what=f"{row.place}: {part}")]


_YES, _NO = ("1", "true", "yes", "x"), ("0", "false", "no", "")


def says_yes(value: Json, *, what: str) -> bool:
    """Whether a cell of a column that is a label of its own says that the label holds.

    Raises:
        UserError: naming ``what``, if it is neither yes nor no.
    """
    text = "" if is_missing(value) else label_text(value).lower()
    if text not in (*_YES, *_NO):
        raise UserError(
            f"{what} must be 1 or 0, as the column of one of several labels; got {text[:40]!r}. "
            "Leave the column out of --label-column."
        )
    return text in _YES


class Trained(NamedTuple):
    """What a model's folder says of the data that it was trained on: the task, and what each column was."""

    task: str | None = None
    text: str | None = None
    pair: str | None = None
    label: str | None = None
    choices: tuple[str, ...] = ()

    def record(self) -> dict[str, object]:
        """The same in the form of ``run.json``, for a folder that is made of the model's."""
        columns = {name: getattr(self, name) for name in _ROLES if getattr(self, name)}
        return {"config": {"task": self.task}, "columns": {**columns, "choices": list(self.choices)}}


def read_trained(folder: ModelFolder) -> Trained:
    """What `debertav3 finetune` left in a folder; nothing for a folder of other origin."""
    try:
        content = folder.json(RUN) if folder.has(RUN) else {}
    except UserError as error:
        logger.warning("%s. So it does not say which columns to read", str(error).rstrip("."))
        return Trained()
    config, columns = (
        part if isinstance(part, dict) else {} for part in (content.get("config"), content.get("columns"))
    )
    task = config.get("task")
    said = {} if columns else {name: config.get(f"{name}_column") for name in _ROLES}
    text, pair, label = ({**said, **columns}.get(name) or None for name in _ROLES)
    chosen = columns.get("choices")
    choices = tuple(map(str, chosen)) if isinstance(chosen, list) else ()
    are_names = all(one is None or isinstance(one, str) for one in (task, text, pair, label))
    return Trained(task, text, pair, label, choices) if are_names else Trained()


def find_columns(trained: Trained, asked: Columns) -> Columns:
    """Settle which columns are read: those that the user says, else those that the model was trained on.

    Args:
        trained: from `read_trained`.
        asked: what the user says.
    """
    return Columns(
        text=asked.text or trained.text,
        pair=asked.pair or trained.pair,
        label=asked.label or trained.label,
        choices=asked.choices or trained.choices,
        is_text_asked=asked.text is not None or asked.pair is not None,
        is_label_asked=asked.label is not None,
        is_choices_asked=bool(asked.choices),
    )
