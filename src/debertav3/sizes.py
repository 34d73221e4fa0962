"""Model sizes: configurations by name; exact counts of parameters and operations from a configuration alone.

No torch, so that ``debertav3 info`` answers without torch. The counts equal those of the real
modules (tests/unit/test_sizes.py). Published figures: README and model cards of microsoft/DeBERTa.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import UserError
from .files.model_folder import is_folder
from .heads import ENCODER, MASKED_LM, MULTIPLE_CHOICE, REPLACED_TOKENS, SEQUENCE, SPANS, TOKENS
from .json_types import JsonObject
from .layers.config import DEFAULTS, EncoderConfig

if TYPE_CHECKING:
    from transformers import DebertaV2Config

_V3: dict[str, object] = {
    "model_type": "deberta-v2",
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 0,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-7,
    "relative_attention": True,
    "max_relative_positions": -1,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "pad_token_id": 0,
    "pooler_hidden_act": "gelu",
    "pooler_dropout": 0,
    "legacy": False,  # the official masked-LM head; transformers' default builds one that no checkpoint fills
    "vocab_size": 128100,  # 128,000 pieces, [MASK] and 99 unused rows
}


def _v3(*, layers: int, width: int, heads: int, **other: object) -> dict[str, object]:
    """Describe a V3 model: the feed-forward part has four times the width, and ``other`` overrides."""
    return {
        **_V3,
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "pooler_hidden_size": width,
        **other,
    }


_V2 = {"conv_kernel_size": 3, "conv_act": "gelu"}  # V2 = V3's layout + a convolution beside the first layer

SIZES: dict[str, JsonObject] = {
    # Position arithmetic as in every released V3 model; the vocabulary is whatever its own tokenizer has.
    "nano": _v3(layers=6, width=192, heads=3, vocab_size=12032),
    "xsmall": _v3(layers=12, width=384, heads=6),
    "small": _v3(layers=6, width=768, heads=12),
    "base": _v3(layers=12, width=768, heads=12),
    "large": _v3(layers=24, width=1024, heads=16),
    "mdeberta-base": _v3(layers=12, width=768, heads=12, vocab_size=251000),
    "v2-xlarge": _v3(layers=24, width=1536, heads=24, **_V2),
    "v2-xxlarge": _v3(layers=48, width=1536, heads=24, **_V2),
}
"""Raw configurations by name. Take a copy with :func:`raw_config`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedSize:
    """What the authors' model card or README says, in millions of parameters."""

    backbone: int
    embedding: int | None
    """``None``: the source gives no such figure."""
    hub_name: str


PUBLISHED: dict[str, PublishedSize] = {
    "xsmall": PublishedSize(backbone=22, embedding=48, hub_name="microsoft/deberta-v3-xsmall"),
    "small": PublishedSize(backbone=44, embedding=98, hub_name="microsoft/deberta-v3-small"),
    "base": PublishedSize(backbone=86, embedding=98, hub_name="microsoft/deberta-v3-base"),
    "large": PublishedSize(backbone=304, embedding=131, hub_name="microsoft/deberta-v3-large"),
    "mdeberta-base": PublishedSize(backbone=86, embedding=190, hub_name="microsoft/mdeberta-v3-base"),
    "v2-xlarge": PublishedSize(backbone=710, embedding=None, hub_name="microsoft/deberta-v2-xlarge"),
    "v2-xxlarge": PublishedSize(backbone=1320, embedding=None, hub_name="microsoft/deberta-v2-xxlarge"),
}

DTYPE_BYTES = {"fp32": 4, "fp16/bf16": 2, "int8": 1}


def is_size(name: str) -> bool:
    """Whether a name means one of :data:`SIZES`; a local folder of the same name comes first."""
    return name in SIZES and not is_folder(name)


def near_size(name: str) -> str | None:
    """The size whose name is nearly this one; None if there is none."""
    return next(iter(difflib.get_close_matches(name, SIZES, n=1, cutoff=0.5)), None)


def raw_config(size: str, **overrides: object) -> JsonObject:
    """Return a copy of the named size's configuration, as a ``config.json`` would hold it.

    Args:
        size: a key of :data:`SIZES`.
        overrides: keys to set on top, e.g. ``vocab_size=8000``. A new ``hidden_size`` also sets the pooler's.

    Raises:
        UserError: if there is no such size.
    """
    if size not in SIZES:
        near = near_size(size)
        hint = f" Did you mean {near!r}?" if near else ""
        raise UserError(f"unknown model size {size!r}: known sizes are {', '.join(SIZES)}.{hint}")
    raw = {**SIZES[size], **overrides}
    if "hidden_size" in overrides and "pooler_hidden_size" not in overrides:
        raw["pooler_hidden_size"] = raw["hidden_size"]
    return raw


def config_for(size: str, **overrides: object) -> DebertaV2Config:
    """Return the named size as transformers' configuration; arguments and errors as :func:`raw_config`."""
    from transformers import DebertaV2Config

    return DebertaV2Config(**raw_config(size, **overrides))


_OF_SIZE = (
    "num_hidden_layers",
    "hidden_size",
    "num_attention_heads",
    "intermediate_size",
    "conv_kernel_size",
)


def size_of(raw: Mapping[str, object]) -> str | None:
    """Return the name of the size that a configuration has, whatever its vocabulary; ``None`` for none.

    Base and mDeBERTa base differ in the vocabulary alone, so there it decides.
    """
    full = {**DEFAULTS, **raw}
    found = [
        name
        for name, preset in SIZES.items()
        if all({**DEFAULTS, **preset}[key] == full[key] for key in _OF_SIZE)
    ]
    if len(found) > 1:
        found.sort(key=lambda name: abs(SIZES[name]["vocab_size"] - full["vocab_size"]))
    return found[0] if found else None


