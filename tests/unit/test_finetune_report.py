"""The report is one file that shows the numbers, escapes every text, and loads nothing from outside."""

import dataclasses
import html
import html.parser
import json
import re
from pathlib import Path
from typing import Any

import pytest

from debertav3.finetuning.card import model_card
from debertav3.finetuning.outcomes import Outcome, by_length, calibration, worst
from debertav3.finetuning.preparation import Data
from debertav3.finetuning.report import render
from debertav3.finetuning.score_verdict import not_found, verdict
from debertav3.tasks.example import Example
from debertav3.tasks.names import TASKS

pytest.importorskip("matplotlib")


def outcome(number: int, *, is_right: bool | None, confidence: float | None, tokens: int = 10) -> Outcome:
    return Outcome(
        example=number,
        gold="yes",
        predicted="yes" if is_right else "no",
        is_right=is_right,
        confidence=confidence,
        badness=0.0 if is_right else float(number),
        tokens=tokens,
    )


def test_calibration_error_by_hand() -> None:
    outcomes = [outcome(n, is_right=n < 3, confidence=0.85) for n in range(4)]
    outcomes += [outcome(n, is_right=False, confidence=0.15) for n in range(4)]
    found = calibration(outcomes)
    assert found is not None
    assert [(one["examples"], one["accuracy"]) for one in found["bins"]] == [(4, 0.0), (4, 0.75)]
    assert found["ece"] == pytest.approx(0.5 * 0.15 + 0.5 * 0.10)
    assert calibration([outcome(0, is_right=None, confidence=None)]) is None


def test_full_confidence_has_its_place() -> None:
    found = calibration([outcome(0, is_right=True, confidence=1.0)])
    (one,) = found["bins"]
    assert found["ece"] == 0.0
    assert one == {"from": 0.9, "to": 1.0, "examples": 1, "confidence": 1.0, "accuracy": 1.0}


def test_intervals_do_not_overlap() -> None:
    confidences = [0.1, 0.2, 0.3, 0.3, 0.6, 0.7, 0.29999]
    found = calibration([outcome(n, is_right=True, confidence=one) for n, one in enumerate(confidences)])
    assert found is not None
    assert sum(one["examples"] for one in found["bins"]) == len(confidences)
    assert [(one["from"], one["examples"]) for one in found["bins"]] == [
        (0.1, 1), (0.2, 2), (0.3, 2), (0.6, 1), (0.7, 1),
    ]  # fmt: skip
    lengths = [5, 5, 5, 5, 5, 5, 7, 7, 9, 30]
    table = by_length(
        [outcome(n, is_right=True, confidence=None, tokens=one) for n, one in enumerate(lengths)]
    )
    assert [(row["tokens_from"], row["tokens_to"], row["examples"]) for row in table] == [
        (5, 5, 6),
        (7, 30, 4),
    ]
    assert by_length([]) == []


def test_scores_by_length_are_in_four_classes() -> None:
    table = by_length([outcome(n, is_right=n < 6, confidence=None, tokens=n) for n in range(8)])
    assert [(row["tokens_from"], row["tokens_to"], row["right"]) for row in table] == [
        (0, 1, 1.0),
        (2, 3, 1.0),
        (4, 5, 1.0),
        (6, 7, 0.0),
    ]
    assert by_length([outcome(3, is_right=None, confidence=None)])[0]["mean_error"] == 3.0


def test_worst_errors_come_first_and_right_answers_never() -> None:
    outcomes = [outcome(n, is_right=n == 5, confidence=None) for n in range(6)]
    assert [one.example for one in worst(outcomes, 2)] == [4, 3]


EVIL = '<script>alert("x")</script> & <b>bold</b>'
LABELS = ("entailment", "neutral", "contradiction")
V3 = {"model_type": "deberta-v2"}


