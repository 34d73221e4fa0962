"""Which columns of a file are read: what the user says, else those of the training, else the usual ones."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import UserError
from ..files.model_folder import ModelFolder
from .labels import LABEL_COLUMNS
from .rows import Row, checked_text, is_missing, lacks

logger = logging.getLogger(__name__)

RUN = "run.json"
_CUSTOM = "custom"

PAIR_COLUMNS = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("text1", "text2"),
)
"""Names of the two texts of an NLI row; the first pair that a row has is taken."""

SENTENCE_COLUMNS = (("sentence",), ("text",))
SENTENCES_COLUMNS = (("sentence1", "sentence2"), ("#1 String", "#2 String"))
"""Of a paraphrase row: as on the Hub, and in MRPC's own files."""
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
            *SENTENCE_COLUMNS[::-1],
        )
    )
)
"""Names of the text or texts of a row to classify: those of every task over texts, a pair before one text."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Column names in addition to the usual ones."""

    text: str | None = None
    pair: str | None = None
    """Of the second text."""
    label: str | None = None
    is_text_asked: bool = False
    """Whether the user has said the texts' columns, so that no other will do."""
    is_label_asked: bool = False

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


def texts_of(
    row: Row, choices: Sequence[tuple[str, ...]], *, options: Sequence[str] = ()
) -> tuple[str, ...] | None:
    """The text or texts of a row, for training as for prediction.

    The first names count that a row has all of, those without null before others.

    Args:
        row: the row.
        choices: the names: those that the user said, or that the model was trained with, then the usual ones.
        options: what the command line calls the options that say other names.

    Returns:
        The texts; None if one of them is empty: such rows are skipped.

    Raises:
        UserError: if the row has none of the choices, or one of the values is not a text.
    """
    fields = row.fields
    present = [names for names in choices if all(name in fields for name in names)]
    filled = [names for names in present if all(fields[name] is not None for name in names)]
    for names in [*filled, *present][:1]:
        if any(is_missing(fields[name]) for name in names):
            return None
        return tuple(checked_text(fields[name], what=f"{row.place}: field {name!r}") for name in names)
    advice = f" Say which are meant with {' and '.join(options)}." if options else ""
    raise UserError(f"{row.place}: {lacks(choices, fields)}{advice}")


class Trained(NamedTuple):
    """What a model's folder says of the data that it was trained on; of the columns only for task custom."""

    task: str | None = None
    text: str | None = None
    pair: str | None = None
    label: str | None = None

    def record(self) -> dict[str, object]:
        """The same in the form of ``run.json``, for a folder that is made of the model's."""
        columns = {name: getattr(self, name) for name in ("text", "pair", "label") if getattr(self, name)}
        return {"config": {"task": self.task}, "columns": columns}


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
    names = [columns.get(name) if task == _CUSTOM else None for name in ("text", "pair", "label")]
    return Trained(*(value if isinstance(value, str) and value else None for value in (task, *names)))


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
        is_text_asked=asked.text is not None or asked.pair is not None,
        is_label_asked=asked.label is not None,
    )
