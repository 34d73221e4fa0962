"""``--install-completion`` and ``--show-completion``: the tab key completes commands and options."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..errors import UserError

STARTUP_FILES = {"bash": "~/.bashrc", "zsh": "~/.zshrc"}
"""Shells that read completions only if a file of their own says so; fish finds them by their place."""

SHELLS = ("bash", "fish", "zsh")


def completion_options(program: str) -> list[click.Option]:
    """The two options of the main command."""

    def ending(act: Callable[[str], None]) -> Callable[[click.Context, click.Parameter, bool], None]:
        def callback(ctx: click.Context, option: click.Parameter, is_asked: bool) -> None:
            if is_asked:
                act(program)
                ctx.exit()

        return callback

    shared: dict[str, Any] = {"is_flag": True, "is_eager": True, "expose_value": False}
    return [
        click.Option(
            ["--install-completion"],
            help="Install completion for your shell ($SHELL).",
            callback=ending(install),
            **shared,
        ),
        click.Option(
            ["--show-completion"],
            help="Print the completion script.",
            callback=ending(show),
            **shared,
        ),
    ]


def show(program: str) -> None:
    """Print the script that completes the program's command line in the user's shell."""
    print(_script(_shell(), program))


def install(program: str) -> None:
    """Write the script into the user's folder of data, and have the shell read it when it starts.

    Raises:
        UserError: if the shell is not one of `SHELLS`, or the user has no home folder.
    """
    shell = _shell()
    script = _script(shell, program)
    if shell == "fish":
        home = _in_home(os.environ.get("XDG_CONFIG_HOME") or "~/.config")
        target = home / "fish" / "completions" / f"{program}.fish"
    else:
        home = _in_home(os.environ.get("XDG_DATA_HOME") or "~/.local/share")
        target = home / program / f"completion.{shell}"
    from ..files import write_text

    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, script)
    print(f"wrote {target}")
    if shell in STARTUP_FILES:
        startup, line = _in_home(STARTUP_FILES[shell]), f"source '{target}'"
        # whatever encoding the rest of it has
        known = startup.read_text(encoding="utf-8", errors="replace").splitlines() if startup.exists() else []
        if line not in known:
            with open(startup, "a", encoding="utf-8") as stream:
                stream.write(f"\n# completion of {program}\n{line}\n")
            print(f"added to {startup}: {line}")
    print("Completion works in new shells.")


def _in_home(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(
            "no home folder is known, so completion cannot be installed. Set HOME, or use --show-completion."
        ) from None


def _shell() -> str:
    shell = Path(os.environ.get("SHELL", "")).name
    if shell not in SHELLS:
        raise UserError(
            f"$SHELL is {shell or 'not set'}; completion knows {', '.join(SHELLS)}. Run it as SHELL=bash "
            "debertav3 --install-completion."
        )
    return shell


def _script(shell: str, program: str) -> str:
    from click.shell_completion import get_completion_class

    completion = get_completion_class(shell)
    assert completion is not None, shell
    variable = f"_{program.upper()}_COMPLETE"
    return completion(click.Command(program), {}, program, variable).source()
