"""Multiple choice, in any of the forms of `choice_forms`."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Self

from ..errors import UserError
from ..heads import MULTIPLE_CHOICE, HeadName
from .choice_forms import FORMS, LABEL_COLUMNS, choice_number, read_choices
from .columns import Columns, name_of_label
from .example import Example
from .labels import is_no_gold, label_text
from .metrics import MetricName
from .read_options import Said
from .rows import Row, lacks
from .scorers import ChoiceScorer, Scorer
from .summary import Summary
from .tables import Reading
from .task import Task
from .understanding import shown_row

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ChoiceTask(Task):
    """Selects the text that goes with the context."""

    name: str
    label_column: tuple[str, ...] = LABEL_COLUMNS
    metrics: tuple[MetricName, ...] = ("accuracy",)
    head: HeadName = MULTIPLE_CHOICE

    needs: str = "a context, choices and the number of the right one"
    columns: Columns = field(default_factory=Columns)
    """Columns of the texts and the choices that the user has named."""
    label_map: Mapping[str, str] = field(default_factory=dict)
    """The user's names of the correct choices, and the choices that they mean."""
    is_label_asked: bool = False

    def with_said(self, said: Said) -> Self:
        """See `Task.with_said`."""
        form = FORMS.get(self.name)
        if said.pair is not None and said.text is None:
            raise UserError("--pair-column names the question about a text: name that with --text-column.")
        if said.pair is not None and form is not None and not form.pair:
            raise UserError(
                f"task {self.name} reads one text and its choices: leave --pair-column out, or use "
                "task choice."
            )
        columns = Columns(
            text=said.text,
            pair=said.pair,
            choices=said.choices,
            is_text_asked=said.text is not None,
            is_choices_asked=bool(said.choices),
        )
        label = self.label_column if said.label is None else (said.label,)
        return replace(
            self,
            columns=columns,
            label_column=label,
            label_map=said.label_map,
            is_label_asked=said.label is not None,
        )

    def examples(self, reading: Reading) -> Iterator[Example]:
        """Read rows. Those without a correct choice, or with an unusual number of choices, are counted.

        A source is read twice, since the usual number of choices is known only at its end.
        """
        sizes: Counter[int] = Counter()
        for row in reading:
            with suppress(UserError):  # reported by the second pass
                if (example := self._read_row(row, reading)) is not None:
                    sizes[len(example.texts) - 1] += 1
        usual = sizes.most_common(1)[0][0] if sizes else 0
        num_odd = 0
        for one in reading.each(self._read_row):
            if len(one.texts) == 1 + usual:
                yield one
            else:
                num_odd += 1
        if num_odd:
            logger.warning("%s: skipped %d rows with another number of choices", reading.source, num_odd)
            reading.note(f"{num_odd:,} rows that have not {usual} choices", is_left_out=True)

    def _read_row(self, row: Row, reading: Reading) -> Example | None:
        found = read_choices(row, trained=self.name, columns=self.columns)
        column = name_of_label(row, self.label_column, is_said=self.is_label_asked)
        if column is None:
            raise UserError(
                f"{row.place}: {lacks([(name,) for name in self.label_column[:3]], row.fields)} If another "
                "column says which choice is right, name it with --label-column."
            )
        reading.use(tuple(found.roles), tuple(found.roles.values()))
        reading.use(("label",), (column,))
        value = row.fields[column]
        if is_no_gold(value, marks=("-1", "")):
            reading.num_unlabelled += 1
            return None
        right = choice_number(row.place, self.label_map.get(label_text(value), value), found)
        return Example(texts=(found.context, *found.texts), label=str(right), place=row.place)

    def label_kind(self, found: Summary) -> str:
        """How many choices there are."""
        return f"the right one of {next(iter(found.num_texts)) - 1} choices"

    def shown(self, example: Example) -> str:
        """Context, choices, and the correct one."""
        return shown_row(example.texts, example.texts[1 + int(example.label)])

    def choose_labels(self, found: Summary, *, source: str) -> tuple[str, ...]:
        """No labels: the head has one output, which is compared between choices."""
        if len(found.num_texts) > 1:
            raise UserError(
                f"{source}: the files have different numbers of choices; train on one number at a time."
            )
        return ()

    def scorer(self, labels: Sequence[str]) -> Scorer:
        """Accuracy."""
        return ChoiceScorer()

    def gold(self, example: Example) -> int:
        """Return the index of the correct choice."""
        return int(example.label)

    def baseline(
        self, train: Sequence[Example], dev: Sequence[Example], *, labels: Sequence[str]
    ) -> dict[str, float]:
        """Always the index that is correct most often."""
        commonest = int(Counter(example.label for example in train).most_common(1)[0][0])
        return self.own(self.scores(dev, [commonest] * len(dev), labels=labels))


CHOICE_TASKS = tuple(
    ChoiceTask(name=name)
    for name in (
        "race",
        "swag",
        "copa",
        "arc",
        "hellaswag",
        "cosmosqa",
        "siqa",
        "piqa",
        "winogrande",
        "commonsenseqa",
        "dream",
        "choice",
    )
)
