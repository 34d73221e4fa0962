"""``debertav3 finetune``: from labelled files to a checkpoint, a score and a record of the run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from ..errors import UserError
from ..finetuning.config import FinetuneConfig
from ..processes import is_first_process
from .commands import Argument, Option
from .options import DATA, MODEL, RUN, SETTINGS, TRAINING, help_settings
from .row_options import AS_FOUND, RowOptions, takes_row_options
from .terminal import log_to_stderr, wrote

TaskName = Annotated[
    str, Argument(help="nli, mnli, qnli, ..., squad2, ner, arc, ... or custom; a wrong name lists all.")
]
ModelName = Annotated[str, Option(help="Size (trained from scratch), folder or Hub name.", heading=MODEL)]
TaskNameOrFile = Annotated[
    str | None,
    Argument(
        help="nli, mnli, qnli, ..., squad2, ner, arc, ... or custom; a wrong name lists all. "
        "Optional if --config names it.",
    ),
]
ModelNameOrFile = Annotated[
    str | None,
    Option(
        help="Size (trained from scratch), folder or Hub name; required unless --config names it.",
        show_default=False,
        heading=MODEL,
    ),
]
Tokenizer = Annotated[
    str | None,
    Option(help="Tokenizer: a folder or Hub name.", show_default="the model's own", heading=MODEL),
]
TrainFiles = Annotated[
    list[str] | None,
    Option(
        help="Training data: files (JSONL, CSV, Parquet, ...), folders or datasets:NAME; several may follow.",
        show_default="from --config, or the task's public data",
        heading=DATA,
    ),
]
DevFiles = Annotated[
    list[str] | None,
    Option(help="Dev data; several may follow. The first selects the best checkpoint.", heading=DATA),
]
DevSplit = Annotated[
    float | None,
    Option(
        help="Without --dev: hold out this share of the training rows, such as 0.1, labels in proportion.",
        heading=DATA,
    ),
]
GroupColumn = Annotated[
    str | None,
    Option(
        help="For --dev-split and --folds: keep rows with the same value in this column together.",
        heading=DATA,
    ),
]
Folds = Annotated[
    int | None,
    Option(
        help="Cross-validation: number of parts; each in turn is scored by a model trained on the others.",
        min=2,
        heading=DATA,
    ),
]
MaxLength = Annotated[
    int | None,
    Option(
        help="Tokens in one example; longer ones are truncated.",
        show_default="by model and task",
        heading=DATA,
    ),
]
Epochs = Annotated[
    float | None,
    Option(help="Passes over the training data.", show_default="by model and task", heading=TRAINING),
]
LearningRate = Annotated[
    float | None,
    Option(
        help="Peak learning rate, such as 2e-5.",
        show_default="by model and task",
        heading=TRAINING,
    ),
]
BatchSize = Annotated[
    int | None,
    Option(help="Examples per optimizer step.", show_default="by model and task", heading=TRAINING),
]
Seed = Annotated[
    int | None,
    Option(help="Random seed of new weights, data order and dropout.", show_default="1", heading=TRAINING),
]
Sift = Annotated[bool, Option("--sift", help="Add SiFT, an adversarial regularizer.", heading=TRAINING)]
Lora = Annotated[bool, Option("--lora", help="Train low-rank adapters only; needs peft.", heading=TRAINING)]
ConfigFile = Annotated[
    Path | None,
    Option(help="YAML file of settings, or the run.json of a run.", heading=SETTINGS),
]
Overrides = Annotated[
    list[str] | None,
    Option("--set", help="Any setting, such as weight_decay=0.1.", heading=SETTINGS),
]
HelpSettings = Annotated[bool, help_settings(lambda: FinetuneConfig, heading=SETTINGS)]
Out = Annotated[
    Path,
    Option(help="Folder for the checkpoint, the scores, the report and run.json.", heading=RUN),
]
Resume = Annotated[
    bool,
    Option("--resume", help="Resume from the newest complete checkpoint in --out.", heading=RUN),
]
DryRun = Annotated[
    bool,
    Option(
        "--dry-run",
        help="Check data, model, tokenizer and lengths, print the settings and exit.",
        heading=RUN,
    ),
]


@takes_row_options
def finetune(
    out: Out,
    task: TaskNameOrFile = None,
    train: TrainFiles = None,
    dev: DevFiles = None,
    dev_split: DevSplit = None,
    folds: Folds = None,
    group_column: GroupColumn = None,
    max_length: MaxLength = None,
    rows: RowOptions = AS_FOUND,
    model: ModelNameOrFile = None,
    tokenizer: Tokenizer = None,
    epochs: Epochs = None,
    learning_rate: LearningRate = None,
    batch_size: BatchSize = None,
    seed: Seed = None,
    sift: Sift = False,
    lora: Lora = False,
    config: ConfigFile = None,
    override: Overrides = None,
    help_settings: HelpSettings = False,
    resume: Resume = False,
    dry_run: DryRun = False,
) -> None:
    """Train a model on labelled data.

    Scores it on the dev data, and writes all that is needed to use it and to repeat the run.

    Example: debertav3 finetune nli --model microsoft/deberta-v3-xsmall --train train.jsonl.gz --dev dev.jsonl
    --out my-nli --epochs 2

    To repeat a run: debertav3 finetune --config my-nli/run.json --out again
    """
    log_to_stderr()
    from ..finetuning.preparation import resolve
    from ..finetuning.steps import is_cross_validation, prepared, train_and_score
    from ..runs.assignments import read_settings, recorded_run
    from ..tasks.table_writers import json_line

    file = read_settings(config) if config else {}
    record = recorded_run(config) if config else None
    settings = resolve(
        task or _named(file, "task", instead="TASK, such as nli"),
        model=model or _named(file, "model", instead="--model"),
        given=only_given(
            train=train,
            dev=dev,
            dev_split=dev_split,
            folds=folds,
            group_column=group_column,
            max_length=max_length,
            **rows.settings(),
            tokenizer=tokenizer,
            epochs=epochs,
            learning_rate=learning_rate,
            batch_size=batch_size,
            seed=seed,
            sift=sift or None,
            lora=lora or None,
        ),
        config_file=file,
        overrides=override or [],
    )
    with prepared(settings, out, resume=resume, config=config, record=record) as (data, start):
        if dry_run:
            from ..finetuning.rehearsal import rehearse

            rehearse(settings, data, start)
            print(json_line(settings.to_dict()), end="")
            return
        report = train_and_score(settings, data, out, start=start, resume=resume)
    if report is None or not is_first_process():
        return
    if not is_cross_validation(settings):
        report = {"dev": {source: _numbers(scores) for source, scores in report["dev"].items()}}
    print(json_line({"out": str(out), **report}), end="")
    wrote(out)


def only_given(**options: object) -> dict[str, object]:
    """The options that the user has given, by the short names of their settings."""
    return {name: value for name, value in options.items() if value is not None}


def _named(file: Mapping[str, object], key: str, *, instead: str) -> str:
    """What a file of settings says of the task or the model."""
    if not file.get(key):
        raise UserError(f"which {key}? Give {instead}, or --config with a file that names it.")
    return str(file[key])


def _numbers(scores: dict[str, object]) -> dict[str, float]:
    return {name: value for name, value in scores.items() if isinstance(value, float)}
