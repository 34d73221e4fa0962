"""What every command does first: check its outputs against its inputs, and lock them until it ends."""

import os
from collections.abc import Callable
from typing import Any

import typer
import typer.main

from ..files import Inputs, Output, check_outputs, lock


def guard(*outputs: Output, inputs: Inputs, overwrite: bool = False) -> None:
    """Refuse outputs that must not be written, then keep other commands out of them until this one ends.

    Under torchrun the first process does it for all.

    Args:
        outputs: everything that the command writes.
        inputs: everything that it reads, by option.
        overwrite: ``--overwrite``.

    Raises:
        UserError: as `check_outputs`, or if another command writes one of them now.
    """
    if os.environ.get("RANK", "0") != "0":
        return
    check_outputs(outputs, inputs=inputs, overwrite=overwrite)
    for output in outputs:
        if output.path is not None and not output.is_beside:
            _context().with_resource(lock(output.path, option=output.option))
    # Once more: another command may have finished between the check and the lock.
    check_outputs(outputs, inputs=inputs, overwrite=overwrite)


def _context() -> Any:
    """The command that is running: newer versions of typer bring their own click."""
    get: Callable[[], Any] | None = getattr(typer.main, "get_current_context", None)
    if get is not None:
        return get()
    import click

    return click.get_current_context()
