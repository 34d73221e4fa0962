"""Contract: all commands share several values, former spellings, headings, summaries, help of settings."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from debertav3 import cli
from debertav3.cli.options import FORMER, Command, settings_table
from debertav3.finetuning.config import FinetuneConfig
from debertav3.pretrain.settings import PretrainConfig
from debertav3.runs.settings import Settings, all_settings

app = typer.Typer(rich_markup_mode=None)


@app.command(cls=Command)
def show(
    inputs: Annotated[list[str], typer.Option("--data", rich_help_panel="Data")],
    out: Annotated[str, typer.Option(rich_help_panel="Run")],
    column: Annotated[str, typer.Option("--text-column", rich_help_panel="Data")] = "text",
    loud: Annotated[bool, typer.Option("--loud")] = False,
) -> None:
    print(",".join(inputs), out, column, loud)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("--data a b c --out o", "a,b,c o text False"),
        ("--out o --data a --loud --data b c", "a,b,c o text True"),
        ("--data=a --data b --out o", "a,b o text False"),
        ("--input a b --output o --column c", "a,b o c False"),
        ("--corpus=a --output=o --text=c", "a o c False"),
    ],
    ids=["after-one-flag", "repeated", "equals-sign", "former", "former-equals-sign"],
)
def test_values(line: str, shown: str) -> None:
    assert CliRunner().invoke(app, line.split()).stdout.strip() == shown


def test_another_option_takes_one_value() -> None:
    assert CliRunner().invoke(app, ["--data", "a", "--out", "o", "p"]).exit_code == 2


def test_options_stand_under_their_headings() -> None:
    text = CliRunner().invoke(app, ["--help"]).stdout
    places = [
        text.index(part) for part in ("Data:\n  --data", "--text-column", "Run:\n  --out", "Options:\n")
    ]
    assert places == sorted(places)
    assert text.index("--loud") > places[-1]
    assert "--input" not in text


def leaves(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every command below a group, by its words."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, f"{path}{name} ")
        else:
            yield path + name, command


@pytest.fixture(scope="module")
def commands() -> dict[str, Any]:
    cli._register()
    return dict(leaves(typer.main.get_command(cli.app)))


def test_every_command_is_one_of_ours(commands: dict[str, Any]) -> None:
    assert {"finetune", "pretrain", "data check", "data prepare", "tokenizer train", "nli"} <= commands.keys()
    assert [name for name, command in commands.items() if not isinstance(command, Command)] == []


def test_no_summary_is_cut(commands: dict[str, Any]) -> None:
    too_long = {name: text for name, one in commands.items() if "..." in (text := one.get_short_help_str(45))}
    assert too_long == {}


def test_one_word_for_one_thing(commands: dict[str, Any]) -> None:
    """No command has a former spelling of its own, and every former spelling means something somewhere."""
    options = {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in commands.items()
    }
    assert {name: found for name, one in options.items() if (found := one & FORMER.keys())} == {}
    everything = set().union(*options.values())
    assert {now for several in FORMER.values() for now in several} <= everything


@pytest.mark.parametrize("settings", [FinetuneConfig, PretrainConfig])
def test_the_help_lists_every_setting_with_default_and_meaning(settings: type[Settings]) -> None:
    words = " ".join(settings_table(settings).split())
    for setting in all_settings(settings):
        assert f" {setting.short}" in words
        assert f"{setting.meaning} [{setting.wanted}]" in words
    assert "learning_rate=" in words and "warmup_steps=" in words


@pytest.mark.parametrize("line", ["finetune --help-settings", "pretrain --help-settings", "--help"])
def test_help_needs_no_torch_and_no_other_option(line: str) -> None:
    code = f"""
import sys
sys.argv = ["debertav3", *{line.split()!r}]
from debertav3.cli import main
try:
    main()
finally:
    print(sorted({{"torch", "transformers"}} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert done.stdout


def test_a_shell_can_complete(tmp_path: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv = ['debertav3']; import debertav3.cli as c; c.main()"],
        env={"_DEBERTAV3_COMPLETE": "complete_bash", "COMP_WORDS": "debertav3 fin", "COMP_CWORD": "1",
             "PATH": "/usr/bin", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.stdout.split() == ["finetune"]


def test_all_commands_are_there_though_one_was_added_before() -> None:
    code = (
        "import sys; from debertav3 import cli; from debertav3.cli import predict; predict.register(cli.app);"
        "sys.argv = ['debertav3', 'bench', '--help']; cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "debertav3 bench" in done.stdout
