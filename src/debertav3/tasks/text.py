"""Classification, several labels, or a number, of one text or a pair: a task is a few lines of data."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, Self

import numpy as np

from ..errors import UserError
from ..heads import SEQUENCE, HeadName
from ..json_types import Json
from .columns import label_cell, name_of_label, names_of_texts, said_texts, texts_in
from .example import Example
from .labels import (
    LABEL_COLUMNS,
    NO_GOLD,
    NO_VALUES,
    SEVERAL_SEPARATOR,
    is_no_gold,
    label_text,
    natural,
    number,
    plain_label,
    refuse_spans,
    several,
    shares_in,
)
from .metrics import MetricName
from .notes import Note
from .read_options import Said
from .rows import Row, first_of, is_missing, lacks, shortened
from .scorers import LabelScorer, Scorer, SetScorer, ValueScorer
from .summary import Summary
from .tables import Reading
from .task import Task
from .understanding import listed_labels

Target = Literal["one-label", "several-labels", "number"]

_LEFT_OUT = -100.0
"""A label that transformers' Trainer does not count among those of a step."""


_MAY_BE_NOTHING = frozenset(("NA", "N/A", "n/a", "#N/A", "<NA>", "null", "NULL", "None", "nan", "NaN"))
_KEPT = "texts by which programs write that there is none are read as they are"


class Numbered(NamedTuple):
    """Where texts and label are in the authors' files of a task, whose columns have no names."""

    texts: tuple[str, ...]
    label: str


