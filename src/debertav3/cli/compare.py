"""``debertav3 compare``: several models on several tasks with several seeds, in one table."""

from pathlib import Path
from typing import Annotated

import typer

from .finetune import log_to_stderr
from .several_values import SeveralValues


def compare(
    models: Annotated[list[str], typer.Option(help="Sizes, folders or Hub names; several may follow.")],
    tasks: Annotated[str, typer.Option(help="Tasks with commas between; glue means its nine.")],
    out: Annotated[Path, typer.Option(help="Folder for the runs and the table; finished runs are kept.")],
    train: Annotated[
        list[str] | None,
        typer.Option(help="TASK=FILE; several may follow. The task's public data if not given."),
    ] = None,
    dev: Annotated[list[str] | None, typer.Option(help="TASK=FILE; several may follow.")] = None,
    seeds: Annotated[str, typer.Option(help="Seeds with commas between.")] = "1,2,3",
    tokenizer: Annotated[str | None, typer.Option(help="Of every model; its own if not given.")] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="Any setting, of every run.")] = None,
) -> None:
    """Train every model on every task with every seed and print mean, spread, parameters and seconds.

    Example: debertav3 compare --models microsoft/deberta-v3-xsmall FacebookAI/roberta-base --tasks rte,cola
    --train rte=rte.jsonl cola=cola.jsonl --dev rte=rte-dev.jsonl cola=cola-dev.jsonl --out table

    Broken off, the same command goes on with the first run that is not finished. A run that diverges, or that
    its model cannot do, is noted, and the others are done; then the exit code is 2, and the same command
    tries it again. Whoever has all tasks of GLUE gets their average, too.
    """
    log_to_stderr()
    from ..errors import UserError
    from ..finetune.compare import compare as run_all
    from ..finetune.compare import parse_sources
    from ..tasks.glue import GLUE_TASKS

    glue = [task.name for task in GLUE_TASKS]
    wanted = [name.strip() for name in tasks.split(",") if name.strip()]
    names = [name for one in wanted for name in (glue if one == "glue" else [one])]
    train_of = parse_sources(train or [], names, option="--train")
    dev_of = parse_sources(dev or [], names, option="--dev")
    try:
        numbers = [int(seed) for seed in seeds.split(",")]
    except ValueError:
        raise UserError(
            f"--seeds {seeds!r}: write whole numbers with commas between, such as 1,2,3."
        ) from None
    found = run_all(
        models,
        {name: {"train": train_of[name], "dev": dev_of[name]} for name in names},
        numbers,
        out,
        given={"tokenizer": tokenizer} if tokenizer else {},
        overrides=override or [],
    )
    print((out / "compare.md").read_text(encoding="utf-8"), end="")
    if found.failures:
        raise UserError(found.summary())


def register(app: typer.Typer) -> None:
    """Add ``compare``."""
    app.command(cls=SeveralValues)(compare)
