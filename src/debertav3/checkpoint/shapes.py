"""The tensors that a model has, from its configuration alone, without torch: official names and shapes."""

from collections.abc import Callable, Iterator

from ..errors import UserError
from ..heads import MASKED_LM, MULTIPLE_CHOICE, REPLACED_TOKENS, SEQUENCE, SPANS, TOKENS
from ..layers.config import EncoderConfig
from .keys import BODY

Shapes = dict[str, tuple[int, ...]]


def expected_tensors(
    config: EncoderConfig, *, head: str, num_labels: int, has_legacy_head: bool = False
) -> Shapes:
    """Return the shapes of a model's tensors; a tied one is left out.

    Args:
        config: of the encoder.
        head: a head's name in ``heads.py``.
        num_labels: outputs of a classifier.
        has_legacy_head: whether the masked LM head is transformers' first one.

    Raises:
        UserError: if the head cannot be built from this configuration.
    """
    width = config.hidden_size
    if head in (SEQUENCE, MULTIPLE_CHOICE) and config.pooler_hidden_size != width:
        raise UserError(
            f"config: pooler_hidden_size is {config.pooler_hidden_size}; the pooler reads hidden states, so "
            f"it must be hidden_size ({width})"
        )
    if head == SPANS and num_labels != 2:
        raise UserError(
            f"question answering has two outputs, start and end; the config has {num_labels} labels: give "
            "num_labels=2"
        )
    keeps_positions = (head == MASKED_LM and not has_legacy_head) or head == REPLACED_TOKENS
    shapes = {BODY + name: shape for name, shape in _body(config, keeps_positions=keeps_positions)}
    return shapes | dict((_legacy_head if has_legacy_head else _HEADS[head])(config, num_labels))


Named = Iterator[tuple[str, tuple[int, ...]]]


def _linear(name: str, out: int, in_: int) -> Named:
    yield f"{name}.weight", (out, in_)
    yield f"{name}.bias", (out,)


def _norm(name: str, width: int) -> Named:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _body(config: EncoderConfig, *, keeps_positions: bool) -> Named:
    size, width = config.embedding_size, config.hidden_size
    yield "embeddings.word_embeddings.weight", (config.vocab_size, size)
    if config.position_biased_input or keeps_positions:
        yield "embeddings.position_embeddings.weight", (config.max_position_embeddings, size)
    if config.type_vocab_size:
        yield "embeddings.token_type_embeddings.weight", (config.type_vocab_size, size)
    if size != width:
        yield "embeddings.embed_proj.weight", (width, size)
    yield from _norm("embeddings.LayerNorm", width)
    if config.relative_attention:
        yield "encoder.rel_embeddings.weight", (config.relative_rows, width)
    if config.normalizes_relative_table:
        yield from _norm("encoder.LayerNorm", width)
    if config.conv_kernel_size:
        taps = config.conv_kernel_size
        yield "encoder.conv.conv.weight", (width, width // config.conv_groups, taps)
        yield "encoder.conv.conv.bias", (width,)
        yield from _norm("encoder.conv.LayerNorm", width)
    for number in range(config.num_hidden_layers):
        for name, shape in _layer(config):
            yield f"encoder.layer.{number}.{name}", shape


def _layer(config: EncoderConfig) -> Named:
    width, inner = config.hidden_size, config.intermediate_size
    projections = ["query_proj", "key_proj", "value_proj"]
    if config.relative_attention and not config.share_att_key:
        projections += ["pos_key_proj"] * config.has_c2p + ["pos_query_proj"] * config.has_p2c
    for name in projections:
        yield from _linear(f"attention.self.{name}", width, width)
    yield from _linear("attention.output.dense", width, width)
    yield from _norm("attention.output.LayerNorm", width)
    yield from _linear("intermediate.dense", inner, width)
    yield from _linear("output.dense", width, inner)
    yield from _norm("output.LayerNorm", width)


def _text_head(config: EncoderConfig, num_labels: int) -> Named:
    yield from _linear("pooler.dense", config.hidden_size, config.hidden_size)
    yield from _linear("classifier", num_labels, config.hidden_size)


def _replaced_token_head(config: EncoderConfig, num_labels: int) -> Named:
    width = config.hidden_size
    yield from _linear("mask_predictions.dense", width, width)
    yield from _norm("mask_predictions.LayerNorm", width)
    yield from _linear("mask_predictions.classifier", 1, width)


def _masked_lm_head(config: EncoderConfig, num_labels: int) -> Named:
    yield from _linear("lm_predictions.lm_head.dense", config.embedding_size, config.hidden_size)
    yield from _norm("lm_predictions.lm_head.LayerNorm", config.embedding_size)
    yield "lm_predictions.lm_head.bias", (config.vocab_size,)


def _legacy_head(config: EncoderConfig, num_labels: int) -> Named:
    yield from _linear("cls.predictions.transform.dense", config.embedding_size, config.hidden_size)
    yield from _norm("cls.predictions.transform.LayerNorm", config.embedding_size)
    yield "cls.predictions.bias", (config.vocab_size,)


_HEADS: dict[str, Callable[[EncoderConfig, int], Named]] = {
    SEQUENCE: _text_head,
    MULTIPLE_CHOICE: lambda config, num_labels: _text_head(config, 1),
    TOKENS: lambda config, num_labels: _linear("classifier", num_labels, config.hidden_size),
    SPANS: lambda config, num_labels: _linear("qa_outputs", num_labels, config.hidden_size),
    REPLACED_TOKENS: _replaced_token_head,
    MASKED_LM: _masked_lm_head,
}
