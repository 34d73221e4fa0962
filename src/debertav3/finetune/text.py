"""Classification, several labels, or a number, of one text or a pair: a task is a few lines of data."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..data.fields import column_of, is_missing, text_in
from ..errors import UserError
from . import metrics
from .fields import is_empty, kept_examples, number_in, shares_in
from .metrics import Array, Metric
from .outcomes import Outcome, sigmoid, softmax
from .rows import Row, read_rows
from .task import Example, Head, Task

if TYPE_CHECKING:
    from .batches import EncodedDataset
    from .config import FinetuneConfig
    from .losses import LossFunction
    from .sift import Divergence

Target = Literal["one-label", "several-labels", "number"]

SEVERAL_SEPARATOR = "|"
_LEFT_OUT = -100.0
"""A label that transformers' Trainer does not count among those of a step."""


@dataclass(frozen=True, kw_only=True)
class TextTask(Task):
    """A task over texts that the sequence-classification head answers."""

    name: str
    columns: tuple[tuple[str, ...], ...]
    """For each text its column, the usual name first and the names of public copies after it."""
    label_column: tuple[str, ...] = ("label",)
    target: Target = "one-label"
    label_sets: tuple[tuple[str, ...], ...] = ()
    """Class names in id order; the first set that has all training labels counts. Empty: as in the data."""
    label_aliases: Mapping[str, str] = field(default_factory=dict)
    """Other spellings, in lower case, of a label."""
    no_gold: tuple[str, ...] = ("-1", "-")
    """How public sets write that there is no agreed label; such rows are passed over, as are empty labels."""
    metrics: tuple[Metric, ...]
    """The first one selects the best checkpoint."""
    head: Head = "sequence-classification"

    @property
    def best_metric(self) -> str:
        """The first of the metrics."""
        return self.metrics[0].__name__

    def read(self, source: str) -> list[Example]:
        """Read rows; those with an empty text or without a gold label are passed over."""
        examples, unlabelled, empty = [], 0, 0
        for row in read_rows(source):
            value = row.fields[column_of(row, self.label_column)]
            if any(is_empty(row, names) for names in self.columns):
                empty += 1
            elif self._is_unlabelled(value):
                unlabelled += 1
            else:
                texts = tuple(text_in(row, names) for names in self.columns)
                examples.append(self._example(row, texts, value))
        return kept_examples(examples, unlabelled, source=source, needs=self._needs(), empty=empty)

    def _example(self, row: Row, texts: tuple[str, ...], value: Any) -> Example:
        """An example; a distribution as label is kept beside its commonest label."""
        if self.target != "one-label" or not isinstance(value, Mapping):
            return Example(texts=texts, label=self._label(row, value))
        shares = {self._name(row, name): share for name, share in shares_in(row, value).items()}
        return Example(texts=texts, label=max(shares, key=lambda name: shares[name]), shares=shares)

    def _is_unlabelled(self, value: Any) -> bool:
        """Whether there is no gold label; the empty text of a row with none of several labels is one."""
        if is_missing(value):
            return self.target != "several-labels" or not isinstance(value, str)
        return self.target == "one-label" and str(value).strip() in self.no_gold

    def _needs(self) -> str:
        return ", ".join([*(names[0] for names in self.columns), self.label_column[0]])

    def _label(self, row: Row, value: Any) -> Any:
        if self.target == "number":
            return self._number(row, value)
        if self.target == "several-labels":
            parts = value.split(SEVERAL_SEPARATOR) if isinstance(value, str) else value
            if not isinstance(parts, list | tuple):
                raise UserError(
                    f"{row.place}: need a list or a text with {SEVERAL_SEPARATOR!r} between, got {value!r}."
                )
            return tuple(sorted({self._name(row, part) for part in parts if str(part).strip()}))
        return self._name(row, value)

    def _number(self, row: Row, value: Any) -> float:
        number = number_in(row, value)
        if number == _LEFT_OUT:
            raise UserError(
                f"{row.place}: the label {value!r} is the trainer's mark of what does not count; "
                "shift or scale the numbers."
            )
        return number

    def _name(self, row: Row, value: Any) -> str:
        text = _plain(value)
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
            raise UserError(f"{source}: labels {', '.join(sorted(seen))} do not go together; need {sets}.")
        return tuple(sorted(seen, key=_natural))

    def check_dev(self, examples: Sequence[Example], labels: Sequence[str], *, source: str) -> None:
        """Refuse labels that training does not know."""
        unknown = sorted(_all_names(examples).keys() - set(labels))
        if self.target != "number" and unknown:
            raise UserError(
                f"{source}: label {unknown[0]!r} does not occur in training, which has {', '.join(labels)}."
            )

    def encode(
        self, examples: Sequence[Example], tokenizer: Any, *, labels: Sequence[str], config: "FinetuneConfig"
    ) -> "EncodedDataset":
        """Encode texts or pairs; of a pair the longer text is cut first."""
        from .batches import EncodedDataset, encode_texts

        ids = {name: index for index, name in enumerate(labels)}
        features = encode_texts(
            [example.texts for example in examples], tokenizer, max_length=config.max_length
        )
        is_soft = any(example.shares for example in examples)
        for feature, example in zip(features, examples, strict=True):
            feature["labels"] = _shares_of(example, ids) if is_soft else self._target_of(example, ids)
        return EncodedDataset(features, origins=range(len(examples)), examples=examples)

    def _target_of(self, example: Example, ids: Mapping[str, int]) -> Any:
        if self.target == "number":
            return example.label
        if self.target == "one-label":
            return ids[example.label]
        chosen = [0.0] * len(ids)
        for name in example.label:
            chosen[ids[name]] = 1.0
        return chosen

    def _gold(self, dataset: "EncodedDataset") -> Array:
        """The right answers; of a distribution over labels its commonest."""
        gold = dataset.labels()
        return gold.argmax(-1) if self.target == "one-label" and gold.ndim == 2 else gold

    def loss(
        self, examples: Sequence[Example], *, labels: Sequence[str], config: "FinetuneConfig"
    ) -> "LossFunction":
        """Cross entropy, binary cross entropy, or squared error."""
        from . import losses

        if self.target == "number":
            return losses.regression_loss
        if self.target == "several-labels":
            several = [[labels.index(name) for name in example.label] for example in examples]
            yes = losses.balanced_yes_weights(several, len(labels)) if config.balance_classes else None
            return losses.several_labels_loss(yes_weights=yes)
        weights = None
        if config.balance_classes:
            weights = losses.balanced_weights(
                [labels.index(example.label) for example in examples], len(labels)
            )
        return losses.classification_loss(label_smoothing=config.label_smoothing, class_weights=weights)

    @property
    def divergence(self) -> "Divergence":
        """Between distributions, or between numbers."""
        from . import sift

        by_target: dict[str, Divergence] = {
            "one-label": sift.class_divergence,
            "several-labels": sift.label_divergence,
            "number": sift.score_divergence,
        }
        return by_target[self.target]

    def config_keys(self, labels: Sequence[str]) -> dict[str, Any]:
        """Tell transformers what the outputs are, where their number does not.

        A named type would stay when somebody trains the checkpoint further with other labels: one label and
        "single_label_classification" are a loss of 0.
        """
        is_several = self.target == "several-labels"
        return {"problem_type": "multi_label_classification" if is_several else None}

    def decide(self, logits: Array) -> Array:
        """From logits: label ids ``(N,)``, or ``(N, num_labels)`` of 0 and 1, or numbers ``(N,)``."""
        if self.target == "number":
            numbers: Array = logits.squeeze(-1)
            return numbers
        if self.target == "several-labels":
            return (logits > 0).astype(np.int64)
        chosen: Array = logits.argmax(axis=-1)
        return chosen

    def score(
        self, predictions: Any, dataset: "EncodedDataset", *, labels: Sequence[str]
    ) -> dict[str, float]:
        """Apply the metrics."""
        decided, gold = self.decide(np.asarray(predictions)), self._gold(dataset)
        return {metric.__name__: metric(decided, gold) for metric in self.metrics}

    def baseline(
        self, train: Sequence[Example], dev: "EncodedDataset", *, labels: Sequence[str]
    ) -> dict[str, float]:
        """Always the commonest label, the labels that more than half of the rows have, or the mean."""
        gold = self._gold(dev)
        if self.target == "number":
            always = np.full(len(gold), np.mean([example.label for example in train]))
        else:
            counts = Counter(name for example in train for name in _names(example))
            if self.target == "one-label":
                always = np.full(len(gold), labels.index(counts.most_common(1)[0][0]))
            else:
                row = [int(2 * counts[name] > len(train)) for name in labels]
                always = np.tile(np.array(row), (len(gold), 1))
        return {metric.__name__: metric(always, gold) for metric in self.metrics}

    def outcomes(
        self, predictions: Any, dataset: "EncodedDataset", *, labels: Sequence[str]
    ) -> list[Outcome]:
        """Probability of the chosen label; distance for numbers."""
        logits, gold = np.asarray(predictions), self._gold(dataset)
        decided = self.decide(logits)
        return [
            Outcome(
                example=origin,
                gold=_readable(dataset.examples[origin].label),
                tokens=dataset.lengths[row],
                **self._answer(logits[row], decided[row], gold[row], labels),
            )
            for row, origin in enumerate(dataset.origins)
        ]

    def _answer(self, logits: Array, decided: Any, gold: Any, labels: Sequence[str]) -> dict[str, Any]:
        """One row as the keys of an outcome that its kind of label decides."""
        if self.target == "number":
            error = abs(float(decided) - float(gold))
            return {"predicted": f"{decided:.3f}", "is_right": None, "confidence": None, "badness": error}
        if self.target == "several-labels":
            chosen = [name for name, is_on in zip(labels, decided, strict=True) if is_on]
            distance = np.abs(sigmoid(logits) - gold)
            return {
                "predicted": _readable(tuple(chosen)),
                "is_right": bool((decided == gold).all()),
                "confidence": None,
                "badness": float(distance.max()),
            }
        shares = softmax(logits)
        return {
            "predicted": labels[decided],
            "is_right": bool(decided == gold),
            "confidence": float(shares[decided]),
            "badness": 1 - float(shares[gold]),
        }

    def details(
        self, predictions: Any, dataset: "EncodedDataset", *, labels: Sequence[str]
    ) -> Mapping[str, Any]:
        """Scores of each label, and the confusion of labels."""
        if self.target == "number":
            return {}
        decided, gold = self.decide(np.asarray(predictions)), self._gold(dataset)
        if self.target == "several-labels":
            columns = [
                metrics.per_label(decided[:, i], gold[:, i], names=("no", "yes"))["yes"]
                for i in range(len(labels))
            ]
            return {"per_label": dict(zip(labels, columns, strict=True))}
        return {
            "per_label": metrics.per_label(decided, gold, names=labels),
            "confusion": metrics.confusion(decided, gold, num_labels=len(labels)),
        }


def _shares_of(example: Example, ids: Mapping[str, int]) -> list[float]:
    """The share of each label in id order; of an example with one label, 1 and 0."""
    shares = example.shares or {example.label: 1.0}
    return [shares.get(name, 0.0) for name in ids]


def _readable(label: Any) -> str:
    return ", ".join(label) or "none" if isinstance(label, tuple) else str(label)


def _names(example: Example) -> tuple[str, ...]:
    return example.label if isinstance(example.label, tuple) else (str(example.label),)


def _all_names(examples: Sequence[Example]) -> Counter[str]:
    """How often each label occurs, those that have a share in a distribution among them."""
    return Counter(name for example in examples for name in [*_names(example), *(example.shares or ())])


def _plain(value: Any) -> str:
    """A label as text: 1.0 is ``1``, True is ``true``."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _natural(name: str) -> tuple[int, float, str]:
    """Order numbers by value, and before words."""
    try:
        return 0, float(name), name
    except ValueError:
        return 1, 0.0, name
