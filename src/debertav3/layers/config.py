"""``EncoderConfig``: the frozen, checked view of a Hub ``config.json`` that every layer reads.

The file format's oddities stop here: string lists, missing keys, sentinel -1, and options that no
implementation has.
"""

import difflib
import math
from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Literal, Self, get_args

from ..errors import UserError
from ..json_types import JsonMapping

LongInputs = Literal["clamp", "transformers"]

DEFAULTS: dict[str, object] = {
    "vocab_size": 128100,
    "hidden_size": 1536,
    "num_hidden_layers": 24,
    "num_attention_heads": 24,
    "intermediate_size": 6144,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 0,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-7,
    "relative_attention": False,
    "max_relative_positions": -1,
    "position_buckets": -1,
    "position_biased_input": True,
    "pos_att_type": None,
    "share_att_key": False,
    "norm_rel_ebd": "none",
    "pad_token_id": 0,
    "embedding_size": None,
    "attention_head_size": None,
    "conv_kernel_size": 0,
    "conv_groups": 1,
    "conv_act": "tanh",
    "pooler_hidden_size": None,
    "pooler_hidden_act": "gelu",
    "pooler_dropout": 0.0,
    "cls_dropout": None,
    "long_inputs": "clamp",
}
"""What a key means when a ``config.json`` lacks it: as transformers' DebertaV2Config has it."""

MATHS_KEYS = frozenset(DEFAULTS)
"""Keys of ``config.json`` that change the numbers a model computes."""

ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "swish", "tanh", "linear")
"""Names of the functions in ``activations.py``; here so that reading a configuration needs no torch."""

_POSITIVE = ("vocab_size", "hidden_size", "num_attention_heads", "intermediate_size")
_MAX_POSITIONS = 2**16
"""A hundred times what released models have; tables over all offsets stay small."""

