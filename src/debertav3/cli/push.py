"""``debertav3 push``: a trained folder to the Hub, only when it is asked for."""

from pathlib import Path
from typing import Annotated

from .commands import Argument, Option


def push(
    folder: Annotated[Path, Argument(help="A folder that `debertav3 finetune` has made.")],
    repository: Annotated[str, Argument(help="NAME or OWNER/NAME on the Hub; made if it is not there.")],
    private: Annotated[bool, Option("--private", help="Nobody else may see it.")] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="Say what would be sent, and stop.")] = False,
) -> None:
    """Send a model to the Hugging Face Hub.

    With tokenizer, model card, scores and report.

    Example: debertav3 push my-nli me/deberta-v3-xsmall-nli --private

    Needs a token: `hf auth login`, or the variable HF_TOKEN. Look at README.md and run.json before: they name
    the files you trained on.
    """
    from ..finetuning.push import files_of
    from ..finetuning.push import push as send

    files = files_of(folder)
    for file in files:
        print(f"{file.stat().st_size:>12,} bytes  {file.name}")
    if not dry_run:
        print(send(folder, repository, private=private))
