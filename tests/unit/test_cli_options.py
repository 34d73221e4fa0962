"""Contract: a repeatable option takes several values after one flag, and repeating the flag still works."""

from collections.abc import Iterator
from typing import Annotated, Any

import pytest
import typer
from debertav3.cli.several_values import SeveralValues
from typer.testing import CliRunner

from debertav3 import cli

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


def leaves(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every command below a group, by its words."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, f"{path}{name} ")
        else:
            yield path + name, command


def test_every_command_with_a_repeatable_option_takes_several() -> None:
    cli._register()
    commands = dict(leaves(typer.main.get_command(cli.app)))
    repeatable = {
        name
        for name, command in commands.items()
        if any(getattr(parameter, "multiple", False) for parameter in command.params)
    }
    assert {"finetune", "pretrain", "data check", "data prepare", "tokenizer train"} <= repeatable
    assert [name for name in repeatable if not isinstance(commands[name], SeveralValues)] == []
