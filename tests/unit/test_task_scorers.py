"""Scorers equal scikit-learn and SQuAD's script, name metrics as everybody does, and never give NaN."""

import json
from typing import Any, get_args

import numpy as np
import pytest

from debertav3.finetuning.score_verdict import verdict
from debertav3.tasks.metrics import MetricName
from debertav3.tasks.names import TASKS
from debertav3.tasks.scorers import (
    MAX_CONFUSION_LABELS,
    AnswerScorer,
    ChoiceScorer,
    EntityScorer,
    LabelScorer,
    NLIScorer,
    RankScorer,
    Relevance,
    Scorer,
    SetScorer,
    ValueScorer,
)

sklearn_metrics = pytest.importorskip("sklearn.metrics")
stats = pytest.importorskip("scipy.stats")


def scored(scorer: Scorer, gold: Any, predicted: Any) -> dict[str, Any]:
    for own, given in zip(gold, predicted, strict=True):
        scorer.add(own, given)
    return scorer.result()


@pytest.mark.parametrize("num_labels", [2, 3, 5])
def test_classification_scores_equal_scikit_learn(num_labels: int) -> None:
    generator = np.random.default_rng(num_labels)
    gold, predicted = generator.integers(num_labels, size=(2, 200))
    predicted[:80] = gold[:80]
    names = [str(number) for number in range(num_labels)]
    found = scored(LabelScorer(names), gold.astype(str).tolist(), predicted.astype(str).tolist())
    assert found["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(gold, predicted))
    assert found["macro_f1"] == pytest.approx(sklearn_metrics.f1_score(gold, predicted, average="macro"))
    assert found["matthews_corrcoef"] == pytest.approx(sklearn_metrics.matthews_corrcoef(gold, predicted))
    assert ("f1" in found) == (num_labels == 2)
    if num_labels == 2:
        assert found["f1"] == pytest.approx(sklearn_metrics.f1_score(gold, predicted))


def test_correlations_and_errors_equal_scipy_and_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    gold = generator.integers(6, size=100).astype(float)  # with ties
    predicted = gold + generator.normal(size=100)
    found = scored(ValueScorer(), gold, predicted)
    assert found["pearson"] == pytest.approx(stats.pearsonr(gold, predicted).statistic)
    assert found["spearman"] == pytest.approx(stats.spearmanr(gold, predicted).statistic)
    assert found["rmse"] == pytest.approx(sklearn_metrics.root_mean_squared_error(gold, predicted))
    assert found["mae"] == pytest.approx(sklearn_metrics.mean_absolute_error(gold, predicted))


@pytest.mark.parametrize("name", ["matthews_corrcoef", "f1"])
def test_a_constant_answer_scores_zero(name: str) -> None:
    assert scored(LabelScorer(["0", "1"]), "0101", "0000")[name] == 0.0


def test_a_constant_number_has_no_correlation() -> None:
    found = scored(ValueScorer(), [0.0, 1.0, 0.0, 1.0], [0.5] * 4)
    assert found["pearson"] == found["spearman"] == 0.0


def test_per_label_counts_the_gold_examples() -> None:
    table = scored(LabelScorer(["no", "yes", "never"]), ["no", "yes", "yes"], ["no", "no", "yes"])[
        "per_label"
    ]
    assert table["yes"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2}
    assert table["never"]["support"] == 0


ONE_ROW: list[tuple[Any, Any, Any]] = [
    (LabelScorer(["a", "b"]), "a", "b"),
    (NLIScorer(["entailment", "not_entailment"]), "neutral", "not_entailment"),
    (ChoiceScorer(), 1, 0),
    (SetScorer(["a", "b"]), [], []),
    (ValueScorer(), 1.0, 2.0),
    (EntityScorer(), [(0, 1, "A")], []),
    (EntityScorer(), ["O", "B-A"], ["O", "O"]),
    (AnswerScorer(), ["Ann"], ""),
    (RankScorer(), [0], [0.2, 0.9]),
    (RankScorer(), Relevance("q", 0.0), 0.3),
]


@pytest.mark.parametrize("right", [[0], [3], [1, 2]])
def test_equal_scores_gain_nothing_by_their_order(right: list[int]) -> None:
    rows, flat = RankScorer(), RankScorer()
    rows.add(right, [0.5] * 4)
    for place in range(4):
        flat.add(Relevance("q", float(place in right)), 0.5)
    assert rows.result() == flat.result()
    assert rows.result()["accuracy"] == 0


@pytest.mark.parametrize(("scorer", "gold", "predicted"), ONE_ROW)
def test_metrics_have_known_names_and_are_finite(scorer: Scorer, gold: Any, predicted: Any) -> None:
    found = scored(scorer, [gold], [predicted])
    json.dumps(found, allow_nan=False)
    breakdowns = {"per_label", "confusion"}
    names = {name for name in found if not name.startswith(("HasAns_", "NoAns_"))} - breakdowns
    assert names <= set(get_args(MetricName))


def test_every_metric_of_a_task_is_one_that_its_scorer_gives() -> None:
    gold = {"numbers": 1.0}
    for task in TASKS.values():
        assert set(task.metrics) <= set(get_args(MetricName)), task.name
        if task.head == "sequence-classification":
            is_number = getattr(task, "target", "") == "number"
            label = gold["numbers"] if is_number else task.label_sets[0][0]  # type: ignore[attr-defined]
            labels = () if is_number else task.label_sets[0]  # type: ignore[attr-defined]
            assert set(task.metrics) <= scored(task.scorer(labels), [label], [label]).keys(), task.name


def test_answers_are_scored_of_100_with_and_without_an_answer_apart() -> None:
    found = scored(AnswerScorer(), [["Ann"], [""], ["black cat"]], ["ann", "Tom", "cat"])
    assert found["exact_match"] == pytest.approx(100 / 3)
    assert found["f1"] == pytest.approx(100 * (1 + 0 + 2 / 3) / 3)
    assert (found["HasAns_exact"], found["NoAns_exact"], found["HasAns_total"]) == (50.0, 0.0, 2)


def test_tags_are_also_scored_one_by_one() -> None:
    found = scored(EntityScorer(), [["B-A", "I-A", "O"], ["O"]], [["B-A", "O", "O"], ["O"]])
    assert (found["accuracy"], found["f1"], found["per_label"]["A"]["support"]) == (0.75, 0.0, 1)


def test_thousands_of_labels_have_no_matrix() -> None:
    """A report grows with the labels, not with their square."""
    names = [f"label {number}" for number in range(MAX_CONFUSION_LABELS + 1)]
    scorer = LabelScorer(names)
    for number in range(40):
        scorer.add(names[number], names[number // 2])
    scorer.add(names[7], names[3])
    report = scorer.result()
    assert "confusion" not in report and report["per_label"].keys() == set(names)
    assert report["most_confused"][0] == {"gold": names[7], "predicted": names[3], "count": 2}
    small = LabelScorer(names[:40])
    small.counts = scorer.counts
    assert "confusion" in small.result()
    assert small.result()["matthews_corrcoef"] == report["matthews_corrcoef"]


def test_thousands_of_labels_stay_readable() -> None:
    names = [f"label {number}" for number in range(5000)]
    scorer = LabelScorer(names)
    for number, name in enumerate(names):
        scorer.add(name, names[number // 2])
    scores = scorer.result()
    assert len(json.dumps(scores)) < 1_000_000
    scores["majority_baseline"] = {"accuracy": 0.1}
    line, is_well = verdict("dev", scores, "accuracy", names)
    assert not is_well
    assert len(line) < 1000
    assert line.endswith("and 4,979 more")
