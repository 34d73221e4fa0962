"""``debertav3 pretrain``: replaced token detection or masked words, from shards or straight from text."""

import json
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ..errors import MissingExtraError, UserError
from .several_values import SeveralValues


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("pretrain", cls=SeveralValues)(pretrain_command)


def pretrain_command(
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    data: Annotated[Path | None, typer.Option(help="Folder that `data prepare` wrote.")] = None,
    text: Annotated[
        list[str] | None, typer.Option(help="Raw text in place of --data, prepared into OUT/shards.")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Tokenizer for --text; the one of --from if left out.")
    ] = None,
    size: Annotated[str, typer.Option(help="nano, xsmall, small, base, large, mdeberta-base.")] = "base",
    objective: Annotated[str | None, typer.Option(help="rtd or mlm.")] = None,
    sharing: Annotated[str | None, typer.Option(help="gdes, nes or es (es needs --set mode=joint).")] = None,
    start: Annotated[
        Path | None,
        typer.Option("--from", help="Checkpoint folder to continue from, with or without generator."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest complete checkpoint.")
    ] = False,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="Any other field, e.g. learning_rate=5e-4.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the configuration and stop.")] = False,
) -> None:
    """Pre-train a DeBERTaV3 encoder by replaced token detection.

    Example: debertav3 pretrain --data shards --out run --size nano

    Ends with OUT/encoder (open it with any DeBERTa-v2 class), OUT/discriminator, OUT/generator and
    OUT/report.html. Under torchrun every process takes its share of each batch. SIGTERM saves a checkpoint
    and exits with 0.
    """
    from ..pretrain.settings import recipe

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    chosen = {"objective": objective, "sharing": sharing, "steps": steps}
    assignments = [f"{name}={value}" for name, value in chosen.items() if value is not None]
    config = recipe(size).with_overrides([*(override or []), *assignments])
    if dry_run:
        print(json.dumps(config.resolved(), indent=1))
        return
    if bool(data) == bool(text):
        raise UserError("give either --data SHARDS or --text FILE")
    prepare = None
    if data is None:
        data = out / "shards"
        prepare = _preparation(text or [], tokenizer or (str(start) if start else None), data)
    try:
        from ..pretrain.run import pretrain
    except ModuleNotFoundError as error:
        raise MissingExtraError(feature="pre-training", package=str(error.name), extra="pretrain") from error
    finished = pretrain(config, data, out, resume=resume, start=start, prepare=prepare)
    print(json.dumps({"finished": finished, "out": str(out), "encoder": str(out / "encoder")}))


def _preparation(text: list[str], tokenizer: str | None, shards: Path) -> Callable[[], object]:
    """What writes the shards of ``--text``."""
    from ..data.prepare import ExecutorConfig, PrepareConfig, prepare

    if tokenizer is None:
        raise UserError(
            "--text needs --tokenizer: the folder of a tokenizer (debertav3 tokenizer train makes one)"
        )
    config = PrepareConfig(inputs=tuple(text), tokenizer=tokenizer, heldout_share=0.02)
    return partial(prepare, config, shards, ExecutorConfig())
