"""Typical mistakes of every command are told in one line, before torch is loaded, and change no file.

The lines are those of ``benchmarks/mistakes.py``, which also says how long each takes.
"""

import importlib
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from test_command_matrix import RUN_ALL

from debertav3 import cli

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def mistakes() -> Iterator[ModuleType]:
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("mistakes")
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def outcomes(mistakes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """By line, what came of it; all run in one process until one loads torch, then in a fresh one."""
    folder = tmp_path_factory.mktemp("mistakes")
    names = mistakes.sandbox(folder)
    lines = [line for several in mistakes.MISTAKES.values() for line in several]
    results: list[dict[str, Any]] = []
    while len(results) < len(lines):
        left = [shlex.split(line.format(**names)) for line in lines[len(results) :]]
        done = subprocess.run(
            [sys.executable, "-c", RUN_ALL, str(folder)],
            input=json.dumps(left),
            capture_output=True,
            text=True,
            timeout=600,
        )
        found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        assert found, done.stderr
        results += found
    return dict(zip(lines, results, strict=True))


def test_every_mistake_is_told_in_one_line_without_torch(outcomes: dict[str, dict[str, Any]]) -> None:
    wrong = {
        line: result
        for line, result in outcomes.items()
        if result["code"] != 2 or result["torch"] or result["changed"] or not _is_told(line, result)
    }
    assert not wrong


def _is_told(line: str, result: dict[str, Any]) -> bool:
    """Whether the last line on stderr, and no other, is an error; without arguments the help comes."""
    err = result["err"].splitlines()
    errors = [one for one in err if one.startswith("debertav3: error: ")]
    return (not line and "Commands:" in result["err"]) or (
        len(errors) == 1 and err[-1] == errors[0] and not result["out"]
    )


def test_every_command_has_its_mistakes(mistakes: ModuleType) -> None:
    covered = {line.split()[0] for lines in mistakes.MISTAKES.values() for line in lines if line}
    assert set(cli.SUMMARIES) <= covered
