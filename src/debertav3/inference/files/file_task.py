"""What every task over rows of files has: what it may be asked, how it reads a row, what a row gets."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from ...errors import UserError
from ...tasks.annotations.format import Marked
from ...tasks.columns import Columns, texts_of
from ...tasks.labels import LABEL_COLUMNS, NO_GOLD, is_no_gold
from ...tasks.rows import Row, structured
from ...tasks.scorers import Scorer
from ...tasks.source_file import AS_FOUND, ReadOptions
from ..predictor import TEMPLATE, Predictor


class Example(NamedTuple):
    """One row, checked."""

    inputs: Any
    """What the task's method of `Predictor` takes; None for a row without a text, which gets no answer."""
    gold: object
    """The gold label in the form of the task's scorer; None where the row has none."""
    num_characters: int
    """How much text the model reads for it."""


NO_TEXT = Example(None, None, 0)
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
    """ner: what is said about the form of files with words and tags."""
    columns: Columns = field(default_factory=Columns)
    """Column names in addition to the usual ones."""
    trained_task: str | None = None
    """choice: the task that the model was trained on, in whose form rows of several forms are read."""


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
    column_options: ClassVar[tuple[str, ...]] = ("--text-column", "--label-column")
    """Options by which the user names other columns."""

    def __init__(self, predictor: Predictor, options: AnswerOptions) -> None:
        self.predictor = predictor
        self.options = options
        self.scorer: Scorer = self.make_scorer()

    @abstractmethod
    def make_scorer(self) -> Scorer:
        """What compares answers with the gold labels."""

    @abstractmethod
    def read(self, row: Row) -> Example:
        """Check one row.

        Raises:
            UserError: naming the field that is wrong.
        """

    @abstractmethod
    def answer(self, examples: Sequence[Example]) -> list[Result]:
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
        options = [option for option in self.column_options if option != "--label-column"]
        return texts_of(row, self.options.columns.texts(self.text_columns), options=options)

    def label_cell(self, row: Row) -> Any:
        """The first label column that a row has, as it is; None without one."""
        names = self.options.columns.labels(self.label_columns)
        return structured(next((row.fields[name] for name in names if name in row.fields), None))

    def gold(self, row: Row, *, known: Sequence[str] = (), marks: Sequence[str] = NO_GOLD) -> Any:
        """The label of a row; None where there is none, or the annotators did not agree.

        Args:
            row: the row.
            known: labels of the model: one called ``-1`` is a label.
            marks: what says that there is no label.
        """
        cell = self.label_cell(row)
        return None if is_no_gold(cell, known=known, marks=marks) else cell


def length_of(texts: Sequence[str]) -> int:
    """Characters of several texts."""
    return sum(map(len, texts))