@pytest.fixture
def pieces() -> tuple[dict[str, Any], dict[str, Any], Data]:
    scores: dict[str, Any] = {
        "accuracy": 0.625,
        "macro_f1": 0.5,
        "loss": 0.75,
        "examples": 8,
        "majority_baseline": {"accuracy": 0.375, "macro_f1": 0.2},
        "word_baseline": {"accuracy": 0.98},
        "per_label": {
            name: {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "support": 3.0} for name in LABELS
        },
        "confusion": [[2, 1, 0], [0, 3, 0], [1, 1, 0]],  # never contradiction
        "calibration": {
            "ece": 0.125,
            "bins": [{"from": 0.5, "examples": 8, "confidence": 0.55, "accuracy": 0.625}],
        },
        "by_length": [{"tokens_from": 5, "tokens_to": 9, "examples": 8, "right": 0.625}],
    }
    history = [
        {"step": 1, "loss": 1.1, "learning_rate": 1e-3, "grad_norm": 2.0},
        {"step": 2, "eval_loss": 1.0, "eval_accuracy": 0.625},
    ]
    train = {"examples": 8, "steps": 2, "seconds": 60.0, "examples_per_second": 0.5, "skipped_steps": 1}
    report = {"dev": {"dev.jsonl": scores}, "train": train, "history": history, "data": {"warnings": [EVIL]}}
    record = {
        "command": f"debertav3 finetune nli --model {EVIL}",
        "out": "my-nli",
        "config": {"task": "nli", "model": EVIL, "seed": 1, "max_steps": None},
        "labels": list(LABELS),
        "data": {"dev.jsonl": {"rows": 8, "sha256": "0" * 64}},
        "versions": {"debertav3": "0", "torch": "2"},
        "git_commit": None,
        "device": "cpu",
        "threads": 1,
    }
    dev = [Example(texts=(f"{EVIL} {n}", "h" * 2000), label="neutral") for n in range(8)]
    return (
        report,
        record,
        Data(
            task=TASKS["nli"],
            labels=LABELS,
            train=dev,
            dev={"dev.jsonl": dev},
            rows={},
            row_sums={},
            columns={},
        ),
    )


