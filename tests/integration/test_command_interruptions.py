"""Signals, second commands, changing inputs, killed parents: one line, nothing lost."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from debertav3 import Predictor, UserError
from debertav3.files import lock
from debertav3.inference.files import input as file_rows
from debertav3.inference.files import predict
from debertav3.inference.files.journal import Journal
from debertav3.inference.files.predict import predict_file
from debertav3.inference.files.row_answers import FILE_TASKS, AnswerOptions

SLOWED = """
import sys, time
from debertav3 import cli
from debertav3.inference.files import input as rows, predict, workers
rows.CHUNK_ROWS = predict.CHUNK_ROWS = 8
answer = workers.answer_chunk
def slow(task, chunk):
    time.sleep(0.2)
    return answer(task, chunk)
workers.answer_chunk = slow
cli.main()
"""


def run(*arguments: object, code: str = "from debertav3 import cli; cli.main()") -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: "subprocess.Popen[str]") -> tuple[int, list[str]]:
    """Exit code and the lines of stderr that are not bars."""
    _, err = process.communicate(timeout=300)
    assert "Traceback" not in err, err
    return process.returncode, [line for line in err.splitlines() if line.startswith("debertav3: ")]


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 240
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


def write_pairs(path: Path, count: int, tag: str = "old") -> Path:
    rows = [
        {"premise": f"A {tag} man {i} sleeps.", "hypothesis": f"Somebody {i} rests."} for i in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def predictor(nano: Path) -> Predictor:
    return Predictor.from_pretrained(nano)


@pytest.mark.parametrize("moment", ["answering", "writing"])
def test_rows_never_get_the_answers_of_others(
    moment: str, predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (file_rows, predict):
        monkeypatch.setattr(module, "CHUNK_ROWS", 8)
    source, target = write_pairs(tmp_path / "in.jsonl", 40), tmp_path / "out.jsonl"
    task = FILE_TASKS["nli"](predictor, AnswerOptions())

    def replaced_meanwhile(chunks: Any, batch_tokens: int | None) -> Any:
        from debertav3.inference.files.workers import InProcess

        for number, answers in enumerate(InProcess(task)(chunks, batch_tokens)):
            if number == (1 if moment == "answering" else 4):
                os.replace(write_pairs(tmp_path / "new.jsonl", 40, "new"), source)
            yield answers

    with pytest.raises(UserError, match=r"in\.jsonl has changed since this run began"):
        predict_file(task, source, target, answerer=replaced_meanwhile)
    assert not target.exists()


def test_a_file_that_grew_or_shrank_is_noticed(predictor: Predictor, tmp_path: Path) -> None:
    task = FILE_TASKS["nli"](predictor, AnswerOptions())
    source = write_pairs(tmp_path / "in.jsonl", 5)
    found = file_rows.check_file(task, source)
    for count in (4, 6):
        write_pairs(source, count)
        with pytest.raises(UserError, match="has changed"):
            list(file_rows.rows_of(task, found))


def test_a_second_command_is_told_at_once(nano: Path, tmp_path: Path) -> None:
    source, target = write_pairs(tmp_path / "in.jsonl", 3), tmp_path / "out.jsonl"
    with lock(target):
        arguments = ["predict", "nli", "--model", nano, "--data", source, "--out", target, "--overwrite"]
        code, lines = ended(run(*arguments))
    assert code == 2
    assert lines == [
        f"debertav3: error: {target} is being written by another debertav3 command. "
        "Wait until it ends, or choose another --out."
    ]
    assert sorted(os.listdir(tmp_path)) == ["in.jsonl"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_predict_keeps_its_answers(number: signal.Signals, nano: Path, tmp_path: Path) -> None:
    source, target = write_pairs(tmp_path / "in.jsonl", 400), tmp_path / "out.jsonl"
    journal = Journal(target).path
    process = run("predict", "nli", "--model", nano, "--data", source, "--out", target, code=SLOWED)
    wait_for(lambda: journal.exists() and journal.read_bytes().count(b"\n") > 9, process)
    process.send_signal(number)
    code, _ = ended(process)
    assert code == 128 + number
    assert sorted(os.listdir(tmp_path)) == ["in.jsonl", journal.name]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_end_with_a_parent_that_is_killed(nano: Path, tmp_path: Path) -> None:
    source, target = write_pairs(tmp_path / "in.jsonl", 4000), tmp_path / "out.jsonl"
    command = ["predict", "nli", "--model", nano, "--data", source, "--out", target, "--workers", 2]
    process = run(*command)
    wait_for(lambda: len(children_of(process.pid)) >= 2 and Journal(target).exists(), process)
    workers = children_of(process.pid)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 60
    while (left := [pid for pid in workers if is_running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(workers) >= 2 and not left


def children_of(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(one) for one in text.split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


DROPPED = """
import time
from debertav3 import cli

class Slow:
    def __del__(self):
        print("now", flush=True)
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            pass

def work(standalone_mode):
    Slow()
    for _ in range(6000):
        time.sleep(0.01)

cli.app = work
cli.main()
"""


@pytest.mark.parametrize(
    ("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")], ids=["INT", "TERM"]
)
def test_a_signal_whose_exception_python_drops_is_heard(number: signal.Signals, word: str) -> None:
    process = run(code=DROPPED)
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    started = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (128 + number, f"debertav3: {word}\n")
    assert time.monotonic() - started < 30