@dataclass(frozen=True, kw_only=True, slots=True)
class ParameterCount:
    """Parameters by part; a tied matrix is counted once."""

    word_embeddings: int
    position_table: int
    """The absolute position table: at the input, or kept for the enhanced mask decoder only."""
    other_embeddings: int
    """Token types, the projection of a narrower embedding, and the embeddings' LayerNorm."""
    layers: int
    relative_table: int
    """With its LayerNorm."""
    convolution: int
    head: int

    @property
    def backbone(self) -> int:
        """Everything but the word embeddings: how the model cards count."""
        return self.total - self.word_embeddings

    @property
    def total(self) -> int:
        """All parameters."""
        return (
            self.word_embeddings
            + self.position_table
            + self.other_embeddings
            + self.layers
            + self.relative_table
            + self.convolution
            + self.head
        )


def _linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def _pooled(config: EncoderConfig, labels: int) -> int:
    return _linear(config.hidden_size, config.hidden_size) + _linear(config.hidden_size, labels)


def _replaced_token(config: EncoderConfig) -> int:
    return (
        2 * config.hidden_size
        + _linear(config.hidden_size, config.hidden_size)
        + _linear(config.hidden_size, 1)
    )


def _masked_lm(config: EncoderConfig) -> int:
    # The output matrix is the word embedding itself; only its bias is new.
    return _linear(config.hidden_size, config.embedding_size) + 2 * config.embedding_size + config.vocab_size


HEAD_PARAMETERS: dict[str, Callable[[EncoderConfig, int], int]] = {
    ENCODER: lambda config, labels: 0,
    SEQUENCE: _pooled,
    MULTIPLE_CHOICE: lambda config, labels: _pooled(config, 1),
    TOKENS: lambda config, labels: _linear(config.hidden_size, labels),
    SPANS: lambda config, labels: _linear(config.hidden_size, 2),
    MASKED_LM: lambda config, labels: _masked_lm(config),
    REPLACED_TOKENS: lambda config, labels: _replaced_token(config),
}
"""Parameters of each head, from the encoder's configuration and the number of labels."""


def count_parameters(
    raw: Mapping[str, object],
    *,
    head: str = ENCODER,
    num_labels: int = 2,
    with_position_table: bool | None = None,
) -> ParameterCount:
    """Count the parameters of a model from its configuration alone.

    Args:
        raw: a configuration, e.g. ``SIZES["base"]`` or a checked ``config.json``.
        head: a key of `heads.HEADS`.
        num_labels: classes of a classification head.
        with_position_table: whether there is an absolute position table although the input does not use it.
            ``None``: where this package's models have it, which is with the two heads of pre-training.

    Raises:
        UserError: if there is no such head.
    """
    if head not in HEAD_PARAMETERS:
        raise UserError(f"unknown head {head!r}: known heads are {', '.join(HEAD_PARAMETERS)}")
    config = EncoderConfig.from_dict(raw)
    width, inner = config.hidden_size, config.num_attention_heads * config.head_width
    attention = (3 + config.position_projections) * _linear(width, inner) + _linear(inner, width)
    layer_norm = 2 * width
    feed_forward = _linear(width, config.intermediate_size) + _linear(config.intermediate_size, width)
    keeps_positions = with_position_table
    if keeps_positions is None:
        keeps_positions = config.position_biased_input or head in (MASKED_LM, REPLACED_TOKENS)
    kernel = config.conv_kernel_size
    return ParameterCount(
        word_embeddings=config.vocab_size * config.embedding_size,
        position_table=config.max_position_embeddings * config.embedding_size if keeps_positions else 0,
        other_embeddings=config.type_vocab_size * config.embedding_size
        + (config.embedding_size * width if config.embedding_size != width else 0)
        + layer_norm,
        layers=config.num_hidden_layers * (attention + feed_forward + 2 * layer_norm),
        relative_table=config.relative_rows * width + (layer_norm if config.normalizes_relative_table else 0),
        convolution=width * width // config.conv_groups * kernel + width + layer_norm if kernel > 0 else 0,
        head=HEAD_PARAMETERS[head](config, num_labels),
    )


def count_released(raw: Mapping[str, object]) -> ParameterCount:
    """Count a V3 discriminator as its authors released it: encoder, position table and replaced-token head.

    Counted so, the backbone rounds to the published 22, 44, 86 and 304 million; the bare encoder does not
    (21, 43, 85 and 303).
    """
    return count_parameters(raw, head=REPLACED_TOKENS)


def flops_per_token(raw: Mapping[str, object], *, length: int) -> int:
    """Count the operations of the encoder's forward pass for one token of a text of ``length`` tokens.

    Matrix products only, a multiplication and its addition as 2; no softmax, LayerNorm, activation or table
    look-up, no head, and not the projection of the relative table, which depends on no text. Each position
    term is the product with as many rows of the relative table as a text of this length can meet.

    Raises:
        UserError: if ``length`` is not positive.
    """
    if length < 1:
        raise UserError(f"length is counted in tokens and must be at least 1; got {length}")
    config = EncoderConfig.from_dict(raw)
    width, inner = config.hidden_size, config.num_attention_heads * config.head_width
    rows_met = min(2 * length - 1, config.relative_rows)
    per_layer = (
        4 * width * inner  # query, key, value, output
        + 2 * width * config.intermediate_size
        + 2 * length * inner  # scores and the weighted sum of values
        + config.position_terms * rows_met * inner
    )
    convolution = config.conv_kernel_size * width * width // config.conv_groups
    projection = config.embedding_size * width if config.embedding_size != width else 0
    return 2 * (config.num_hidden_layers * per_layer + convolution + projection)
