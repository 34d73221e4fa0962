"""The ``debertav3`` command. Each command stands in the module of its name, heavy imports inside functions.

stdout carries answers only. Bad input ends in one line on stderr and exit code 2. With ``DEBERTAV3_LOG=info``
stderr tells what is chosen and done.
"""

import logging
import os
import sys

import typer

from ..errors import UserError

app = typer.Typer(
    name="debertav3",
    help="DeBERTaV3: entailment, zero-shot labels, entities, answers, fine-tuning and checkpoints.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _register() -> None:
    # Each adds its commands to ``app``.
    from . import bench, data, doctor, export, finetune, info, nli, predict, pretrain, tokenizer, trim_vocab

    for module in (
        nli,
        predict,
        finetune,
        data,
        pretrain,
        doctor,
        info,
        tokenizer,
        trim_vocab,
        bench,
        export,
    ):
        module.register(app)


LOG_LEVELS = ("debug", "info", "warning", "error")


def _show_log() -> None:
    """Show this package's log on stderr from the level on that ``DEBERTAV3_LOG`` names."""
    level = os.environ.get("DEBERTAV3_LOG", "").lower()
    if not level:
        return
    if level not in LOG_LEVELS:
        raise UserError(f"DEBERTAV3_LOG is {level!r}; need one of: {', '.join(LOG_LEVELS)}.")
    from .terminal import log_to_stderr

    log_to_stderr()
    logging.getLogger("debertav3").setLevel(level.upper())


def main() -> None:
    """Run the command line; the entry point of the ``debertav3`` script."""
    _register()
    try:
        _show_log()
        app()
    except UserError as error:
        print(f"debertav3: error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("debertav3: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our stdout (``| head``) has left: nothing is wrong, and nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
