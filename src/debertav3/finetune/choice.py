"""The best of several choices: RACE, SWAG, COPA and ARC, each a function from a row to its texts.

Every choice is one input ``[CLS] context [SEP] choice [SEP]``; as in the official ``apps/tasks/race_task.py``
a question stands with the choice.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError
from . import metrics
from .fields import column_of, kept_examples, text_in
from .outcomes import Outcome, softmax
from .rows import Row, read_rows
from .task import Example, Head, Task

if TYPE_CHECKING:
    from .batches import EncodedDataset
    from .config import FinetuneConfig
    from .losses import LossFunction
    from .sift import Divergence

Prompt = Callable[[Row], tuple[str, list[str]]]
"""From a row to its context and the texts of its choices."""


@dataclass(frozen=True, kw_only=True)
class ChoiceTask(Task):
    """Which of the texts goes with the context."""

    name: str
    prompt: Prompt
    label_column: tuple[str, ...] = ("label", "answer", "answerKey")
    head: Head = "multiple-choice"

    @property
    def best_metric(self) -> str:
        """Share of right choices."""
        return "accuracy"

    def read(self, source: str) -> list[Example]:
        """Read rows; those with another number of choices than most have are passed over."""
        examples, passed_over = [], 0
        for row in read_rows(source):
            context, choices = self.prompt(row)
            value = row.fields[column_of(row, self.label_column)]
            if value is None or str(value).strip() in ("", "-1"):
                passed_over += 1
                continue
            right = _choice_number(row, value, len(choices), names=_choice_names(row, len(choices)))
            examples.append(Example(texts=(context, *choices), label=str(right)))
        if examples:
            usual = Counter(len(example.texts) for example in examples).most_common(1)[0][0]
            fitting = [example for example in examples if len(example.texts) == usual]
            passed_over += len(examples) - len(fitting)
            examples = fitting
        return kept_examples(
            examples, passed_over, source=source, needs="a context, choices and the number of the right one"
        )

    def choose_labels(self, examples: Sequence[Example], *, source: str) -> tuple[str, ...]:
        """None: the head has one output, which is compared between choices."""
        if len({len(example.texts) for example in examples}) > 1:
            raise UserError(
                f"{source}: the files have different numbers of choices; train on one kind at a time."
            )
        return ()

    def encode(
        self, examples: Sequence[Example], tokenizer: Any, *, labels: Sequence[str], config: "FinetuneConfig"
    ) -> "EncodedDataset":
        """Encode each choice with its context; of the two the longer is cut first."""
        from .batches import EncodedDataset, encode_texts

        pairs = [(example.texts[0], choice) for example in examples for choice in example.texts[1:]]
        rows = iter(encode_texts(pairs, tokenizer, max_length=config.max_length))
        features = []
        for example in examples:
            choices = [next(rows) for _ in example.texts[1:]]
            columns = {key: [choice[key] for choice in choices] for key in choices[0]}
            features.append({**columns, "labels": int(example.label)})
        return EncodedDataset(features, origins=range(len(examples)), examples=examples)

    def loss(
        self, examples: Sequence[Example], *, labels: Sequence[str], config: "FinetuneConfig"
    ) -> "LossFunction":
        """Cross entropy over the choices."""
        from . import losses

        return losses.classification_loss(label_smoothing=config.label_smoothing)

    @property
    def divergence(self) -> "Divergence":
        """Between distributions over the choices."""
        from . import sift

        return sift.class_divergence

    def score(
        self, predictions: Any, dataset: "EncodedDataset", *, labels: Sequence[str]
    ) -> dict[str, float]:
        """Share of right choices."""
        return {"accuracy": metrics.accuracy(np.asarray(predictions).argmax(axis=-1), dataset.labels())}

    def baseline(
        self, train: Sequence[Example], dev: "EncodedDataset", *, labels: Sequence[str]
    ) -> dict[str, float]:
        """Always the place where the right choice stands most often."""
        commonest = int(Counter(example.label for example in train).most_common(1)[0][0])
        return {"accuracy": float(np.mean(dev.labels() == commonest))}

    def outcomes(
        self, predictions: Any, dataset: "EncodedDataset", *, labels: Sequence[str]
    ) -> list[Outcome]:
        """The chosen text and its probability among the choices."""
        shares, found = softmax(np.asarray(predictions)), []
        for row, origin in enumerate(dataset.origins):
            choices = dataset.examples[origin].texts[1:]
            right, chosen = int(dataset.examples[origin].label), int(shares[row].argmax())
            found.append(
                Outcome(
                    example=origin,
                    gold=choices[right],
                    predicted=choices[chosen],
                    is_right=right == chosen,
                    confidence=float(shares[row, chosen]),
                    badness=1 - float(shares[row, right]),
                    tokens=dataset.lengths[row],
                )
            )
        return found

    def details(
        self, predictions: Any, dataset: "EncodedDataset", *, labels: Sequence[str]
    ) -> Mapping[str, Any]:
        """Chosen against right places."""
        scores = np.asarray(predictions)
        table = metrics.confusion(scores.argmax(axis=-1), dataset.labels(), num_labels=scores.shape[-1])
        return {"confusion": table}


def _choice_number(row: Row, value: Any, count: int, *, names: Sequence[str] = ()) -> int:
    """The place of the right choice: of its name among ``names``; without names of 2, "2" or "C", from 0."""
    text = str(value).strip()
    if names:
        if text not in names:
            raise UserError(
                f"{row.place}: the right choice is {value!r}; the choices are called {', '.join(names)}."
            )
        return names.index(text)
    number = ord(text.upper()) - ord("A") if len(text) == 1 and text.isalpha() else -1
    if text.isdecimal():
        number = int(text)
    if not 0 <= number < count:
        raise UserError(
            f"{row.place}: the right choice is {value!r}; need 0 to {count - 1}, or a letter from A."
        )
    return number


def _choice_names(row: Row, count: int) -> list[str]:
    """What ARC calls the choices of a row: A to D in some rows, 1 to 4 in others; empty without names."""
    choices = row.fields.get("choices")
    if not isinstance(choices, dict) or choices.get("label") is None:
        return []
    given = choices["label"]
    names = [str(name).strip() for name in given] if isinstance(given, list) else []
    if len(names) != count or len(set(names)) != count:
        raise UserError(
            f"{row.place}: choices.label must give each of the {count} choices a name of its own, "
            f"got {given!r}."
        )
    return names


def _list_of(row: Row, names: Sequence[str]) -> list[str]:
    values = row.fields[column_of(row, names)]
    if isinstance(values, dict):  # ARC on the Hub: {"text": [...], "label": ["A", ...]}
        values = values.get("text")
    if not isinstance(values, list) or len(values) < 2 or not all(isinstance(value, str) for value in values):
        raise UserError(f"{row.place}: {names[0]} must be a list of at least two texts, got {values!r}.")
    return values


def race(row: Row) -> tuple[str, list[str]]:
    """Context and question; a gap in the question is filled by the option."""
    question = text_in(row, ("question",))
    options = _list_of(row, ("options", "choices"))
    joined = [
        question.replace("_", option) if "_" in question else f"{question} {option}" for option in options
    ]
    return text_in(row, ("article", "context")), joined


def swag(row: Row) -> tuple[str, list[str]]:
    """A sentence, and the beginning of the next one with each of four ends."""
    start = text_in(row, ("sent2", "startphrase"))
    return text_in(row, ("sent1",)), [f"{start} {text_in(row, (f'ending{number}',))}" for number in range(4)]


def copa(row: Row) -> tuple[str, list[str]]:
    """A premise, asked for its cause or effect."""
    asked = (
        "What was the cause of this?"
        if text_in(row, ("question",)) == "cause"
        else "What happened as a result?"
    )
    return f"{text_in(row, ('premise',))} {asked}", [text_in(row, (name,)) for name in ("choice1", "choice2")]


def arc(row: Row) -> tuple[str, list[str]]:
    """A question and its answers."""
    return text_in(row, ("question",)), _list_of(row, ("choices", "options"))


CHOICE_TASKS = (
    ChoiceTask(name="race", prompt=race),
    ChoiceTask(name="swag", prompt=swag),
    ChoiceTask(name="copa", prompt=copa),
    ChoiceTask(name="arc", prompt=arc),
)
