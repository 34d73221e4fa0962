"""``config.json`` read strictly: what changes the maths must be right, and nothing in it may name code."""

import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..files.model_folder import ModelFolder
from ..json_types import JsonMapping, JsonObject
from ..layers.config import MATHS_KEYS, EncoderConfig
from .foreign_folders import no_checkpoint

if TYPE_CHECKING:
    from transformers import DebertaV2Config

logger = logging.getLogger(__name__)

MODEL_TYPE = "deberta-v2"  # also of V3 and mDeBERTa

_OTHER_KEYS = frozenset(
    {
        "architectures",
        "bos_token_id",
        "eos_token_id",
        "finetuning_task",
        "id2label",
        "label2id",
        "legacy",
        "model_type",
        "num_labels",
        "problem_type",
        "tie_word_embeddings",
    }
)
"""Keys that a model is built with and that do not change the maths. All others are left in the file: an
unknown key would become an attribute of transformers' configuration, where some of them choose code to run
(``_attn_implementation_internal``, CVE-2026-4372) or files to read."""

_CODE_KEYS = ("auto_map", "custom_pipelines")

_POOLING = {
    "dropout": "pooler_dropout",
    "hidden_act": "pooler_hidden_act",
    "hidden_size": "pooler_hidden_size",
}
"""What microsoft/DeBERTa's own files say in ``pooling``, and transformers' name of it."""

_COUNTS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "conv_groups",
    "embedding_size",
    "attention_head_size",
    "pooler_hidden_size",
)
_AT_LEAST_ZERO = ("type_vocab_size", "conv_kernel_size", "pad_token_id")
_AT_LEAST_MINUS_ONE = ("position_buckets", "max_relative_positions")
_MAX_COUNT = 2**24  # far beyond any real model, and small enough that no product of sizes overflows
_MAX_KERNEL = 999
_MAX_NAMELESS = 10_000  # classes without names, which are made up one by one
_PROBABILITIES = ("hidden_dropout_prob", "attention_probs_dropout_prob", "pooler_dropout", "cls_dropout")
_PROBLEMS = ("regression", "single_label_classification", "multi_label_classification")


def read_config(folder: ModelFolder) -> dict[str, object]:
    """Read and check the ``config.json`` of a checkpoint folder.

    Returns:
        The keys that decide what the model computes and what its labels mean. ``id2label`` has whole numbers
        as keys, and ``label2id`` is its inverse; all else is as in the file.

    Raises:
        UserError: if the file is missing or not JSON, describes another kind of model or one with its own
            code, misspells a key that changes the maths, or has a value of the wrong type.
    """
    if not folder.has("config.json"):
        raise no_checkpoint(folder)
    raw = folder.json("config.json")
    try:
        kept = checked(raw)
    except UserError as error:
        raise UserError(f"{folder.file('config.json')}: {error}") from error
    return kept


def checked(raw: JsonMapping) -> JsonObject:
    """Check a raw configuration and return the part of it that :func:`read_config` describes.

    Raises:
        UserError: as :func:`read_config`.
    """
    _check_kind(raw)
    for least, sizes in ((1, _COUNTS), (0, _AT_LEAST_ZERO), (-1, _AT_LEAST_MINUS_ONE)):
        for key in sizes:
            value, most = raw.get(key), _MAX_KERNEL if key == "conv_kernel_size" else _MAX_COUNT
            if isinstance(value, int) and not least <= value <= most:
                raise UserError(f"{key} is {value}; need a whole number from {least} to {most}")
    for key in _PROBABILITIES:
        value = raw.get(key)
        if isinstance(value, int | float) and not 0 <= value < 1:
            raise UserError(f"{key} is {value}; need a probability, at least 0 and below 1")
    for key in MATHS_KEYS & raw.keys():
        if isinstance(raw[key], float) and not math.isfinite(raw[key]):
            raise UserError(f"{key} is {raw[key]}; need a finite number")
    config = EncoderConfig.from_dict(raw)
    if config.pad_token_id is not None and config.pad_token_id >= config.vocab_size:
        raise UserError(
            f"pad_token_id is {config.pad_token_id}; need less than vocab_size ({config.vocab_size})"
        )
    if config.conv_kernel_size and config.hidden_size % config.conv_groups:
        raise UserError(
            f"conv_groups is {config.conv_groups}; need a divisor of hidden_size ({config.hidden_size})"
        )
    if config.layer_norm_eps < 0:
        raise UserError(f"layer_norm_eps is {config.layer_norm_eps}; need at least 0")
    names = _read_labels(raw)
    _check_other_keys(raw, names)
    kept = {key: value for key, value in raw.items() if key in MATHS_KEYS or key in _OTHER_KEYS}
    if names is not None:
        kept |= {"id2label": names, "label2id": {name: number for number, name in names.items()}}
    return kept


