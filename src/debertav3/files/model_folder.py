"""Where a model's folder is, a local one or the Hub's, and which files of it may be opened.

Everything that opens a model finds its folder here, once, and passes the `ModelFolder` on. Standard library
only; the Hub's client is imported where a name needs it.
"""

import contextlib
import difflib
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ..errors import UserError
from ..json_types import JsonMapping
from .content import sha256_of_bytes
from .reading import check_fetched, check_not_pipe, parse_json

CONNECT_SECONDS = 5.0
"""How long the Hub may take to answer at all before it counts as unreachable."""

GENERATOR = "generator"
"""Our folder for the generator inside a discriminator's folder."""

GENERATOR_BESIDE = ("generator.safetensors", "pytorch_model.generator.bin")
"""Names of a generator's weights beside the discriminator's, in the order in which they are looked for.

The official folders of V3 xsmall, small and large hold the ``.bin`` file; base has none.
"""

EXPORT_MANIFEST = "export.json"
"""Says in an exported folder what was exported."""

WHOLE = ("*.json", "spm.model", "model*.safetensors")
"""Patterns of the files that a model and its tokenizer need: what the Hub is asked for."""

TOKENIZER = (
    "spm.model",
    "tokenizer.json",
    "tokenizer_config.json",
    "added_tokens.json",
    "special_tokens_map.json",
    "config.json",
)
"""Those of them that the tokenizer needs."""

_OF_THE_GENERATOR = (*GENERATOR_BESIDE, f"{GENERATOR}/*")
_WITHOUT_SAFETENSORS = ("pytorch_model.bin", "pytorch_model-*.bin")
_GRAPHS = ("model.onnx", "model.onnx.data", "openvino_model.xml", "openvino_model.bin")

_MAX_JSON_BYTES = 64 << 20  # the largest real one, tokenizer.json of mDeBERTa, has 16 MiB


def user_path(path: str | Path) -> Path:
    """A path with the user's home in place of ``~``; as it is where that home is not known."""
    with contextlib.suppress(RuntimeError):
        return Path(path).expanduser()
    return Path(path)


