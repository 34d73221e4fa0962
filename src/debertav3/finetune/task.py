"""What every task has to say: how rows become examples and inputs, which head it needs, how it is scored."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .outcomes import Outcome

if TYPE_CHECKING:
    from .batches import EncodedDataset
    from .config import FinetuneConfig
    from .losses import LossFunction
    from .sift import Divergence

Head = Literal["sequence-classification", "token-classification", "question-answering", "multiple-choice"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One row: its texts and the right answer."""

    texts: tuple[str, ...]
    label: Any
    """A class name, a number, a tuple of names (several labels, or tags of words), or an answer's text."""
    shares: Mapping[str, float] | None = None
    """Where the label is a distribution over class names: each one's share; `label` has the largest."""
    extra: Any = None
    """What the task needs besides, such as the gold answers of a question."""


class Task(ABC):
    """One kind of data and answer."""

    name: str
    head: Head

    @property
    @abstractmethod
    def best_metric(self) -> str:
        """The score that selects the best checkpoint; higher is better."""

    @abstractmethod
    def read(self, source: str) -> list[Example]:
        """Read and check a source of rows.

        Raises:
            UserError: naming file and line, if a row cannot be used.
        """

    @abstractmethod
    def choose_labels(self, examples: Sequence[Example], *, source: str) -> tuple[str, ...]:
        """Return the class names in id order; empty where the head has none.

        Raises:
            UserError: if the examples cannot train.
        """

    @abstractmethod
    def encode(
        self, examples: Sequence[Example], tokenizer: Any, *, labels: Sequence[str], config: "FinetuneConfig"
    ) -> "EncodedDataset":
        """Turn examples into model inputs, with labels under ``labels``."""

    @abstractmethod
    def loss(
        self, examples: Sequence[Example], *, labels: Sequence[str], config: "FinetuneConfig"
    ) -> "LossFunction":
        """Return what training on these examples minimises."""

    @property
    @abstractmethod
    def divergence(self) -> "Divergence":
        """What SiFT holds down."""

    @abstractmethod
    def score(
        self, predictions: Any, dataset: "EncodedDataset", *, labels: Sequence[str]
    ) -> dict[str, float]:
        """Return the scores by name.

        Args:
            predictions: the model's outputs for the data set's features, in their order, as numpy arrays.
            dataset: what :meth:`encode` returned, possibly in another order.
            labels: class names in id order.
        """

    @abstractmethod
    def baseline(
        self, train: Sequence[Example], dev: "EncodedDataset", *, labels: Sequence[str]
    ) -> dict[str, float]:
        """Return the scores of the best answer that needs no input, such as the commonest label."""

    @abstractmethod
    def outcomes(
        self, predictions: Any, dataset: "EncodedDataset", *, labels: Sequence[str]
    ) -> list[Outcome]:
        """Return what became of each example."""

    def details(
        self, predictions: Any, dataset: "EncodedDataset", *, labels: Sequence[str]
    ) -> Mapping[str, Any]:
        """Return what else ``metrics.json`` tells, such as scores per label."""
        return {}

    def config_keys(self, labels: Sequence[str]) -> dict[str, Any]:
        """Return keys of the model's configuration that the task decides besides the labels."""
        return {"problem_type": None}  # what another task has left there does not hold

    def check_dev(self, examples: Sequence[Example], labels: Sequence[str], *, source: str) -> None:  # noqa: B027
        """Assert that a dev set fits the training labels.

        Raises:
            UserError: otherwise.
        """
