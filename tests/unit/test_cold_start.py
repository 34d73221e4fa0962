"""Contract: the help imports no command, a command no other, a light answer nothing it does not need."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from debertav3 import cli

COMMANDS = {f"debertav3.cli.{path.stem}" for path in Path(cli.__file__).parent.glob("*.py")} & {
    f"debertav3.cli.{name.replace('-', '_')}" for name in cli.SUMMARIES
}
HEAVY = {
    "torch",
    "transformers",
    "pydantic",
    "rich",
    "typer",
    "yaml",
    "huggingface_hub",
    "ssl",
    "asyncio",
    "socket",
}
ROOMS = {f"debertav3.{room}" for room in ("models", "pretrain", "finetuning", "serve", "api", "runs")}
IN_NO_HELP = HEAVY | ROOMS | {
    "numpy", "tokenizers", "sentencepiece", "subprocess", "importlib.metadata",
    "debertav3.files", "debertav3.heads", "debertav3.sizes", "debertav3.layers", "debertav3.tasks",
    "debertav3.inference", "debertav3.checkpoint", "debertav3.tokenization",
}  # fmt: skip
IN_NO_ANSWER = HEAVY | ROOMS | {
    "importlib.metadata", "email", "tqdm", "multiprocessing", "http.client", "numpy.testing", "numpy.ma",
    "debertav3.sizes", "debertav3.layers.attention",
}  # fmt: skip


def imported(*words: str) -> set[str]:
    """The modules that a command has imported when it ends."""
    code = (
        "import atexit, json, sys; sys.argv = ['debertav3', *json.loads(sys.argv[1])];"
        "atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr));"
        "from debertav3.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(words)],
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0 and done.stdout, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_the_help_imports_no_command() -> None:
    assert len(COMMANDS) == len(cli.SUMMARIES) - 1  # evaluate is with predict
    found = imported("--help")
    assert not found & COMMANDS
    assert not found & IN_NO_HELP


def test_our_own_modules_that_are_left_out_exist() -> None:
    ours = {name for name in IN_NO_HELP | IN_NO_ANSWER if name.startswith("debertav3")}
    assert [name for name in ours if importlib.util.find_spec(name) is None] == []


@pytest.mark.parametrize("name", ["info", "tokenizer", "doctor"])
def test_a_command_imports_no_other(name: str) -> None:
    found = imported(name, "--help")
    assert found & COMMANDS == {f"debertav3.cli.{name}"}
    assert not found & (HEAVY | ROOMS)


def test_a_light_answer_imports_only_what_it_needs(nano: Path) -> None:
    found = imported("nli", "A man sleeps.", "He rests.", "--model", str(nano), "--backend", "native")
    assert found & COMMANDS == {"debertav3.cli.nli"}
    assert not found & IN_NO_ANSWER
