"""Tokenizer folders: what is read from a checkpoint, and what is written so that stock libraries agree.

Read: ``spm.model`` if there is one, else ``tokenizer.json``. Written: both, with a ``tokenizer_config.json``
that names ``PreTrainedTokenizerFast``, the class that honours ``tokenizer.json`` as it stands.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..files import cannot_write, write_bytes, write_text
from ..files.model_folder import ModelFolder, json_object
from ..json_types import Json, JsonMapping
from .specials import Matching, SpecialTokens
from .tokenizer_settings import (
    COMPAT_KEY,
    INPUT_NAMES,
    NO_LIMIT,
    PLAIN_TEXT,
    TextSettings,
    TokenizerSettings,
    read_settings,
    token_text,
)

logger = logging.getLogger(__name__)

MODEL_FILE = "spm.model"
JSON_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
ADDED_FILE = "added_tokens.json"
MAP_FILE = "special_tokens_map.json"

MAX_BYTES = 256 << 20
"""Far beyond any real tokenizer file: mDeBERTa's largest has 16 MiB."""


@dataclass(frozen=True, kw_only=True)
class TokenizerFiles:
    """What a folder says about its tokenizer."""

    folder: ModelFolder
    model: bytes | None
    """``spm.model``."""
    tokenizer_json: JsonMapping | None
    """``tokenizer.json``, parsed; beside a model only its vocabulary and its added tokens count."""
    settings: TokenizerSettings
    """``tokenizer_config.json``, checked."""
    added: Mapping[str, int]
    """Id of every token that some file lists beside the model's pieces."""
    matching: Mapping[str, Matching]
    """How these tokens are found in text."""
    max_positions: int | None
    """``max_position_embeddings`` of the checkpoint's ``config.json``."""

    @property
    def place(self) -> str:
        """The folder, for messages."""
        return str(self.folder)

    @property
    def model_max_length(self) -> int | None:
        """Longest row in tokens: the tokenizer's own limit, else the model's, else None."""
        return self.settings.model_max_length or self.max_positions


def read_folder(folder: ModelFolder) -> TokenizerFiles:
    """Read the tokenizer files of a folder.

    Raises:
        UserError: if it has no tokenizer, or has one in a form that cannot be read.
    """
    model_path = folder.file(MODEL_FILE)
    model = _read_bytes(model_path) if model_path.is_file() else None
    tokenizer_json = json_object(folder.file(JSON_FILE)) if folder.has(JSON_FILE) else None  # large: not kept
    if model is None and tokenizer_json is None:
        raise UserError(
            f"no tokenizer in {folder}: need {MODEL_FILE} or {JSON_FILE}. "
            "Copy it from the checkpoint that the weights came from."
        )
    config = _read_json(folder, CONFIG_FILE)
    try:
        settings = read_settings(config, _read_json(folder, MAP_FILE))
    except UserError as error:
        raise UserError(f"{folder}/{CONFIG_FILE}: {error}") from error
    added, matching = _added_tokens(folder, tokenizer_json, config, settings)
    model_config = _read_json(folder, "config.json")
    positions = model_config.get("max_position_embeddings")
    return TokenizerFiles(
        folder=folder,
        model=model,
        tokenizer_json=tokenizer_json,
        settings=settings,
        added=added,
        matching=matching,
        max_positions=positions if type(positions) is int and positions > 0 else None,
    )


