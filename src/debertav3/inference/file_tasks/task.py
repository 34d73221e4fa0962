"""What every task over rows of files has: what it may be asked, how it reads a row, what a row gets."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from .. import rows
from ..columns import LABEL_FIELDS, Columns
from ..predictor import TEMPLATE, Predictor
from ..rows import Example, Fields
from ..scoring import Scorer

LIKELY = 0.5
"""From which probability on a label of several, or a word as replaced, is told."""


@dataclass(frozen=True, kw_only=True)
class AnswerOptions:
    """What can be asked of a task besides the input; each task reads its own."""

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
    columns: Columns = field(default_factory=Columns)
    """Names of columns besides the usual ones."""
    trained_task: str | None = None
    """choice: the task that the model was trained on, in whose form rows of several forms are read."""


class Result(NamedTuple):
    """What one row gets."""

    prediction: Any
    scores: Any
    scored: Any
    """The prediction in the form of the scorer."""


class FileTask(ABC):
    """One task over rows.

    Args:
        predictor: what answers.
        options: what is asked.
    """

    name: ClassVar[str]
    """What the command line calls it."""
    text_fields: ClassVar[Sequence[tuple[str, ...]]] = (("text",),)
    """The usual names of its text or texts; the first that a row has all of are read."""
    label_fields: ClassVar[Sequence[str]] = LABEL_FIELDS
    """The usual names of the truth."""
    column_options: ClassVar[tuple[str, ...]] = ("--text-column", "--label-column")
    """Options by which the user names other columns."""

    def __init__(self, predictor: Predictor, options: AnswerOptions) -> None:
        self.predictor = predictor
        self.options = options
        self.scorer: Scorer = self.make_scorer()

    @abstractmethod
    def make_scorer(self) -> Scorer:
        """What compares answers with the truth."""

    @abstractmethod
    def read(self, fields: Fields) -> Example:
        """Check one row.

        Raises:
            UserError: naming the field that is wrong; the caller adds file and line.
        """

    @abstractmethod
    def answer(self, examples: Sequence[Example]) -> list[Result]:
        """Answer many rows, in their order."""

    def texts(self, fields: Fields) -> tuple[str, ...]:
        """The text or texts of a row.

        Raises:
            UserError: if one is missing, no text or empty.
        """
        options = [option for option in self.column_options if option != "--label-column"]
        return rows.texts_of(fields, self.options.columns.texts(self.text_fields), options=options)

    def gold(self, fields: Fields, **how: Any) -> Any:
        """The label of a row as it stands, or None: see `rows.gold_of`."""
        return rows.gold_of(fields, self.options.columns.labels(self.label_fields), **how)
