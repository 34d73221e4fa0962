"""``debertav3 data check``: the data doctor on its own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UserError
from .data import data_app
from .finetune import Kind, Label, Pair, Text, custom_columns
from .several_values import SeveralValues

if TYPE_CHECKING:
    from ..finetune.config import FinetuneConfig
    from ..tasks.task import Task


@data_app.command("check", cls=SeveralValues)
def check_command(
    task: Annotated[str, typer.Argument(help="Task by name, as of `debertav3 finetune`.")],
    files: Annotated[list[str], typer.Argument(help="Training files, folders or datasets:NAME.")],
    dev: Annotated[list[str] | None, typer.Option(help="Dev files; several may follow.")] = None,
    tokenizer: Annotated[
        str, typer.Option(help="By which lengths are counted: folder or Hub name.")
    ] = "microsoft/deberta-v3-base",
    text: Text = None,
    pair: Pair = None,
    label: Label = None,
    kind: Kind = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="Settings as of `debertav3 finetune`: max_length=128.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Gets all facts.")] = None,
) -> None:
    """Look at labelled data before training: labels, lengths, repetitions, what words give away.

    Example: debertav3 data check nli train.jsonl.gz --dev dev.jsonl.gz --tokenizer models/nano

    Prints the facts, then warnings. A file that cannot be trained on ends the command with its line.
    """
    from ..data.jsonl import write_json
    from ..finetune.doctor import examine
    from ..finetune.preparation import read_data, resolve

    given = {"train": files, "dev": dev or [], "tokenizer": tokenizer}
    given |= custom_columns(text=text, pair=pair, label=label, kind=kind)
    config = resolve(task, model=tokenizer, given=given, overrides=override or [])
    data = read_data(config)
    facts = examine(data, config, tokenizer=_open_tokenizer(config, data.task))
    for name, part in [("training data", facts["train"]), *facts["dev"].items()]:
        print(name)
        for key, value in part.items():
            print(f"  {key.replace('_', ' ')}: {_readable(value)}")
    for line in facts["warnings"]:
        print(f"warning: {line}")
    if json_file is not None:
        write_json(json_file, facts)


def _open_tokenizer(config: "FinetuneConfig", task: "Task") -> Any:
    """DeBERTaV3's without loading torch, or that of another family."""
    from ..tokenization import DebertaV3Tokenizer

    try:
        return DebertaV3Tokenizer.from_pretrained(config.model)
    except UserError as error:
        from ..finetune.opening import open_tokenizer

        try:
            return open_tokenizer(config, task)
        except UserError:
            raise error from None


def _readable(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_readable(one)}" for key, one in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
