"""The ``debertav3`` command. Each command is in the module of its name, with heavy imports inside functions.

stdout carries answers only. Bad input ends in one line on stderr and exit code 2. With ``DEBERTAV3_LOG=info``
stderr says what is chosen and done.
"""

import importlib
import os
import signal
import sys
from functools import cache
from typing import Annotated, NoReturn

import typer

from ..errors import MissingExtraError, UserError
from ..files import DISK_ERRORS
from ..version import __version__
from .signals_heard import signal_behind, signals_heard
from .terminal import close_bars, show_log

app = typer.Typer(
    name="debertav3",
    help="DeBERTaV3: entailment, zero-shot labels, entities, answers, fine-tuning and checkpoints.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print(f"debertav3 {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop."),
    ] = False,
) -> None:
    """DeBERTaV3: entailment, zero-shot labels, entities, answers, fine-tuning and checkpoints."""


_EXTRA_OF_COMMAND = {
    "finetune": "train",
    "compare": "train",
    "search": "search",
    "pretrain": "pretrain",
    "data": "train",
}
"""The extra that brings all that a command needs, where that is more than torch."""

_LIGHT = ("nli",)
"""Commands whose module, called alike, has no other: the answer comes sooner than all are imported."""


def _register(command: str | None = None) -> None:
    """Add the commands: one of `_LIGHT` alone, or all, which leaves none out that was added before."""
    if command in _LIGHT and not app.registered_commands:
        importlib.import_module(f".{command}", __name__).register(app)
    else:
        _register_all()


@cache
def _register_all() -> None:
    """Add all commands, once in a process."""
    app.registered_commands.clear()
    from . import (
        bench,
        compare,
        data,
        doctor,
        export,
        finetune,
        info,
        mcp,
        nli,
        predict,
        pretrain,
        push,
        search,
        serve,
        tokenizer,
        trim_vocab,
    )

    for module in (
        nli,
        predict,
        finetune,
        compare,
        search,
        push,
        data,
        pretrain,
        doctor,
        info,
        tokenizer,
        trim_vocab,
        bench,
        export,
        serve,
        mcp,
    ):
        module.register(app)


def main() -> None:
    """Run the command line; the entry point of the ``debertav3`` script."""
    with signals_heard():
        _run()


def _run() -> NoReturn:
    try:
        _register(next(iter(sys.argv[1:]), None))
        show_log()
        code = app(standalone_mode=False)
        if code == 130:  # how typer reports Ctrl-C
            _interrupted()
        sys.exit(code if isinstance(code, int) else 0)
    except UserError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _interrupted()
    except BrokenPipeError:
        # The reader of our stdout (``| head``) has left: nothing is wrong, and nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except ModuleNotFoundError as error:
        command = next(iter(sys.argv[1:]), "")
        missing = MissingExtraError.of(
            error, feature=f"debertav3 {command}", extra=_EXTRA_OF_COMMAND.get(command)
        )
        if missing is None:
            raise
        _fail(str(missing))
    except MemoryError:
        _fail("memory ran out. Take smaller batches, a smaller model, or a machine with more memory.")
    except OSError as error:
        # The net below the checks: a disk that fills, a file that vanishes while a command runs.
        if error.errno is None:  # of a library, not of the system
            raise
        _fail(_reason(error))
    except Exception as error:
        # Wrong options, and Ctrl-C. Versions of typer have classes of their own for them.
        if type(error).__name__ == "Abort":
            _interrupted()
        if (number := signal_behind(error)) is not None:  # a library's cleaning up has failed after it
            _interrupted() if number == signal.SIGINT else sys.exit(128 + number)
        if not hasattr(error, "format_message"):
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()  # type: ignore[attr-defined]
            sys.exit(2)
        context = getattr(error, "ctx", None)
        help_of = "debertav3" if context is None else context.command_path
        message = error.format_message()
        _fail(f"{message}{'' if message.endswith(('.', '?')) else '.'} See {help_of} --help.")


def _fail(message: str) -> NoReturn:
    close_bars()
    print(f"debertav3: error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def _interrupted() -> NoReturn:
    close_bars()
    print("debertav3: interrupted", file=sys.stderr)
    sys.exit(130)


def _reason(error: OSError) -> str:
    if error.errno in DISK_ERRORS and error.filename is None:
        return f"the disk cannot take more: {error.strerror}. Free some space and run the same command again."
    place = "" if error.filename is None else f"{error.filename}: "
    return f"{place}{error.strerror}. Check the path, its permissions and the space on the disk."
