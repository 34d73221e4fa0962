"""Options that many commands share: --overwrite, and the list of settings.

In every command ``--data`` is what is read, ``--out`` what is written, ``--model`` the model, and
``--text-column``, ``--pair-column`` and ``--label-column`` are the columns.
"""

import dataclasses
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from click.exceptions import Exit

from .commands import Option

if TYPE_CHECKING:
    from ..runs.settings import Settings
    from ..runs.values import Setting

DATA, COLUMNS, MODEL, TRAINING, RUN = "Data", "Columns", "Model", "Training", "Run"
SETTINGS = "Settings"
"""Headings of options, in every help."""

Overwrite = Annotated[
    bool, Option("--overwrite", help="Replace existing outputs; an input is never replaced.")
]

WIDTH = 78
KEY_WIDTH = 28


def help_settings(settings: Callable[[], "type[Settings]"], *, heading: str) -> object:
    """Make the option ``--help-settings``, which lists every key of ``--set`` and ends the command.

    Args:
        settings: returns the settings class; called only if the list is asked for.
        heading: under which the help shows the option.
    """

    def show(is_wanted: bool) -> None:
        if is_wanted:
            print(settings_table(settings()))
            raise Exit

    return Option(
        "--help-settings",
        is_eager=True,
        callback=show,
        help="List all settings with defaults and meanings, and exit.",
        heading=heading,
    )


def settings_table(settings: "type[Settings]") -> str:
    """List every setting with its default, type and meaning, grouped under headings."""
    from ..runs.settings import all_settings, groups_of

    groups = groups_of(settings)
    lines = [
        "Settings: --set KEY=VALUE, or lines 'KEY: VALUE' in the YAML file of --config.",
        "KEY is a name below, with or without its group: GROUP.NAME. An empty value means none.",
        "Some defaults depend on model and task; --dry-run prints those of a run.",
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
    wrapped = textwrap.wrap(meaning, WIDTH - KEY_WIDTH, break_on_hyphens=False)
    if len(name) >= KEY_WIDTH:
        return [name, *(" " * KEY_WIDTH + line for line in wrapped)]
    return [f"{name:<{KEY_WIDTH}}{wrapped[0]}", *(" " * KEY_WIDTH + line for line in wrapped[1:])]


def _default(value: object) -> str:
    if value is None or value == ():
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
