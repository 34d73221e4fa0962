"""``predict`` on files: three formats, a stopped run goes on exactly, workers give the same results."""

import csv
import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from debertav3 import Predictor, UserError
from debertav3.checkpoint import Checkpoint
from debertav3.inference import token_budget
from debertav3.inference.files import input as file_rows
from debertav3.inference.files import predict
from debertav3.inference.files.journal import Journal
from debertav3.inference.files.predict import check_run, evaluate_file, predict_file
from debertav3.inference.files.row_answers import FILE_TASKS, AnswerOptions, FileTask
from debertav3.inference.files.workers import InProcess, Settled, TaskPlan, WorkerProcesses
from tiny_models import ModelFolders

NLI = {0: "contradiction", 1: "entailment", 2: "neutral"}


@pytest.fixture(scope="module")
def folder(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ModelFolders(nano, tmp_path_factory)("DebertaV2ForSequenceClassification", id2label=NLI)


@pytest.fixture(scope="module")
def predictor(folder: Path) -> Predictor:
    return Predictor.from_pretrained(folder)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (file_rows, predict):
        monkeypatch.setattr(module, "CHUNK_ROWS", 8)


Tasks = Callable[..., FileTask]


@pytest.fixture
def nli(predictor: Predictor) -> Tasks:
    """A new task, with a new scorer."""
    return lambda name="nli": FILE_TASKS[name](predictor, AnswerOptions())


def pairs(count: int) -> list[dict[str, Any]]:
    """Rows of very different lengths, so that no order of computation equals the order of the file."""
    return [
        {
            "id": number,
            "premise": "word " * (1 + number * 7 % 23) + str(number),
            "hypothesis": f'It "is",\n{number} ünd ½.',
            "label": NLI[number % 3],
        }
        for number in range(count)
    ]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=7)
    elif ".csv" in path.suffixes:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "wt", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read_rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        import pyarrow.parquet

        rows = pyarrow.parquet.read_table(path).to_pylist()
    elif ".csv" in path.suffixes:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8", newline="") as file:
            rows = [dict(row) for row in csv.DictReader(file)]
    else:
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [{**row, "scores": json.loads(row["scores"])} for row in rows]


