"""``nli``, ``predict``, ``evaluate``: every row back in order with its answer, or one line and no file."""

import gzip
import json
import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import debertav3
from debertav3 import Predictor, cli
from debertav3.inference import default_model
from debertav3.inference.files import predict, row_answers
from tiny_models import ModelFolders

NLI = {0: "contradiction", 1: "entailment", 2: "neutral"}
TAGS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def debertav3_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command line in this process."""

    def run(*arguments: Any) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["debertav3", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        return Outcome(int(stopped.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(scope="module")
def model(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelFolders:
    return ModelFolders(nano, tmp_path_factory)


@pytest.fixture
def nli_model(model: ModelFolders) -> Path:
    return model("DebertaV2ForSequenceClassification", id2label=NLI)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def pairs(count: int) -> list[dict[str, Any]]:
    """Rows of very different lengths, so that no order of computation equals the order of the file."""
    return [
        {
            "id": number,
            "premise": "word " * (1 + number * 7 % 23) + str(number),
            "hypothesis": f"It is {number}.",
            "label": NLI[number % 3],
        }
        for number in range(count)
    ]


def test_nli_prints_one_object_of_percentages(debertav3_command: Command, nli_model: Path) -> None:
    outcome = debertav3_command("nli", "--model", nli_model, "A man sleeps.", "A man is awake.")
    assert outcome.code == 0
    found = json.loads(outcome.out)
    shares = Predictor.from_pretrained(nli_model).nli(("A man sleeps.", "A man is awake."))
    assert found == {name: round(100 * share, 1) for name, share in shares.items()}
    assert list(found) == ["entailment", "neutral", "contradiction"]
    assert sum(found.values()) == pytest.approx(100, abs=0.11)


def test_the_log_is_shown_on_demand(
    debertav3_command: Command, nli_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = ("nli", "--model", nli_model, "A man sleeps.", "A man is awake.")
    logger = logging.getLogger("debertav3")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "level", logger.level)
    assert debertav3_command(*question).err == ""
    monkeypatch.setenv("DEBERTAV3_LOG", "loud")
    assert "need one of: debug, info, warning, error" in debertav3_command(*question).err
    monkeypatch.setenv("DEBERTAV3_LOG", "info")
    assert f"{nli_model}: backend native" in debertav3_command(*question).err


def test_nli_labels_say_what_an_unnamed_head_means(
    debertav3_command: Command, model: ModelFolders, nli_model: Path
) -> None:
    unnamed = model("DebertaV2ForSequenceClassification", num_labels=3)  # the same seed, the same weights
    refused = debertav3_command("nli", "--model", unnamed, "a", "b")
    assert (refused.code, refused.out) == (2, "")
    assert "LABEL_0" in refused.err
    told = debertav3_command("nli", "--model", unnamed, "--labels", ",".join(NLI.values()), "a", "b")
    assert told.out == debertav3_command("nli", "--model", nli_model, "a", "b").out


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_rows_come_back_in_order_with_answers_and_metrics(
    debertav3_command: Command,
    nli_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setattr(predict, "CHUNK_ROWS", 16)  # several chunks
    rows = pairs(50)
    source, target, metrics = write(tmp_path / name, rows), tmp_path / "out.jsonl", tmp_path / "metrics.json"
    outcome = debertav3_command(
        "predict", "nli", "--model", nli_model, "--input", source, "--output", target, "--metrics", metrics
    )
    assert (outcome.code, outcome.out) == (0, "")
    answers = Predictor.from_pretrained(nli_model).nli([(row["premise"], row["hypothesis"]) for row in rows])
    found = read(target)
    for row, answer, got in zip(rows, answers, found, strict=True):
        assert list(got) == [*row, "prediction", "scores"]
        assert {key: got[key] for key in row} == row
        assert got["scores"] == pytest.approx(answer, abs=2e-6)
        assert got["prediction"] == max(answer, key=lambda name: answer[name])
    report = json.loads(metrics.read_text())
    assert (report["task"], report["rows"], report["labelled"]) == ("nli", 50, 50)
    assert report["accuracy"] == sum(got["prediction"] == got["label"] for got in found) / 50
    assert report["confusion"]["labels"] == ["entailment", "neutral", "contradiction"]
    evaluated = debertav3_command("evaluate", "nli", "--model", nli_model, "--data", source)
    assert json.loads(evaluated.out) == report
    assert sorted(os.listdir(tmp_path)) == sorted([name, "out.jsonl", "metrics.json"])


def test_a_finished_output_is_replaced_only_when_told(
    debertav3_command: Command, nli_model: Path, tmp_path: Path
) -> None:
    source, target = write(tmp_path / "in.jsonl", pairs(3)), tmp_path / "out.jsonl"
    words = ["predict", "nli", "--model", nli_model, "--input", source, "--output", target]
    target.touch()  # as mktemp leaves it: nothing to lose
    assert debertav3_command(*words).code == 0
    target.write_text("the answers of an earlier run")
    refused = debertav3_command(*words)
    assert refused.code == 2 and refused.err.count("\n") == 1
    assert f"{target} already exists" in refused.err and "--overwrite" in refused.err
    assert target.read_text() == "the answers of an earlier run"
    assert "Give one of them" in debertav3_command(*words, "--resume", "--overwrite").err
    assert debertav3_command(*words, "--overwrite").code == 0
    assert len(read(target)) == 3


def test_two_way_labels_score_a_three_way_head(
    debertav3_command: Command, nli_model: Path, tmp_path: Path
) -> None:
    rows = [{**row, "label": "entailment" if row["id"] % 2 else "not_entailment"} for row in pairs(12)]
    rows += [{**row, "label": "-"} for row in pairs(2)]  # no agreement of the annotators: not scored
    source, target = write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    metrics = tmp_path / "new" / "metrics.json"
    debertav3_command(
        "predict", "nli", "--model", nli_model, "--input", source, "--output", target, "--metrics", metrics
    )
    report = json.loads(metrics.read_text())
    found = read(target)[:12]
    right = sum((row["prediction"] == "entailment") == (row["label"] == "entailment") for row in found)
    assert (report["rows"], report["labelled"]) == (14, 12)
    assert report["accuracy"] == pytest.approx(right / 12)
    assert report["confusion"]["labels"] == ["entailment", "not_entailment"]


def test_one_label_alone_does_not_make_the_data_two_way(
    debertav3_command: Command, nli_model: Path, tmp_path: Path
) -> None:
    source = write(tmp_path / "in.jsonl", [{**row, "label": "ENTAILMENT"} for row in pairs(3)])
    report = json.loads(debertav3_command("evaluate", "nli", "--model", nli_model, "--data", source).out)
    assert report["confusion"]["labels"] == ["entailment", "neutral", "contradiction"]
    assert report["per_label"]["entailment"]["support"] == 3


CASES: dict[str, tuple[str, dict[str, Any], list[dict[str, Any]], dict[str, type]]] = {
    "classify": (
        "DebertaV2ForSequenceClassification",
        {"id2label": NLI},
        [{"sentence1": "a", "sentence2": "b", "label": 0}, {"text": "c", "label": "Neutral"}, {"text": "d"}],
        {"prediction": str, "scores": dict, "accuracy": float, "macro_f1": float},
    ),
    "classify a number": (
        "DebertaV2ForSequenceClassification",
        {"id2label": {0: "similarity"}},
        [
            {"sentence1": "a", "sentence2": "b", "label": 0.5},
            {"sentence1": "c", "sentence2": "d", "label": 4},
        ],
        {"prediction": float, "scores": dict, "pearson": float, "rmse": float, "mae": float},
    ),
    "classify with several labels": (
        "DebertaV2ForSequenceClassification",
        {"id2label": NLI, "problem_type": "multi_label_classification"},
        [{"text": "a", "label": ["neutral"]}, {"text": "b", "label": []}],
        {"prediction": list, "scores": dict, "accuracy": float, "micro_f1": float},
    ),
    "zero-shot": (
        "DebertaV2ForSequenceClassification",
        {"id2label": NLI},
        [{"text": "a", "labels": ["x", "y"], "label": "x"}, {"text": "b"}],
        {"prediction": str, "scores": dict, "accuracy": float},
    ),
    "rerank": (
        "DebertaV2ForSequenceClassification",
        {"id2label": NLI},
        [{"query": "a", "texts": ["b", "c", "d"], "label": 1}, {"query": "a", "texts": ["b"], "label": [1]}],
        {"prediction": list, "scores": list, "accuracy": float, "mrr": float},
    ),
    "ner": (
        "DebertaV2ForTokenClassification",
        {"id2label": TAGS},
        [
            {"tokens": ["Ann", "sleeps"], "label": ["B-PER", "O"]},
            {"text": "Ann in Rome", "label": [{"start": 7, "end": 11, "entity_group": "LOC"}]},
        ],
        {"prediction": list, "scores": list, "f1": float, "per_label": dict},
    ),
    "qa": (
        "DebertaV2ForQuestionAnswering",
        {},
        [
            {"question": "Who?", "context": "Ann sleeps.", "answers": [{"text": "Ann", "answer_start": 0}]},
            {"question": "Who?", "context": "It rains.", "answers": {"text": [], "answer_start": []}},
            {"question": "Who?", "context": "It rains.", "is_impossible": True},
        ],
        {"prediction": str, "scores": dict, "exact_match": float, "f1": float, "HasAns_f1": float},
    ),
    "fill-mask": (
        "DebertaV2ForMaskedLM",
        {},
        [{"text": "A [MASK].", "label": "dog"}, {"text": "[MASK] and [MASK]"}],
        {"prediction": list, "scores": list, "accuracy": float},
    ),
    "rtd": (
        "DebertaV2ForReplacedTokenDetection",
        {},
        [{"text": "A dog ate.", "label": [{"start": 2, "end": 5}]}, {"text": "No label"}],
        {"prediction": list, "scores": list, "f1": float},
    ),
    "choice": (
        "DebertaV2ForMultipleChoice",
        {},
        [
            {"context": "Ann sleeps.", "question": "Who?", "choices": ["Ann", "Tom"], "label": 0},
            {"question": "Who?", "choices": ["Ann", "Tom", "Eve"]},
        ],
        {"prediction": int, "scores": dict, "accuracy": float},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_task_answers_its_rows(
    debertav3_command: Command, model: ModelFolders, tmp_path: Path, case: str
) -> None:
    class_name, config, rows, kinds = CASES[case]
    task = case.split()[0]
    source, target, metrics = write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl", tmp_path / "m.json"
    options = ["--labels", "p, q"] if task == "zero-shot" else []
    outcome = debertav3_command(
        "predict", task, "--model", model(class_name, **config), "--input", source, "--output", target,
        "--metrics", metrics, *options,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    found, report = read(target), json.loads(metrics.read_text())
    assert [{key: got[key] for key in row} for row, got in zip(rows, found, strict=True)] == rows
    assert all(isinstance(got[key], kinds[key]) for got in found for key in ("prediction", "scores"))
    assert all(isinstance(report[key], kind) for key, kind in kinds.items() if key in report)
    assert not {key for key in kinds if key not in ("prediction", "scores")} - set(report)
    assert report["labelled"] == sum(
        "label" in row or "answers" in row or "is_impossible" in row for row in rows
    )
    if task == "zero-shot":
        assert [sorted(got["scores"]) for got in found] == [["x", "y"], ["p", "q"]]
    if task == "ner":
        assert len(found[0]["prediction"]) == len(found[0]["tokens"])
    if task == "rtd":
        assert len(found[0]["scores"]) == 4


def test_the_rows_of_the_guide_are_answered(
    debertav3_command: Command, model: ModelFolders, tmp_path: Path, repository: Path
) -> None:
    guide = (repository / "docs" / "prediction.md").read_text("utf-8")
    examples = re.findall(r"### `([a-z-]+)`\n\n```json\n(.+)\n```", guide)
    assert [task for task, _ in examples] == list(row_answers.FILE_TASKS)
    for task, line in examples:
        class_name, config, *_ = CASES.get(task, CASES["classify"])
        source, target, metrics = tmp_path / "in.jsonl", tmp_path / "out.jsonl", tmp_path / "m.json"
        source.write_text(line, encoding="utf-8")
        outcome = debertav3_command(
            "predict", task, "--model", model(class_name, **config), "--input", source, "--output", target,
            "--metrics", metrics, "--overwrite",
        )  # fmt: skip
        assert outcome.code == 0, outcome.err
        assert json.loads(metrics.read_text())["labelled"] == 1


BAD_ROWS = {
    "malformed": ('{"premise": "a", "hypothesis"}', "line 2 is not valid JSON"),
    "missing field": ('{"premise": "a"}', "line 2: needs the fields 'premise' and 'hypothesis'"),
    "no text": ('{"premise": "a", "hypothesis": {}}', "line 2: field 'hypothesis' must be a text, got dict"),
    "unknown label": (
        '{"premise": "a", "hypothesis": "b", "label": "maybe"}',
        "line 2: unknown label 'maybe'",
    ),
}


@pytest.mark.parametrize("kind", BAD_ROWS)
@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_bad_row_is_one_clear_line_and_leaves_no_file(
    debertav3_command: Command, nli_model: Path, tmp_path: Path, command: str, kind: str
) -> None:
    line, message = BAD_ROWS[kind]
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps(pairs(1)[0]) + "\n" + line + "\n")
    places = (
        ["--data", source]
        if command == "evaluate"
        else ["--input", source, "--output", tmp_path / "out.jsonl"]
    )
    outcome = debertav3_command(
        command, "nli", "--model", nli_model, *places, "--metrics", tmp_path / "m.json"
    )
    assert (outcome.code, outcome.out) == (2, "")
    assert f"{source} {message}" in outcome.err
    assert outcome.err.count("\n") == 1
    assert os.listdir(tmp_path) == ["in.jsonl"]


def test_wrong_names_are_one_clear_line_and_leave_no_file(
    debertav3_command: Command, nli_model: Path, tmp_path: Path
) -> None:
    source, target = write(tmp_path / "in.jsonl", pairs(1)), tmp_path / "out.jsonl"
    empty = write(tmp_path / "empty.jsonl", [])
    rest = ["--output", target]
    for arguments, message in (
        (["predict", "nli", "--model", tmp_path / "none", "--input", source, *rest], "none"),
        (["predict", "nli", "--model", tmp_path, "--input", source, *rest], "config.json"),
        (["predict", "nli", "--model", nli_model, "--input", tmp_path / "none.jsonl", *rest], "none.jsonl"),
        (["predict", "nli", "--model", nli_model, "--input", empty, *rest], "empty.jsonl is empty"),
        (["predict", "sing", "--model", nli_model, "--input", source, *rest], "unknown task 'sing'"),
        (["predict", "ner", "--model", nli_model, "--input", source, *rest], "token-classification"),
        (
            ["predict", "nli", "--model", nli_model, "--input", source, "--output", tmp_path],
            "not an ordinary file",
        ),
        (
            ["predict", "nli", "--model", nli_model, "--input", source, *rest, "--metrics", target],
            "--out and --metrics are the same",
        ),
        (["nli", "--model", nli_model, "a", ""], "the hypothesis is empty"),
        (
            ["evaluate", "qa", "--model", nli_model, "--data", source, "--null-threshold", "x"],
            "--null-threshold",
        ),
        (
            ["evaluate", "qa", "--model", nli_model, "--data", source, "--null-threshold", "nan"],
            "--null-threshold must be a number or none, got 'nan'",
        ),
        (
            ["evaluate", "zero-shot", "--model", nli_model, "--data", source, "--labels", "sports,,music"],
            "label 2 is empty",
        ),
    ):
        outcome = debertav3_command(*arguments)
        assert (outcome.code, outcome.out) == (2, ""), arguments
        assert message in outcome.err
        assert outcome.err.count("\n") == 1
        assert sorted(os.listdir(tmp_path)) == ["empty.jsonl", "in.jsonl"]


def test_rows_without_labels_are_answered_and_not_evaluated(
    debertav3_command: Command, nli_model: Path, tmp_path: Path
) -> None:
    rows = [{"premise": "a", "hypothesis": "b"}]
    source, metrics = write(tmp_path / "in.jsonl", rows), tmp_path / "m.json"
    debertav3_command(
        "predict",
        "nli",
        "--model",
        nli_model,
        "--input",
        source,
        "--output",
        tmp_path / "o.jsonl",
        "--metrics",
        metrics,
    )
    assert json.loads(metrics.read_text()) == {
        "task": "nli",
        "model": str(nli_model),
        "rows": 1,
        "labelled": 0,
    }
    outcome = debertav3_command("evaluate", "nli", "--model", nli_model, "--data", source)
    assert outcome.code == 2
    assert "none of its 1 rows has a label" in outcome.err


def test_the_default_model_is_the_packages_own(
    nano: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if not (nano / "config.json").is_file():
        pytest.skip("this checkout has no trained nano model")
    assert default_model.default_model() == nano
    monkeypatch.setattr(default_model, "_PACKAGE", tmp_path / "src" / "debertav3")
    with pytest.raises(debertav3.UserError, match="--model"):
        default_model.default_model()
    inside = tmp_path / "src" / "debertav3" / "nano"
    inside.mkdir(parents=True)
    (inside / "config.json").touch()
    assert default_model.default_model() == inside


@pytest.mark.parametrize("command", ["nli", "predict", "evaluate"])
def test_help_shows_an_example(debertav3_command: Command, command: str) -> None:
    outcome = debertav3_command(command, "--help")
    assert outcome.code == 0
    assert f"Example: debertav3 {command}" in outcome.out
