"""Classification, several labels, or a number, of one text or a pair: a task is a few lines of data."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ..errors import UserError
from ..heads import SEQUENCE, HeadName
from .columns import texts_of
from .labels import (
    LABEL_COLUMNS,
    NO_GOLD,
    is_no_gold,
    label_text,
    natural,
    number,
    several,
    shares_in,
)
from .metrics import MetricName
from .rows import Row, column_of, first_of, is_missing, structured
from .scorers import LabelScorer, Scorer, SetScorer, ValueScorer
from .tables import read_table
from .task import Example, Task, kept_examples

Target = Literal["one-label", "several-labels", "number"]

_LEFT_OUT = -100.0
"""A label that transformers' Trainer does not count among those of a step."""


@dataclass(frozen=True, kw_only=True)
class TextTask(Task):
    """A task over texts that the sequence-classification head answers."""

    name: str
    columns: tuple[tuple[str, ...], ...]
    """Names of the text or of the two texts, the usual ones first and those of public copies after them."""
    label_column: tuple[str, ...] = LABEL_COLUMNS
    target: Target = "one-label"
    label_sets: tuple[tuple[str, ...], ...] = ()
    """Class names in id order; the first set that has all training labels counts. Empty: as in the data."""
    label_aliases: Mapping[str, str] = field(default_factory=dict)
    """Other spellings, in lower case, of a label."""
    no_gold: tuple[str, ...] = NO_GOLD
    """How public sets write that there is no agreed label; such rows are skipped, as are empty labels."""
    metrics: tuple[MetricName, ...]
    head: HeadName = SEQUENCE

    def read(self, source: str) -> list[Example]:
        """Read rows; those with an empty text or without a gold label are skipped."""
        examples, unlabelled, empty = [], 0, 0
        for row in read_table(source):
            texts = texts_of(row, self.columns)
            value = row.fields[column_of(row, self.label_column)]
            if texts is None:
                empty += 1
            elif self._is_unlabelled(value):
                unlabelled += 1
            else:
                examples.append(self._example(row, texts, value))
        needs = ", ".join([*self.columns[0], self.label_column[0]])
        return kept_examples(examples, unlabelled, source=source, needs=needs, empty=empty)

    def _example(self, row: Row, texts: tuple[str, ...], value: object) -> Example:
        """An example; a distribution as label is kept beside its commonest label."""
        value = structured(value)
        if self.target != "one-label" or not isinstance(value, Mapping):
            return Example(texts=texts, label=self._label(row, value))
        shares = {self._name(row, name): share for name, share in shares_in(row, value).items()}
        return Example(texts=texts, label=max(shares, key=lambda name: shares[name]), shares=shares)

    def _is_unlabelled(self, value: object) -> bool:
        """Whether there is no gold label; the empty text of a row with none of several labels is one."""
        if is_missing(value):
            return self.target != "several-labels" or not isinstance(value, str)
        return self.target == "one-label" and is_no_gold(value, marks=self.no_gold)

    def _label(self, row: Row, value: object) -> object:
        if self.target == "number":
            return self._number(row, value)
        if self.target == "several-labels":
            parts = several(value, what=f"{row.place}: the label")
            return tuple(sorted({self._name(row, part) for part in parts}))
        return self._name(row, value)

    def _number(self, row: Row, value: object) -> float:
        found = number(value, what=f"{row.place}: the label")
        if found == _LEFT_OUT:
            raise UserError(
                f"{row.place}: the label {value!r} is the trainer's mark of what does not count; "
                "shift or scale the numbers."
            )
        return found

    def _name(self, row: Row, value: object) -> str:
        text = label_text(value)
        if not self.label_sets:
            return text
        text = self.label_aliases.get(text.lower(), text.lower())
        known = sorted({name for names in self.label_sets for name in names})
        if text not in known:
            raise UserError(
                f"{row.place}: unknown label {value!r}; task {self.name} knows {', '.join(known)}."
            )
        return text

    def choose_labels(self, examples: Sequence[Example], *, source: str) -> tuple[str, ...]:
        """Take the first of the label sets that has all labels, or the labels themselves in order."""
        if self.target == "number":
            return ()
        seen = _all_names(examples)
        if len(seen) < 2:
            raise UserError(
                f"{source}: all {len(examples)} rows are {next(iter(seen), None)!r}; need two labels or more."
            )
        for names in self.label_sets:
            if set(seen) <= set(names):
                return names
        if self.label_sets:
            sets = " or ".join("/".join(names) for names in self.label_sets)
            raise UserError(f"{source}: labels {first_of(sorted(seen))} do not go together; need {sets}.")
        return tuple(sorted(seen, key=natural))

    def check_dev(self, examples: Sequence[Example], labels: Sequence[str], *, source: str) -> None:
        """Refuse labels that training does not know."""
        unknown = sorted(_all_names(examples).keys() - set(labels))
        if self.target != "number" and unknown:
            raise UserError(
                f"{source}: label {unknown[0]!r} does not occur in training, which has {first_of(labels)}."
            )

    def scorer(self, labels: Sequence[str]) -> Scorer:
        """By the kind of label."""
        if self.target == "number":
            return ValueScorer()
        return SetScorer(labels) if self.target == "several-labels" else LabelScorer(labels)

    def baseline(
        self, train: Sequence[Example], dev: Sequence[Example], *, labels: Sequence[str]
    ) -> dict[str, float]:
        """Always the commonest label, the labels that more than half of the rows have, or the mean."""
        always: object
        if self.target == "number":
            always = float(np.mean([example.label for example in train]))
        else:
            counts = Counter(name for example in train for name in _names(example))
            if self.target == "one-label":
                always = counts.most_common(1)[0][0]
            else:
                always = tuple(name for name in labels if 2 * counts[name] > len(train))
        return self.own(self.scores(dev, [always] * len(dev), labels=labels))


def _names(example: Example) -> tuple[str, ...]:
    return example.label if isinstance(example.label, tuple) else (str(example.label),)


def _all_names(examples: Sequence[Example]) -> Counter[str]:
    """How often each label occurs, those that have a share in a distribution among them."""
    return Counter(name for example in examples for name in [*_names(example), *(example.shares or ())])