@dataclass(frozen=True, kw_only=True)
class TextTask(Task):
    """A task over texts that the sequence-classification head answers."""

    name: str
    columns: tuple[tuple[str, ...], ...]
    """Names of the text or of the two texts, the usual ones first and those of public copies after them."""
    label_column: tuple[str, ...] = LABEL_COLUMNS
    without_names: Numbered | None = None
    """Which columns are read of a table that does not name them."""
    target: Target = "one-label"
    label_sets: tuple[tuple[str, ...], ...] = ()
    """Class names in id order; the first set that has all training labels counts. Empty: as in the data."""
    label_aliases: Mapping[str, str] = field(default_factory=dict)
    """Other spellings, in lower case, of a label."""
    no_gold: tuple[str, ...] = NO_GOLD
    """How public sets write that there is no agreed label; such rows are skipped, as are empty labels."""
    metrics: tuple[MetricName, ...]
    head: HeadName = SEQUENCE

    label_map: Mapping[str, str] = field(default_factory=dict)
    """What the user calls labels, and what the task calls them."""
    separator: str = SEVERAL_SEPARATOR
    """Between several labels in one cell."""
    notes: tuple[Note, ...] = ()
    """What was guessed when the task was made from a user's rows."""
    is_asked: bool = False
    """Whether the user has named the columns, so that numbers of columns count as names."""

    @property
    def needs(self) -> str:  # type: ignore[override]
        """What a row must have."""
        return ", ".join([*self.columns[0], self.label_column[0]])

    def with_said(self, said: Said) -> Self:
        """See `Task.with_said`."""
        columns = said_texts(said, num_texts=len(self.columns[0]), task=self.name)
        return replace(
            self,
            columns=self.columns if columns is None else (columns,),
            label_column=self.label_column if said.label is None else (said.label,),
            label_map=said.label_map,
            is_asked=bool(said.columns),
        )

    def examples(self, reading: Reading) -> Iterator[Example]:
        """Read rows; those with an empty text or without a gold label are counted."""
        return reading.each(self._read_row)

    def _read_row(self, row: Row, reading: Reading) -> Example | None:
        names = names_of_texts(row, self.text_names(row), is_said=self.is_asked)
        usual = self.label_names(row)
        label = name_of_label(row, usual, is_said=self.is_asked)
        if label is None:
            raise UserError(
                f"{row.place}: {lacks([(name,) for name in usual[:2]], row.fields)} If another column is the "
                "label, say --label-column NAME."
            )
        reading.use(("text", "second text"), names)
        reading.use(("label",), (label,))
        texts, value = texts_in(row, names), label_cell(row, label)
        for text in texts or ():
            if text.strip() in _MAY_BE_NOTHING:
                reading.notes.add(_KEPT, f"{text.strip()!r} ({row.place})")
        if texts is None:
            reading.num_empty += 1
        elif self._is_unlabelled(value):
            reading.num_unlabelled += 1
        else:
            return self._example(row, texts, value)
        return None

    def text_names(self, row: Row) -> tuple[tuple[str, ...], ...]:
        """Under which names the texts of a row are looked for."""
        is_numbered = self.without_names is not None and not self.is_asked and "1" in row.fields
        return (
            (*self.columns, self.without_names.texts) if is_numbered and self.without_names else self.columns
        )

    def label_names(self, row: Row) -> tuple[str, ...]:
        """Under which names the label of a row is looked for."""
        is_numbered = self.without_names is not None and not self.is_asked and "1" in row.fields
        own = self.label_column
        return (*own, self.without_names.label) if is_numbered and self.without_names else own

    def label_kind(self, found: Summary) -> str:
        """What kind of label rows have, and which labels."""
        if self.target == "number":
            return f"a number, from {found.least:g} to {found.most:g}"
        names = sorted(found.names, key=natural)
        kind = "several of" if self.target == "several-labels" else "one of"
        return f"{kind} {listed_labels(names)}"

    def _example(self, row: Row, texts: tuple[str, ...], value: object) -> Example:
        """An example; a distribution as label is kept beside its commonest label."""
        refuse_spans(value, place=row.place)
        if self.target != "one-label" or not isinstance(value, Mapping):
            return Example(texts=texts, label=self._label(row, value), place=row.place)
        shares: dict[str, float] = {}
        for name, share in shares_in(row, value).items():
            label = self._name(row, name)  # several names may stand for one label
            shares[label] = shares.get(label, 0.0) + share
        commonest = max(shares, key=lambda name: shares[name])
        return Example(texts=texts, label=commonest, shares=shares, place=row.place)

    def _is_unlabelled(self, value: object) -> bool:
        """Whether there is no gold label; the empty text of a row with none of several labels is one."""
        if is_missing(value):
            return self.target != "several-labels" or not isinstance(value, str)
        if isinstance(value, str) and value.strip() in NO_VALUES:
            return True
        return self.target == "one-label" and is_no_gold(value, marks=self.no_gold)

    def _label(self, row: Row, value: object) -> object:
        if self.target == "number":
            return self._number(row, value)
        if self.target == "several-labels":
            parts = several(value, what=f"{row.place}: the label", separator=self.separator)
            return tuple(sorted({self._name(row, part) for part in parts}))
        return self._name(row, value)

    def _number(self, row: Row, value: object) -> float:
        value = self.label_map.get(label_text(value), value)
        found = number(value, what=f"{row.place}: the label")
        if found == _LEFT_OUT:
            raise UserError(
                f"{row.place}: the label {value!r} marks ignored labels in training; shift "
                "or scale the numbers."
            )
        return found

    def _name(self, row: Row, value: Json) -> str:
        text = self.task_label(value)
        known = sorted({name for names in self.label_sets for name in names})
        if known and text not in known:
            raise UserError(
                f"{row.place}: unknown label {shortened(value)}; task {self.name} knows {', '.join(known)}. "
                "Say what it means with --labels FILE, a YAML file with lines 'label: what "
                "the task calls it'."
            )
        return text

    def task_label(self, value: Json) -> str:
        """What the task calls a label: as the user says, else by its other spellings in any case."""
        text = label_text(value)
        text = self.label_map.get(text, text)
        if not self.label_sets:
            return text
        plain = plain_label(text)
        return self.label_aliases.get(text.lower(), self.label_aliases.get(plain, plain))

    def choose_labels(self, found: Summary, *, source: str) -> tuple[str, ...]:
        """Take the first of the label sets that has all labels, or the labels themselves in order."""
        if self.target == "number":
            return ()
        seen = found.names
        if len(seen) < 2:
            only = next(iter(seen), None)
            raise UserError(f"{source}: all {found.num_examples} rows are {only!r}; need two labels or more.")
        for names in self.label_sets:
            if set(seen) <= set(names):
                return names
        if self.label_sets:
            sets = " or ".join("/".join(names) for names in self.label_sets)
            raise UserError(
                f"{source}: labels {first_of(sorted(seen))} do not belong to one scheme; need {sets}."
            )
        return tuple(sorted(seen, key=natural))

    def check_dev(self, found: Summary, labels: Sequence[str], *, source: str) -> None:
        """Refuse labels that training does not know."""
        unknown = sorted(found.names.keys() - set(labels))
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
