"""Scores equal scikit-learn's, scipy's and the official SQuAD script's."""

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from debertav3.tasks import metrics

CASES = [
    ([0, 1, 2, 2, 1], [0, 2, 2, 2, 1]),
    ([0, 0, 0], [1, 1, 1]),
    ([1, 1, 0], [1, 1, 0]),
    (
        np.random.default_rng(0).integers(0, 4, 200).tolist(),
        np.random.default_rng(1).integers(0, 4, 200).tolist(),
    ),
]


@pytest.mark.parametrize(("gold", "predicted"), CASES, ids=["mixed", "all-wrong", "all-right", "random"])
def test_label_scores_equal_scikit_learn(gold: list[int], predicted: list[int]) -> None:
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    confusion = metrics.confusion_matrix(gold, predicted, num_labels=4)
    np.testing.assert_array_equal(
        confusion, sklearn_metrics.confusion_matrix(gold, predicted, labels=range(4))
    )
    assert metrics.accuracy(confusion) == pytest.approx(sklearn_metrics.accuracy_score(gold, predicted))
    assert metrics.macro_f1(confusion) == pytest.approx(
        sklearn_metrics.f1_score(gold, predicted, average="macro")
    )
    assert metrics.matthews_corrcoef(confusion) == pytest.approx(
        sklearn_metrics.matthews_corrcoef(gold, predicted)
    )
    precision, recall, f1, support = sklearn_metrics.precision_recall_fscore_support(
        gold, predicted, labels=range(4), zero_division=0
    )
    ours = metrics.label_scores(confusion)
    for name, theirs in (("precision", precision), ("recall", recall), ("f1", f1), ("support", support)):
        np.testing.assert_allclose(ours[name], theirs)


def test_correlations_equal_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    generator = np.random.default_rng(2)
    gold, predicted = generator.normal(size=50), generator.integers(0, 5, 50).astype(float)
    assert metrics.pearson(gold, predicted) == pytest.approx(stats.pearsonr(gold, predicted).statistic)
    assert metrics.spearman(gold, predicted) == pytest.approx(stats.spearmanr(gold, predicted).statistic)
    assert metrics.pearson([1, 1], [1, 2]) == 0.0
    assert metrics.pearson([0.1, 0.7, 0.3], [0.1 + 0.2] * 3) == metrics.pearson([], []) == 0.0


@pytest.mark.parametrize("system", ["bert_single", "nlnet_single"])
def test_answers_score_as_the_official_script_says(data_folder: Path, system: str) -> None:
    squad = data_folder / "squad"
    predictions = json.loads((squad / "metric-parity" / f"predictions_{system}.json").read_text())
    expected = json.loads((squad / "metric-parity" / f"expected_{system}.json").read_text())
    articles = json.loads((squad / "dev-v2.0-slice.json").read_text())["data"]
    questions = [qa for article in articles for paragraph in article["paragraphs"] for qa in paragraph["qas"]]
    exact, f1 = [], []
    for question in questions:
        answers = [answer["text"] for answer in question["answers"]]
        exact.append(metrics.exact_match(predictions[question["id"]], answers))
        f1.append(metrics.answer_f1(predictions[question["id"]], answers))
    assert len(questions) == expected["total"]
    assert 100.0 * sum(exact) / len(exact) == expected["exact"]  # to the last digit
    assert 100.0 * sum(f1) / len(f1) == expected["f1"]


