"""Where a model's folder is: a local one or the Hub's, and which files of it may be opened.

Standard library only; the Hub's client is imported where a name needs it.
"""

import difflib
import os
import threading
from pathlib import Path

from .errors import UserError

CONNECT_SECONDS = 5.0
"""How long the Hub may take to answer at all before it counts as unreachable."""

GENERATOR = "generator"
"""Our folder for the generator inside a discriminator's folder."""

GENERATOR_BESIDE = ("generator.safetensors", "pytorch_model.generator.bin")
"""Names of a generator's weights beside the discriminator's, in the order in which they are looked for.

The official folders of V3 xsmall, small and large hold the ``.bin`` file; base has none.
"""

_NEEDED = ["*.json", "spm.model", "model*.safetensors"]
_NEEDED_BIN = ["pytorch_model.bin", "pytorch_model-*.bin"]


def locate(
    path_or_name: str | os.PathLike[str],
    *,
    with_generator: bool = False,
    only: list[str] | None = None,
    revision: str | None = None,
    local_files_only: bool = False,
) -> Path:
    """Return the folder of a model: a local one, or a Hub repository's after a download.

    A local folder comes before a Hub repository of the same name.

    Args:
        path_or_name: a folder, or a Hub name such as ``microsoft/deberta-v3-base``.
        with_generator: whether to download the generator too.
        only: patterns of the files to download; None takes what a model and its tokenizer need.
        revision: branch, tag or commit on the Hub.
        local_files_only: use the Hub's local cache alone.

    Raises:
        UserError: if there is no such folder, or the Hub has no such repository or cannot be reached.
    """
    path = Path(path_or_name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise UserError(f"{path} is a file; a checkpoint is a folder with config.json and model.safetensors")
    name = os.fspath(path_or_name)
    if name.count("/") != 1 or name.startswith((".", "~", "/")) or name.endswith("/"):
        raise UserError(
            f"no such folder: {name}. Give a checkpoint folder, or a Hub name such as "
            f"microsoft/deberta-v3-base.{_suggestion(path)}"
        )
    patterns = only or [*_NEEDED, *GENERATOR_BESIDE, f"{GENERATOR}/*"] if with_generator else only or _NEEDED
    return _download(name, patterns, revision=revision, local_files_only=local_files_only, whole=only is None)


def is_folder(path_or_name: str | os.PathLike[str]) -> bool:
    """Whether a local folder has this name: it then comes before a size or a Hub repository of the name."""
    return Path(path_or_name).expanduser().is_dir()


def _suggestion(path: Path) -> str:
    """A local folder of nearly this name, as a hint; empty if there is none."""
    try:
        here = [one.name for one in path.parent.iterdir() if (one / "config.json").is_file()]
        shipped = [
            f"models/{one.name}" for one in Path("models").glob("*") if (one / "config.json").is_file()
        ]
    except OSError:
        return ""
    by_name = {Path(one).name: one for one in shipped} | {one: os.fspath(path.parent / one) for one in here}
    near = difflib.get_close_matches(path.name, by_name, n=1, cutoff=0.6)
    return f" Did you mean {by_name[near[0]]}?" if near else ""


def _download(
    name: str, patterns: list[str], *, revision: str | None, local_files_only: bool, whole: bool
) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # The client tries again and again for most of a minute: one try of our own decides whether it may begin.
    offline = local_files_only or constants.HF_HUB_OFFLINE
    unreachable = not offline and not _hub_answers(constants.ENDPOINT)

    def fetch(wanted: list[str]) -> Path:
        return Path(
            snapshot_download(
                name,
                revision=revision,
                allow_patterns=wanted,
                local_files_only=offline or unreachable,
            )
        )

    try:
        folder = fetch(patterns)
        if whole and not any(folder.glob("model*.safetensors")):
            folder = fetch([*patterns, *_NEEDED_BIN])
    except GatedRepoError as error:
        raise UserError(
            f"the Hub repository {name} is gated: ask for access, then run: hf auth login"
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UserError(
            f"neither a local folder nor a Hub repository is named {name}: check the spelling."
            f"{_suggestion(Path(name))}"
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(
            f"the Hub repository {name} has no revision {revision}: check the spelling"
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        why = (
            f"the Hub at {constants.ENDPOINT} cannot be reached"
            if unreachable
            else "the Hub's cache does not hold it, and the network is not to be used"
            if offline
            else "the Hub did not give it"
        )
        raise UserError(
            f"no local folder is named {name}, and {why}: give a local folder, or try again with a "
            f"network.{_suggestion(Path(name))}"
        ) from error
    return folder


def _hub_answers(endpoint: str) -> bool:
    """Whether the Hub answers anything at all within `CONNECT_SECONDS`; asked once, through the user's proxy.

    In a thread of its own, since looking up a host's name has no time limit.
    """
    from huggingface_hub.utils import get_session

    answered = threading.Event()

    def ask() -> None:
        try:
            get_session().head(endpoint, timeout=CONNECT_SECONDS)
        except Exception:  # whatever it is, there was no answer
            return
        answered.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(2 * CONNECT_SECONDS)
    return answered.is_set()


def member(folder: Path, name: str) -> Path:
    """Return the path of a file directly inside ``folder``, refusing any way out of it.

    Raises:
        UserError: if ``name`` is a path rather than a file name, or a link that leaves the folder.
    """
    if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise UserError(f"{folder}: refusing the file name {name!r}: it must be in the folder itself")
    path = folder / name
    target, root = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    if not target.is_relative_to(root) and not target.is_relative_to(_hub_blobs(root)):
        raise UserError(f"refusing {path}: it is a link that leaves its folder; copy the file itself there")
    return path


def _hub_blobs(folder: Path) -> Path:
    """The Hub's cache links from ``snapshots/REVISION/`` to ``blobs/``; for other folders: the folder."""
    return folder.parent.parent / "blobs" if folder.parent.name == "snapshots" else folder
