"""Contract: a repeatable option takes several values after one flag, and repeating the flag still works."""

import subprocess
import sys
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from debertav3.cli.several_values import SeveralValues

app = typer.Typer()


@app.command(cls=SeveralValues)
def show(
    inputs: Annotated[list[str], typer.Option("--input")],
    out: Annotated[str, typer.Option()],
    loud: Annotated[bool, typer.Option("--loud")] = False,
) -> None:
    print(",".join(inputs), out, loud)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("--input a b c --out o", "a,b,c o False"),
        ("--out o --input a --loud --input b c", "a,b,c o True"),
        ("--input=a --input b --out o", "a,b o False"),
    ],
    ids=["after-one-flag", "repeated", "equals-sign"],
)
def test_values(line: str, shown: str) -> None:
    assert CliRunner().invoke(app, line.split()).stdout.strip() == shown


def test_another_option_takes_one_value() -> None:
    assert CliRunner().invoke(app, ["--input", "a", "--out", "o", "p"]).exit_code == 2


@pytest.mark.parametrize("command", ["data prepare", "tokenizer train", "pretrain"])
def test_commands_that_read_files_take_several(command: str) -> None:
    option = "--text" if command == "pretrain" else "--input"
    words = [*command.split(), option, "a.none", "b.none", "--nothing"]
    result = subprocess.run([sys.executable, "-m", "debertav3", *words], capture_output=True, text=True)
    assert "No such option" in result.stderr and "--nothing" in result.stderr
