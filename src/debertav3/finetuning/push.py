"""A trained folder to the Hugging Face Hub, in one commit."""

from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files.model_content import is_of_a_model
from ..runs.record import has_record, read_record
from ..tasks.columns import RUN
from .resuming import WRITTEN
from .usage import name_repository

_CARD = "README.md"
_NEEDED = ("config.json", "model.safetensors", _CARD)
_SENT = (*(name for name in WRITTEN if "*" not in name), RUN, "LICENSE*")
"""What is sent beside the files of the model. A run's folder may hold files of the user's, such as data."""


def files_of(folder: Path) -> list[Path]:
    """Return the files of a trained folder that are sent: what belongs to its model.

    Raises:
        UserError: if it is not a folder with a finished model and its card.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; give one that debertav3 finetune has finished.")
    missing = [name for name in _NEEDED if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{folder} has no {missing[0]}; give a folder that debertav3 finetune has finished.")
    return [path for path in _visible(folder) if _is_sent(path)]


def others_in(folder: Path) -> list[Path]:
    """Return the files of a trained folder that are not sent."""
    return [path for path in _visible(folder) if not _is_sent(path)]


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def _is_sent(path: Path) -> bool:
    return is_of_a_model(path.name) or any(fnmatch(path.name, pattern) for pattern in _SENT)


def push(folder: Path, repository: str, *, private: bool = False) -> str:
    """Send the files of a folder to a repository, which is made if it is not there.

    The card that is sent names the repository where the folder's own names the folder.

    Args:
        folder: that a fine-tuning has finished.
        repository: ``NAME`` or ``OWNER/NAME``.
        private: of a new repository.

    Returns:
        The address of the repository.

    Raises:
        UserError: without a valid token, without a connection, or for a name that the Hub refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    # The base of the Hub's errors is that of its HTTP library, of which there are two.
    errors: tuple[Any, ...] = (*HfHubHTTPError.__bases__, HFValidationError)
    files = files_of(folder)
    api = HfApi()
    try:
        made = api.create_repo(repository, private=private, exist_ok=True)
        card = _card_of(folder, repository=made.repo_id).encode("utf-8")
        api.create_commit(
            repo_id=made.repo_id,
            operations=[
                CommitOperationAdd(
                    path_in_repo=file.name, path_or_fileobj=card if file.name == _CARD else str(file)
                )
                for file in files
            ],
            commit_message="Upload of debertav3 push",
        )
    except LocalTokenNotFoundError as error:
        raise UserError("the Hub needs a token: run `hf auth login` or set HF_TOKEN.") from error
    except errors as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{repository} was not uploaded to the Hub: {reason}") from error
    return str(made)


def _card_of(folder: Path, *, repository: str) -> str:
    """The card with the repository's name in place of the one that the run gave; of older runs as it is."""
    card = (folder / _CARD).read_text(encoding="utf-8")
    named = read_record(folder).get("out") if has_record(folder) else None
    return name_repository(card, folder=named, repository=repository) if named else card
