"""``debertav3 search``: the settings that suit a task best, found with optuna."""

from pathlib import Path
from typing import Annotated

import typer

from .finetune import (
    ConfigFile,
    DevFiles,
    Kind,
    Label,
    ModelName,
    Overrides,
    Pair,
    Seed,
    TaskName,
    Text,
    Tokenizer,
    TrainFiles,
    custom_columns,
    log_to_stderr,
)
from .several_values import SeveralValues


def search(
    task: TaskName,
    model: ModelName,
    out: Annotated[Path, typer.Option(help="Folder for the study, the best trial and the table.")],
    train: TrainFiles = None,
    dev: DevFiles = None,
    trials: Annotated[int, typer.Option(min=1, help="How many in all; earlier ones in --out count.")] = 20,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            help="Values to try, learning_rate=1e-5,2e-5; several may follow. The papers' grid else."
        ),
    ] = None,
    text: Text = None,
    pair: Pair = None,
    label: Label = None,
    kind: Kind = None,
    tokenizer: Tokenizer = None,
    seed: Seed = None,
    config: ConfigFile = None,
    override: Overrides = None,
) -> None:
    """Try settings on a task and print them by the score on the first dev set, the best first.

    Example: debertav3 search rte --model microsoft/deberta-v3-base --trials 20 --out rte-search
    --grid learning_rate=1e-5,2e-5,3e-5 batch_size=16,32

    Broken off, the same command goes on; with more --trials it adds to what is there.
    """
    log_to_stderr()
    from ..finetune.folder import check_can_be_made
    from ..finetune.preparation import read_data, resolve
    from ..finetune.search import paper_grid, read_grid
    from ..finetune.search import search as run_search
    from ..runs.settings import read_settings

    given = {"train": train, "dev": dev, "tokenizer": tokenizer, "seed": seed}
    given |= custom_columns(text=text, pair=pair, label=label, kind=kind)
    base = resolve(
        task,
        model=model,
        given={key: value for key, value in given.items() if value is not None},
        config_file=read_settings(config) if config else None,
        overrides=override or [],
    )
    values = read_grid(grid, base) if grid else paper_grid(model)
    check_can_be_made(out)
    read_data(base)  # bad data are told before the study begins
    run_search(base, values, out, trials=trials)
    print((out / "search.md").read_text(encoding="utf-8"), end="")


def register(app: typer.Typer) -> None:
    """Add ``search``."""
    app.command(cls=SeveralValues)(search)