class Checker(html.parser.HTMLParser):
    """Collects tags, addresses and text; complains of tags that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in ("meta", "br", "img", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_shows_the_numbers_and_nothing_foreign(pieces: tuple[Any, Any, Data]) -> None:
    report, record, data = pieces
    errors = {"dev.jsonl": [outcome(n, is_right=False, confidence=0.9) for n in range(3)]}
    page = render(report, record, data, errors)
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert "script" not in checker.tags
    assert "b" in checker.tags  # ours, of the headline figures
    assert all(address.startswith(("#", "data:image/png;")) for address in checker.addresses)  # of the plots
    assert not re.search(r"url\((?!#)", page)
    text = " ".join(checker.text)
    for shown in ("0.6250", "0.3750", "0.1250", "contradiction", "0.90", EVIL, "skipped"):
        assert shown in text
    assert "h" * 1999 not in text  # long texts are cut


def test_an_error_names_the_line_of_its_file(pieces: tuple[Any, Any, Data], tmp_path: Path) -> None:
    report, record, data = pieces
    rows = [
        {"premise": f"p {n}", "hypothesis": "h", "label": "-" if n in (2, 4) else LABELS[n % 3]}
        for n in range(10)
    ]
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    dev = TASKS["nli"].read(str(source))
    assert len(dev) == 8  # two have no gold label, and still count as lines
    data = dataclasses.replace(data, dev={"dev.jsonl": dev})
    page = render(report, record, data, {"dev.jsonl": [outcome(7, is_right=False, confidence=0.9)]})
    assert "rows.jsonl line 10" in page


def test_baselines_and_missing_labels_are_said_everywhere(pieces: tuple[Any, Any, Data]) -> None:
    report, record, data = pieces
    (scores,) = report["dev"].values()
    line, is_well = verdict("dev.jsonl", scores, "accuracy", LABELS)
    assert line == (
        "dev.jsonl: accuracy 0.6250, constant baseline 0.3750, bag-of-words baseline 0.9800: "
        "NO better than bag-of-words baseline; NEVER predicted: contradiction"
    )
    assert not is_well
    assert line in html.unescape(render(report, record, data, {"dev.jsonl": []}))
    assert line in model_card(report, record, data, architecture=V3)
    assert f"<title>{record['out']}</title>" in render(report, record, data, {"dev.jsonl": []})

    good = {**scores, "word_baseline": {"accuracy": 0.5}, "confusion": [[2, 1, 0], [0, 3, 0], [0, 1, 1]]}
    assert verdict("dev", good, "accuracy", LABELS)[1]
    table = {"a": {"f1": 0.0, "support": 2}, "b": {"f1": 0.5, "support": 1}, "c": {"f1": 0.0, "support": 0}}
    assert not_found({"per_label": table}, ()) == ["a"]


def test_a_run_without_dev_set_has_a_page_and_a_card(pieces: tuple[Any, Any, Data]) -> None:
    report, record, data = pieces
    bare = {**report, "dev": {}}
    assert "Training" in render(bare, record, data, {})
    assert "no dev file was given" in model_card(bare, record, data, architecture=V3)


def test_a_step_without_a_finite_gradient_leaves_a_gap_in_the_curve(pieces: tuple[Any, Any, Data]) -> None:
    report, record, data = pieces
    bad = {"step": 0, "loss": float("nan"), "learning_rate": 1e-3, "grad_norm": float("inf")}
    without = render(report, record, data, {"dev.jsonl": []})
    with_bad = render({**report, "history": [bad, *report["history"]]}, record, data, {"dev.jsonl": []})
    assert with_bad.count("<figure>") == without.count("<figure>")
    assert not re.search(r"\b(nan|inf)\b", with_bad)


def test_the_card_gives_each_dev_set_its_own_results(pieces: tuple[Any, Any, Data], tmp_path: Path) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    report, record, data = pieces
    (scores,) = report["dev"].values()
    values = {
        "in/a/dev.jsonl": 0.9,
        "in/b/dev.jsonl": 0.8,
        "datasets:nyu-mll/glue:mnli:validation_matched": 0.7,
    }
    dev = {source: {**scores, "accuracy": value} for source, value in values.items()}
    path = tmp_path / "README.md"
    path.write_text(model_card({**report, "dev": dev}, record, data, architecture=V3), encoding="utf-8")
    card = huggingface_hub.ModelCard.load(path)
    found = {
        (one.dataset_name, one.dataset_split): one.metric_value
        for one in card.data.eval_results
        if one.metric_type == "accuracy"
    }
    assert found == {
        ("a/dev.jsonl", "a/dev.jsonl"): 0.9,
        ("b/dev.jsonl", "b/dev.jsonl"): 0.8,
        ("glue:mnli:validation_matched", "glue:mnli:validation_matched"): 0.7,
    }
    assert "| a/dev.jsonl | 8 | accuracy | 0.9000 |" in card.text


def test_the_card_is_in_the_hubs_format(pieces: tuple[Any, Any, Data], tmp_path: Path) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    report, record, data = pieces
    record = {**record, "config": {**record["config"], "model": "microsoft/deberta-v3-xsmall"}}
    path = tmp_path / "README.md"
    path.write_text(model_card(report, record, data, architecture=V3), encoding="utf-8")
    card = huggingface_hub.ModelCard.load(path)
    assert card.data.pipeline_tag == "text-classification"
    assert card.data.base_model == "microsoft/deberta-v3-xsmall"
    results = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert results == {"accuracy": 0.625, "macro_f1": 0.5}
    assert "| dev.jsonl | 8 | accuracy | 0.6250 | 0.3750 | 0.9800 |" in card.text


@pytest.mark.parametrize(
    ("architecture", "tags"),
    [
        (V3, {"deberta-v2", "deberta-v3", "debertav3", "nli"}),
        ({**V3, "conv_kernel_size": 3}, {"deberta-v2", "debertav3", "nli"}),
        ({"model_type": "bert"}, {"bert", "nli"}),
    ],
    ids=["v3", "v2", "bert"],
)
def test_the_card_has_the_tags_of_its_family(
    pieces: tuple[Any, Any, Data], tmp_path: Path, architecture: dict[str, Any], tags: set[str]
) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    report, record, data = pieces
    record = {**record, "config": {**record["config"], "max_length": 64}}
    path = tmp_path / "README.md"
    path.write_text(model_card(report, record, data, architecture=architecture), encoding="utf-8")
    assert set(huggingface_hub.ModelCard.load(path).data.tags) == tags
