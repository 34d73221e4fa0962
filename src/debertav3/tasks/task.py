"""What every task has to say: how rows become examples, which head answers, how answers are scored."""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

from ..errors import UserError
from ..heads import HeadName
from ..json_types import JsonMapping
from .example import Example
from .formats import Format
from .labels import natural, plain_label
from .metrics import MetricName
from .notes import Note
from .read_options import AS_FOUND, ReadOptions, Said
from .scorers import Scorer
from .summary import Summary
from .tables import Reading, read_table
from .understanding import Understanding, listed_labels, shown_row

_MOST_ALIKE = 3


class Task(ABC):
    """One kind of data and answer. Knows neither model nor tokenizer."""

    name: str
    head: HeadName
    metrics: tuple[MetricName, ...]
    """Scores of a dev set."""

    @property
    def best_metric(self) -> MetricName:
        """The score that selects the best checkpoint, the first of the metrics; higher is better."""
        return self.metrics[0]

    text_format: Format | None = None
    """Of a text file that shows no other format."""

    def open(self, source: str, options: ReadOptions = AS_FOUND) -> Reading:
        """Open a source of rows.

        Raises:
            UserError: as `read_table`.
        """
        return read_table(source, options, otherwise=self.text_format)

    @abstractmethod
    def examples(self, reading: Reading) -> Iterator[Example]:
        """Read and check the rows of a source one by one; those without a label or a text are counted.

        Raises:
            UserError: naming file and line, if a row cannot be used.
        """

    @abstractmethod
    def with_said(self, said: Said) -> Self:
        """The same task over the columns, and with the names of labels, that a user says.

        Raises:
            UserError: if one of them means nothing for this task.
        """

    notes: tuple[Note, ...] = ()
    """What was guessed when the task was made from a user's rows."""

    needs: str = "texts and a label"
    """What a row must have, for messages."""

    def read(self, source: str | Reading, options: ReadOptions = AS_FOUND) -> list[Example]:
        """Read and check all rows of a source.

        Raises:
            UserError: as `examples`, or if there are none.
        """
        reading = self.open(source, options) if isinstance(source, str) else source
        examples = list(self.examples(reading))
        self.finish(reading, num_examples=len(examples))
        return examples

    def finish(self, reading: Reading, *, num_examples: int) -> None:
        """Say what was left out of a source whose rows are all read.

        Raises:
            UserError: if there are no examples.
        """
        reading.log_skipped()
        if not num_examples:
            without = f" ({reading.num_empty} have no text)" if reading.num_empty else ""
            raise UserError(f"{reading.source} has no labelled rows{without}. Need rows with {self.needs}.")

    def counted(self, example: Example) -> Sequence[str] | None:
        """The names that an example counts under; None for its label."""
        return None

    def belongs_to(self, example: Example) -> tuple[str, ...]:
        """What an example shares with those that a split must not separate it from: its texts."""
        return example.texts

    def summary(self, examples: Iterable[Example]) -> Summary:
        """What a set of examples has."""
        found = Summary()
        for example in examples:
            found.add(example, self.counted(example))
        return found

    def label_kind(self, found: Summary) -> str:
        """What kind of label rows have, and which labels, for people."""
        return f"one of {listed_labels(sorted(found.labels, key=natural))}"

    def shown(self, example: Example) -> str:
        """An example as the model will see it, on one line."""
        return shown_row(example.texts, example.label)

    def understood(self, reading: Reading, found: Summary) -> Understanding:
        """What a source was read as."""
        return Understanding(
            source=reading.source,
            format=reading.described,
            num_rows=reading.num_rows,
            columns=reading.all_roles,
            label_kind=self.label_kind(found),
            shown=[self.shown(example) for example in found.first],
            notes=[*self.notes, *alike_notes(found.names), *reading.all_notes()],
        )

    @abstractmethod
    def choose_labels(self, found: Summary, *, source: str) -> tuple[str, ...]:
        """Return the class names in id order; empty where the head has none.

        Raises:
            UserError: if such examples cannot train.
        """

    def check_dev(self, found: Summary, labels: Sequence[str], *, source: str) -> None:  # noqa: B027
        """Assert that a dev set fits the training labels.

        Raises:
            UserError: otherwise.
        """

    @abstractmethod
    def scorer(self, labels: Sequence[str]) -> Scorer:
        """Return what compares answers with `gold`.

        Args:
            labels: class names in id order.
        """

    def gold(self, example: Example) -> Any:
        """Return the right answer in the form of the scorer."""
        return example.label

    @abstractmethod
    def baseline(
        self, train: Sequence[Example], dev: Sequence[Example], *, labels: Sequence[str]
    ) -> dict[str, float]:
        """Return the scores of the best answer that needs no input, such as the commonest label."""

    def scores(
        self, examples: Sequence[Example], answers: Sequence[object], *, labels: Sequence[str]
    ) -> dict[str, object]:
        """Return all that the scorer says of one answer for each example."""
        scorer = self.scorer(labels)
        for example, answer in zip(examples, answers, strict=True):
            scorer.add(self.gold(example), answer)
        return scorer.result()

    def own(self, scores: JsonMapping) -> dict[str, float]:
        """Return the task's own metrics of all that a scorer says."""
        return {name: scores[name] for name in self.metrics}


def alike_notes(names: Iterable[str]) -> list[Note]:
    """What is said of labels that differ in nothing but case, spaces and hyphens."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        groups[plain_label(name)].append(name)
    return [
        Note(f"the labels {', '.join(map(repr, group))} are different ones", "--labels FILE")
        for group in groups.values()
        if len(group) > 1
    ][:_MOST_ALIKE]
