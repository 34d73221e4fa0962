"""The ``debertav3`` command. Each command is in the module of its name, imported when it is called.

stdout carries answers only. Bad input ends in one line on stderr and exit code 2. With ``DEBERTAV3_LOG=info``
stderr says what is chosen and done.
"""

import importlib
import signal
import sys
from typing import Any, NoReturn

import click

from ..errors import MissingExtraError, UserError
from ..version import __version__
from .commands import Group
from .completion import completion_options
from .signals_heard import signal_behind, signals_heard
from .terminal import close_bars, leave_broken_stdout, let_stdout_take_all, show_log

SUMMARIES = {
    "nli": "Classify whether one text entails another.",
    "predict": "Predict every row of a file.",
    "evaluate": "Evaluate a checkpoint on labelled rows.",
    "finetune": "Train a model on labelled data.",
    "compare": "Train several models on several tasks.",
    "search": "Find the best settings for a task.",
    "push": "Upload a model to the Hugging Face Hub.",
    "data": "Prepare and check data.",
    "pretrain": "Pre-train an encoder on raw text.",
    "doctor": "Check a checkpoint for problems.",
    "info": "Print the size and cost of a model.",
    "tokenizer": "Encode files, train a vocabulary, check a folder.",
    "trim-vocab": "Remove tokens that a corpus does not use.",
    "bench": "Measure how fast this machine runs a model.",
    "export": "Export a model for OpenVINO, ONNX or int8.",
    "serve": "Serve models over HTTP.",
    "mcp": "Offer models as MCP tools over stdio.",
}
"""Each command and the first line of its own help, in the order of ``debertav3 --help``."""

_MODULE = {"evaluate": "predict"}
"""The module of a command that is not in the one of its name."""


def _load(name: str) -> Any:
    name = name.replace("-", "_")
    return getattr(importlib.import_module(f".{_MODULE.get(name, name)}", __name__), name)


def _print_version(ctx: click.Context, option: click.Parameter, is_asked: bool) -> None:
    if is_asked:
        print(f"debertav3 {__version__}")
        ctx.exit()


app = Group(
    "debertav3",
    help="DeBERTaV3: inference, fine-tuning, pre-training, serving and checkpoints.",
    summaries=SUMMARIES,
    load=_load,
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_print_version,
            help="Print the version and exit.",
        ),
        *completion_options("debertav3"),
    ],
)

_EXTRA_OF_COMMAND = {
    "finetune": "train",
    "compare": "train",
    "search": "search",
    "pretrain": "pretrain",
    "data": "train",
}
"""The extra that brings all that a command needs, where that is more than torch."""


def main() -> None:
    """Run the command line; the entry point of the ``debertav3`` script."""
    with signals_heard():
        _run()


def _run() -> NoReturn:
    try:
        show_log()
        let_stdout_take_all()
        code = app(standalone_mode=False)
        if sys.stdout is not None:  # it is, where a program starts us without one
            sys.stdout.flush()
    except UserError as error:
        _fail(str(error))
    except (KeyboardInterrupt, SystemExit) as error:
        if (number := signal_behind(error)) is not None:
            _stopped(number)
        if isinstance(error, SystemExit) and error.code == 1:  # how click reports a broken pipe
            _end_at_broken_pipe()
        raise
    except BrokenPipeError:
        _end_at_broken_pipe()
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
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except click.UsageError as error:
        help_of = "debertav3" if error.ctx is None else error.ctx.command_path
        message = error.format_message()
        _fail(f"{message}{'' if message.endswith(('.', '?')) else '.'} See {help_of} --help.")
    except click.Abort:  # how click reports Ctrl-C
        _stopped(signal.SIGINT)
    except Exception as error:
        if (number := signal_behind(error)) is not None:  # a library's cleaning up has failed after it
            _stopped(number)
        raise
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> NoReturn:
    close_bars()
    print(f"debertav3: error: {' '.join(message.split())}", file=sys.stderr)
    leave_broken_stdout()
    sys.exit(2)


def _stopped(number: signal.Signals) -> NoReturn:
    close_bars()
    print(f"debertav3: {'interrupted' if number == signal.SIGINT else 'terminated'}", file=sys.stderr)
    leave_broken_stdout()
    sys.exit(128 + number)


def _end_at_broken_pipe() -> NoReturn:
    """End well if the reader of stdout has left, as ``| head`` does: nothing is wrong."""
    if not leave_broken_stdout():
        _fail("the other end of a pipe was closed while the command wrote to it. Run it again.")
    sys.exit(0)


def _reason(error: OSError) -> str:
    from ..files import DISK_ERRORS

    if error.errno in DISK_ERRORS and error.filename is None:
        return f"the disk cannot take more: {error.strerror}. Free some space and run the same command again."
    place = "" if error.filename is None else f"{error.filename}: "
    return f"{place}{error.strerror}. Check the path, its permissions and the space on the disk."