_MAX_OFFSET = 2**20
"""Farthest offset, in tokens, that may have a bucket of its own; released models have 512."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderConfig:
    """What the layers need to know: resolved, checked, immutable."""

    vocab_size: int
    hidden_size: int
    """D, the width of every layer."""
    num_hidden_layers: int
    num_attention_heads: int
    head_width: int
    """H, the width of one head."""
    intermediate_size: int
    hidden_act: str
    hidden_dropout_prob: float
    attention_probs_dropout_prob: float
    max_position_embeddings: int
    type_vocab_size: int
    """Kinds of token type; 0 for none (V3)."""
    initializer_range: float
    layer_norm_eps: float
    relative_attention: bool
    has_c2p: bool
    """Content-to-position scores."""
    has_p2c: bool
    """Position-to-content scores."""
    max_distance: int
    """Offset, in tokens, from which all distances share the last bucket."""
    num_buckets: int
    """Buckets on each side of distance zero; 0 for one row per offset, without the logarithm."""
    span: int
    """Half the rows of the relative table."""
    long_inputs: LongInputs
    """What happens to offsets of ``max_distance`` tokens and more: see ``buckets.py``."""
    share_att_key: bool
    """Whether the content projections also project the relative table."""
    normalizes_relative_table: bool
    position_biased_input: bool
    """Whether absolute positions are added to the input."""
    pad_token_id: int | None
    embedding_size: int
    conv_kernel_size: int
    """Width, in tokens, of V2's convolution; 0 for none."""
    conv_groups: int
    conv_act: str
    pooler_hidden_size: int
    pooler_hidden_act: str
    pooler_dropout: float
    cls_dropout: float

    def __post_init__(self) -> None:
        for name in ("hidden_act", "conv_act", "pooler_hidden_act"):
            if (act := getattr(self, name)) not in ACTIVATIONS:
                raise UserError(f"config: {name} is {act!r}; this package has {', '.join(ACTIVATIONS)}")
        if self.long_inputs not in get_args(LongInputs):
            raise UserError(f"config: long_inputs is {self.long_inputs!r}; need 'clamp' or 'transformers'")
        if self.conv_kernel_size and self.conv_kernel_size % 2 == 0:
            raise UserError(f"config: conv_kernel_size is {self.conv_kernel_size}; need an odd number")
        for name, positions in (
            ("max_position_embeddings", self.max_position_embeddings),
            ("max_relative_positions", self.max_distance),
            ("position_buckets", self.num_buckets),
        ):
            if positions > _MAX_POSITIONS:
                raise UserError(f"config: {name} is {positions:,}; need at most {_MAX_POSITIONS:,}")
        if self.relative_attention and self.num_buckets:
            self._check_buckets()

    def _check_buckets(self) -> None:
        """Check that the logarithm can be computed, and that its table is of a size to be kept."""
        if self.num_buckets == 1:
            raise UserError("config: position_buckets is 1; need at least 2, or -1 for none")
        if self.long_inputs == "transformers" and self.max_distance - 1 <= self.num_buckets // 2:
            raise UserError(
                f"config: position_buckets ({self.num_buckets}) leaves no room for the "
                "logarithmic buckets: need half "
                f"of it < {self.max_distance - 1} (max_relative_positions - 1), -1 for none, or "
                "long_inputs 'clamp'"
            )
        middle = self.num_buckets // 2
        if self.long_inputs == "transformers" and middle > 1:
            # where the last bucket begins: see RelativePositions.farthest
            growth = (self.span - middle) / (middle - 1)
            if math.log(middle) + growth * math.log((self.max_distance - 1) / middle) > math.log(_MAX_OFFSET):
                raise UserError(
                    f"config: position_buckets ({self.num_buckets}) are so few for {self.max_distance} "
                    f"positions that the last one begins beyond {_MAX_OFFSET:,} tokens; need more, or "
                    "long_inputs 'clamp'"
                )

    @property
    def relative_rows(self) -> int:
        """Rows of the relative table; 0 without relative attention."""
        return 2 * self.span if self.relative_attention else 0

    @property
    def position_terms(self) -> int:
        """How many of c2p and p2c are scored."""
        return self.has_c2p + self.has_p2c if self.relative_attention else 0

    @property
    def position_projections(self) -> int:
        """How many projections of the relative table each layer has for itself: 0, 1 or 2."""
        return 0 if self.share_att_key else self.position_terms

    @property
    def score_terms(self) -> int:
        """How many products are summed into one attention score."""
        return 1 + self.has_c2p + self.has_p2c

    @property
    def scale(self) -> float:
        """1 / sqrt(3d), the factor of every score (DeBERTa, arXiv:2006.03654, section 3.1, equation 4).

        d is the width of a head; 3 is the number of terms, fewer where a model lacks c2p or p2c.
        """
        return float((self.score_terms * self.head_width) ** -0.5)

    @property
    def has_relative_scores(self) -> bool:
        """Whether any position term is part of the score."""
        return self.relative_attention and (self.has_c2p or self.has_p2c)

    @classmethod
    def from_dict(cls, raw: JsonMapping, *, given: Collection[str] | None = None) -> Self:
        """Read the content of a Hub ``config.json`` (or ``DebertaV2Config.to_dict()``).

        Args:
            raw: keys and values.
            given: the keys that somebody wrote, where ``raw`` has defaults filled in; None for all.

        Raises:
            UserError: if a key looks misspelled, a value has the wrong type, or the file describes a variant
                that this package does not implement (``p2p``).
        """
        _refuse_misspelled(raw if given is None else given)
        value = {key: raw.get(key, default) for key, default in DEFAULTS.items()}
        for key, default in DEFAULTS.items():
            _check_type(key, value[key], default)
        for key in _POSITIVE:
            if value[key] < 1:
                raise UserError(f"config: {key} is {value[key]}; need at least 1")
        hidden_size, num_heads = value["hidden_size"], value["num_attention_heads"]
        if hidden_size % num_heads:
            raise UserError(
                f"config: hidden_size ({hidden_size}) must be a multiple of num_attention_heads ({num_heads})"
            )
        max_distance = value["max_relative_positions"]
        if max_distance < 1:
            max_distance = value["max_position_embeddings"]
        num_buckets = max(value["position_buckets"], 0)
        terms = _attention_terms(value["pos_att_type"])
        head_width = value["attention_head_size"] or hidden_size // num_heads
        if head_width * num_heads != hidden_size:
            raise UserError(
                f"config: attention_head_size ({head_width}) times num_attention_heads ({num_heads}) must be "
                f"hidden_size ({hidden_size})"
            )
        same_name = {f.name for f in fields(cls)} & value.keys()
        resolved = {key: value[key] for key in same_name} | {
            "embedding_size": value["embedding_size"] or hidden_size,
            "pooler_hidden_size": value["pooler_hidden_size"] or hidden_size,
            "cls_dropout": value["hidden_dropout_prob"]
            if value["cls_dropout"] is None
            else value["cls_dropout"],
        }
        return cls(
            **resolved,
            head_width=head_width,
            has_c2p="c2p" in terms,
            has_p2c="p2c" in terms,
            max_distance=max_distance,
            num_buckets=num_buckets,
            span=num_buckets or max_distance,
            normalizes_relative_table="layer_norm"
            in [x.strip() for x in value["norm_rel_ebd"].lower().split("|")],
        )


