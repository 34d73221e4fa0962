"""Commands of click, made from functions whose annotations say how the command line gives each parameter.

``epochs: Annotated[float | None, Option(help="...")] = None`` is the option ``--epochs``. Types are str, int,
float, bool, Path, a Literal of strings, a list of these, and each of them or None.
"""

import functools
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Union, cast

import click

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

OTHERS = "Options"
"""The heading of options without one."""


class Option:
    """How the command line gives a parameter as an option.

    Args:
        names: spellings; if left out, the parameter's own with dashes.
        help: what it means.
        show_default: the default in words, where the value does not speak for itself; False hides it.
        heading: under which the help lists it.
        metavar: the value in the help, instead of its type.
        min: lowest number allowed.
        max: highest number allowed.
        callback: called with the value before the command runs.
        is_eager: whether it is read before all others, so that a callback can end the command.
    """

    def __init__(
        self,
        *names: str,
        help: str = "",
        show_default: str | bool = True,
        heading: str = OTHERS,
        metavar: str | None = None,
        min: float | None = None,
        max: float | None = None,
        callback: Callable[[Any], None] | None = None,
        is_eager: bool = False,
    ) -> None:
        self.names = names
        self.help = help
        self.show_default = show_default
        self.heading = heading
        self.metavar = metavar
        self.min = min
        self.max = max
        self.callback = callback
        self.is_eager = is_eager


class Argument:
    """How the command line gives a parameter by its position.

    Args:
        help: what it means.
        metavar: its name in the help, if not the parameter's own in capitals.
    """

    def __init__(self, *, help: str, metavar: str | None = None) -> None:
        self.help = help
        self.metavar = metavar


class _Option(click.Option):
    heading = OTHERS


class _Argument(click.Argument):
    help = ""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        return self.make_metavar(ctx), self.help


class _FiniteRange(click.FloatRange):
    """A number within limits; NaN and infinity are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


class _Choice(click.Choice):
    """One of several words; a wrong one is answered with the nearest."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in self.choices:
            return value
        from .input_checks import did_you_mean

        names = [str(choice) for choice in self.choices]
        self.fail(
            f"{value!r} is not known.{did_you_mean(str(value), names)} Choose one of: {', '.join(names)}.",
            param,
            ctx,
        )


class Command(click.Command):
    """A command whose repeatable options take several values and whose options have headings.

    ``--data a b`` means ``--data a --data b``; both work. Where there is a positional argument, ``--set``
    takes one value, so that ``finetune --set epochs=1 nli`` means what it says.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
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

    def format_arguments(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write nothing: `format_options` writes the arguments in every version of click."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write arguments, then options under their headings; those without a heading come last."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                usual = "Arguments" if isinstance(parameter, _Argument) else OTHERS
                sections.setdefault(getattr(parameter, "heading", usual), []).append(record)
        sections[OTHERS] = sections.pop(OTHERS, [])
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


class Group(click.Group):
    """Commands by name, each loaded when it is called: help and completion need the summaries alone.

    Args:
        summaries: one line for each command, in the order of the help; the first lines of their own help.
        load: returns the command of a name, or the function to make it from.
        others: as `click.Group` takes them.
    """

    def __init__(
        self,
        name: str,
        *,
        summaries: Mapping[str, str],
        load: Callable[[str], "click.Command | Callable[..., None]"],
        **others: Any,
    ) -> None:
        super().__init__(name, no_args_is_help=True, **others)
        self.summaries = summaries
        self._load = load

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.summaries:
            return None
        if cmd_name not in self.commands:
            loaded = self._load(cmd_name)
            self.add_command(loaded if isinstance(loaded, click.Command) else command(loaded), cmd_name)
        return self.commands[cmd_name]

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in self.summaries:
            from .input_checks import did_you_mean

            near = did_you_mean(args[0], list(self.summaries))
            ctx.fail(f"No such command {args[0]!r}.{near}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(self.summaries.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        named = [
            CompletionItem(name, help=summary)
            for name, summary in self.summaries.items()
            if name.startswith(incomplete)
        ]
        return named + click.Command.shell_complete(self, ctx, incomplete)


def command(function: Callable[..., None]) -> Command:
    """Make a command from a function, whose docstring is its help."""
    parameters = inspect.signature(function).parameters
    hints = typing.get_type_hints(function, include_extras=True)
    made = [_parameter(name, hints[name], parameter.default) for name, parameter in parameters.items()]
    without = {name for name, parameter in parameters.items() if parameter.default is None}

    @functools.wraps(function)
    def run(**values: Any) -> None:
        lists = {name: list(value) for name, value in values.items() if isinstance(value, tuple)}
        empty = {name: None for name, value in lists.items() if not value and name in without}
        function(**values | lists | empty)

    return Command(
        function.__name__.replace("_", "-"), callback=run, params=made, help=inspect.getdoc(function)
    )


def _parameter(name: str, hint: Any, default: Any) -> click.Parameter:
    """The option or argument that the annotation of a function's parameter describes."""
    given, how = typing.get_args(hint)
    if typing.get_origin(given) in (Union, types.UnionType):
        (given,) = (one for one in typing.get_args(given) if one is not type(None))
    is_list = typing.get_origin(given) is list
    if is_list:
        (given,) = typing.get_args(given)
    is_required = default is inspect.Parameter.empty
    shared: dict[str, Any] = {"required": is_required, "metavar": how.metavar}
    if not is_required and not (is_list and default is None):
        shared["default"] = default
    if isinstance(how, Argument):
        argument = _Argument([name], type=_click_type(given), nargs=-1 if is_list else 1, **shared)
        argument.help = how.help
        return argument
    if callback := how.callback:
        shared["callback"] = lambda ctx, parameter, value: callback(value)
    spellings = how.names or (f"--{name.replace('_', '-')}",)
    if given is bool:
        shared["is_flag"] = True
    else:
        shared["type"] = value = _click_type(given, how.min, how.max)
        if how.metavar is None and not isinstance(value, _Choice):
            shared["metavar"] = _METAVAR[given] + ("..." if is_list else "")
    option = _Option(
        [name, *(spellings)],
        help=how.help,
        show_default=how.show_default,
        multiple=is_list,
        is_eager=how.is_eager,
        **shared,
    )
    option.heading = how.heading
    return option


_METAVAR = {int: "INTEGER", float: "NUMBER", str: "TEXT", Path: "PATH"}


def _click_type(given: Any, lowest: float | None = None, highest: float | None = None) -> click.ParamType:
    if typing.get_origin(given) is Literal:
        return _Choice(typing.get_args(given))
    if given in (int, float) and not lowest is highest is None:
        ranged: Any = click.IntRange if given is int else _FiniteRange
        return cast(click.ParamType, ranged(lowest, highest))
    plain: dict[type, click.ParamType] = {int: click.INT, float: click.FLOAT, str: click.STRING}
    return plain.get(given) or click.Path(path_type=given)


def _current_spellings(args: list[str], known: set[str]) -> Iterator[str]:
    for number, arg in enumerate(args):
        if arg == "--":
            yield from args[number:]
            return
        name, equals, value = arg.partition("=")
        if name in FORMER and name not in known:
            name = next((now for now in FORMER[name] if now in known), name)
        yield f"{name}{equals}{value}"
