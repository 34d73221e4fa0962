"""What one loaded model can answer, and how its labels are read: always by name."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..heads import BY_NAME, BY_TASK, TOKENS
from ..inference.answers import Classification, sigmoid
from ..inference.batching import Encoding, run_batches
from ..inference.engine import FloatArray
from ..inference.output_labels import is_nli, is_unnamed, relevance_column
from ..inference.predictor import Predictor
from ..inference.task_steps import TaskSteps
from ..tasks.metrics import split_tag
from .refusals import Refusal

BENIGN = (
    *("safe", "benign", "neutral", "normal", "ok", "clean", "legit", "legitimate", "ham", "none", "other"),
    *("no", "false", "0", "negative", "non_toxic", "not_toxic", "nontoxic", "no_injection", "not_injection"),
    *("human", "allowed", "acceptable", "harmless", "non_hate", "not_hate", "nothate", "notoxic"),
)
"""Labels of guard models that flag nothing."""


class ServedModel:
    """One model of the server.

    Args:
        name: what requests call it.
        predictor: the model.
        path: where it was opened from.
    """

    def __init__(self, name: str, predictor: Predictor, *, path: str | Path | None = None) -> None:
        self.name = name
        self.predictor = predictor
        self.path = str(path or predictor.engine.place)
        self.head = predictor.engine.backend.head
        """Its head, by the name in ``heads.py``."""
        self._problems = {task: self._problem(task) for task in BY_TASK}
        self.tasks = [task for task in BY_NAME[self.head].tasks if self._problems[task] is None]
        """What it can answer."""

    @property
    def steps(self) -> TaskSteps:
        """Its tasks."""
        return self.predictor.steps

    @property
    def labels(self) -> list[str]:
        """The head's labels in the order of its outputs."""
        return self.predictor.labels

    @property
    def max_length(self) -> int:
        """Most tokens of one input."""
        return self.predictor.engine.inputs.max_length

    def answers_any(self, tasks: Sequence[str]) -> bool:
        """Whether it can answer one of some tasks."""
        return any([task in self.tasks for task in tasks])

    @cached_property
    def compute_type(self) -> bytes:
        """What computes, as TEI's header calls it; asked once the backend has been chosen."""
        kind = str(self.predictor.engine.backend.device).partition(":")[0].lower()
        return {"cuda": b"gpu"}.get(kind, kind.encode())

    @property
    def is_ranker(self) -> bool:
        """Whether it was trained to rank, rather than to classify."""
        return self.head == BY_TASK["rerank"].name and not is_nli(self.labels) and "rerank" in self.tasks

    def require(self, task: str) -> None:
        """Refuse what the loaded head cannot answer.

        Raises:
            Refusal: naming the head that is needed.
        """
        if problem := self._problems[task]:
            raise Refusal("wrong_head", problem)

    def _problem(self, task: str) -> str | None:
        try:
            self.predictor.engine.require(task)
            if task in ("nli", "zero-shot") or (task == "rerank" and len(self.labels) > 2):
                _ = self.steps.nli_columns
            elif task == "rerank" and not is_nli(self.labels):
                relevance_column(self.labels, place=self.predictor.engine.place)
        except UserError as error:
            return str(error).replace(self.predictor.engine.place, f"model {self.name!r}")
        return None

    def run(self, encodings: Sequence[Encoding]) -> list[dict[str, FloatArray]]:
        """Compute one batch: see `batcher.Runner`."""
        engine = self.predictor.engine
        outputs = run_batches(
            engine.backend,
            encodings,
            pad_id=engine.tokenizer.pad_token_id,
            batch_tokens=sum(len(one.input_ids) for one in encodings) * len(encodings),
            show_progress=False,
        )
        return [logits for _, logits in sorted(outputs, key=lambda pair: pair[0])]

    def scores(self, found: Classification, *, raw: bool) -> dict[str, float]:
        """The score of every label in the order of the head, as other servers give it.

        They answer a single output with its sigmoid, unless the head was trained for regression.
        """
        if len(self.labels) > 1 or raw or self.steps.is_regression:
            return found["scores"]
        return {name: float(sigmoid(np.asarray(value))) for name, value in found["scores"].items()}

    def can_moderate(self) -> bool:
        """Whether its labels say what speaks against a text."""
        try:
            return bool(self.flags())
        except Refusal:
            return False

    def flags(self) -> list[str]:
        """Labels that speak against a text, for moderation.

        Raises:
            Refusal: if no name says which these are.
        """
        if self.head == TOKENS:
            return list(dict.fromkeys(split_tag(label)[1] for label in self.labels if label != "O"))
        self.require("classify")
        plain = [label.strip().lower().replace("-", "_").replace(" ", "_") for label in self.labels]
        named = [label for label, name in zip(self.labels, plain, strict=True) if name not in BENIGN]
        if (
            {"positive", "negative"} <= {*plain}  # a sentiment head: neither speaks against a text
            or is_unnamed(self.labels)
            or is_nli(self.labels)
            or (not self.predictor.is_multi_label and len(named) == len(self.labels))
        ):
            raise Refusal(
                "wrong_head",
                f"model {self.name!r} cannot moderate: its labels are "
                f"{', '.join(self.labels)}; need one that means that a text is fine, such as "
                "safe or benign, or a multi-label head.",
            )
        return named
