"""Tasks over texts: a bad row is named by file and line, labels are found by name, number and alias."""

import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from debertav3.errors import UserError
from debertav3.finetuning.config import FinetuneConfig
from debertav3.finetuning.objectives import objective_of
from debertav3.finetuning.splitting import take_balanced
from debertav3.tasks.columns import TEXT_COLUMNS, texts_of
from debertav3.tasks.example import Example
from debertav3.tasks.glue import SST2, TEXT_TASKS
from debertav3.tasks.names import TASKS, check_task_name
from debertav3.tasks.rows import Row
from debertav3.tasks.summary import Summary
from debertav3.tasks.text import TextTask
from debertav3.tokenization import DebertaV3Tokenizer

NLI = TASKS["nli"]
GOOD = {"premise": "A man sleeps.", "hypothesis": "Nobody is awake.", "label": "neutral"}


def write(folder: Path, *rows: Any) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {**GOOD, "label": "maybe"},
            "line 2: unknown label 'maybe'; task nli knows contradiction, entailment",
        ),
        ({**GOOD, "premise": [5]}, "line 2: field 'premise' must be a text, got list"),
        (
            {"hypothesis": "x", "label": "neutral"},
            "line 2: needs the fields 'premise' and 'hypothesis' or",
        ),
        ({"premise": "x", "hypothesis": "y"}, "line 2: needs the field 'label' or 'gold_label'; it has"),
    ],
    ids=["label", "type", "column", "no-label"],
)
def test_a_bad_row_is_named(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        NLI.read(write(tmp_path, GOOD, row))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ({"entailment": 0.5, "maybe": 0.5}, "unknown label 'maybe'"),
        ({"entailment": 1.5, "neutral": -0.5}, "shares of labels must be 0 or more and not all 0"),
        ({"entailment": 0, "neutral": 0}, "shares of labels must be 0 or more and not all 0"),
        ({"entailment": "much"}, "the label must be a number, got 'much'"),
        ({}, "shares of labels must be 0 or more and not all 0"),
    ],
    ids=["unknown", "negative", "zero", "text", "empty"],
)
def test_bad_shares_are_named(tmp_path: Path, label: Any, message: str) -> None:
    with pytest.raises(UserError, match="line 2: ") as caught:
        NLI.read(write(tmp_path, GOOD, {**GOOD, "label": label}))
    assert message in str(caught.value)


def test_shares_of_labels_train_and_their_commonest_label_is_scored(tmp_path: Path, nano: Path) -> None:
    votes = {"entailment": 1, "contradiction": 3}
    examples = NLI.read(write(tmp_path, GOOD, {**GOOD, "label": votes}))
    assert [example.label for example in examples] == ["neutral", "contradiction"]
    labels = NLI.choose_labels(Summary.of(examples), source="rows")
    dataset = objective_of(NLI).encode(
        examples,
        DebertaV3Tokenizer.from_pretrained(nano),
        labels=labels,
        config=FinetuneConfig.of(task="nli", model="nano"),
    )
    shares = [dict(zip(labels, row, strict=True)) for row in dataset.labels().tolist()]
    assert shares == [
        {"entailment": 0.0, "neutral": 1.0, "contradiction": 0.0},
        {"entailment": 0.25, "neutral": 0.0, "contradiction": 0.75},
    ]
    logits = np.eye(3)[[labels.index("neutral"), labels.index("entailment")]]
    assert objective_of(NLI).score(logits, dataset, labels=labels)["accuracy"] == 0.5


def test_shares_of_names_that_stand_for_one_label_are_added(tmp_path: Path) -> None:
    label = {"entailment": 0.2, "neutral": 0.3, "e": 0.3, "Contradiction": 0.2}
    (example,) = NLI.read(write(tmp_path, {**GOOD, "label": label}))
    assert example.shares == pytest.approx({"entailment": 0.5, "neutral": 0.3, "contradiction": 0.2})
    assert example.label == "entailment"


def test_malformed_json_is_named_by_line(tmp_path: Path) -> None:
    path = Path(write(tmp_path, GOOD))
    path.write_text(path.read_text(encoding="utf-8") + '{"premise": \n', encoding="utf-8")
    with pytest.raises(UserError, match="line 2"):
        NLI.read(str(path))


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("Entailment", "entailment"),
        (0, "entailment"),
        (1, "neutral"),
        (2.0, "contradiction"),
        ("2", "contradiction"),
    ],
)
def test_labels_are_read_by_name_and_by_public_number(tmp_path: Path, value: Any, label: str) -> None:
    (example,) = NLI.read(write(tmp_path, {**GOOD, "label": value}))
    assert example == Example(texts=(GOOD["premise"], GOOD["hypothesis"]), label=label)


def test_rows_without_gold_label_are_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        examples = NLI.read(write(tmp_path, GOOD, {**GOOD, "label": "-"}, {**GOOD, "label": -1}))
    assert len(examples) == 1
    assert "skipped 2 rows" in caplog.text


def test_rows_without_a_text_are_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        examples = NLI.read(write(tmp_path, GOOD, {**GOOD, "hypothesis": " "}, {**GOOD, "premise": None}))
    assert len(examples) == 1
    assert "skipped 2 rows without a text" in caplog.text


