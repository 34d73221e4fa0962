"""Models of ``finetune custom`` answer and score the files that they were trained from."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from debertav3 import Predictor, UserError, cli
from debertav3.checkpoint import Checkpoint
from debertav3.files.model_folder import ModelFolder
from debertav3.finetuning.config import FinetuneConfig
from debertav3.finetuning.preparation import read_data, resolve
from debertav3.tasks.columns import Columns, find_columns, read_trained
from debertav3.tasks.rows import Row
from tiny_models import ModelFolders

Run = Callable[..., tuple[int, str, str]]
OPINIONS = {0: "bad", 1: "good"}
CSV = 'id,review,Verdict\n1,"A fine film, really.",good\n2,Nobody should see this.,bad\n3,No verdict yet.,\n'


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line in this process: code, output, errors."""

    def call(*arguments: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["debertav3", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture
def folders(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelFolders:
    return ModelFolders(nano, tmp_path_factory)


def trained(folder: Path, **columns: str) -> Path:
    """As ``finetune custom`` leaves its folder."""
    record = {"config": FinetuneConfig.of(task="custom", model="x").to_dict(), "columns": columns}
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


@pytest.fixture
def opinions(folders: ModelFolders) -> Path:
    folder = folders("DebertaV2ForSequenceClassification", id2label=OPINIONS)
    return trained(folder, text="review", label="Verdict")


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_custom_model_answers_the_file_it_was_trained_from(
    run: Run, opinions: Path, tmp_path: Path
) -> None:
    source, target = tmp_path / "ok.csv", tmp_path / "out.jsonl"
    source.write_text(CSV, encoding="utf-8")
    code, out, err = run("evaluate", "classify", "--model", opinions, "--data", source)
    assert code == 0, err
    assert json.loads(out)["labelled"] == 2
    code, _, err = run("predict", "classify", "--model", opinions, "--input", source, "--output", target)
    assert code == 0, err
    texts = [row["review"] for row in read(target)]
    want = Predictor.from_pretrained(opinions).classify(texts)
    assert [row["prediction"] for row in read(target)] == [one["label"] for one in want]


def test_options_name_the_columns_of_any_model(run: Run, folders: ModelFolders, tmp_path: Path) -> None:
    plain = folders("DebertaV2ForSequenceClassification", id2label={0: "no", 1: "yes"})
    source = tmp_path / "ok.csv"
    source.write_text("text,q,p,gold\nwrong,Who?,Ann.,1\nwrong,Why?,So.,yes\n", encoding="utf-8")
    target = tmp_path / "out.jsonl"
    names = ["--text", "q", "--pair", "p", "--label", "gold"]
    code, out, err = run("evaluate", "classify", "--model", plain, "--data", source, *names)
    assert code == 0, err
    assert json.loads(out)["confusion"]["gold_by_predicted"][0] == [0, 0]
    code, _, err = run("predict", "classify", "--model", plain, "--input", source, "--output", target, *names)
    assert code == 0, err
    want = Predictor.from_pretrained(plain).classify([("Who?", "Ann."), ("Why?", "So.")])
    assert [row["prediction"] for row in read(target)] == [one["label"] for one in want]


def test_missing_columns_name_the_options_and_what_is_there(
    run: Run, folders: ModelFolders, tmp_path: Path
) -> None:
    plain = folders("DebertaV2ForSequenceClassification", id2label={0: "no", 1: "yes"})
    source = tmp_path / "ok.csv"
    source.write_text(CSV, encoding="utf-8")
    code, _, err = run("evaluate", "classify", "--model", plain, "--data", source)
    assert code == 2 and err.count("\n") == 1
    assert "it has 'id', 'review', 'Verdict'" in err and "--text-column and --pair-column" in err
    code, _, err = run("evaluate", "classify", "--model", plain, "--data", source, "--text", "review")
    assert code == 2
    assert "none of its 3 rows has a label" in err and "--label" in err and "'Verdict'" in err
    code, _, err = run("evaluate", "classify", "--model", plain, "--data", source, "--text", "nothing")
    assert code == 2 and "needs the field 'nothing'" in err
    code, _, err = run("evaluate", "rtd", "--model", plain, "--data", source, "--pair", "review")
    assert code == 2 and "task rtd does not read the column that --pair-column names" in err


def test_resume_compares_the_columns(
    run: Run, opinions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from debertav3.inference.files import input as file_rows
    from debertav3.inference.files import predict

    for module in (file_rows, predict):
        monkeypatch.setattr(module, "CHUNK_ROWS", 1)
    source, target = tmp_path / "ok.csv", tmp_path / "out.jsonl"
    source.write_text(CSV, encoding="utf-8")
    fill = ["predict", "classify", "--model", opinions, "--input", source, "--output", target]
    with monkeypatch.context() as patched:
        patched.setattr(predict, "_write", lambda *_: (_ for _ in ()).throw(UserError("stopped")))
        assert run(*fill)[0] == 2
    code, _, err = run(*fill, "--resume", "--text", "id")
    assert code == 2 and "options was" in err
    assert run(*fill, "--resume")[0] == 0
    assert len(read(target)) == 3


@pytest.mark.parametrize(
    ("label", "id2label", "kind"),
    [
        ("-1", {0: "-1", 1: "0", 2: "1"}, {}),
        ("2.0", {0: "1.0", 1: "2.0"}, {}),
        ("Yes", {0: "yes", 1: "Yes"}, {}),
        ("-1.5", {0: "x"}, {"problem_type": "regression"}),
        ("a|b", {0: "a", 1: "b"}, {"problem_type": "multi_label_classification"}),
    ],
)
def test_labels_mean_what_they_meant_in_training(
    folders: ModelFolders, tmp_path: Path, label: str, id2label: dict, kind: dict
) -> None:
    from debertav3.inference.files.row_answers import AnswerOptions
    from debertav3.inference.files.workers import TaskPlan

    folder = trained(folders("DebertaV2ForSequenceClassification", id2label=id2label, **kind), label="v")
    columns = find_columns(read_trained(ModelFolder(folder)), Columns())
    task = TaskPlan(
        task="classify", checkpoint=Checkpoint.open(str(folder)), options=AnswerOptions(columns=columns)
    ).open()
    want = {"a|b": ["a", "b"], "-1.5": -1.5}.get(label, label)
    assert task.read(Row("", {"text": "A film.", "v": label})).gold == want


@pytest.mark.parametrize(
    ("content", "settings", "names"),
    [
        (CSV, {"label_column": "Verdict"}, ("review", None, "Verdict")),
        ("Stars,headline,body\n1,A,A longer text.\n2,B,Another text.\n", {}, ("body", None, "Stars")),
        ("a,b,label\nlong text,c,1\nlong text,d,2\n", {"pair_column": "b"}, ("a", "b", "label")),
    ],
)
def test_a_run_notes_the_columns_that_it_has_found(
    tmp_path: Path, content: str, settings: dict[str, str], names: tuple[str | None, ...]
) -> None:
    (tmp_path / "ok.csv").write_text(content, encoding="utf-8")
    data = read_data(resolve("custom", model="nano", given={"train": [str(tmp_path / "ok.csv")], **settings}))
    found = find_columns(read_trained(ModelFolder(trained(tmp_path, **data.columns))), Columns())
    assert (found.text, found.pair, found.label) == names


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"config": 3}', '{"config": {"task": "sst2"}, "columns": {"text": 5}}']
)
def test_other_runs_say_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content, encoding="utf-8")
    assert find_columns(read_trained(ModelFolder(tmp_path)), Columns()) == Columns()


@pytest.mark.parametrize(
    ("task", "row", "said", "names"),
    [
        (
            "nli",
            {"v": "a", "w": "b", "label": "neutral"},
            {"text_column": "1", "pair_column": "2"},
            ("v", "w", "label"),
        ),
        ("sst2", {"text": "a", "label": 1}, {}, ("text", None, "label")),
        (
            "squad1",
            {"q": "Who?", "c": "Ann.", "a": "Ann"},
            {"text_column": "q", "pair_column": "c", "label_column": "a"},
            ("q", "c", "a"),
        ),
        (
            "choice",
            {"q": "Who?", "A": "x", "B": "y", "answer": "B"},
            {"text_column": "q"},
            ("q", None, "answer"),
        ),
        (
            "ner",
            {"w": ["Ann", "x"], "t": ["B-PER", "O"]},
            {"text_column": "w", "label_column": "t"},
            ("w", None, "t"),
        ),
    ],
)
def test_a_run_of_any_task_notes_what_its_columns_were(
    tmp_path: Path, task: str, row: dict[str, Any], said: dict[str, str], names: tuple[str | None, ...]
) -> None:
    other = {
        **row,
        **{key: {"neutral": "entailment", 1: 0}.get(row[key], row[key]) for key in row if key == "label"},
    }
    (tmp_path / "x.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(other) + "\n")
    data = read_data(resolve(task, model="nano", given={"train": [str(tmp_path / "x.jsonl")], **said}))
    (tmp_path / "run.json").write_text(json.dumps({"config": {"task": task}, "columns": data.columns}))
    known = read_trained(ModelFolder(tmp_path))
    assert (known.task, known.text, known.pair, known.label) == (task, *names)
    assert known.choices == (("A", "B") if task == "choice" else ())
    (tmp_path / "run.json").write_text(json.dumps(known.record()))  # as an export carries it
    assert read_trained(ModelFolder(tmp_path)) == known


def test_the_columns_travel_with_an_export(run: Run, opinions: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from debertav3.inference.export.request import ExportConfig
    from debertav3.inference.export.run import export_model

    export_model(opinions, tmp_path / "graph", ExportConfig(format="onnx"))
    source, target = tmp_path / "ok.csv", tmp_path / "out.jsonl"
    source.write_text(CSV, encoding="utf-8")
    code, _, err = run(
        "predict", "classify", "--model", tmp_path / "graph", "--input", source, "--output", target
    )
    assert code == 0, err
    want = Predictor.from_pretrained(opinions).classify([row["review"] for row in read(target)])
    assert [row["prediction"] for row in read(target)] == [one["label"] for one in want]
    code, out, err = run("evaluate", "custom", "--model", tmp_path / "graph", "--data", source)
    assert (code, json.loads(out)["labelled"]) == (0, 2), err


def test_the_task_of_the_training_names_the_answer(run: Run, opinions: Path, tmp_path: Path) -> None:
    source = tmp_path / "ok.csv"
    source.write_text(CSV, encoding="utf-8")
    reports = [
        run("evaluate", task, "--model", opinions, "--data", source) for task in ("custom", "classify")
    ]
    assert [report[0] for report in reports] == [0, 0]
    assert json.loads(reports[0][1]) == json.loads(reports[1][1])
    assert json.loads(reports[0][1])["task"] == "classify"