def _check_kind(raw: Mapping[str, object]) -> None:
    for key in _CODE_KEYS:
        if raw.get(key):
            raise UserError(f"{key} asks for code from the checkpoint, which is never run; remove that key")
    if raw.get("pruned_heads"):
        raise UserError("pruned_heads: removed attention heads are not supported; use the whole checkpoint")
    pooling: Any = raw.get("pooling")
    for key, name in _POOLING.items() if isinstance(pooling, Mapping) else ():
        if key in pooling and raw.get(name, pooling[key]) != pooling[key]:
            raise UserError(
                f"pooling says {key} {pooling[key]!r}, and {name} is {raw[name]!r}; "
                "correct the one that is wrong"
            )
    if raw.get("quantization_config"):
        raise UserError(
            "quantization_config: quantized weights are not supported; use the original checkpoint"
        )
    kind = raw.get("model_type")
    if kind == "deberta":
        raise UserError(
            "model_type is 'deberta' (DeBERTa v1: other weights, another tokenizer); need 'deberta-v2' "
            "(V2, V3, mDeBERTa). Open v1 with transformers.AutoModel"
        )
    if kind != MODEL_TYPE:
        raise UserError(f"model_type is {kind!r}; need {MODEL_TYPE!r} (DeBERTa V2, V3 and mDeBERTa have it)")


def _read_labels(raw: Mapping[str, object]) -> dict[int, str] | None:
    """The class names by number; whole numbers as names, and as strings, are in use and understood."""
    names: Any = raw.get("id2label")
    ids: Any = raw.get("label2id")
    if names is None and ids is None:
        return None
    if names is None:
        names = {number: name for name, number in ids.items()} if isinstance(ids, Mapping) else None
    try:
        by_number = {int(number): str(name) for number, name in names.items() if isinstance(name, str | int)}
        numbers = {str(name): int(number) for name, number in (ids or {}).items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(
            'id2label must be {"0": "entailment", "1": ...} and label2id {"entailment": 0, ...}'
        ) from error
    if len(by_number) != len(names) or sorted(by_number) != list(range(len(names))):
        raise UserError('id2label must name every class from 0 on: {"0": "entailment", "1": ...}')
    if any(by_number.get(number) != name for name, number in numbers.items()):
        logger.warning(
            "label2id of config.json contradicts id2label, which is used: %s",
            ", ".join(f"{number} is {name}" for number, name in list(by_number.items())[:5]),
        )
    return by_number


def _check_other_keys(raw: Mapping[str, object], names: Mapping[int, str] | None) -> None:
    count = raw.get("num_labels")
    if count is not None and (type(count) is not int or count < 1 or (names and len(names) != count)):
        raise UserError(f"num_labels is {count!r}; need the number of classes that id2label names")
    if count is not None and names is None and count > _MAX_NAMELESS:
        raise UserError(
            f"num_labels is {count:,} and no id2label names the classes; need at most {_MAX_NAMELESS:,} "
            "without names: correct num_labels to the rows of the classifier, or add id2label"
        )
    for key in ("legacy", "tie_word_embeddings"):
        if not isinstance(raw.get(key, True), bool):
            raise UserError(f"{key} is {raw[key]!r}; need true or false")
    if (problem := raw.get("problem_type")) is not None and problem not in _PROBLEMS:
        raise UserError(f"problem_type is {problem!r}; need one of {', '.join(_PROBLEMS)}")
    classes = raw.get("architectures")
    if classes is not None and not (isinstance(classes, list) and all(isinstance(c, str) for c in classes)):
        raise UserError(f"architectures is {classes!r}; need a list of class names")
    for key in ("bos_token_id", "eos_token_id"):
        if (value := raw.get(key)) is not None and type(value) is not int:
            raise UserError(f"{key} is {value!r}; need a whole number or null")


def build_config(raw: Mapping[str, object], **overrides: object) -> "DebertaV2Config":
    """Build transformers' configuration from a checked raw one.

    Args:
        raw: as from :func:`read_config`.
        overrides: keys to set on top, e.g. ``num_labels=3`` or ``id2label={...}``, which
            replace the file's labels.

    Raises:
        UserError: if an override is not a key of the configuration or has the wrong type.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import DebertaV2Config

    merged = dict(raw)
    if overrides.keys() & {"num_labels", "id2label", "label2id"}:
        for key in ("num_labels", "id2label", "label2id"):
            merged.pop(key, None)
    if unknown := overrides.keys() - MATHS_KEYS - _OTHER_KEYS:
        raise UserError(f"{sorted(unknown)[0]!r} is not a key of the configuration")
    content = checked({**merged, **overrides, "model_type": MODEL_TYPE})
    try:
        return DebertaV2Config(**content)
    except StrictDataclassError as error:  # transformers wants 1.0 where we would take 1
        raise UserError(f"config: {str(error).splitlines()[-1].strip()}") from error
