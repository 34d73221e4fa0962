"""``tokenizer_config.json`` read strictly: what changes the ids is honoured or refused, never skipped.

The fields are those of transformers' ``DebertaV2Tokenizer`` (4 and 5) and its base classes; every one that
changes ids has a test in ``tests/parity/test_tokenizer_fields.py``. Fields that only name things, or that
change how ids are turned back into text (``clean_up_tokenization_spaces``), are left alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from ..errors import UserError
from ..json_types import JsonMapping
from .padding import Side
from .specials import ROLES

CLASSES = (
    "DebertaV2Tokenizer",
    "DebertaV2TokenizerFast",
    "DebertaV3Tokenizer",
    "PreTrainedTokenizerFast",
    "TokenizersBackend",
)
"""Classes of transformers, and ours, whose files this package reads; others change ids on their own."""

COMPAT_KEY = "debertav3_compat"
"""Entry of ``tokenizer_config.json`` that keeps a compatibility mode; stock libraries ignore it."""

Compat = Literal["exact", "hf5"]
"""``"exact"``: what the files say. ``"hf5"``: what transformers 5 makes of their vocabulary."""

NO_LIMIT = int(1e30)
"""What transformers writes for "no limit"."""

MAX_KNOWN_LENGTH = 1_000_000
"""Lengths above this are read as "no limit"."""

INPUT_NAMES = ("input_ids", "token_type_ids", "attention_mask")
"""What a tokenizer call can give a model, in our order."""


@dataclass(frozen=True, kw_only=True)
class TextSettings:
    """What happens to a text before its pieces are looked for, beside the model's own normalization."""

    lowercase: bool = False
    """``do_lower_case``."""
    splits_punctuation: bool = False
    """``split_by_punct``: every punctuation mark is a word of its own."""
    prefix_every_stretch: bool = True
    """``add_prefix_space``: whether text after an added token begins a word, too."""

    @property
    def are_plain(self) -> bool:
        """Whether the sentencepiece model alone decides."""
        return self == PLAIN_TEXT


PLAIN_TEXT = TextSettings()


@dataclass(frozen=True, kw_only=True)
class TokenizerSettings:
    """The checked content of ``tokenizer_config.json``."""

    class_name: str | None
    names: Mapping[str, str]
    """String of each role of ``ROLES``."""
    unnumbered: tuple[str, ...]
    """Special tokens that it names beside the roles, and the mask, in the order of transformers."""
    model_max_length: int | None
    padding_side: Side
    truncation_side: Side
    model_input_names: tuple[str, ...]
    """Which of `INPUT_NAMES` a call gives."""
    text: TextSettings
    compat: str
    """Unchecked: see `resolve_compat`."""

    def resolve_compat(self, asked: str | None) -> Compat:
        """The mode that was asked for, else the one that the folder was saved with, else ``"exact"``.

        Raises:
            UserError: for an unknown mode.
        """
        mode = asked or self.compat
        if mode == "exact":
            return "exact"
        if mode == "hf5":
            return "hf5"
        raise UserError(f"compat={mode!r} is unknown: use 'exact' or 'hf5' (the ids of transformers 5).")


def read_settings(config: JsonMapping, special_tokens_map: JsonMapping) -> TokenizerSettings:
    """Check ``tokenizer_config.json``.

    Args:
        config: its content; empty where there is none.
        special_tokens_map: of ``special_tokens_map.json``. As transformers does, it is read only where
            ``config`` has no ``added_tokens_decoder``, and then comes first.

    Raises:
        UserError: if a field has a value of the wrong kind, or asks for ids that this package does not make.
    """
    if "added_tokens_decoder" not in config:
        config = {**config, **special_tokens_map}
    _refuse_other_tokenizers(config)
    names = {role: token_text(config.get(role) or default, role) for role, default in ROLES.items()}
    return TokenizerSettings(
        class_name=config.get("tokenizer_class"),
        names=names,
        unnumbered=_unnumbered(config, names["mask_token"]),
        model_max_length=_length(config),
        padding_side=_side(config, "padding_side"),
        truncation_side=_side(config, "truncation_side"),
        model_input_names=_input_names(config),
        text=TextSettings(
            lowercase=_flag(config, "do_lower_case", default=False),
            splits_punctuation=_flag(config, "split_by_punct", default=False),
            prefix_every_stretch=_flag(config, "add_prefix_space", default=True),
        ),
        compat=config.get(COMPAT_KEY, "exact"),
    )


