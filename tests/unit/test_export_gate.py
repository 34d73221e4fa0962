"""The int8 gate judges every metric that evaluation gives, and never passes one that it does not know."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from debertav3.data.probabilities import Probabilities
from debertav3.errors import UserError
from debertav3.inference.export import gate
from debertav3.inference.export.gate import Measured, Recorder, compare, judged_metrics
from debertav3.inference.export.int8_examples import Calibration
from debertav3.inference.export.request import ExportConfig
from debertav3.inference.export.verification import decisions
from debertav3.tasks.columns import Columns, Trained
from debertav3.tasks.scorers import (
    AnswerScorer,
    ChoiceScorer,
    EntityScorer,
    LabelScorer,
    NLIScorer,
    RankScorer,
    SetScorer,
    ValueScorer,
)

SCORED = [
    (LabelScorer(["a", "b"]), "a", "b", {"accuracy", "macro_f1", "matthews_corrcoef"}),
    (NLIScorer(["entailment", "neutral"]), "neutral", "entailment", {"accuracy", "macro_f1"}),
    (ChoiceScorer(), 1, 1, {"accuracy"}),
    (SetScorer(), {"a"}, {"a", "b"}, {"accuracy", "micro_f1"}),
    (ValueScorer(), 1.0, 1.5, {"pearson", "spearman"}),
    (EntityScorer(), [("PER", 0, 1)], [("PER", 0, 1)], {"f1"}),
    (AnswerScorer(), ["a cat"], "cat", {"exact_match", "f1", "HasAns_f1"}),
    (RankScorer(), {1}, [0.2, 0.9], {"accuracy", "ndcg"}),
]


@pytest.mark.parametrize(
    ("scorer", "gold", "predicted", "names"), SCORED, ids=[type(one[0]).__name__ for one in SCORED]
)
def test_what_evaluation_gives_is_judged(scorer: Any, gold: Any, predicted: Any, names: set[str]) -> None:
    scorer.add(gold, predicted)
    scorer.add(gold, predicted)
    result = scorer.result()
    judged = judged_metrics(result, scale=scorer.scale)
    numbers = {name for name, value in result.items() if isinstance(value, int | float)}
    numbers = {name for name in numbers if not name.endswith("_total")}  # counts
    assert all(abs(value) <= 100 for value in judged.values())
    assert names <= judged.keys() == numbers - {"precision", "recall"}


def test_an_unknown_metric_does_not_pass() -> None:
    with pytest.raises(ValueError, match="does not know the metric 'bleu'"):
        judged_metrics({"accuracy": 1.0, "bleu": 0.3})


@dataclass
class Decided:
    """Decisions without a model."""

    values: np.ndarray = field(default_factory=lambda: np.zeros(200, dtype=np.int64))

    def decisions(self) -> np.ndarray:
        return self.values


def measured(**metrics: float) -> Measured:
    return Measured(cast(Recorder, Decided()), 200, judged_metrics(metrics))


@pytest.mark.parametrize(
    ("name", "before", "after", "passes"),
    [
        ("micro_f1", 0.900, 0.898, True),
        ("micro_f1", 0.900, 0.896, False),
        ("ndcg", 0.900, 0.896, False),
        ("matthews_corrcoef", 0.5, 0.49, False),
        ("rmse", 1.000, 1.009, True),
        ("rmse", 1.000, 1.011, False),
        ("rmse", 1.0, 0.5, True),
        ("spearman", math.nan, math.nan, True),
        ("spearman", 0.5, math.nan, False),
    ],
)
def test_which_losses_pass(name: str, before: float, after: float, passes: bool) -> None:
    report = compare(measured(**{name: before}), measured(**{name: after}), kept=[])
    assert report.passed == passes
    assert name in report.verdict


def test_the_gate_decides_by_the_thresholds_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def predictor(**arguments: Any) -> None:
        given.update(arguments)
        raise StopIteration

    checkpoint = SimpleNamespace(tokenizer=None, probabilities="fitted")
    monkeypatch.setattr(gate, "Predictor", predictor)
    monkeypatch.setattr(gate, "open_exported", lambda exported: None)
    monkeypatch.setattr(gate, "Recorder", lambda backend, probabilities: given.update(recorded=probabilities))
    with pytest.raises(StopIteration):
        gate.measure(
            cast(Any, SimpleNamespace(checkpoint=checkpoint)), task="classify", examples=cast(Any, None)
        )
    assert given["probabilities"] == given["recorded"] == "fitted"


def test_decisions_fall_where_prediction_s_do() -> None:
    logits = {"logits": np.array([[-1.3, -1.3], [-1.5, 3.0]], np.float32)}
    labels = {"id2label": {"0": "a", "1": "b"}}
    several = {**labels, "problem_type": "multi_label_classification"}
    fitted = Probabilities(temperature=1.0, thresholds={"a": 0.2, "b": 0.9})
    found = decisions(logits, {}, head="sequence-classification", config=several, probabilities=fitted)
    assert found.tolist() == [True, False, False, True]
    warm = Probabilities(temperature=3.0, thresholds={"a": 0.3, "b": 0.9})
    found = decisions(logits, {}, head="sequence-classification", config=several, probabilities=warm)
    assert found.tolist() == [True, False, True, False]
    numbers = {**labels, "problem_type": "regression"}
    found = decisions(logits, {}, head="sequence-classification", config=numbers, probabilities=fitted)
    assert found.tolist() == pytest.approx([-1.3, -1.3, -1.5, 3.0])


def test_examples_are_read_by_the_columns_said_else_trained_with() -> None:
    trained = Trained(task="custom", text="Body", label="Category")
    columns = Calibration(Path("x.csv"), trained=trained).options("classify").columns
    assert (columns.text, columns.label, columns.is_text_asked) == ("Body", "Category", False)
    columns = Calibration(Path("x.csv"), columns=Columns(text="Text"), trained=trained).options("nli").columns
    assert (columns.text, columns.label, columns.is_text_asked) == ("Text", "Category", True)
    with pytest.raises(UserError, match="name columns of --calibration, which belongs to --int8"):
        ExportConfig(format="onnx", columns=Columns(text="Text"))
