"""A worker ends when the process that started it is killed, whether multiprocessing made it or a fork did."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from debertav3.cpu.kernel.threads import libraries_in
from debertav3.errors import UserError
from debertav3.finetuning.compare import compare
from debertav3.finetuning.config import FinetuneConfig
from debertav3.finetuning.search import search
from debertav3.inference.files import workers

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks")

FORKED = """
import os, time
from debertav3.processes import end_with_parent
if os.fork() == 0:
    end_with_parent()
    print(os.getpid(), flush=True)
    time.sleep(600)
time.sleep(600)
"""
SPAWNED = """
import multiprocessing, os, sys, time
from debertav3.processes import end_with_parent

def work():
    end_with_parent()
    print(os.getpid(), flush=True)
    time.sleep(600)

if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=work).start()
    time.sleep(600)
"""


@pytest.mark.parametrize("code", [FORKED, SPAWNED], ids=["fork", "spawn"])
def test_a_worker_does_not_outlive_a_killed_parent(code: str, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(code)
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 60
    while is_running(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_running(worker)
    parent.stdout.close()


def is_running(pid: int) -> bool:
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True
    ).stdout.strip()
    return bool(state) and not state.startswith("Z")


def test_libraries_of_a_process_are_found_under_any_name() -> None:
    """In folders with spaces, and of names that are not UTF-8, which any mapped file may have."""
    lines = [
        "7f00-7f01 r-xp 00000000 fe:00 338944                     /home/a b/torch/lib/libgomp.so.1\n",
        "7f01-7f02 r--s 00000000 fe:00 338945                     /models/caf\udce9/model.safetensors\n",
        "7f02-7f03 rw-p 00000000 00:00 0 \n",
        "7f03-7f04 rw-p 00000000 00:00 0                          [stack]\n",
        "7f04-7f05 r-xp 00000000 fe:00 338946                     /tmp/old.so (deleted)\n",
    ]
    assert libraries_in(lines) == {"/home/a b/torch/lib/libgomp.so.1", "/tmp/old.so"}


def test_why_a_worker_cannot_open_its_model_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def open(self) -> None:
            raise UserError("the model is gone.")

    monkeypatch.setattr(workers, "end_with_parent", lambda: None)
    monkeypatch.setattr(workers, "THREAD_VARIABLES", ())
    monkeypatch.setattr(workers, "_worker_task", None)
    monkeypatch.setattr(workers.signal, "signal", lambda *arguments: None)
    workers._open_in_worker(Gone(), None, 1, None)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"the model is gone\."):
        workers._answer_in_worker([])


def test_some_commands_run_in_one_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"compare runs in one process.* 2\b"):
        compare(["nano"], {"nli": {}}, [1], tmp_path / "out")
    with pytest.raises(UserError, match="search runs in one process"):
        search(FinetuneConfig.of(task="nli", model="nano"), {}, tmp_path / "out", trials=1)
    assert not (tmp_path / "out").exists()
