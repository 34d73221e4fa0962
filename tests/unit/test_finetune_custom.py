"""Task custom: columns and the kind of label are found or named, and what cannot be told is asked for."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from debertav3 import DebertaV3Tokenizer
from debertav3.errors import UserError
from debertav3.finetuning.config import FinetuneConfig
from debertav3.finetuning.objectives import objective_of
from debertav3.finetuning.outcomes import worst
from debertav3.finetuning.preparation import Data, read_data
from debertav3.tasks import metrics
from debertav3.tasks.ranking import RankingTask
from debertav3.tasks.scorers import SetScorer
from debertav3.tasks.tagging import TaggingTask
from debertav3.tasks.text import TextTask


def read(folder: Path, rows: list[dict[str, Any]], **settings: Any) -> Data:
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return read_data(FinetuneConfig.of(task="custom", model="nano", train=(str(path),), **settings))


@pytest.mark.parametrize(
    ("labels", "target", "names"),
    [
        (["good", "bad"], "one-label", ("bad", "good")),
        ([1, 0], "one-label", ("0", "1")),
        (["10", "9"], "one-label", ("9", "10")),
        ([True, False], "one-label", ("false", "true")),
        ([0.5, 2], "number", ()),
        (list(range(40)), "number", ()),
        (["a|b", "b"], "several-labels", ("a", "b")),
        ([["a"], [], ["b", "a"]], "several-labels", ("a", "b")),
        (["3.5", "", "1"], "number", ()),
        ([-1, 0, 1], "one-label", ("-1", "0", "1")),
        (["+", "-"], "one-label", ("+", "-")),
        (["pos", float("nan"), "neg"], "one-label", ("neg", "pos")),
        ([1.0, float("nan"), 0.0], "one-label", ("0", "1")),
    ],
)
def test_the_kind_of_label_is_read_off_the_data(
    tmp_path: Path, labels: list[Any], target: str, names: tuple[str, ...]
) -> None:
    rows = [
        {"id": "x", "review": f"some words {number}", "Rating": label} for number, label in enumerate(labels)
    ]
    data = read(tmp_path, rows)
    assert isinstance(data.task, TextTask)
    assert data.task.columns == (("review",),)
    assert data.task.target == target
    assert data.labels == names


def test_a_column_of_texts_and_other_values_is_measured_by_its_texts(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"note": "a", "text": None, "label": "x"}]
    rows += [{"note": 5, "text": "foo bar", "label": label} for label in "xy"]
    data = read(tmp_path, rows)
    assert isinstance(data.task, TextTask)
    assert data.task.columns == (("text",),)


def test_only_empty_labels_of_a_users_data_are_none(tmp_path: Path) -> None:
    labels = [-1, 0, "-", None, "", float("nan"), -1.0]
    rows = [{"text": f"words {number}", "label": label} for number, label in enumerate(labels)]
    data = read(tmp_path, rows, label_kind="one-label")
    assert [example.label for example in data.train] == ["-1", "0", "-", "-1"]
    several = ["", [], None, float("nan"), "a|b"]  # none of several labels is an answer, too
    data = read(tmp_path, [{"text": "x", "label": one} for one in several], label_kind="several-labels")
    assert [example.label for example in data.train] == [(), (), ("a", "b")]


def test_named_columns_win(tmp_path: Path) -> None:
    rows = [{"a": "short", "b": "a much longer text", "c": 1, "label": x} for x in "xy"]
    data = read(tmp_path, rows, text_column="a", pair_column="b", label_column="c", label_kind="number")
    assert [example.texts for example in data.train] == [("short", "a much longer text")] * 2
    assert [example.label for example in data.train] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("row", "settings", "message"),
    [
        (
            {"x": "text", "y": 1},
            {},
            r"which column is the label\? .* has 'x', 'y'. Say --label-column NAME\.",
        ),
        ({"n": 1, "label": 1}, {}, r"which column is the text\?"),
        ({"x": "text", "label": 1}, {"text_column": "z"}, "no column 'z'; it has 'x', 'label'"),
        ({"x": "text", "Label": 1}, {"label_column": "lable"}, "Did you mean 'Label'?"),
        ({"x": "text", "label": 1}, {"label_kind": "ranking"}, "ranking needs a query and a text"),
        ({"x": "text", "label": 1}, {"label_kind": "one-label"}, "need two labels or more"),
    ],
)
def test_what_cannot_be_told_is_asked_for(
    tmp_path: Path, row: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read(tmp_path, [row, row], **settings)


@pytest.mark.parametrize("kind", ["auto", "tags"])
def test_words_and_tags_are_a_tagging_task(tmp_path: Path, kind: str) -> None:
    rows = [{"words": ["Oslo", "shines"], "tags": ["B-LOC", "O"]}]
    data = read(tmp_path, rows, label_kind=kind)
    assert isinstance(data.task, TaggingTask)
    assert data.labels == ("O", "B-LOC", "I-LOC")


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (
            [{"comment": f"words {n}", "mood": "xy"[n % 2], "tone": "uv"[n // 2 % 2]} for n in range(8)],
            {},
            r"which column is the label\?.*Say --label-column NAME \(perhaps one of 'mood', 'tone'\)",
        ),
        (
            [{"I like it": "No way", "2,3": "0"}, {"I like it": "Oh", "2,3": "27"}],
            {},
            "if it is a row, say --no-header",
        ),
        (
            [{"text": f"words {n}", "labels": ["sea, car", "car"][n % 2]} for n in range(6)],
            {},
            "is 'sea, car' in column 'labels' one label or several",
        ),
        (
            [{"text": "Ann in Rome", "spots": [[0, 3, "PER"]]}] * 2,
            {"label_column": "spots"},
            "an entity, not a class.*task ner",
        ),
        (
            [{"text": "Ann in Rome", "spots": [{"start": 0, "end": 3, "label": "PER"}]}] * 2,
            {"label_column": "spots"},
            "an entity, not a class.*task ner",
        ),
        (
            [{"doc": f"a{n}", "label": n % 2} for n in range(4)],
            {},
            "'doc' has identifiers.*--text-column doc",
        ),
    ],
    ids=["labels", "header", "commas", "spans", "span-objects", "ids"],
)
def test_what_would_be_read_wrongly_is_asked_about(
    tmp_path: Path, rows: list[dict[str, Any]], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path, rows, **settings)
    assert "\n" not in str(caught.value)


def test_what_was_asked_about_is_read_as_said(tmp_path: Path) -> None:
    rows = [{"text": f"a {n}", "text_b": f"long {n}", "label": ["sea, car", "car"][n % 2]} for n in range(4)]
    data = read(tmp_path, rows, text_column="text", pair_column="text_b", label_kind="one-label")
    assert data.train[0].texts == ("a 0", "long 0")
    assert data.labels == ("car", "sea, car")


def test_flags_by_name_are_several_labels(tmp_path: Path) -> None:
    cats = [
        {"baking": 1.0, "bread": 1.0, "meat": 0.0},
        {"baking": 0.0, "bread": 0.0, "meat": 1.0},
        {"meat": 0},
    ]
    data = read(
        tmp_path, [{"text": f"words {n}", "cats": one} for n, one in enumerate(cats)], label_column="cats"
    )
    assert [example.label for example in data.train] == [("baking", "bread"), ("meat",), ()]
    shares = [{"a": 0.25, "b": 0.75}, {"a": 1.0, "b": 0.0}]
    data = read(tmp_path, [{"text": f"words {n}", "label": one} for n, one in enumerate(shares)])
    assert [example.label for example in data.train] == ["b", "a"]


def test_errors_of_numbers_in_their_own_unit() -> None:
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    found, gold = generator.normal(50, 20, size=40), generator.normal(50, 20, size=40)
    assert metrics.mae(gold, found) == pytest.approx(sklearn_metrics.mean_absolute_error(gold, found))
    assert metrics.rmse(gold, found) == pytest.approx(sklearn_metrics.root_mean_squared_error(gold, found))


@pytest.mark.parametrize(
    ("rows", "hint"),
    [
        (
            [{"first": f"a long text {n}", "second": f"another {n}", "label": n % 2} for n in range(8)],
            "the text is 'first', by its values; 'second' not read (a pair needs --pair-column)",
        ),
        (
            [
                {"text": f"some text {n}", "label": ["red, green", "blue, red", "blue"][n % 3]}
                for n in range(3)
            ],
            "cells with ',' have several labels, such as 'red, green'",
        ),
        ([{"text": f"a long text {n}", "id": f"{n}", "label": n % 2} for n in range(8)], None),
        ([{"text": f"some text {n}", "label": ["red|green", "blue"][n % 2]} for n in range(8)], None),
    ],
    ids=["pair", "comma", "id", "bar"],
)
def test_guesses_are_marked(
    rows: list[dict[str, Any]], hint: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    read(tmp_path, rows)
    assert sum("is read as" in message for message in caplog.messages) == 1
    guesses = [line.split("  ", 2)[2].strip() for line in caplog.messages if line.startswith("  guess")]
    assert [guess.partition("; if not: ")[0] for guess in guesses] == ([hint] if hint else [])


def test_queries_and_texts_are_a_ranking_task(tmp_path: Path) -> None:
    rows = [{"query": "q", "text": f"answer {number}", "label": number % 2} for number in range(4)]
    data = read(tmp_path, rows, text_column="query", pair_column="text", label_kind="ranking")
    assert isinstance(data.task, RankingTask)
    assert data.task.best_metric == "mrr"
    rows[0]["label"] = 3
    with pytest.raises(UserError, match="relevance must be between 0 and 1"):
        read(tmp_path, rows, text_column="query", pair_column="text", label_kind="ranking")


def test_scores_of_several_labels_equal_scikit_learn() -> None:
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    predicted, gold = np.random.default_rng(0).integers(2, size=(2, 50, 4))
    names = ["a", "b", "c", "d"]
    scorer = SetScorer(names)
    for own, given in zip(gold, predicted, strict=True):
        scorer.add(*([name for name, on in zip(names, row, strict=True) if on] for row in (own, given)))
    found = scorer.result()
    for average in ("micro", "macro"):
        assert found[f"{average}_f1"] == pytest.approx(
            sklearn_metrics.f1_score(gold, predicted, average=average)
        )
    assert found["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(gold, predicted))
    assert found["per_label"]["c"]["support"] == gold[:, 2].sum()


def test_a_score_is_as_wrong_as_its_probability_is_far_from_the_relevance(tmp_path: Path, nano: Path) -> None:
    rows = [{"query": "q", "text": f"answer {number}", "label": number} for number in (1, 0, 0)]
    named = {"text_column": "query", "pair_column": "text", "label_kind": "ranking"}
    data = read(tmp_path, rows, **named)
    tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
    dataset = objective_of(data.task).encode(
        data.train, tokenizer, labels=(), config=FinetuneConfig.of(task="", model="")
    )
    outcomes = objective_of(data.task).outcomes(np.array([[8.0], [-800.0], [0.9]]), dataset, labels=())
    assert [one.predicted for one in outcomes] == ["1.000", "0.000", "0.711"]
    assert [one.example for one in worst(outcomes, 1)] == [2]
    assert [one.badness for one in outcomes] == pytest.approx(
        [1 / (1 + np.exp(8)), 0, 1 / (1 + np.exp(-0.9))]
    )
