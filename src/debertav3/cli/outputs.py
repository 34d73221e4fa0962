"""What every command does first: check its outputs against its inputs, and lock them until it ends."""

import os

import click

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
    context = click.get_current_context()
    for output in outputs:
        if output.path is not None:
            context.with_resource(lock(output.path, option=output.option))
    # Once more: another command may have finished between the check and the lock.
    check_outputs(outputs, inputs=inputs, overwrite=overwrite)
