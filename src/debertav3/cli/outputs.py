"""What every command does first: check its outputs against its inputs, and lock them until it ends."""

from collections.abc import Callable
from typing import Any

import typer
import typer.main

from ..files import Inputs, Output, hold_outputs


def guard(*outputs: Output, inputs: Inputs, overwrite: bool = False) -> None:
    """Refuse outputs that must not be written, then keep other commands out of them until this one ends.

    Args:
        outputs: everything that the command writes.
        inputs: everything that it reads, by option.
        overwrite: ``--overwrite``.

    Raises:
        UserError: as `hold_outputs`.
    """
    held, context = hold_outputs(outputs, inputs=inputs, overwrite=overwrite), _context()
    if context is not None:
        context.with_resource(held)
        return
    with held:  # called as a function, whose end nobody tells: checked, and not held
        pass


def _context() -> Any:
    """The command that is running, if any: newer versions of typer bring their own click."""
    get: Callable[..., object] | None = getattr(typer.main, "get_current_context", None)
    if get is not None:
        return get(silent=True)
    import click

    return click.get_current_context(silent=True)
