"""Scores equal scikit-learn's and scipy's on random predictions, and are defined where those give nan."""

import numpy as np
import pytest

from debertav3.finetune import metrics

sklearn_metrics = pytest.importorskip("sklearn.metrics")
stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize("num_labels", [2, 3, 5])
def test_classification_scores_equal_scikit_learn(num_labels: int) -> None:
    generator = np.random.default_rng(num_labels)
    gold, predicted = generator.integers(num_labels, size=(2, 200))
    predicted[:80] = gold[:80]
    assert metrics.accuracy(predicted, gold) == pytest.approx(sklearn_metrics.accuracy_score(gold, predicted))
    assert metrics.macro_f1(predicted, gold) == pytest.approx(
        sklearn_metrics.f1_score(gold, predicted, average="macro")
    )
    assert metrics.matthews_corrcoef(predicted, gold) == pytest.approx(
        sklearn_metrics.matthews_corrcoef(gold, predicted)
    )
    if num_labels == 2:
        assert metrics.f1(predicted, gold) == pytest.approx(sklearn_metrics.f1_score(gold, predicted))


def test_correlations_equal_scipy() -> None:
    generator = np.random.default_rng(0)
    gold = generator.integers(6, size=100).astype(float)  # with ties
    predicted = gold + generator.normal(size=100)
    assert metrics.pearson(predicted, gold) == pytest.approx(stats.pearsonr(gold, predicted).statistic)
    assert metrics.spearman(predicted, gold) == pytest.approx(stats.spearmanr(gold, predicted).statistic)


@pytest.mark.parametrize("score", [metrics.matthews_corrcoef, metrics.pearson, metrics.spearman, metrics.f1])
def test_a_constant_answer_scores_zero(score: metrics.Metric) -> None:
    assert score(np.zeros(4, dtype=int), np.array([0, 1, 0, 1])) == 0.0


def test_per_label_counts_the_true_examples() -> None:
    table = metrics.per_label(np.array([0, 0, 1]), np.array([0, 1, 1]), names=["no", "yes", "never"])
    assert table["yes"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2.0}
    assert table["never"]["support"] == 0.0