def _refuse_other_tokenizers(config: Mapping[str, object]) -> None:
    name = config.get("tokenizer_class")
    if name is not None and name not in CLASSES:
        raise UserError(
            f"tokenizer_class is {name!r}: the tokenizer of another model, with its own ids. Need one of "
            f"{', '.join(CLASSES)}. Copy the tokenizer of the checkpoint that the weights came from"
        )
    if config.get("auto_map"):
        raise UserError("auto_map asks for code from the checkpoint, which is never run. Remove that field")
    if (kind := config.get("vocab_type")) not in (None, "spm"):
        raise UserError(f"vocab_type is {kind!r}; need 'spm', DeBERTa V2's and V3's. For v1 use transformers")
    sampling = config.get("sp_model_kwargs") or {}
    if not isinstance(sampling, Mapping) or any(sampling.values()):
        raise UserError(
            f"sp_model_kwargs is {sampling!r}: sampling, which gives a text different ids in "
            "every call, is not "
            "supported. Set it to {}"
        )
    if _flag(config, "split_special_tokens", default=False):
        raise UserError(
            "split_special_tokens is true: added tokens would be spelled out. Set it to "
            "false; typed [SEP] and the like are plain text here anyway"
        )


def token_text(token: object, what: str) -> str:
    """The string of a token, written as such or as an ``AddedToken``'s fields.

    Raises:
        UserError: for anything else.
    """
    text = token.get("content") if isinstance(token, Mapping) else token
    if not isinstance(text, str):
        raise UserError(f"{what} is {token!r}; need a string, or an object with its string as content")
    return text


def _unnumbered(config: Mapping[str, object], mask: str) -> tuple[str, ...]:
    """Special tokens beside the roles in the order in which transformers numbers those without an id."""
    found = [token_text(config[key], key) for key in ("bos_token", "eos_token") if config.get(key)]
    found.append(mask)
    standard = {*ROLES, "bos_token", "eos_token"}
    found += [
        value
        for key, value in config.items()
        if key.endswith("_token") and key not in standard and isinstance(value, str)
    ]
    extra = config.get("extra_special_tokens") or config.get("additional_special_tokens") or []
    if not isinstance(extra, list | Mapping):
        raise UserError(f"extra_special_tokens is {extra!r}; need a list of tokens")
    found += [
        token_text(token, "extra_special_tokens")
        for token in (extra.values() if isinstance(extra, Mapping) else extra)
    ]
    return tuple(dict.fromkeys(token for token in found if token))


def _length(config: Mapping[str, object]) -> int | None:
    length = config.get("model_max_length", config.get("max_len"))
    if length is None:
        return None
    if not isinstance(length, int | float) or isinstance(length, bool) or not length >= 1:
        raise UserError(f"model_max_length is {length!r}; need a number of tokens, at least 1")
    return None if length > MAX_KNOWN_LENGTH else int(length)


def _side(config: JsonMapping, key: str) -> Side:
    side = config.get(key) or "right"
    if side not in ("left", "right"):
        raise UserError(f"{key} is {side!r}; need 'left' or 'right'")
    return cast(Side, side)


def _flag(config: Mapping[str, object], key: str, *, default: bool) -> bool:
    value = config.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise UserError(f"{key} is {value!r}; need true or false")
    return value


def _input_names(config: Mapping[str, object]) -> tuple[str, ...]:
    names = config.get("model_input_names")
    if names is None:
        return INPUT_NAMES
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"model_input_names is {names!r}; need a list such as {list(INPUT_NAMES)}")
    return tuple(name for name in INPUT_NAMES if name in names or name == "input_ids")
