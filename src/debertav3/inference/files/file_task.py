"""What every task over rows of files has: what it may be asked, how it reads a row, what a row gets."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from ...errors import UserError
from ...json_types import Json
from ...tasks.annotations.format import Marked
from ...tasks.columns import Columns, label_cell, name_of_label, names_of_texts, texts_in
from ...tasks.labels import LABEL_COLUMNS, NO_GOLD, is_no_gold, label_text
from ...tasks.names import TASKS
from ...tasks.read_options import AS_FOUND, ReadOptions
from ...tasks.rows import Row
from ...tasks.scorers import Scorer
from ...tasks.text import TextTask
from ...tasks.understanding import shown_row
from ..predictor import TEMPLATE, Predictor


class CheckedRow(NamedTuple):
    """One row, checked."""

    inputs: Json
    """What the task's method of `Predictor` takes; None for a row without a text, which gets no answer."""
    gold: Json
    """The gold label in the form of the task's scorer; None where the row has none."""
    num_characters: int
    """How much text the model reads for it."""


NO_TEXT = CheckedRow(None, None, 0)
"""A row whose text is empty: training skips such rows, too."""


@dataclass(frozen=True, kw_only=True)
class AnswerOptions:
    """Options of a task; each task reads its own."""

    candidate_labels: tuple[str, ...] | None = None
    """zero-shot: labels of rows that bring none."""
    template: str = TEMPLATE
    """zero-shot: the hypothesis."""
    multi_label: bool = False
    """zero-shot: whether several labels may hold."""
    aggregation: str = "first"
    """ner: one of `entities.AGGREGATIONS`."""
    top_k: int = 5
    """fill-mask: candidates for each mask."""
    n_best: int = 1
    """qa: candidates for each question."""
    null_threshold: float | None = 0.0
    """qa: by how many logits "no answer" must lead; None always answers."""
    reading: ReadOptions = AS_FOUND
    """How the rows are read, where their content should not decide."""
    columns: Columns = field(default_factory=Columns)
    """Column names in addition to the usual ones."""
    trained_task: str | None = None
    """The task that the model was trained on, whose columns, labels and forms count before others."""
    label_map: Mapping[str, str] = field(default_factory=dict)
    """What the rows call labels, and what the model calls them."""


class Result(NamedTuple):
    """What one row gets."""

    prediction: object
    scores: object
    scored: object
    """The prediction in the form of the scorer."""


class FileTask(ABC):
    """One task over rows.

    Args:
        predictor: what answers.
        options: what is asked.
    """

    name: ClassVar[str]
    """What the command line calls it."""
    text_columns: ClassVar[Sequence[tuple[str, ...]]] = (("text",),)
    """The usual names of its text or texts; the first that a row has all of are read."""
    label_columns: ClassVar[Sequence[str]] = LABEL_COLUMNS
    """The usual names of the gold label."""
    text_roles: ClassVar[Sequence[str]] = ("text", "second text")
    """What its texts are called."""
    column_options: ClassVar[tuple[str, ...]] = ("--text-column", "--label-column")
    """Options by which the user names other columns."""

    def __init__(self, predictor: Predictor, options: AnswerOptions) -> None:
        self.predictor = predictor
        self.options = options
        self.scorer: Scorer = self.make_scorer()
        self.roles: dict[str, str] = {}
        """What the columns of the rows are, by role, after the first row was read."""
        trained = TASKS.get(options.trained_task or "", TASKS.get(self.name))
        self.trained = trained if isinstance(trained, TextTask) else None

    @abstractmethod
    def make_scorer(self) -> Scorer:
        """What compares answers with the gold labels."""

    @abstractmethod
    def read(self, row: Row) -> CheckedRow:
        """Check one row.

        Raises:
            UserError: naming the field that is wrong.
        """

    @abstractmethod
    def answer(self, examples: Sequence[CheckedRow]) -> list[Result]:
        """Answer many rows that have a text, in their order."""

    def marked(self, row: Row, prediction: object, scores: object) -> Marked | None:
        """A row and its answer for an annotation tool; None for a row without a text.

        Raises:
            UserError: if the task does not mark anything in texts.
        """
        raise UserError(f"--as is for task ner, which finds entities, not {self.name}. Leave it out.")

    def texts(self, row: Row) -> tuple[str, ...] | None:
        """The text or texts of a row; None if one is empty.

        Raises:
            UserError: if one is missing or no text.
        """
        return self.texts_by(row, self.options.columns.texts(self.usual_texts(row)))

    def texts_by(self, row: Row, choices: Sequence[tuple[str, ...]]) -> tuple[str, ...] | None:
        """The text or texts of a row under some names; None if one is empty.

        Raises:
            UserError: if one is missing or no text.
        """
        options = [option for option in self.column_options if option != "--label-column"]
        is_said = self.options.columns.is_text_asked
        names = names_of_texts(row, choices, options=options, is_said=is_said)
        self.use(self.text_roles, names)
        return texts_in(row, names)

    def use(self, roles: Sequence[str], columns: Sequence[str]) -> None:
        """Remember what columns are, by the first row."""
        for role, column in zip(roles, columns, strict=False):
            self.roles.setdefault(role, column)

    def usual_texts(self, row: Row) -> list[tuple[str, ...]]:
        """The usual names of the texts: those of the task that the model was trained on, then all others."""
        own = self.trained.text_names(row) if self.trained is not None else ()
        counts = {len(names) for names in self.text_columns}
        return list(dict.fromkeys([*(one for one in own if len(one) in counts), *self.text_columns]))

    def usual_labels(self, row: Row) -> list[str]:
        """The usual names of the label, likewise."""
        own = self.trained.label_names(row) if self.trained is not None else ()
        return list(dict.fromkeys([*own, *self.label_columns]))

    def label_cell(self, row: Row, *, is_renamed: bool = True) -> Json:
        """The first label column that a row has, as the user's map calls it; None without one.

        Args:
            row: the row.
            is_renamed: whether the map counts already.
        """
        columns = self.options.columns
        name = name_of_label(row, columns.labels(self.usual_labels(row)), is_said=columns.is_label_asked)
        if name is None:
            return None
        self.use(("label",), (name,))
        cell = label_cell(row, name)
        mapped = self.options.label_map if is_renamed else {}
        if isinstance(cell, list):
            return [mapped.get(label_text(one), one) for one in cell] if mapped else cell
        return mapped.get(label_text(cell), cell) if mapped and cell is not None else cell

    def label_kind(self) -> str:
        """What kind of label the rows may have, for people."""
        return ""

    def shown(self, example: "CheckedRow") -> str:
        """A row as the model will see it, on one line."""
        inputs = example.inputs
        if inputs is None:
            return "(no text: no answer)"
        texts = [inputs] if isinstance(inputs, str) else _flat(inputs)
        return shown_row(texts, example.gold)

    def gold(self, row: Row, *, known: Sequence[str] = (), marks: Sequence[str] = NO_GOLD) -> Json:
        """The label of a row; None where there is none, or the annotators did not agree.

        Args:
            row: the row.
            known: labels of the model: one called ``-1`` is a label.
            marks: what says that there is no label.
        """
        cell = self.label_cell(row)
        return None if is_no_gold(cell, known=known, marks=marks) else cell


def _flat(inputs: Json) -> list[str]:
    """The texts of an input, whatever lists they are in."""
    if isinstance(inputs, str):
        return [inputs]
    return [text for one in inputs for text in _flat(one)]


def length_of(texts: Sequence[str]) -> int:
    """Characters of several texts."""
    return sum(map(len, texts))
