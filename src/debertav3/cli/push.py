"""``debertav3 push``: a trained folder to the Hub, only when it is asked for."""

import sys
from pathlib import Path
from typing import Annotated

from .commands import Argument, Option


def push(
    folder: Annotated[Path, Argument(help="Folder that `debertav3 finetune` wrote.")],
    repository: Annotated[str, Argument(help="NAME or OWNER/NAME on the Hub; created if it does not exist.")],
    private: Annotated[bool, Option("--private", help="Create it as a private repository.")] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="List what would be uploaded, and exit.")] = False,
) -> None:
    """Upload a model to the Hugging Face Hub.

    Uploads it with tokenizer, model card, scores and report, and no other files of the folder.

    Example: debertav3 push my-nli me/deberta-v3-xsmall-nli --private

    Needs a token: `hf auth login`, or the variable HF_TOKEN. Check README.md and run.json first: they
    name the files that you trained on.
    """
    from ..finetuning.push import files_of, others_in
    from ..finetuning.push import push as send

    files = files_of(folder)
    for file in files:
        print(f"{file.stat().st_size:>12,} bytes  {file.name}")
    for file in others_in(folder):
        print(f"debertav3: not sent: {file.name}, which is not part of the model", file=sys.stderr)
    if not dry_run:
        print(send(folder, repository, private=private))
