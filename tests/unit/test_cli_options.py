"""Contract: all commands share several values, former spellings, headings, summaries, help of settings."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import pytest
from click import Context, Group
from click.testing import CliRunner

from debertav3 import cli
from debertav3.cli.commands import FORMER, Argument, Command, Option, command
from debertav3.cli.options import settings_table
from debertav3.errors import UserError
from debertav3.finetuning.config import FinetuneConfig
from debertav3.pretrain.settings import PretrainConfig
from debertav3.runs.settings import Settings, all_settings


def show(
    inputs: Annotated[list[str], Option("--data", heading="Data")],
    out: Annotated[str, Option(heading="Run")],
    column: Annotated[str, Option("--text-column", heading="Data")] = "text",
    loud: Annotated[bool, Option("--loud")] = False,
) -> None:
    print(",".join(inputs), out, column, loud)


app = command(show)


def typed(
    first: Annotated[Path, Argument(help="A file.")],
    rest: Annotated[list[int] | None, Argument(help="Numbers.")] = None,
    word: Annotated[Literal["one", "two"] | None, Option(help="A word.")] = None,
    share: Annotated[float, Option(help="A share.")] = 0.5,
    count: Annotated[int | None, Option(min=2, help="Rounds.", show_default="seven")] = None,
    head: Annotated[
        bool | None, Option("--head/--no-head", help="With a head.", show_default="as found")
    ] = None,
    several: Annotated[list[Path] | None, Option(help="More files.")] = None,
) -> None:
    """Show what arrives."""
    print([first, rest, word, share, count, head, several])


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("a", [Path("a"), None, None, 0.5, None, None, None]),
        ("a 1 2 --share 1 --count 2", [Path("a"), [1, 2], None, 1.0, 2, None, None]),
        ("a --word two --head", [Path("a"), None, "two", 0.5, None, True, None]),
        ("a --no-head --several b c", [Path("a"), None, None, 0.5, None, False, [Path("b"), Path("c")]]),
    ],
    ids=["defaults", "numbers", "choice-and-flag", "paths"],
)
def test_a_parameter_gets_a_value_of_its_type(line: str, shown: list[object]) -> None:
    done = CliRunner().invoke(command(typed), line.split())
    assert done.stdout.strip() == repr(shown), done.output


def limited(seconds: Annotated[float, Option(min=0.01, help="Seconds.")] = 1.0) -> None:
    """Show what arrives."""
    print(seconds)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "NaN"])
def test_a_limit_is_a_finite_number(value: str) -> None:
    done = CliRunner().invoke(command(limited), ["--seconds", value])
    assert done.exit_code == 2 and not done.stdout


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "Missing argument 'FIRST'"),
        ("a --count 1", "1 is not in the range x>=2"),
        ("a --word twoo", "'twoo' is not known. Did you mean 'two'? Choose one of: one, two."),
        ("a --share much", "'much' is not a valid float"),
        ("a x", "'x' is not a valid integer"),
        ("a --shares 1", "--share"),
    ],
)
def test_a_wrong_value_is_told(line: str, told: str) -> None:
    done = CliRunner().invoke(command(typed), line.split())
    assert done.exit_code == 2
    assert told in done.stderr


def test_the_help_says_what_a_parameter_takes() -> None:
    text = " ".join(CliRunner().invoke(command(typed), ["--help"]).stdout.split())
    assert "[OPTIONS] FIRST [REST]... Show what arrives. Arguments: FIRST A file. [REST]... Numbers." in text
    assert "--word [one|two] A word." in text
    assert "A share. [default: 0.5]" in text
    assert "Rounds. [default: (seven); x>=2]" in text
    assert "--head / --no-head With a head. [default: (as found)]" in text
    assert text.count("FIRST") == 2


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


def members(group: Group, path: str = "") -> Iterator[tuple[str, str, Any]]:
    """Every command and group below a group, by its words, with its line in the help of the group."""
    context = Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        yield path + name, group.summaries[name], found  # type: ignore[attr-defined]
        if isinstance(found, Group):
            yield from members(found, f"{path}{name} ")


@pytest.fixture(scope="module")
def commands() -> dict[str, Any]:
    return {name: found for name, _, found in members(cli.app) if not isinstance(found, Group)}


def test_the_summary_of_a_command_is_the_first_line_of_its_own_help() -> None:
    """The summaries are said apart from the commands, which the help does not import."""
    assert {name: line for name, line, _ in members(cli.app)} == {
        name: (found.help or "").splitlines()[0] for name, _, found in members(cli.app)
    }


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
        env={"_DEBERTAV3_COMPLETE": "bash_complete", "COMP_WORDS": "debertav3 fin", "COMP_CWORD": "1",
             "PATH": "/usr/bin", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.stdout.split() == ["plain,finetune"]


@pytest.mark.parametrize(("shell", "startup"), [("bash", ".bashrc"), ("zsh", ".zshrc"), ("fish", None)])
def test_completion_is_installed_once_and_adds_to_what_is_there(
    shell: str, startup: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", f"/bin/{shell}")
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    if startup:
        (tmp_path / startup).write_text("alias a=b\n", encoding="utf-8")
    for _ in range(2):
        assert CliRunner().invoke(cli.app, ["--install-completion"]).exit_code == 0
    (script,) = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != startup]
    shown = CliRunner().invoke(cli.app, ["--show-completion"]).stdout
    assert script.read_text(encoding="utf-8").strip() == shown.strip()
    assert f"{shell}_complete" in shown
    if startup:
        lines = (tmp_path / startup).read_text(encoding="utf-8").splitlines()
        assert lines[0] == "alias a=b"
        assert lines.count(f"source '{script}'") == 1


def test_completion_leaves_other_encodings_alone_and_needs_a_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELL", "/bin/bash")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    (tmp_path / ".bashrc").write_bytes(b"# gr\xfcn\n")  # Latin-1
    result = CliRunner().invoke(cli.app, ["--install-completion"])
    assert result.exit_code == 0, result.exception
    assert (tmp_path / ".bashrc").read_bytes().startswith(b"# gr\xfcn\n\n# completion of debertav3\n")

    def unknown(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", unknown)
    with pytest.raises(UserError, match=r"no home folder is known.*Set HOME"):
        CliRunner().invoke(cli.app, ["--install-completion"], catch_exceptions=False)


@pytest.mark.parametrize(
    "line",
    [
        "data check custom {rows} --labels {map} --json {map} --overwrite",
        "evaluate classify --model {nano} --data {rows} --labels {map} --metrics {map} --overwrite",
        "predict classify --model {nano} --data {rows} --labels {map} --out {new} --metrics {map}"
        " --overwrite",
    ],
)
def test_a_map_of_labels_is_an_input(line: str, nano: Path, tmp_path: Path) -> None:
    rows, mapping = tmp_path / "rows.csv", tmp_path / "map.json"
    rows.write_text("text,label\na b,x\nc d,y\n", encoding="utf-8")
    mapping.write_text('{"x": "z"}', encoding="utf-8")
    words = line.format(rows=rows, map=mapping, nano=nano, new=tmp_path / "new.csv").split()
    with pytest.raises(UserError, match="is the input of --labels, which it would replace"):
        CliRunner().invoke(cli.app, words, catch_exceptions=False)
    assert mapping.read_text(encoding="utf-8") == '{"x": "z"}'


def test_a_shell_that_completion_does_not_know_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    with pytest.raises(UserError, match="is tcsh; completion knows bash, fish, zsh"):
        CliRunner().invoke(cli.app, ["--install-completion"], catch_exceptions=False)


def test_the_choices_of_an_option_are_those_of_the_package(commands: dict[str, Any]) -> None:
    from debertav3.data.prepare import Cleaning, Deduplication, Documents, Executor
    from debertav3.inference.backends.choose import BACKENDS
    from debertav3.inference.backends.exported import ALL_FORMATS
    from debertav3.inference.entities import AGGREGATIONS

    for name, option, known in [
        ("predict", "backend", BACKENDS),
        ("predict", "aggregation", AGGREGATIONS),
        ("export", "format_", ALL_FORMATS),
        ("data prepare", "executor", get_args(Executor)),
        ("data prepare", "clean", get_args(Cleaning)),
        ("data prepare", "dedup", get_args(Deduplication)),
        ("data prepare", "txt_documents", get_args(Documents)),
    ]:
        (parameter,) = (one for one in commands[name].params if one.name == option)
        assert set(parameter.type.choices) == set(known), option


def test_every_command_with_many_options_has_them_under_headings(commands: dict[str, Any]) -> None:
    for name, found in commands.items():
        loose = [one.name for one in found.params if getattr(one, "heading", "") == "Options"]
        assert len(loose) <= 9, name