def _added_tokens(
    folder: ModelFolder,
    tokenizer_json: JsonMapping | None,
    config: JsonMapping,
    settings: TokenizerSettings,
) -> tuple[dict[str, int], dict[str, Matching]]:
    """Ids of added tokens and how they match, from all three files that may list them.

    ``tokenizer.json`` comes first, as in transformers. ``added_tokens.json`` does not say how its tokens
    match; transformers looks for those that no other field calls special after normalization.

    Raises:
        UserError: if an entry cannot be read, or two files give a token two ids.
    """
    specials = {*settings.names.values(), *settings.unnumbered}
    listed: list[tuple[str, Json, Json]] = []
    listed += [(JSON_FILE, token, _field(token, "id")) for token in _list_of(folder, tokenizer_json)]
    decoder = config.get("added_tokens_decoder") or {}
    if not isinstance(decoder, Mapping):
        raise UserError(f"{folder}/{CONFIG_FILE}: added_tokens_decoder is {decoder!r}; need tokens by id.")
    listed += [(CONFIG_FILE, token, number) for number, token in decoder.items()]
    listed += [
        (ADDED_FILE, {"content": token, "normalized": token not in specials}, number)
        for token, number in _read_json(folder, ADDED_FILE).items()
    ]
    added: dict[str, int] = {}
    matching: dict[str, Matching] = {}
    for file, token, number in listed:
        try:
            text, found = token_text(token, "an added token"), int(number)
        except (UserError, TypeError, ValueError) as error:
            raise UserError(f"{folder}/{file}: {token!r} with the id {number!r} is not a token.") from error
        if not text:
            logger.warning("%s/%s lists an empty token, which is ignored", folder, file)
            continue
        if added.setdefault(text, found) != found:
            raise UserError(
                f"{folder}/{file} gives {text!r} the id {found}, and another file {added[text]}: the files "
                "are of two tokenizers. Copy all of them from one checkpoint."
            )
        if text not in matching:
            fields = token if isinstance(token, Mapping) else {}
            matching[text] = Matching(
                special=bool(fields.get("special", text in specials)),
                normalized=bool(fields.get("normalized", False)),
                single_word=bool(fields.get("single_word", False)),
                lstrip=bool(fields.get("lstrip", False)),
                rstrip=bool(fields.get("rstrip", False)),
            )
    return added, matching


def _list_of(folder: ModelFolder, tokenizer_json: JsonMapping | None) -> list[Json]:
    tokens = (tokenizer_json or {}).get("added_tokens") or []
    if not isinstance(tokens, list):
        raise UserError(f"{folder}/{JSON_FILE}: added_tokens is {tokens!r}; need a list of tokens.")
    return tokens


def _field(token: object, key: str) -> object:
    return token.get(key) if isinstance(token, Mapping) else None


def write_folder(
    folder: Path,
    *,
    model: bytes | None,
    tokenizer_json: str,
    specials: SpecialTokens,
    model_max_length: int | None,
    model_input_names: Sequence[str] = INPUT_NAMES,
    padding_side: str = "right",
    truncation_side: str = "right",
    text: TextSettings = PLAIN_TEXT,
    compat: str | None = None,
) -> tuple[str, ...]:
    """Write the files of a tokenizer, each atomically, and return their paths.

    A ``special_tokens_map.json`` goes, and without a model an ``spm.model`` too: they are of an older
    tokenizer, and would come before what is written.

    Raises:
        UserError: if the folder cannot be written.
    """
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": model_max_length or NO_LIMIT,
        "model_input_names": list(model_input_names),
        "padding_side": padding_side,
        **({} if truncation_side == "right" else {"truncation_side": truncation_side}),
        "clean_up_tokenization_spaces": False,
        "do_lower_case": text.lowercase,
        "split_by_punct": text.splits_punctuation,
        **({} if text.prefix_every_stretch else {"add_prefix_space": False}),
        "vocab_type": "spm",
        "bos_token": specials.names["cls_token"],
        "eos_token": specials.names["sep_token"],
        **specials.names,
        **({COMPAT_KEY: compat} if compat else {}),
    }
    added = {**specials.added, specials.names["mask_token"]: specials.ids["mask_token"]}
    texts = {JSON_FILE: tokenizer_json, CONFIG_FILE: _to_json(config), ADDED_FILE: _to_json(added)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    if model is None:
        (folder / MODEL_FILE).unlink(missing_ok=True)
    else:
        write_bytes(folder / MODEL_FILE, model)
    for name, content in texts.items():
        write_text(folder / name, content)
    (folder / MAP_FILE).unlink(missing_ok=True)
    return tuple(str(folder / name) for name in ([MODEL_FILE] if model is not None else []) + list(texts))


def _to_json(content: Mapping[str, object]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _read_bytes(path: Path) -> bytes:
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path} has {path.stat().st_size:,} bytes; a tokenizer cannot be so large.")
    return path.read_bytes()


def _read_json(folder: ModelFolder, name: str) -> JsonMapping:
    return folder.json(name) if folder.has(name) else {}
