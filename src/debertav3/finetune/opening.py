"""From a size or a checkpoint to a model with the task's head and its tokenizer."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from ..errors import UserError
from ..models import DebertaV2ForSequenceClassification
from ..sizes import SIZES, raw_config
from ..tokenization.tokenizer import DebertaV3Tokenizer
from .config import FinetuneConfig

logger = logging.getLogger(__name__)

_SHAPE = ("num_hidden_layers", "hidden_size", "conv_kernel_size")


def size_of(model: str) -> str | None:
    """Name a model's size from its name, a local ``config.json`` or its Hub name; None if it has none."""
    if model in SIZES:
        return model
    file = Path(model) / "config.json"
    if file.is_file():
        try:
            raw = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, UnicodeDecodeError) as error:
            raise UserError(f"{file} is not valid JSON: {error}") from error
        if raw.get("model_type") != "deberta-v2":
            return None
        shape = [raw.get(key, 0) for key in _SHAPE]
        fitting = [name for name, known in SIZES.items() if [known.get(key, 0) for key in _SHAPE] == shape]
        return fitting[0] if fitting else None
    return next(
        (name for name in sorted(SIZES, key=len, reverse=True) if model.endswith(("-" + name, "/" + name))),
        None,
    )


def open_tokenizer(config: FinetuneConfig) -> DebertaV3Tokenizer:
    """Open the tokenizer that the run names, or the one beside its model.

    Raises:
        UserError: if a size is to be trained from scratch and no tokenizer is named.
    """
    if config.tokenizer is not None:
        return DebertaV3Tokenizer.from_pretrained(config.tokenizer)
    if config.model in SIZES:
        raise UserError(
            f"--model {config.model} starts from scratch and has no tokenizer of its own. "
            "Name a folder with an spm.model: --tokenizer DIR."
        )
    return DebertaV3Tokenizer.from_pretrained(config.model)


def open_model(
    config: FinetuneConfig, tokenizer: DebertaV3Tokenizer, labels: Sequence[str]
) -> PreTrainedModel:
    """Build the model from scratch or load a checkpoint, in fp32, with a head for the labels.

    A head in the checkpoint that has just these labels is kept, in its own order; any other is replaced.

    Args:
        config: the run.
        tokenizer: whose vocabulary a model from scratch gets.
        labels: class names; empty for regression.

    Raises:
        UserError: if there is no such model.
    """
    settings = {
        "cls_dropout": config.classifier_dropout,
        "hidden_dropout_prob": config.hidden_dropout,
        "attention_probs_dropout_prob": config.attention_dropout,
    }
    changed = {key: value for key, value in settings.items() if value is not None}
    if config.model in SIZES:
        from transformers import DebertaV2Config

        rows = -(-len(tokenizer) // 64) * 64  # whole multiples of 64 rows suit matrix products
        raw = raw_config(config.model, vocab_size=max(rows, len(tokenizer)), **changed)
        return DebertaV2ForSequenceClassification(DebertaV2Config(**raw, **_label_names(labels)))
    return _load(config.model, labels, changed)


def _load(model: str, labels: Sequence[str], changed: dict[str, Any]) -> PreTrainedModel:
    from transformers import DebertaV2Config

    try:
        stored = DebertaV2Config.from_pretrained(model)
        names = _label_names(labels)
        if sorted(map(str.lower, (stored.id2label or {}).values())) == sorted(labels):
            names = {"id2label": {key: name.lower() for key, name in (stored.id2label or {}).items()}}
            names["label2id"] = {name: key for key, name in names["id2label"].items()}
        loaded = DebertaV2ForSequenceClassification.from_pretrained(
            model, dtype=torch.float32, ignore_mismatched_sizes=True, **names, **changed
        )
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"--model {model} cannot be opened: {reason}") from error
    assert isinstance(loaded, PreTrainedModel)
    return loaded


def _label_names(labels: Sequence[str]) -> dict[str, Any]:
    if not labels:
        return {"id2label": {0: "score"}, "label2id": {"score": 0}}
    return {
        "id2label": dict(enumerate(labels)),
        "label2id": {name: index for index, name in enumerate(labels)},
    }
