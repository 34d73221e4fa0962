"""``debertav3 search``: the settings that suit a task best, found with optuna."""

from pathlib import Path
from typing import Annotated

from ..files import Output
from .commands import Option
from .finetune import (
    ConfigFile,
    DevFiles,
    DevSplit,
    GroupColumn,
    HelpSettings,
    ModelName,
    Overrides,
    Seed,
    TaskName,
    Tokenizer,
    TrainFiles,
    only_given,
)
from .options import RUN, TRAINING
from .outputs import guard
from .row_options import AS_FOUND, RowOptions, takes_row_options
from .terminal import log_to_stderr, wrote


@takes_row_options
def search(
    task: TaskName,
    model: ModelName,
    out: Annotated[Path, Option(help="Folder for the study, the best trial and the table.", heading=RUN)],
    train: TrainFiles = None,
    dev: DevFiles = None,
    dev_split: DevSplit = None,
    group_column: GroupColumn = None,
    trials: Annotated[
        int,
        Option(min=1, help="Number of trials, including earlier ones in --out.", heading=TRAINING),
    ] = 20,
    grid: Annotated[
        list[str] | None,
        Option(
            help="Values to try, such as learning_rate=1e-5,2e-5; several may follow.",
            show_default="the papers' grid",
            heading=TRAINING,
        ),
    ] = None,
    rows: RowOptions = AS_FOUND,
    tokenizer: Tokenizer = None,
    seed: Seed = None,
    config: ConfigFile = None,
    override: Overrides = None,
    help_settings: HelpSettings = False,
) -> None:
    """Find the best settings for a task.

    Prints the trials, sorted by their score on the first dev set.

    Example: debertav3 search rte --model microsoft/deberta-v3-base --trials 20 --out rte-search
    --grid learning_rate=1e-5,2e-5,3e-5 batch_size=16,32

    If interrupted, rerun the command to continue; with more --trials, it adds to the study.
    """
    log_to_stderr()
    from ..finetuning.preparation import read_data, resolve
    from ..finetuning.search import paper_grid, read_grid
    from ..finetuning.search import search as run_search
    from ..finetuning.start import check_start, is_from_hub
    from ..runs.assignments import read_settings

    base = resolve(
        task,
        model=model,
        given=only_given(
            train=train,
            dev=dev,
            dev_split=dev_split,
            group_column=group_column,
            **rows.settings(),
            tokenizer=tokenizer,
            seed=seed,
        ),
        config_file=read_settings(config) if config else None,
        overrides=override or [],
    )
    values = read_grid(grid, base) if grid else paper_grid(model)
    guard(
        Output(option="--out", path=out, is_folder=True, writes=("search.*",), may_exist=True),
        inputs={
            "--model": base.model,
            "--train": base.data.train,
            "--dev": base.data.dev,
            "--tokenizer": base.tokenizer,
            "--config": config,
            "--labels": base.data.labels,
        },
    )
    start = None if is_from_hub(base) else check_start(base)  # before the data, where that is quick
    read_data(base)
    run_search(base, values, out, trials=trials, start=start or check_start(base))
    print((out / "search.md").read_text(encoding="utf-8"), end="")
    wrote(out)
