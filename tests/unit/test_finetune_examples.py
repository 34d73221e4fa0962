"""Reading examples: a bad row is named by file and line; good rows come back as they are."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from debertav3.errors import UserError
from debertav3.finetune.examples import (
    Example,
    check_labels,
    choose_labels,
    read_examples,
    take_balanced,
    warn_of_overlap,
)
from debertav3.finetune.tasks import TASKS

NLI = TASKS["nli"]
GOOD = {"premise": "A man sleeps.", "hypothesis": "Nobody is awake.", "label": "neutral"}


def write(folder: Path, *rows: Any) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {**GOOD, "label": "maybe"},
            "line 2: unknown label 'maybe'; task nli knows contradiction, entailment",
        ),
        ({**GOOD, "hypothesis": "  "}, "line 2: hypothesis is empty"),
        ({**GOOD, "premise": 5}, "line 2: premise must be a text, got int"),
        ({"hypothesis": "x", "label": "neutral"}, "line 2 has no column 'premise' or 'sentence1'"),
        ({"premise": "x", "hypothesis": "y"}, "line 2 has no column 'label'"),
    ],
    ids=["label", "empty", "type", "column", "no-label"],
)
def test_a_bad_row_is_named(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        read_examples(NLI, write(tmp_path, GOOD, row))
    assert message in str(caught.value)


def test_malformed_json_is_named_by_line(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    path.write_text(path.read_text(encoding="utf-8") + '{"premise": \n', encoding="utf-8")
    with pytest.raises(UserError, match="line 2"):
        read_examples(NLI, path)


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
    (example,) = read_examples(NLI, write(tmp_path, {**GOOD, "label": value}))
    assert example == Example((GOOD["premise"], GOOD["hypothesis"]), label)


def test_rows_without_gold_label_are_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        examples = read_examples(NLI, write(tmp_path, GOOD, {**GOOD, "label": "-"}, {**GOOD, "label": -1}))
    assert len(examples) == 1
    assert "passed over 2 rows" in caplog.text


def test_a_file_without_labelled_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no labelled rows"):
        read_examples(NLI, write(tmp_path, {**GOOD, "label": -1}))


def examples_of(*labels: str) -> list[Example]:
    return [Example((f"p{number}", "h"), label) for number, label in enumerate(labels)]


def test_the_label_set_follows_the_training_data() -> None:
    assert choose_labels(NLI, examples_of("neutral", "entailment"), source="f") == (
        "entailment",
        "neutral",
        "contradiction",
    )
    assert choose_labels(NLI, examples_of("not_entailment", "entailment"), source="f") == (
        "entailment",
        "not_entailment",
    )


@pytest.mark.parametrize(
    "labels", [("neutral", "not_entailment"), ("neutral", "neutral")], ids=["mixed", "single"]
)
def test_labels_that_cannot_train_are_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="f:"):
        choose_labels(NLI, examples_of(*labels), source="f")


def test_a_dev_label_that_training_lacks_is_refused() -> None:
    with pytest.raises(UserError, match="dev: label 'not_entailment'"):
        check_labels(examples_of("not_entailment"), ("entailment", "neutral"), source="dev")


def test_overlap_of_dev_and_train_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    train = examples_of("neutral", "neutral", "neutral")
    with caplog.at_level(logging.WARNING):
        assert warn_of_overlap(train, [train[1], Example(("new", "h"), "neutral")], source="dev") == 1
    assert "1 of 2 examples are also in the training data" in caplog.text


def test_a_subset_is_balanced_and_follows_from_the_seed() -> None:
    examples = examples_of(*["neutral"] * 50, *["entailment"] * 10)
    subset = take_balanced(examples, 12, seed=1)
    assert sorted(example.label for example in subset) == ["entailment"] * 6 + ["neutral"] * 6
    assert subset == take_balanced(examples, 12, seed=1)
    assert subset != take_balanced(examples, 12, seed=2)
    assert take_balanced(examples, None, seed=1) == examples