def test_a_file_without_labelled_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no labelled rows"):
        NLI.read(write(tmp_path, {**GOOD, "label": -1}))


def examples_of(*labels: str) -> list[Example]:
    return [Example(texts=(f"p{number}", "h"), label=label) for number, label in enumerate(labels)]


def test_the_label_set_follows_the_training_data() -> None:
    assert NLI.choose_labels(Summary.of(examples_of("neutral", "entailment")), source="f") == (
        "entailment",
        "neutral",
        "contradiction",
    )
    assert NLI.choose_labels(Summary.of(examples_of("not_entailment", "entailment")), source="f") == (
        "entailment",
        "not_entailment",
    )


@pytest.mark.parametrize(
    "labels", [("neutral", "not_entailment"), ("neutral", "neutral")], ids=["mixed", "single"]
)
def test_labels_that_cannot_train_are_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="f:"):
        NLI.choose_labels(Summary.of(examples_of(*labels)), source="f")


def test_a_dev_label_that_training_lacks_is_refused() -> None:
    with pytest.raises(UserError, match="dev: label 'not_entailment'"):
        NLI.check_dev(Summary.of(examples_of("not_entailment")), ("entailment", "neutral"), source="dev")


def test_a_dev_distribution_over_a_label_that_training_lacks_is_refused() -> None:
    shares = {"entailment": 0.6, "neutral": 0.3, "contradiction": 0.1}
    with pytest.raises(UserError, match="dev: label 'contradiction' does not occur in training"):
        NLI.check_dev(
            Summary.of([Example(texts=("p", "h"), label="entailment", shares=shares)]),
            ("entailment", "neutral"),
            source="dev",
        )


def test_a_subset_is_balanced_and_follows_from_the_seed() -> None:
    labels, names = [0] * 50 + [1] * 10, ["neutral", "entailment"]
    subset = take_balanced(labels, names, 13, seed=1)
    assert sorted(labels[index] for index in subset) == [0] * 6 + [1] * 7
    assert subset == take_balanced(labels, names, 13, seed=1) == sorted(set(subset))
    assert subset != take_balanced(labels, names, 13, seed=2)
    assert Counter(labels[index] for index in take_balanced(labels, names, 40, seed=1)) == {0: 30, 1: 10}


@pytest.mark.parametrize(
    ("task", "row", "label"),
    [
        ("qnli", {"question": "q", "sentence": "s", "label": 1}, "not_entailment"),
        ("qqp", {"question1": "q", "question2": "s", "is_duplicate": 1}, "1"),
        ("rte", {"sentence1": "q", "sentence2": "s", "label": "entailment"}, "entailment"),
        ("mrpc", {"#1 String": "q", "#2 String": "s", "Quality": "0"}, "0"),
        ("cola", {"sentence": "s", "label": "acceptable"}, "1"),
        ("sst2", {"text": "s", "label": 0}, "negative"),
        ("stsb", {"sentence1": "q", "sentence2": "s", "score": "2.6"}, 2.6),
        ("wnli", {"sentence1": "q", "sentence2": "s", "label": 0}, "0"),
        ("boolq", {"question": "q", "passage": "s", "answer": True}, "true"),
    ],
)
def test_the_public_copies_of_each_task_are_read(
    tmp_path: Path, task: str, row: dict[str, Any], label: str | float
) -> None:
    (example,) = TASKS[task].read(write(tmp_path, row))
    assert example.label == label


def test_a_score_that_is_nan_is_a_missing_one(tmp_path: Path) -> None:
    rows = [{"sentence1": "a", "sentence2": "b", "label": value} for value in ("nan", 2.5)]
    (example,) = TASKS["stsb"].read(write(tmp_path, *rows))
    assert example.label == 2.5


@pytest.mark.parametrize("value", ["much", [1], "inf"])
def test_a_score_must_be_a_number(tmp_path: Path, value: Any) -> None:
    with pytest.raises(UserError, match=r"line 1: the label must be a (finite )?number"):
        TASKS["stsb"].read(write(tmp_path, {"sentence1": "a", "sentence2": "b", "label": value}))


@pytest.mark.parametrize("value", [-100, -100.0, "-100"])
def test_a_number_that_the_trainer_leaves_out_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(UserError, match=r"line 1: the label .* shift or scale the numbers"):
        TASKS["stsb"].read(write(tmp_path, {"sentence1": "a", "sentence2": "b", "label": value}))


def test_an_unknown_task_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean 'squad2'"):
        check_task_name("squad-2")


@pytest.mark.parametrize("task", TEXT_TASKS, ids=lambda task: task.name)
def test_prediction_reads_the_columns_that_training_reads(task: TextTask) -> None:
    assert set(task.columns) <= set(TEXT_COLUMNS)
    for names in task.columns:
        row = Row("the row", dict.fromkeys(names, "words"))
        assert texts_of(row, task.columns) == texts_of(row, TEXT_COLUMNS) == ("words",) * len(names)


def test_null_under_one_name_leaves_the_other(tmp_path: Path) -> None:
    rows = [{"sentence": None, "text": f"words {label}", "label": label} for label in (0, 1)]
    assert [one.texts for one in SST2.read(write(tmp_path, *rows))] == [("words 0",), ("words 1",)]
