"""Tokenizer folders: what is read from a checkpoint, and what is written so that stock libraries agree.

Read: ``spm.model`` if there is one, else ``tokenizer.json``. Written: both, with a ``tokenizer_config.json``
that names ``PreTrainedTokenizerFast``, the class that honours ``tokenizer.json`` as it stands.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import UserError
from ..files import write_bytes, write_text
from .specials import ROLES, SpecialTokens

MODEL_FILE = "spm.model"
JSON_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
ADDED_FILE = "added_tokens.json"
HUB_FILES = (MODEL_FILE, JSON_FILE, CONFIG_FILE, ADDED_FILE, "config.json")

COMPAT_KEY = "debertav3_compat"
"""Entry of ``tokenizer_config.json`` that keeps a compatibility mode; stock libraries pass it over."""

Compat = Literal["exact", "hf5"]
"""``"exact"``: what the files say. ``"hf5"``: what transformers 5 makes of their vocabulary."""

NO_LIMIT = int(1e30)
"""What transformers writes for "no limit"."""

MAX_KNOWN_LENGTH = 1_000_000
"""Lengths above this are read as "no limit"."""


@dataclass(frozen=True, kw_only=True)
class TokenizerFiles:
    """What a folder says about its tokenizer."""

    place: str
    """Folder, for messages."""
    model: bytes | None
    """``spm.model``."""
    tokenizer_json: Mapping[str, Any] | None
    """``tokenizer.json``, parsed; only read where there is no model."""
    config: Mapping[str, Any]
    """``tokenizer_config.json``."""
    added: Mapping[str, int]
    """Id of every token that some file lists beside the model's pieces."""
    max_positions: int | None
    """``max_position_embeddings`` of the checkpoint's ``config.json``."""

    @property
    def names(self) -> dict[str, str]:
        """String of every special token."""
        return {role: _token_text(self.config.get(role) or default) for role, default in ROLES.items()}

    @property
    def model_max_length(self) -> int | None:
        """Longest row in tokens: the tokenizer's own limit, else the model's, else None."""
        length = self.config.get("model_max_length")
        if length is None or length > MAX_KNOWN_LENGTH:
            return self.max_positions
        return int(length)

    def resolve_compat(self, asked: str | None) -> Compat:
        """The mode that was asked for, else the one that the folder was saved with, else ``"exact"``.

        Raises:
            UserError: for an unknown mode.
        """
        mode = asked or self.config.get(COMPAT_KEY, "exact")
        if mode == "exact":
            return "exact"
        if mode == "hf5":
            return "hf5"
        raise UserError(f"compat={mode!r} is unknown: use 'exact' or 'hf5' (the ids of transformers 5).")


def read_folder(folder: Path) -> TokenizerFiles:
    """Read the tokenizer files of a local folder.

    Raises:
        UserError: if the folder is missing, has no tokenizer, or has one in a form that cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"no such folder: {folder}. Give a checkpoint folder or a Hub name.")
    model_path, json_path = folder / MODEL_FILE, folder / JSON_FILE
    model = model_path.read_bytes() if model_path.is_file() else None
    tokenizer_json = _read_json(json_path) if model is None and json_path.is_file() else None
    if model is None and tokenizer_json is None:
        raise UserError(
            f"no tokenizer in {folder}: need {MODEL_FILE} or {JSON_FILE}. "
            "Copy it from the checkpoint that the weights came from."
        )
    config = _read_json(folder / CONFIG_FILE)
    added = {
        **{token["content"]: token["id"] for token in (tokenizer_json or {}).get("added_tokens", [])},
        **{
            _token_text(token): int(number)
            for number, token in config.get("added_tokens_decoder", {}).items()
        },
        **_read_json(folder / ADDED_FILE),
    }
    return TokenizerFiles(
        place=str(folder),
        model=model,
        tokenizer_json=tokenizer_json,
        config=config,
        added=added,
        max_positions=_read_json(folder / "config.json").get("max_position_embeddings"),
    )


def download_folder(name: str, *, revision: str | None, local_files_only: bool) -> Path:
    """Fetch the tokenizer files of a Hub checkpoint into the ordinary cache and return their folder.

    Raises:
        UserError: if the name is a path that leads nowhere, if there is no such name, or if there is no
            network and nothing in the cache.
    """
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(f"no such folder: {name}. Give a checkpoint folder or a Hub name.")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                name,
                revision=revision,
                allow_patterns=list(HUB_FILES),
                local_files_only=local_files_only,
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise not_given(name, error) from error


def not_given(name: str, error: Exception) -> UserError:
    """Say that a name is neither a folder nor, for the reason that ``error`` begins with, the Hub's."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return UserError(
        f"{name!r} is no local folder, and the Hub did not give it ({reason}). "
        "Check the name, the network or the cache."
    )


def write_folder(
    folder: Path,
    *,
    model: bytes | None,
    tokenizer_json: str,
    specials: SpecialTokens,
    model_max_length: int | None,
    compat: str | None,
) -> tuple[str, ...]:
    """Write the files of a tokenizer, each atomically, and return their paths."""
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": model_max_length or NO_LIMIT,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        "padding_side": "right",
        "clean_up_tokenization_spaces": False,
        "do_lower_case": False,
        "split_by_punct": False,
        "vocab_type": "spm",
        "bos_token": specials.names["cls_token"],
        "eos_token": specials.names["sep_token"],
        **specials.names,
        **({COMPAT_KEY: compat} if compat else {}),
    }
    added = {**specials.added, specials.names["mask_token"]: specials.ids["mask_token"]}
    texts = {JSON_FILE: tokenizer_json, CONFIG_FILE: _to_json(config), ADDED_FILE: _to_json(added)}
    folder.mkdir(parents=True, exist_ok=True)
    if model is not None:
        write_bytes(folder / MODEL_FILE, model)
    for name, text in texts.items():
        write_text(folder / name, text)
    return tuple(str(folder / name) for name in ([MODEL_FILE] if model is not None else []) + list(texts))


def _to_json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # broken UTF-8 or broken JSON
        raise UserError(f"{path} is not JSON ({error}). Fetch the file again.") from error
    if not isinstance(content, dict):
        raise UserError(
            f"{path} holds a JSON {type(content).__name__}, need an object. Fetch the file again."
        )
    return content


def _token_text(token: str | Mapping[str, Any]) -> str:
    return token if isinstance(token, str) else token["content"]
