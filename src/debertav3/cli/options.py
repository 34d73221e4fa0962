"""What all commands share: several values after one option, headings, former spellings, and settings.

Reading is ``--data``, writing ``--out``, a model ``--model``, a column ``--text-column``, ``--pair-column``
or ``--label-column``, in every command. A command is registered with ``cls=Command``.
"""

import dataclasses
import textwrap
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from ..runs.settings import Settings
    from ..runs.values import Setting

Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what earlier commands wrote, never an input.")
]

FORMER = {
    "--models": ("--model",),
    "--input": ("--data",),
    "--corpus": ("--data",),
    "--output": ("--out",),
    "--text": ("--text-column", "--data"),
    "--pair": ("--pair-column",),
    "--label": ("--label-column",),
    "--column": ("--text-column",),
    "--kind": ("--label-kind",),
}
"""Former spellings, read for one more version: each as the first of these that a command has."""

WIDTH = 78
KEY_WIDTH = 28


class Command(TyperCommand):
    """A command whose repeatable options take several values and whose options have headings.

    ``--data a b`` means ``--data a --data b``; both work. Where there is a positional argument, ``--set``
    takes one value, so that ``finetune --set epochs=1 nli`` means what it says.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = {name for option in self.params for name in option.opts}
        has_positional = any(parameter.param_type_name == "argument" for parameter in self.params)
        repeatable = {
            name for option in self.params if getattr(option, "multiple", False) for name in option.opts
        }
        if has_positional:
            repeatable.discard("--set")
        spread: list[str] = []
        current = ""
        for arg in _current_spellings(args, known):
            if arg.startswith("-") and arg != "-":
                current = arg if arg in repeatable else ""
            elif current and spread[-1] != current:
                spread.append(current)
            spread.append(arg)
        return super().parse_args(ctx, spread)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, then options under the headings that ``rich_help_panel`` names."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            usual = "Arguments" if parameter.param_type_name == "argument" else "Options"
            heading = getattr(parameter, "rich_help_panel", None) or usual
            sections.setdefault(heading, []).append(record)
        sections["Options"] = sections.pop("Options", [])  # those without a heading come last
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


def _current_spellings(args: list[str], known: set[str]) -> Iterator[str]:
    for number, arg in enumerate(args):
        if arg == "--":
            yield from args[number:]
            return
        name, equals, value = arg.partition("=")
        if name in FORMER and name not in known:
            name = next((now for now in FORMER[name] if now in known), name)
        yield f"{name}{equals}{value}"


def help_settings(settings: Callable[[], "type[Settings]"], *, heading: str) -> object:
    """Make the option ``--help-settings``, which lists every key of ``--set`` and ends the command.

    Args:
        settings: returns the settings class; called only if the list is asked for.
        heading: under which the help shows the option.
    """

    def show(is_wanted: bool) -> None:
        if is_wanted:
            print(settings_table(settings()))
            raise typer.Exit

    return typer.Option(
        "--help-settings",
        is_eager=True,
        callback=show,
        help="List all settings with defaults and meanings, and exit.",
        rich_help_panel=heading,
    )


def settings_table(settings: "type[Settings]") -> str:
    """Every setting with its default, what it may be and what it means, under the headings of its group."""
    from ..runs.settings import all_settings, groups_of

    groups = groups_of(settings)
    lines = [
        "Settings: --set KEY=VALUE, or lines 'KEY: VALUE' in the YAML file of --config.",
        "KEY is a name below, or its full name with the group: GROUP.NAME. Without value: none.",
        "Some defaults depend on model and task; --dry-run prints what a run would have.",
    ]
    group = None
    for setting in all_settings(settings):
        head = setting.path.rpartition(".")[0]
        if head != group:
            group = head
            heading = groups[head].HEADING if head else settings.HEADING
            lines += ["", f"{heading} ({head}):" if head else f"{heading}:"]
        lines += _entry(setting)
    return "\n".join(lines)


def _entry(setting: "Setting") -> list[str]:
    is_needed = setting.default is dataclasses.MISSING
    name = f"  {setting.short}" if is_needed else f"  {setting.short}={_default(setting.default)}"
    meaning = " ".join(part for part in (setting.meaning, f"[{setting.wanted}]") if part)
    wrapped = textwrap.wrap(meaning, WIDTH - KEY_WIDTH)
    if len(name) >= KEY_WIDTH:
        return [name, *(" " * KEY_WIDTH + line for line in wrapped)]
    return [f"{name:<{KEY_WIDTH}}{wrapped[0]}", *(" " * KEY_WIDTH + line for line in wrapped[1:])]


def _default(value: object) -> str:
    if value is None or value == ():
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