@pytest.fixture(scope="module")
def expected(predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The first 20 pairs as JSONL to JSONL answers them."""
    place = tmp_path_factory.mktemp("expected")
    task = FILE_TASKS["nli"](predictor, AnswerOptions())
    predict_file(task, write_rows(place / "in.jsonl", pairs(20)), place / "out.jsonl")
    return read_rows(place / "out.jsonl")


@pytest.mark.parametrize(
    ("source_name", "target_name"),
    [
        ("in.jsonl", "out.csv"),
        ("in.jsonl", "out.parquet"),
        ("in.csv", "out.parquet"),
        ("in.csv.gz", "out.csv.gz"),
        ("in.parquet", "out.jsonl"),
        ("in.parquet", "out.csv"),
    ],
)
def test_every_format_gives_the_same_answers(
    nli: Tasks, tmp_path: Path, expected: list[dict[str, Any]], source_name: str, target_name: str
) -> None:
    source, target, metrics = tmp_path / source_name, tmp_path / target_name, tmp_path / "m.json"
    predict_file(nli(), write_rows(source, pairs(20)), target, metrics=metrics)
    is_text = "csv" in source_name or "csv" in target_name
    for got, row in zip(read_rows(target), expected, strict=True):
        assert list(got) == ["id", "premise", "hypothesis", "label", "prediction", "scores"]
        assert got == {**row, "id": str(row["id"]) if is_text else row["id"]}
    assert json.loads(metrics.read_text())["labelled"] == 20
    assert not list(tmp_path.glob("*.progress"))


def test_a_format_may_be_named_where_the_ending_says_nothing(nli: Tasks, tmp_path: Path) -> None:
    rows = pairs(3)
    source = write_rows(tmp_path / "in.csv", rows).rename(tmp_path / "in.txt")
    report = evaluate_file(nli(), source, source_format="csv")
    predict_file(nli(), source, tmp_path / "out", source_format="csv", target_format="csv")
    predict_file(nli(), source, tmp_path / "out.jsonl", source_format="csv", target_format="csv")
    csv_rows = (tmp_path / "out").rename(tmp_path / "out.csv")
    assert read_rows(csv_rows) == read_rows(tmp_path / "out.jsonl")
    assert report["labelled"] == 3
    with pytest.raises(UserError, match="unknown format 'odt'"):
        evaluate_file(nli(), source, source_format="odt")
    with pytest.raises(UserError, match="already compressed"):
        predict_file(nli(), source, tmp_path / "out.parquet.gz")


def test_parquet_keeps_types_and_writes_numbers_and_lists(
    nano: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, nli: Tasks
) -> None:
    import datetime
    import decimal

    import pyarrow.parquet

    day, price = datetime.date(2020, 2, 29), decimal.Decimal("1.50")
    rows = [
        {
            "query": "Who?",
            "texts": ["Ann.", "It rains."],
            "label": 1,
            "day": day,
            "price": price,
            "extra": None,
        },
        {"query": "Why?", "texts": ["So."], "label": None, "day": None, "price": price, "extra": b"x"},
    ]
    source, target = write_rows(tmp_path / "in.parquet", rows), tmp_path / "out.parquet"
    predict_file(nli("rerank"), source, target)
    before, after = (pyarrow.parquet.read_table(path) for path in (source, target))
    assert after.select(before.column_names).equals(before)
    assert [json.loads(one.as_py()) for one in after["prediction"]][1] == [0]
    numbers = ModelFolders(nano, tmp_path_factory)("DebertaV2ForSequenceClassification", id2label={0: "x"})
    plain = write_rows(tmp_path / "in.jsonl", [{"text": "a", "label": 1}, {"text": "b", "tag": [1, "y"]}][:1])
    task = FILE_TASKS["classify"](Predictor.from_pretrained(numbers), AnswerOptions())
    predict_file(task, plain, target, overwrite=True)
    assert pyarrow.parquet.read_table(target).schema.field("prediction").type == pyarrow.float64()
    with pytest.raises(UserError, match="column 'extra' contains bytes"):
        predict_file(nli("rerank"), source, tmp_path / "out.jsonl")
    rows = [{name: row[name] for name in row if name != "extra"} for row in rows]
    predict_file(nli("rerank"), write_rows(source, rows), tmp_path / "out.jsonl")
    assert read_rows(tmp_path / "out.jsonl")[0]["day"] == "2020-02-29"


BAD_FILES = {
    "cells": ("in.csv", "premise,hypothesis\na,b\nc\n", "line 3 has 1 cells; the first line has 2 names"),
    "names": ("in.csv", "premise,premise\na,b\n", "line 1: columns need different names"),
    "quote": ("in.csv", 'premise,hypothesis\n"a,b\n', "is not valid CSV"),
    "field": ("in.csv", "premise,label\n\na,0\n", "line 3: needs the fields 'premise' and 'hypothesis'"),
    "label": ("in.csv", "premise,hypothesis,label\na,b,7\n", "line 2: unknown label 7"),
    "bytes": ("in.csv", "premise,hypothesis\nä,b\na,\udcff\n", "line 3 is not UTF-8"),
    "nothing": ("in.csv", "", "contains no rows"),
    "parquet": ("in.parquet", "no parquet at all", "cannot be read as Parquet"),
    "absent": (None, "", "does not exist"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_one_clear_line(nli: Tasks, tmp_path: Path, kind: str) -> None:
    name, text, message = BAD_FILES[kind]
    source = tmp_path / (name or "absent.parquet")
    if name:
        source.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=message) as raised:
        predict_file(nli(), source, tmp_path / "out.csv")
    assert "\n" not in str(raised.value)
    assert os.listdir(tmp_path) == ([name] if name else [])


class Stopped(Exception):
    """What stops a run in these tests."""


def stop_after(task: FileTask, num_chunks: int) -> Any:
    """An answerer that fails after so many chunks."""

    def answer(chunks: Any, settled: Settled) -> Any:
        for number, answers in enumerate(InProcess(task)(chunks, settled)):
            if number == num_chunks:
                raise Stopped
            yield answers

    return answer


def counting(task: FileTask, seen: list[int]) -> Any:
    """An answerer that notes how many rows it is given."""

    def answer(chunks: Any, settled: Settled) -> Any:
        for answers in InProcess(task)(chunks, settled):
            seen.append(len(answers))
            yield answers

    return answer


@pytest.mark.parametrize(
    ("ending", "torn"),
    [("jsonl", "half a line"), ("csv", "a line and a half"), ("parquet", "whole lines")],
)
def test_a_stopped_run_goes_on_exactly(
    nli: Tasks, tmp_path: Path, small_chunks: None, ending: str, torn: str
) -> None:
    source, want = write_rows(tmp_path / "in.jsonl", pairs(30)), tmp_path / f"want.{ending}"
    predict_file(nli(), source, want, metrics=tmp_path / "want.json")
    target, metrics = tmp_path / f"out.{ending}", tmp_path / "got.json"
    task = nli()
    with pytest.raises(Stopped):
        predict_file(task, source, target, answerer=stop_after(task, 2))
    assert not target.exists()
    journal = Journal(target).path
    lines = journal.read_bytes().splitlines(keepends=True)
    assert len(lines) == 1 + 16
    if torn != "whole lines":  # as a kill in the middle of the third chunk leaves it
        lines += lines[1:2] if torn == "a line and a half" else []
        journal.write_bytes(b"".join(lines) + lines[2][:20])
    with pytest.raises(UserError, match="--resume"):
        predict_file(nli(), source, target)
    seen: list[int] = []
    task = nli()
    predict_file(task, source, target, metrics=metrics, resume=True, answerer=counting(task, seen))
    assert seen == [8, 6]
    assert target.read_bytes() == want.read_bytes()
    assert json.loads(metrics.read_text()) == json.loads((tmp_path / "want.json").read_text())
    assert not journal.exists()


def test_answers_of_another_run_are_refused_and_kept(
    folder: Path, nli: Tasks, tmp_path: Path, small_chunks: None
) -> None:
    source, target = write_rows(tmp_path / "in.jsonl", pairs(30)), tmp_path / "out.jsonl"
    task = nli()
    with pytest.raises(Stopped):
        predict_file(task, source, target, answerer=stop_after(task, 1))
    with pytest.raises(UserError, match="task was 'nli', now 'classify'"):
        predict_file(nli("classify"), source, target, resume=True)
    halves = FILE_TASKS["nli"](
        Predictor.from_pretrained(folder, dtype="bf16", backend="torch"), AnswerOptions()
    )
    with pytest.raises(UserError, match="dtype was 'fp32', now 'bf16'"):
        predict_file(halves, source, target, resume=True)
    write_rows(source, [{**row, "premise": "other"} for row in pairs(30)])
    with pytest.raises(UserError, match="input checksum"):
        predict_file(nli(), source, target, resume=True)
    write_rows(source, pairs(30))
    seen: list[int] = []
    task = nli()
    predict_file(task, source, target, resume=True, answerer=counting(task, seen))
    assert seen == [8, 8, 6]


def test_a_resumed_run_keeps_the_backend_that_it_was_begun_with(
    folder: Path, tmp_path: Path, small_chunks: None
) -> None:
    """Whatever ``auto`` would take by now."""

    def task(backend: str) -> FileTask:
        return FILE_TASKS["nli"](Predictor.from_pretrained(folder, backend=backend), AnswerOptions())

    source, target = write_rows(tmp_path / "in.jsonl", pairs(30)), tmp_path / "out.jsonl"
    first, seen = task("torch"), []
    with pytest.raises(Stopped):
        predict_file(first, source, target, answerer=stop_after(first, 1))
    with pytest.raises(UserError, match="backend was 'torch', now 'native'"):
        predict_file(task("native"), source, target, resume=True)
    again = task("auto")
    predict_file(again, source, target, resume=True, answerer=counting(again, seen))
    assert again.predictor.engine.backend.name == "torch" and seen == [8, 8, 6]
    with pytest.raises(Stopped):
        predict_file(first, source, target, overwrite=True, answerer=stop_after(first, 1))
    journal = Journal(target).path
    journal.write_text(journal.read_text().replace('"backend": "torch"', '"backend": "onnx"', 1))
    with pytest.raises(
        UserError, match=r"started on backend onnx, which cannot continue: .*--overwrite"
    ) as raised:
        predict_file(task("auto"), source, target, resume=True)
    assert "\n" not in str(raised.value)


def test_a_run_that_answered_nothing_leaves_nothing(nli: Tasks, tmp_path: Path, small_chunks: None) -> None:
    source = write_rows(tmp_path / "in.jsonl", pairs(9))
    task = nli()
    with pytest.raises(Stopped):
        predict_file(task, source, tmp_path / "out.jsonl", answerer=stop_after(task, 0))
    assert os.listdir(tmp_path) == ["in.jsonl"]


def test_overwrite_begins_a_stopped_run_anew(nli: Tasks, tmp_path: Path, small_chunks: None) -> None:
    source, target = write_rows(tmp_path / "in.jsonl", pairs(30)), tmp_path / "out.jsonl"
    task = nli()
    with pytest.raises(Stopped):
        predict_file(task, source, target, answerer=stop_after(task, 2))
    seen: list[int] = []
    task = nli("classify")  # another task, which --resume refuses
    write_rows(source, [{"text": f"text {number}"} for number in range(20)])
    predict_file(task, source, target, overwrite=True, answerer=counting(task, seen))
    assert seen == [8, 8, 4] and len(read_rows(target)) == 20
    assert sorted(os.listdir(tmp_path)) == ["in.jsonl", "out.jsonl"]


def test_a_half_written_output_is_taken_over(nli: Tasks, tmp_path: Path, small_chunks: None) -> None:
    rows = [{name: row[name] for name in ("premise", "hypothesis")} for row in pairs(30)]
    source, target = write_rows(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    predict_file(nli(), source, target)
    whole = target.read_bytes()
    target.write_bytes(b"".join(whole.splitlines(keepends=True)[:19]) + b'{"premise": "a')
    seen: list[int] = []
    task = nli()
    predict_file(task, source, target, resume=True, answerer=counting(task, seen))
    assert seen == [8, 6]
    assert target.read_bytes() == whole
    write_rows(source, rows[1:])
    with pytest.raises(UserError, match=r"line 1 does not match .* line 1"):
        predict_file(nli(), source, target, resume=True)
    assert target.read_bytes() == whole


def test_a_killed_process_resumes(folder: Path, nli: Tasks, tmp_path: Path, small_chunks: None) -> None:
    """The real command, killed for good at some moment of its work."""
    source, target = write_rows(tmp_path / "in.jsonl", pairs(60)), tmp_path / "out.csv"
    slowed = (
        "import time\n"
        "from debertav3 import cli\n"
        "from debertav3.inference.files import input as rows, predict, workers\n"
        "rows.CHUNK_ROWS = predict.CHUNK_ROWS = 8\n"
        "answer = workers.answer_chunk\n"
        "def slow(task, chunk): time.sleep(0.1); return answer(task, chunk)\n"
        "workers.answer_chunk = slow\n"
        "cli.main()"
    )
    options = ["predict", "nli", "--model", folder, "--input", source, "--output", target]
    process = subprocess.Popen([sys.executable, "-c", slowed, *map(str, options)], stderr=subprocess.DEVNULL)
    journal = Journal(target).path
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and (not journal.exists() or journal.stat().st_size < 2000):
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert journal.exists() and not target.exists()
    predict_file(nli(), source, target, resume=True)
    predict_file(nli(), source, tmp_path / "want.csv")
    assert target.read_bytes() == (tmp_path / "want.csv").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["in.jsonl", "out.csv", "want.csv"]


def test_columns_that_the_answers_replace_are_named(
    nli: Tasks, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"premise": "a", "hypothesis": "b", "prediction": "mine"}]
    predict_file(nli(), write_rows(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl")
    assert "its own prediction is replaced by the answers" in caplog.text
    caplog.clear()
    del rows[0]["prediction"]
    predict_file(nli(), write_rows(tmp_path / "in.jsonl", rows), tmp_path / "second.jsonl")
    assert "replaced" not in caplog.text


@pytest.mark.parametrize("how", ["", "resume", "overwrite"])
@pytest.mark.parametrize("content", ["my notes\n", "my notes", '{"task": "buy milk"}\n', "[1]\n"])
def test_a_file_of_the_users_own_is_not_taken_for_progress(tmp_path: Path, content: str, how: str) -> None:
    target = tmp_path / "out.jsonl"
    journal = Journal(target).path
    journal.write_text(content)
    with pytest.raises(UserError, match=r"out\.jsonl\.progress is not the progress of a run"):
        check_run(target, None, target_format=None, resume=how == "resume", overwrite=how == "overwrite")
    assert journal.read_text() == content


def plan_of(folder: Path) -> TaskPlan:
    return TaskPlan(task="nli", checkpoint=Checkpoint.open(str(folder)), options=AnswerOptions())


@pytest.mark.parametrize("num_workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_other_processes_give_the_same_file(
    folder: Path,
    nli: Tasks,
    tmp_path: Path,
    small_chunks: None,
    monkeypatch: pytest.MonkeyPatch,
    num_workers: int,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    source = write_rows(tmp_path / "in.jsonl", pairs(50))
    predict_file(nli(), source, tmp_path / "one.jsonl")
    workers = WorkerProcesses(plan_of(folder), num_workers=num_workers)
    predict_file(nli(), source, tmp_path / "two.jsonl", answerer=workers)
    assert (tmp_path / "two.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()


@pytest.mark.slow
def test_a_local_ray_gives_the_same_file(
    folder: Path, nli: Tasks, tmp_path: Path, small_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    from debertav3.inference.files.ray import RayWorkers

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    source = write_rows(tmp_path / "in.jsonl", pairs(50))
    predict_file(nli(), source, tmp_path / "one.jsonl")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
    try:
        predict_file(
            nli(), source, tmp_path / "ray.jsonl", answerer=RayWorkers(plan_of(folder), num_workers=2)
        )
    finally:
        ray.shutdown()
    assert (tmp_path / "ray.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()


def test_the_token_budget_is_measured_once_for_big_inputs_only(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEBERTAV3_CACHE", str(tmp_path / "cache"))
    kept = tmp_path / "cache" / token_budget.KEPT
    predictor = Predictor.from_pretrained(folder, backend="native")
    predictor.nli([("a", "b")])
    assert predictor.engine.batch_tokens is None and not (tmp_path / "cache").exists()
    monkeypatch.setattr("debertav3.inference.engine.BIG_INPUT_TOKENS", 4)
    small = predictor.nli([("one two three", "four five six")])
    chosen = predictor.engine.batch_tokens
    assert chosen in [512, 1024, 2048, 4096]
    assert small == Predictor.from_pretrained(folder, batch_tokens=64).nli(
        [("one two three", "four five six")]
    )
    assert list(json.loads(kept.read_text()).values()) == [chosen]
    kept.write_text(kept.read_text().replace(str(chosen), "77"))
    again = Predictor.from_pretrained(folder, backend="native")
    again.nli([("one two three", "four five six")])
    assert again.engine.batch_tokens == 77
    given = Predictor.from_pretrained(folder, batch_tokens=99)
    given.nli([("one two three", "four five six")])
    assert given.engine.batch_tokens == 99
    for change in ("kernel", "version", "torch", "device"):
        with monkeypatch.context() as changed:
            if change == "kernel":
                changed.setenv("DNNL_MAX_CPU_ISA", "SSE41")
            elif change == "version":
                changed.setattr(token_budget, "__version__", "0")
            elif change == "torch":
                changed.setattr(token_budget, "installed_version", lambda name: f"another {name}")
            else:
                changed.setattr(token_budget, "_device_name", lambda backend: "cuda:0 another GPU")
            assert token_budget.best_batch_tokens(again.engine.backend) in [512, 1024, 2048, 4096], change
    assert token_budget.best_batch_tokens(again.engine.backend) == 77
    kept.write_text("damaged")
    assert token_budget.best_batch_tokens(again.engine.backend) in [512, 1024, 2048, 4096]
