"""``debertav3 finetune``: from labelled files to a checkpoint, a score and a record of the run."""

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import UserError
from .several_values import SeveralValues

TaskName = Annotated[
    str, typer.Argument(help="nli, mnli, qnli, ..., squad2, ner, arc, ... or custom; a wrong name lists all.")
]
ModelName = Annotated[str, typer.Option(help="Size (from scratch), local folder or Hub name.")]
TaskNameOrFile = Annotated[
    str | None,
    typer.Argument(
        help="nli, mnli, qnli, ..., squad2, ner, arc, ... or custom; a wrong name lists all. "
        "May be left out if --config names it.",
        show_default=False,
    ),
]
ModelNameOrFile = Annotated[
    str | None,
    typer.Option(
        help="Size (from scratch), local folder or Hub name; needed unless --config names it.",
        show_default=False,
    ),
]
TrainFiles = Annotated[
    list[str] | None,
    typer.Option(
        help="Training files (JSONL, CSV, Parquet, ...), folders or datasets:NAME; "
        "those of --config or the public data of the task if not given."
    ),
]
DevFiles = Annotated[list[str] | None, typer.Option(help="Dev files; the first selects the best checkpoint.")]
Out = Annotated[Path, typer.Option(help="Folder for the checkpoint, the scores, the report and run.json.")]
Text = Annotated[str | None, typer.Option(help="custom: column of the text; the longest if not given.")]
Pair = Annotated[str | None, typer.Option(help="custom: column of a second text.")]
Label = Annotated[str | None, typer.Option(help="custom: column of the label.")]
Kind = Annotated[str | None, typer.Option(help="custom: one-label, several-labels, number, tags or ranking.")]
Tokenizer = Annotated[str | None, typer.Option(help="Folder or Hub name; the model's own if not given.")]
Seed = Annotated[int | None, typer.Option(help="Of weights, order and dropout; 1 if not given.")]
Sift = Annotated[bool, typer.Option("--sift", help="Add SiFT, the adversarial regulariser.")]
Lora = Annotated[bool, typer.Option("--lora", help="Train low-rank changes only; needs peft.")]
ConfigFile = Annotated[Path | None, typer.Option(help="YAML file of settings, or the run.json of a run.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Any setting: learning_rate=2e-5.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the newest complete checkpoint in --out.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check the data, print the settings and stop.")]


def finetune(
    out: Out,
    task: TaskNameOrFile = None,
    model: ModelNameOrFile = None,
    train: TrainFiles = None,
    dev: DevFiles = None,
    text: Text = None,
    pair: Pair = None,
    label: Label = None,
    kind: Kind = None,
    tokenizer: Tokenizer = None,
    seed: Seed = None,
    sift: Sift = False,
    lora: Lora = False,
    config: ConfigFile = None,
    override: Overrides = None,
    resume: Resume = False,
    dry_run: DryRun = False,
) -> None:
    """Train a model on a task, score it on the dev files, and write what is needed to use and to repeat it.

    Example: debertav3 finetune nli --model microsoft/deberta-v3-xsmall --train train.jsonl.gz --dev dev.jsonl
    --out my-nli --set epochs=2

    To repeat a run: debertav3 finetune --config my-nli/run.json --out again
    """
    log_to_stderr()
    from ..finetune.folder import check_can_be_made
    from ..finetune.preparation import read_data, resolve
    from ..finetune.records import changes_since, refuse_other_folder
    from ..runs.settings import read_record, read_settings
    from ..tasks.table_writers import json_line

    file = read_settings(config) if config else {}
    record = read_record(config) if config else None

    given = {
        "train": train,
        "dev": dev,
        **custom_columns(text=text, pair=pair, label=label, kind=kind),
        "tokenizer": tokenizer,
        "seed": seed,
        "sift": sift or None,
        "lora": lora or None,
    }
    settings = resolve(
        task or _named(file, "task", instead="TASK, such as nli"),
        model=model or _named(file, "model", instead="--model"),
        given={key: value for key, value in given.items() if value is not None},
        config_file=file,
        overrides=override or [],
    )
    check_can_be_made(out)
    if record:
        refuse_other_folder(record, settings)
    data = read_data(settings)
    for line in changes_since(record, settings, data) if record else ():
        logging.getLogger(__name__).warning("%s", line)
    if dry_run:
        print(json_line(settings.to_dict()), end="")
        return
    from ..finetune.run import run  # torch is loaded only now, so bad data is told at once

    report = run(settings, data, out, resume=resume)
    if report is not None and _is_first_process():
        scores = {source: _numbers(scores) for source, scores in report["dev"].items()}
        print(json_line({"out": str(out), "dev": scores}), end="")


def custom_columns(
    *, text: str | None, pair: str | None, label: str | None, kind: str | None
) -> dict[str, str]:
    """The options of task custom that are given, by the names of their settings."""
    named = {"text_column": text, "pair_column": pair, "label_column": label, "label_kind": kind}
    return {name: value for name, value in named.items() if value is not None}


def _named(file: Mapping[str, Any], key: str, *, instead: str) -> str:
    """What a file of settings says of the task or the model."""
    if not file.get(key):
        raise UserError(f"which {key}? Give {instead}, or --config with a file that names it.")
    return str(file[key])


def _numbers(scores: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in scores.items() if isinstance(value, float)}


def _is_first_process() -> bool:
    """Whether this is the process that speaks: of several, torchrun tells each its number."""
    return os.environ.get("RANK", "0") == "0"


def log_to_stderr() -> None:
    """Show what the package reports, on stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("debertav3: %(message)s"))
    logger = logging.getLogger("debertav3")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO if _is_first_process() else logging.ERROR)


def register(app: typer.Typer) -> None:
    """Add ``finetune``, ``compare``, ``search``, ``push`` and ``data check``."""
    from . import compare, data_check, push, search  # noqa: F401  data_check adds itself to ``data``

    app.command(cls=SeveralValues)(finetune)
    for module in (compare, search, push):
        module.register(app)
