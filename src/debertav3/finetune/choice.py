"""The best of several choices: RACE, SWAG, COPA and ARC, whose rows `data.choices` reads."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.choices import LABEL_FIELDS, Prompt, arc, choice_names, choice_number, copa, race, swag
from ..data.fields import column_of
from ..errors import UserError
from . import metrics
from .fields import kept_examples
from .outcomes import Outcome, softmax
from .rows import read_rows
from .task import Example, Head, Task

if TYPE_CHECKING:
    from .batches import EncodedDataset
    from .config import FinetuneConfig
    from .losses import LossFunction
    from .sift import Divergence


@dataclass(frozen=True, kw_only=True)
class ChoiceTask(Task):
    """Which of the texts goes with the context."""

    name: str
    prompt: Prompt
    label_column: tuple[str, ...] = LABEL_FIELDS
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
            right = choice_number(row, value, len(choices), names=choice_names(row, len(choices)))
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
        rows = iter(encode_texts(pairs, tokenizer, max_length=config.data.max_length))
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

        return losses.classification_loss(label_smoothing=config.regularization.label_smoothing)

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


CHOICE_TASKS = (
    ChoiceTask(name="race", prompt=race),
    ChoiceTask(name="swag", prompt=swag),
    ChoiceTask(name="copa", prompt=copa),
    ChoiceTask(name="arc", prompt=arc),
)
