"""What a head needs to learn a task: inputs of examples, what is minimized, what SiFT holds down, answers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from ...json_types import JsonObject
from ...tasks.example import Example
from ...tasks.task import Task
from ..batches import EncodedDataset, Tokenizer
from ..config import FinetuneConfig
from ..losses import LossFunction
from ..outcomes import Outcome
from ..sift import Divergence

AnyTask = TypeVar("AnyTask", bound=Task, covariant=True)


class Objective(ABC, Generic[AnyTask]):
    """One kind of head on one task.

    Args:
        task: what is learned.
    """

    def __init__(self, task: AnyTask) -> None:
        self.task = task

    @abstractmethod
    def encode(
        self,
        examples: Sequence[Example],
        tokenizer: Tokenizer,
        *,
        labels: Sequence[str],
        config: FinetuneConfig,
    ) -> EncodedDataset:
        """Turn examples into model inputs, with labels under ``labels``."""

    @abstractmethod
    def loss(
        self, examples: Sequence[Example], *, labels: Sequence[str], config: FinetuneConfig
    ) -> LossFunction:
        """Return what training on these examples minimizes."""

    @property
    @abstractmethod
    def divergence(self) -> Divergence:
        """What SiFT holds down."""

    @abstractmethod
    def answers(
        self, predictions: object, dataset: EncodedDataset, *, labels: Sequence[str]
    ) -> Sequence[tuple[int, object]]:
        """Return the number of each example and its answer, in the form of the task's scorer.

        Args:
            predictions: the model's outputs for the data set's features, in their order, as numpy arrays.
            dataset: what `encode` returned, possibly in another order.
            labels: class names in id order.
        """

    def scores(self, predictions: object, dataset: EncodedDataset, *, labels: Sequence[str]) -> JsonObject:
        """Return all that the task's scorer says of the answers."""
        answers = self.answers(predictions, dataset, labels=labels)
        examples = [dataset.examples[number] for number, _ in answers]
        return self.task.scores(examples, [answer for _, answer in answers], labels=labels)

    def score(
        self, predictions: object, dataset: EncodedDataset, *, labels: Sequence[str]
    ) -> dict[str, float]:
        """Return the task's metrics by name; arguments as of `answers`."""
        return self.task.own(self.scores(predictions, dataset, labels=labels))

    def details(
        self, predictions: object, dataset: EncodedDataset, *, labels: Sequence[str]
    ) -> Mapping[str, object]:
        """Return what else ``metrics.json`` says, such as scores per label; arguments as of `answers`."""
        found = self.scores(predictions, dataset, labels=labels)
        details = {key: found[key] for key in ("per_label",) if key in found}
        if "confusion" in found:
            details["confusion"] = found["confusion"]["gold_by_predicted"]
        return details

    @abstractmethod
    def outcomes(
        self, predictions: object, dataset: EncodedDataset, *, labels: Sequence[str]
    ) -> list[Outcome]:
        """Return what became of each example; arguments as of `answers`."""
