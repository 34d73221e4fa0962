"""What every command does first: check its outputs against its inputs, and lock them until it ends."""

import click

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
    held = hold_outputs(outputs, inputs=inputs, overwrite=overwrite)
    context = click.get_current_context(silent=True)
    if context is not None:
        context.with_resource(held)
        return
    with held:  # called as a function, whose end nobody tells: checked, and not held
        pass
