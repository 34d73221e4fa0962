"""Options that several commands share."""

from typing import Annotated

import typer

Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the outputs of an earlier command, never an input.")
]