@dataclass(frozen=True)
class ModelFolder:
    """A model's folder, found once. Its files are read as data: nothing outside of it is opened."""

    path: Path
    """Where it is on this machine."""
    name: str = ""
    """As the user gave it, for messages; by default the path."""
    revision: str | None = None
    """Branch, tag or commit that was asked of the Hub."""
    is_from_hub: bool = False
    sums: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
    """SHA-256 sums of the files that `json` has read."""
    _parsed: dict[str, Mapping[str, object]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", os.fspath(self.path))

    @classmethod
    def find(
        cls,
        path_or_name: str | os.PathLike[str],
        *,
        only: Sequence[str] = WHOLE,
        with_generator: bool = False,
        revision: str | None = None,
        local_files_only: bool = False,
    ) -> "ModelFolder":
        """Return the folder of a model: a local one, or a Hub repository's after a download.

        A local folder comes before a Hub repository of the same name.

        Args:
            path_or_name: a folder, or a Hub name such as ``microsoft/deberta-v3-base``.
            only: patterns of the files to download: `WHOLE` or `TOKENIZER`.
            with_generator: whether to download the generator too.
            revision: branch, tag or commit on the Hub.
            local_files_only: use the Hub's local cache alone.

        Raises:
            UserError: if there is no such folder, or the Hub has no such repository or cannot be reached.
        """
        if not isinstance(path_or_name, str | os.PathLike) or not os.fspath(path_or_name):
            found = repr(path_or_name) if isinstance(path_or_name, str) else type(path_or_name).__name__
            raise UserError(
                f"need a checkpoint folder, or a Hub name such as microsoft/deberta-v3-base; got {found}"
            )
        name = os.fspath(path_or_name)
        path = user_path(os.fspath(path_or_name))
        if path.is_dir():
            return cls(path, name)
        if path.exists():
            raise UserError(
                f"{path} is a file; a checkpoint is a folder with config.json and model.safetensors"
            )
        if name.count("/") != 1 or name.startswith((".", "~", "/")) or name.endswith("/"):
            raise UserError(
                f"no such folder: {name}. Give a checkpoint folder, or a Hub name such as "
                f"microsoft/deberta-v3-base.{_suggestion(path)}"
            )
        patterns = [*only, *(_OF_THE_GENERATOR if with_generator else ())]
        path = _download(
            name, patterns, revision=revision, local_files_only=local_files_only, whole=only is WHOLE
        )
        return cls(path, name, revision=revision, is_from_hub=True)

    def __str__(self) -> str:
        return str(self.path)

    def __reduce__(self) -> tuple[object, ...]:
        return _found_again, (self.path, self.name, self.revision, self.is_from_hub)

    @cached_property
    def _roots(self) -> tuple[Path, ...]:
        root = Path(os.path.realpath(self.path))
        return root, _hub_blobs(root)

    def file(self, name: str) -> Path:
        """Return the path of a file directly inside the folder, whether it is there or not.

        Raises:
            UserError: if ``name`` is a path rather than a file name, or a link that leaves the folder.
        """
        if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
            raise UserError(f"{self}: refusing the file name {name!r}: it must be in the folder itself")
        path = self.path / name
        target = Path(os.path.realpath(path))
        if not any(target.is_relative_to(root) for root in self._roots):
            raise UserError(
                f"refusing {path}: it is a link that points outside its folder; copy the file itself there"
            )
        return path

    def has(self, name: str) -> bool:
        """Whether there is such a file.

        Raises:
            UserError: as `file`.
        """
        return self.file(name).is_file()

    def json(self, name: str) -> JsonMapping:
        """Return the JSON object in a file, strictly read; each file is read once.

        Raises:
            UserError: as `file`, or if the file is not there, too large, or holds anything else.
        """
        if name not in self._parsed:
            text = _read(path := self.file(name))
            self._parsed[name] = _object(text, path)
            self.sums[name] = sha256_of_bytes(text)
        return self._parsed[name]


def _found_again(path: Path, name: str, revision: str | None, is_from_hub: bool) -> ModelFolder:
    """The same folder in another process, or on another machine, where it may lie elsewhere."""
    if is_from_hub and not path.is_dir():
        return ModelFolder.find(name, revision=revision)
    return ModelFolder(path, name, revision=revision, is_from_hub=is_from_hub)


def json_object(path: Path) -> Mapping[str, object]:
    """Return the JSON object in a file of a model, strictly read.

    Raises:
        UserError: if it cannot be read, is too large, or holds anything else.
    """
    return _object(_read(path), path)


def _read(path: Path) -> bytes:
    check_not_pipe(path)
    try:
        size = path.stat().st_size
        if size > _MAX_JSON_BYTES:
            raise UserError(f"{path} has {size:,} bytes; a model file with this name cannot be so large")
        text = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    check_fetched(path, text)
    return text


def _object(text: bytes, path: Path) -> Mapping[str, object]:
    content = parse_json(text, str(path), advice="Restore the file or download it again.")
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a JSON {type(content).__name__}; need a JSON object {{...}}")
    return content


def is_folder(path_or_name: str | os.PathLike[str]) -> bool:
    """Whether a local folder has this name: it then comes before a size or a Hub repository of the name."""
    return user_path(os.fspath(path_or_name)).is_dir()


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

    def fetch(wanted: list[str], commit: str | None) -> Path:
        return Path(
            snapshot_download(
                name,
                revision=commit,
                allow_patterns=wanted,
                local_files_only=offline or unreachable,
            )
        )

    try:
        folder = fetch(patterns, revision)
        if whole and (more := _also_needed(folder)):
            folder = fetch([*patterns, *more], folder.name)  # the same commit
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


def _also_needed(folder: Path) -> tuple[str, ...]:
    """Further patterns for a repository whose files differ from most."""
    if (folder / EXPORT_MANIFEST).is_file():
        return _GRAPHS
    return () if any(folder.glob("model*.safetensors")) else _WITHOUT_SAFETENSORS


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


def _hub_blobs(folder: Path) -> Path:
    """The Hub's cache links from ``snapshots/REVISION/`` to ``blobs/``; for other folders: the folder."""
    return folder.parent.parent / "blobs" if folder.parent.name == "snapshots" else folder
