"""``debertav3 finetune``: from labelled files to a checkpoint, a score and a record of the run."""

import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

_SEVERAL = ("--train", "--dev")


class _SeveralFiles(TyperCommand):
    """Lets one ``--train`` take several files: ``--train a b`` as well as ``--train a --train b``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _repeat_options(args))


def _repeat_options(args: list[str]) -> list[str]:
    spread: list[str] = []
    current = ""
    for arg in args:
        if arg.startswith("-") and arg != "-":
            current = arg if arg in _SEVERAL else ""
        elif current and spread[-1] != current:
            spread.append(current)
        spread.append(arg)
    return spread


def finetune(
    task: Annotated[
        str,
        typer.Argument(help="nli, mnli, qnli, ..., squad2, ner, arc, ... or custom; a wrong name lists all."),
    ],
    model: Annotated[str, typer.Option(help="Size (from scratch), local folder or Hub name.")],
    train: Annotated[
        list[str], typer.Option(help="Training files (JSONL, CSV, Parquet, ...), folders or datasets:NAME.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint, run.json and metrics.json.")],
    dev: Annotated[
        list[str] | None, typer.Option(help="Dev files; the first selects the best checkpoint.")
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="custom: column of the text; the longest if not given.")
    ] = None,
    pair: Annotated[str | None, typer.Option(help="custom: column of a second text.")] = None,
    label: Annotated[str | None, typer.Option(help="custom: column of the label.")] = None,
    kind: Annotated[
        str | None, typer.Option(help="custom: one-label, several-labels, number, tags, ranking.")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Folder or Hub name; the model's own if not given.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and dropout; 1 if not given.")] = None,
    sift: Annotated[bool, typer.Option("--sift", help="Add SiFT, the adversarial regulariser.")] = False,
    lora: Annotated[bool, typer.Option("--lora", help="Train low-rank changes only; needs peft.")] = False,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting: learning_rate=2e-5.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest complete checkpoint in --out.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the data, print the settings and stop.")
    ] = False,
) -> None:
    """Train a model on a task, score it on the dev files, and write what is needed to use and to repeat it.

    Example: debertav3 finetune nli --model microsoft/deberta-v3-xsmall --train train.jsonl.gz --dev dev.jsonl
    --out my-nli --set epochs=2
    """
    _log_to_stderr()
    from ..data.jsonl import json_line
    from ..finetune.config import read_yaml
    from ..finetune.preparation import read_data, resolve

    given = {
        "train": train,
        "dev": dev,
        "text_column": text,
        "pair_column": pair,
        "label_column": label,
        "label_kind": kind,
        "tokenizer": tokenizer,
        "seed": seed,
        "sift": sift or None,
        "lora": lora or None,
    }
    settings = resolve(
        task,
        model=model,
        given={key: value for key, value in given.items() if value is not None},
        config_file=read_yaml(config) if config else None,
        overrides=override or [],
    )
    data = read_data(settings)
    if dry_run:
        print(json_line(settings.to_dict()), end="")
        return
    from ..finetune.run import run  # torch is loaded only now, so bad data is told at once

    report = run(settings, data, out, resume=resume)
    if report is not None:
        scores = {
            path: {key: value for key, value in scores.items() if isinstance(value, float)}
            for path, scores in report["dev"].items()
        }
        print(json_line({"out": str(out), "dev": scores}), end="")


def _log_to_stderr() -> None:
    """Show what the package reports, on stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("debertav3: %(message)s"))
    logger = logging.getLogger("debertav3")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)


def register(app: typer.Typer) -> None:
    """Add ``finetune`` and ``data check``."""
    from . import data_check  # noqa: F401  adds itself to the ``data`` group

    app.command(cls=_SeveralFiles)(finetune)
