"""``debertav3 data check``: the data doctor on its own."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ..errors import UserError
from ..files import Output
from .commands import Argument, Option
from .finetune import HelpSettings, only_given
from .options import DATA, MODEL, RUN, SETTINGS, Overwrite
from .outputs import guard
from .row_options import AS_FOUND, RowOptions, takes_row_options
from .terminal import log_to_stderr, wrote

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from ..finetuning.batches import Tokenizer
    from ..finetuning.config import FinetuneConfig
    from ..tasks.task import Task


@takes_row_options
def check_command(
    task: Annotated[str, Argument(help="Task name, as for `debertav3 finetune`.")],
    files: Annotated[list[str], Argument(help="Training files, folders or datasets:NAME.")],
    dev: Annotated[list[str] | None, Option(help="Dev files; several may follow.", heading=DATA)] = None,
    tokenizer: Annotated[
        str | None,
        Option(
            "--tokenizer",
            "--model",
            help="Counts the tokens: a folder or Hub name.",
            heading=MODEL,
            show_default="nano's, which comes with the package",
        ),
    ] = None,
    rows: RowOptions = AS_FOUND,
    override: Annotated[
        list[str] | None,
        Option("--set", help="Settings of `debertav3 finetune`, such as max_length=128.", heading=SETTINGS),
    ] = None,
    help_settings: HelpSettings = False,
    json_file: Annotated[
        Path | None, Option("--json", help="File for all facts, as JSON.", heading=RUN)
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Check labelled data before training.

    Counts labels, lengths and duplicates, and finds labels that single words give away.

    Example: debertav3 data check nli train.jsonl.gz --dev dev.jsonl.gz

    Prints facts, then warnings. If a file cannot be used for training, the error names its line.
    """
    log_to_stderr()
    is_default = False
    if tokenizer is None:
        from ..inference.default_model import default_model

        tokenizer, is_default = str(default_model()), True
    guard(
        Output(option="--json", path=json_file),
        inputs={"FILES": files, "--dev": dev, "--tokenizer": tokenizer, "--labels": rows.labels},
        overwrite=overwrite,
    )
    from ..files import write_json
    from ..files.model_folder import ModelFolder
    from ..finetuning.data_check import check_data
    from ..finetuning.preparation import resolve

    given = only_given(
        train=files,
        dev=dev or [],
        tokenizer=tokenizer,
        **rows.settings(),
    )
    config = resolve(task, model=tokenizer, given=given, overrides=override or [])
    if "/" not in tokenizer or Path(tokenizer).exists():
        ModelFolder.find(tokenizer)  # a wrong name is reported before the data are read
    if is_default:
        logger.info("lengths are counted with the tokenizer of %s; --tokenizer names another", tokenizer)
    facts = check_data(config, _open_tokenizer)
    for name, part in [("training data", facts["train"]), *facts["dev"].items()]:
        print(name)
        for key, value in part.items():
            print(f"  {key.replace('_', ' ')}: {_readable(value)}")
    for line in facts["warnings"]:
        print(f"warning: {line}")
    if json_file is not None:
        write_json(json_file, facts)
        wrote(json_file)


def _open_tokenizer(config: "FinetuneConfig", task: "Task") -> "Tokenizer":
    """DeBERTaV3's without loading torch, or that of another family."""
    from ..tokenization import DebertaV3Tokenizer

    try:
        return DebertaV3Tokenizer.from_pretrained(config.model)
    except UserError as error:
        from ..finetuning.start import OURS, find_start

        start = find_start(config)
        found = start.checkpoint
        if found is None or (start.family == OURS and not found.folder.has("tokenizer_config.json")):
            raise
        from ..finetuning.starting_model import open_tokenizer

        try:
            return open_tokenizer(config, task)
        except UserError:
            raise error from None


def _readable(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_readable(one)}" for key, one in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
