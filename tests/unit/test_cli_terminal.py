"""Contract: a log line never runs into a progress bar, and a command that wrote says what in one line."""

import logging
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tqdm import tqdm

from debertav3 import cli
from debertav3.cli.terminal import log_to_stderr, wrote


@pytest.fixture(autouse=True)
def restored() -> object:
    logger = logging.getLogger("debertav3")
    before = logger.handlers, logger.level
    yield
    logger.handlers, level = before
    logger.setLevel(level)


def test_a_line_begins_at_the_left_while_a_bar_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr()
    with tqdm(total=10, file=sys.stderr, mininterval=0) as bar:
        bar.update(3)
        logging.getLogger("debertav3.test").info("hello")
        bar.update(3)
    text = capsys.readouterr().err
    before, _, after = text.partition("debertav3: hello\n")
    assert before.endswith("\r") and before.rstrip("\r ").rpartition("\r")[2].strip(" \r") != ""
    assert before.rpartition("\r")[0].endswith(" ")  # the bar was wiped
    assert "3/10" in before and "6/10" in after


def test_a_line_comes_once_where_a_library_sets_up_the_root_logger() -> None:
    code = (
        "import logging\n"
        "from debertav3.cli.terminal import log_to_stderr\n"
        "log_to_stderr()\n"
        "logging.info('set up by the way')\n"
        "logging.getLogger('debertav3.test').info('hello')\n"
        "logging.getLogger('library').warning('careful')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "debertav3: hello\ncareful\n"


def test_only_the_first_process_speaks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrote("a", by="backend native, fp32")
    assert capsys.readouterr().err == "debertav3: wrote a (backend native, fp32)\n"
    wrote(Path("a"), None, "b")
    wrote(None)
    monkeypatch.setenv("RANK", "1")
    wrote("c")
    assert capsys.readouterr().err == "debertav3: wrote a, b\n"


@pytest.mark.parametrize(("stop", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)])
def test_a_clean_up_that_fails_after_a_signal_is_no_traceback(
    stop: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """tqdm releases a lock that it has not made yet, where Ctrl-C comes while it makes it."""

    def interrupted(**_: object) -> None:
        try:
            raise stop
        finally:
            raise AttributeError("type object 'tqdm' has no attribute '_lock'")

    monkeypatch.setattr(cli, "app", interrupted)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == code
    word = "interrupted" if code == 130 else "terminated"
    assert capsys.readouterr().err == f"debertav3: {word}\n"


def run(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    script = command.replace("debertav3", f"{sys.executable} -m debertav3", 1)
    return subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONUNBUFFERED": "", **environment},
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_is_no_error(unbuffered: str) -> None:
    done = run("debertav3 info xsmall | true; exit ${PIPESTATUS[0]}", PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_under_stdout_is_one_line(unbuffered: str) -> None:
    done = run("debertav3 info xsmall > /dev/full", PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and "No space left on device" in done.stderr


def test_a_name_that_stdout_cannot_show_ends_nothing(tmp_path: Path) -> None:
    """Bytes of a file's name, and an encoding without its letters."""
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    shutil.copy(os.fsencode(Path("models/nano/config.json").resolve()), folder + b"/config.json")
    command = f"debertav3 info {shlex.quote(os.fsdecode(folder))} | head -n 1 | od -An -v -tx1 -w9999"
    assert b"/caf\xe9".hex(" ") in run(command).stdout
    assert rb"/caf\udce9".hex(" ") in run(command, PYTHONIOENCODING="ascii").stdout
