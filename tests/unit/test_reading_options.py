"""What a user says of files means the same in all commands that read rows."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click import Context

from debertav3.cli import app
from debertav3.errors import UserError
from debertav3.finetuning.preparation import read_data, resolve
from debertav3.inference.files.file_task import AnswerOptions
from debertav3.inference.files.row_answers import FILE_TASKS
from debertav3.tasks.label_map import read_label_map
from debertav3.tasks.read_options import ReadOptions
from debertav3.tasks.tables import read_table

OPTIONS = (
    "--text-column",
    "--pair-column",
    "--label-column",
    "--choice-columns",
    "--labels",
    "--format",
    "--encoding",
    "--no-header",
    "--sheet",
    "--records",
    "--skip-bad",
    "--word-column",
    "--tag-column",
    "--tag-names",
)


def test_every_command_that_reads_rows_takes_the_same_options() -> None:
    context = Context(app)
    found: dict[str, Any] = {
        name: app.get_command(context, name) for name in ("finetune", "predict", "evaluate")
    }
    group: Any = app.get_command(context, "data")
    found["data check"] = group.get_command(context, "check")
    for name, command in found.items():
        known = {opt: one for one in command.params for opt in (*one.opts, *one.secondary_opts)}
        assert not set(OPTIONS) - known.keys(), name
        assert all(known[option].help for option in OPTIONS), name


def write(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("task", "name", "content"),
    [
        ("custom", "x.csv", "text,label\na b,x\nc,d,y,z\ne f,y\n"),
        ("custom", "x.csv", '"3","a b"\n"4","c d","e"\n"5","e f"\n'),
        ("custom", "x.json", '[{"text": "a b", "label": "x"}, 5, {"text": "e f", "label": "y"}]'),
        ("custom", "x.json", '[["a b", "x"], ["c"], ["e f", "y"]]'),
        (
            "ner",
            "x.jsonl",
            '{"text": "Ann met.", "label": [[0, 3, "PER"]]}\n{"text": "Bob.", "label": [[0, 30, "PER"]]}\n'
            '{"text": "Eve met.", "label": [[0, 3, "PER"]]}\n',
        ),
        ("nli", "x.jsonl", "\n".join(json.dumps(one) for one in (
            {"premise": "a", "hypothesis": "b", "label": "neutral"},
            {"premise": "a", "hypothesis": "b", "label": "nonsense"},
            {"premise": "c", "hypothesis": "b", "label": "entailment"},
        ))),
    ],
)  # fmt: skip
def test_a_bad_row_is_refused_or_left_out_and_listed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, task: str, name: str, content: str
) -> None:
    given: dict[str, Any] = {"train": [str(write(tmp_path / name, content))]}
    if content.startswith('"3"'):
        given["label_column"] = "1"
    if content.startswith('[["a b"'):
        given |= {"text_column": "1", "label_column": "2"}
    with pytest.raises(UserError):
        read_data(resolve(task, model="nano", given=given))
    found = read_data(resolve(task, model="nano", given={**given, "skip_bad": True}))
    assert len(found.train) == 2
    assert sum(line.startswith("skipped ") for line in caplog.messages) == 1


@pytest.mark.parametrize(
    ("content", "label_map", "kind", "labels"),
    [
        (
            "text;label\na;gut\nb;übel\nc;gut\n",
            {"gut": "good", "übel": "bad"},
            "auto",
            ["good", "bad", "good"],
        ),
        (
            "text;label\na;g|ü\nb;ü\nc;\n",
            {"g": "good", "ü": "bad"},
            "several-labels",
            [("bad", "good"), ("bad",), ()],
        ),
        ("text;label\na;hoch\nb;tief\nc;2\n", {"hoch": "1", "tief": "0"}, "number", [1.0, 0.0, 2.0]),
    ],
)
def test_a_map_of_labels_counts_in_training_and_evaluation(
    tmp_path: Path, content: str, label_map: dict[str, str], kind: str, labels: list[Any]
) -> None:
    path = write(tmp_path / "x.csv", content)
    lines = write(tmp_path / "map.yaml", "".join(f"{key}: '{value}'\n" for key, value in label_map.items()))
    given = {"train": [str(path)], "labels": str(lines), "label_kind": kind}
    data = read_data(resolve("custom", model="nano", given=given))
    assert [example.label for example in data.train] == labels
    several = kind == "several-labels"
    predictor: Any = SimpleNamespace(labels=list(data.labels) or ["x"], is_multi_label=several)
    task = FILE_TASKS["classify"](predictor, AnswerOptions(label_map=read_label_map(lines)))
    gold = [task.read(row).gold for row in read_table(path, ReadOptions())]
    assert [tuple(one) if several else one for one in gold] == labels


@pytest.mark.parametrize("form", ["tags", "characters"])
def test_a_map_of_tags_counts_in_training_and_evaluation(tmp_path: Path, form: str) -> None:
    rows = {
        "tags": {"tokens": ["Ann", "met", "Bob"], "ner_tags": ["B-per", "O", "B-LOC"]},
        "characters": {"text": "Ann met Bob", "label": [[0, 3, "per"], [8, 11, "LOC"]]},
    }
    path = write(tmp_path / "x.jsonl", json.dumps(rows[form]) + "\n")
    lines = write(tmp_path / "map.yaml", "per: PER\n")
    given = {"train": [str(path)], "labels": str(lines)}
    for name in ("ner", "custom"):
        (example,) = read_data(resolve(name, model="nano", given=given)).train
        assert example.label == ("B-PER", "O", "B-LOC")
    predictor: Any = SimpleNamespace(labels=[])
    task = FILE_TASKS["ner"](predictor, AnswerOptions(label_map=read_label_map(lines)))
    (gold,) = [task.read(row).gold for row in read_table(path)]
    assert gold == (["B-PER", "O", "B-LOC"] if form == "tags" else [(0, 3, "PER"), (8, 11, "LOC")])
