"""Tokenizer folders: what is read from a checkpoint, and what is written so that stock libraries get the same ids.

Read: ``spm.model`` if there is one, else ``tokenizer.json``. Written: both, with a ``tokenizer_config.json`` that names
``PreTrainedTokenizerFast``, the class that honours ``tokenizer.json`` as it stands.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from .atomic import write_bytes, write_text
from .specials import ROLES, SpecialTokens

MODEL_FILE = "spm.model"
JSON_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
ADDED_FILE = "added_tokens.json"
TOKENIZER_FILES = (MODEL_FILE, JSON_FILE, CONFIG_FILE, ADDED_FILE, "special_tokens_map.json")

MAX_KNOWN_LENGTH = 1_000_000
"""transformers writes 10**30 for "no limit"; anything above this is read so."""


@dataclass(frozen=True, kw_only=True)
class TokenizerFiles:
    """What a folder says about its tokenizer."""

    place: str
    """Folder, for messages."""
    model: bytes | None
    """``spm.model``."""
    tokenizer_json: str | None
    config: Mapping[str, Any]
    added: Mapping[str, int]

    @property
    def names(self) -> dict[str, str]:
        """String of every special token."""
        return {role: _token_text(self.config.get(role) or default) for role, default in ROLES.items()}

    @property
    def model_max_length(self) -> int | None:
        """Longest input in tokens, special ones included; None where the folder sets no limit."""
        length = self.config.get("model_max_length")
        return int(length) if isinstance(length, int | float) and length <= MAX_KNOWN_LENGTH else None


def read_folder(folder: Path) -> TokenizerFiles:
    """Read the tokenizer files of a local folder.

    Raises:
        UserError: if the folder is missing, has no tokenizer, or has one in a form that cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"no such folder: {folder}. Give a checkpoint folder or a Hub name.")
    model_path, json_path = folder / MODEL_FILE, folder / JSON_FILE
    model = model_path.read_bytes() if model_path.is_file() else None
    tokenizer_json = json_path.read_text(encoding="utf-8") if json_path.is_file() else None
    if model is None and tokenizer_json is None:
        raise UserError(
            f"no tokenizer in {folder}: need {MODEL_FILE} or {JSON_FILE}. Copy it from the checkpoint's origin."
        )
    config = _read_json(folder / CONFIG_FILE)
    added = {
        **_json_added_tokens(tokenizer_json, json_path),
        **{
            _token_text(token): int(number)
            for number, token in config.get("added_tokens_decoder", {}).items()
        },
        **_read_json(folder / ADDED_FILE),
    }
    return TokenizerFiles(
        place=str(folder), model=model, tokenizer_json=tokenizer_json, config=config, added=added
    )


def download_folder(name: str, *, revision: str | None, local_files_only: bool) -> Path:
    """Fetch the tokenizer files of a Hub checkpoint into the ordinary cache and return their folder.

    Raises:
        UserError: if there is no such name, or no network and nothing in the cache.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                name,
                revision=revision,
                allow_patterns=list(TOKENIZER_FILES),
                local_files_only=local_files_only,
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{name!r} is no local folder, and the Hub did not give it ({reason}). Check the name, the network or the cache."
        ) from error


def write_tokenizer_folder(
    folder: Path, model: bytes, specials: SpecialTokens, *, model_max_length: int | None = 512
) -> list[Path]:
    """Write the four files of a tokenizer around an untouched sentencepiece model; return their paths."""
    from .recipe import exact_tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / MODEL_FILE, model)
    write_text(folder / JSON_FILE, exact_tokenizer(model, specials).to_str(pretty=False))
    write_config(folder, specials, model_max_length=model_max_length)
    return [folder / name for name in (MODEL_FILE, JSON_FILE, CONFIG_FILE, ADDED_FILE)]


def write_config(folder: Path, specials: SpecialTokens, *, model_max_length: int | None) -> None:
    """Write ``tokenizer_config.json`` and ``added_tokens.json``."""
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": model_max_length or int(1e30),
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        "padding_side": "right",
        "clean_up_tokenization_spaces": False,
        "do_lower_case": False,
        "split_by_punct": False,
        "vocab_type": "spm",
        "bos_token": specials.names["cls_token"],
        "eos_token": specials.names["sep_token"],
        **specials.names,
    }
    write_text(folder / CONFIG_FILE, json.dumps(config, indent=2, ensure_ascii=False) + "\n")
    added = {**specials.added, specials.names["mask_token"]: specials.ids["mask_token"]}
    write_text(folder / ADDED_FILE, json.dumps(added, indent=2, ensure_ascii=False) + "\n")


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    return _parse_json(path.read_text(encoding="utf-8"), path)


def _parse_json(text: str, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not JSON ({error}). Fetch the file again.") from error
    if not isinstance(content, dict):
        raise UserError(
            f"{path} holds a JSON {type(content).__name__}, need an object. Fetch the file again."
        )
    return content


def _json_added_tokens(tokenizer_json: str | None, path: Path) -> dict[str, int]:
    if tokenizer_json is None:
        return {}
    return {
        token["content"]: token["id"] for token in _parse_json(tokenizer_json, path).get("added_tokens", [])
    }


def _token_text(token: str | Mapping[str, Any]) -> str:
    return token if isinstance(token, str) else token["content"]