def check_token_types(lowest: int, highest: int, *, available: int) -> None:
    """Check the token types of a batch.

    Args:
        lowest: of the given ones.
        highest: likewise.
        available: ``type_vocab_size``.

    Raises:
        UserError: if the model does not have them all.
    """
    if lowest < 0 or highest >= available:
        raise UserError(
            f"token_type_ids has {lowest if lowest < 0 else highest}; the model has {available} token types, "
            f"from 0 to {available - 1} (type_vocab_size): pairs of texts need 2, so use another model for "
            "them, or give only zeros"
        )


def _attention_terms(pos_att_type: str | list[str] | None) -> set[str]:
    """The position terms of the score; transformers allows ``"p2c|c2p"`` and a list."""
    parts = pos_att_type.lower().split("|") if isinstance(pos_att_type, str) else (pos_att_type or [])
    terms = {part.strip() for part in parts} - {"", "none"}
    if unknown := terms - {"c2p", "p2c"}:
        raise UserError(
            f"config: pos_att_type has {sorted(unknown)}; need a subset of ['c2p', 'p2c'] "
            "(position-to-position, p2p, never worked in the official code, and no released model has it)"
        )
    return terms


def _refuse_misspelled(keys: Collection[str]) -> None:
    """A key that is nearly one of ours changes the model silently; refuse it."""
    for key in keys:
        if key in MATHS_KEYS:
            continue
        near = difflib.get_close_matches(key, MATHS_KEYS, n=1, cutoff=0.87)
        if near and near[0] not in keys:
            raise UserError(f"config: unknown key {key!r}: did you mean {near[0]!r}? Rename or remove it")


def _check_type(key: str, value: object, default: object) -> None:
    if key == "pos_att_type":
        right = (
            value is None
            or isinstance(value, str)
            or (isinstance(value, list | tuple) and all(isinstance(x, str) for x in value))
        )
        needed = "a list such as ['p2c', 'c2p']"
    elif key in ("cls_dropout",):
        right, needed = (
            value is None or (isinstance(value, int | float) and not isinstance(value, bool)),
            "a number or null",
        )
    elif key in ("pad_token_id", "embedding_size", "attention_head_size", "pooler_hidden_size"):
        right, needed = (
            value is None or (isinstance(value, int) and not isinstance(value, bool)),
            "a whole number or null",
        )
    elif isinstance(default, bool):
        right, needed = isinstance(value, bool), "true or false"
    elif isinstance(default, int):
        right, needed = isinstance(value, int) and not isinstance(value, bool), "a whole number"
    elif isinstance(default, float):
        right, needed = isinstance(value, int | float) and not isinstance(value, bool), "a number"
    else:
        right, needed = isinstance(value, str), "a string"
    if not right:
        raise UserError(f"config: {key} is {value!r}; need {needed}")
