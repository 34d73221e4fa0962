"""``debertav3 compare``: several models on several tasks with several seeds, in one table."""

from pathlib import Path
from typing import Annotated

from ..files import Output
from .commands import Option
from .finetune import (
    BatchSize,
    Epochs,
    HelpSettings,
    LearningRate,
    MaxLength,
    Overrides,
    only_given,
)
from .options import DATA, MODEL, RUN, TRAINING
from .outputs import guard
from .terminal import log_to_stderr, wrote


def compare(
    models: Annotated[
        list[str],
        Option(
            "--model",
            help="Sizes, folders or Hub names; several may follow.",
            heading=MODEL,
        ),
    ],
    tasks: Annotated[
        str, Option(help="Task names, separated by commas; glue stands for all nine of GLUE.", heading=DATA)
    ],
    out: Annotated[
        Path,
        Option(help="Folder for the runs and the table; finished runs in it are kept.", heading=RUN),
    ],
    train: Annotated[
        list[str] | None,
        Option(
            help="TASK=FILE; several may follow.",
            show_default="the task's public data",
            heading=DATA,
        ),
    ] = None,
    dev: Annotated[list[str] | None, Option(help="TASK=FILE; several may follow.", heading=DATA)] = None,
    max_length: MaxLength = None,
    tokenizer: Annotated[
        str | None,
        Option(help="Tokenizer of every model.", show_default="its own", heading=MODEL),
    ] = None,
    epochs: Epochs = None,
    learning_rate: LearningRate = None,
    batch_size: BatchSize = None,
    seeds: Annotated[str, Option(help="Seeds, separated by commas.", heading=TRAINING)] = "1,2,3",
    override: Overrides = None,
    help_settings: HelpSettings = False,
) -> None:
    """Train several models on several tasks.

    Trains every model on every task with every seed, with the same options, and prints mean and standard
    deviation of the scores, parameters and seconds.

    Example: debertav3 compare --model microsoft/deberta-v3-xsmall FacebookAI/roberta-base --tasks rte,cola
    --train rte=rte.jsonl cola=cola.jsonl --dev rte=rte-dev.jsonl cola=cola-dev.jsonl --out table

    Settings, data, models and tokenizers are checked before the first training starts. If interrupted, rerun
    the command to continue with the first unfinished run. If a run diverges or a model's weights cannot be
    used, the others continue; the exit code is then 2, and the same command tries again. With all tasks of
    GLUE, their average is printed too.
    """
    log_to_stderr()
    from ..errors import UserError
    from ..finetuning.compare import compare as run_all
    from ..finetuning.compare import parse_sources
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
            f"--seeds {seeds!r}: give whole numbers, separated by commas, such as 1,2,3."
        ) from None
    guard(
        Output(option="--out", path=out, is_folder=True, writes=("compare.*",), may_exist=True),
        inputs={
            "--model": models,
            "--train": [path for paths in train_of.values() for path in paths],
            "--dev": [path for paths in dev_of.values() for path in paths],
            "--tokenizer": tokenizer,
        },
    )
    found = run_all(
        models,
        {name: {"train": train_of[name], "dev": dev_of[name]} for name in names},
        numbers,
        out,
        given=only_given(
            tokenizer=tokenizer,
            epochs=epochs,
            learning_rate=learning_rate,
            batch_size=batch_size,
            max_length=max_length,
        ),
        overrides=override or [],
    )
    print((out / "compare.md").read_text(encoding="utf-8"), end="")
    wrote(out)
    if found.failures:
        raise UserError(found.summary())