def test_answers_of_nothing_but_articles_count_as_empty() -> None:
    assert metrics.normalize_answer("The  cat, an A!") == "cat"
    assert metrics.exact_match("", ["the"]) == 1.0
    assert metrics.answer_f1("cat", []) == 0.0
    assert metrics.answer_f1("", []) == 1.0
    assert metrics.answer_f1("black cat", ["dog", "the cat"]) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("tags", "entities"),
    [
        ("B-A I-A O I-B", [(0, 2, "A"), (3, 4, "B")]),
        ("B-A B-A", [(0, 1, "A"), (1, 2, "A")]),
        ("I-A I-B I-B", [(0, 1, "A"), (1, 3, "B")]),
        ("A A O A", [(0, 2, "A"), (3, 4, "A")]),
        ("O O", []),
        ("", []),
        ("B-creative-work I-creative-work", [(0, 2, "creative-work")]),
        ("B-A E-A O S-B", [(0, 2, "A"), (3, 4, "B")]),
        ("B-A L-A O U-B", [(0, 2, "A"), (3, 4, "B")]),
        ("S-A S-A I-A E-A I-A", [(0, 1, "A"), (1, 2, "A"), (2, 4, "A"), (4, 5, "A")]),
        ("U-A U-A I-A L-A I-A", [(0, 1, "A"), (1, 2, "A"), (2, 4, "A"), (4, 5, "A")]),
        ("E-A E-A O E-A", [(0, 1, "A"), (1, 2, "A"), (3, 4, "A")]),
        ("B-A E-B", [(0, 1, "A"), (1, 2, "B")]),
        ("B I O B", [(0, 2, "_"), (3, 4, "_")]),
    ],
)
def test_entities_of_tags(tags: str, entities: list[metrics.Entity]) -> None:
    assert metrics.tag_entities(tags.split()) == entities


def test_entities_of_random_tags_are_seqevals() -> None:
    sequence_labeling = pytest.importorskip("seqeval.metrics.sequence_labeling")
    generator = np.random.default_rng(0)
    names = ["O", *(f"{prefix}-{kind}" for prefix in "BIES" for kind in "XY")]
    for _ in range(500):
        tags = generator.choice(names, size=generator.integers(1, 9)).tolist()
        theirs = [(start, end + 1, kind) for kind, start, end in sequence_labeling.get_entities(tags)]
        assert metrics.tag_entities(tags) == theirs, tags


def test_entity_scores_count_only_whole_entities() -> None:
    gold = [(0, 2, "A"), (3, 4, "B")]
    predicted = [(0, 2, "A"), (3, 5, "B"), (7, 8, "A")]
    counts = metrics.count_entities(gold, predicted)
    assert {kind: count.tolist() for kind, count in counts.items()} == {"A": [1, 2, 1], "B": [0, 1, 1]}
    assert metrics.entity_scores(counts) == {"precision": 1 / 3, "recall": 1 / 2, "f1": 2 / 5}
    assert metrics.entity_scores({}) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}


def test_ranking_scores_by_hand() -> None:
    given, relevance = np.array([0.1, 0.9, 0.5]), np.array([0.0, 0.0, 1.0])
    assert metrics.reciprocal_rank(given, relevance) == 0.5
    assert metrics.ndcg(given, relevance) == pytest.approx(1 / np.log2(3))
    assert metrics.ndcg(given, np.array([0.0, 1.0, 0.0])) == 1.0
    assert metrics.reciprocal_rank(given, np.zeros(3)) == metrics.ndcg(given, np.zeros(3)) == 0.0


def test_texts_of_equal_score_stand_in_every_order() -> None:
    generator = np.random.default_rng(1)
    for size in (2, 5, 6):
        relevance = generator.integers(2, size=size).astype(float)
        relevance[0] = 1
        given = generator.integers(3, size=size).astype(float)
        orders = [np.array(order) for order in permutations(range(size))]
        ranks = [reciprocal_of_first(given[order], relevance[order]) for order in orders]
        assert metrics.reciprocal_rank(given, relevance) == pytest.approx(np.mean(ranks))
    first, last = (metrics.ndcg(np.zeros(10), np.eye(10)[place]) for place in (0, 9))
    assert first == pytest.approx(last)


def test_many_texts_of_equal_score() -> None:
    size = 3000
    expected = np.mean(1 / np.arange(1, size + 1))
    assert metrics.reciprocal_rank(np.zeros(size), np.eye(size)[7]) == pytest.approx(expected)
    assert 0.49 < metrics.reciprocal_rank(np.zeros(size), np.arange(size) % 3) < 1.0


def reciprocal_of_first(given: Any, relevance: Any) -> float:
    """With ties left in the order in which they come."""
    return float(1 / (1 + np.flatnonzero(relevance[np.argsort(-given, kind="stable")] > 0)[0]))


def test_ndcg_equals_scikit_learn() -> None:
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    for given in (generator.normal(size=3), generator.normal(size=30), np.arange(30.0) // 7):
        relevance = generator.integers(2, size=len(given)).astype(float)
        expected = sklearn_metrics.ndcg_score(relevance[None], given[None], k=10)
        assert metrics.ndcg(given, relevance) == pytest.approx(expected)
