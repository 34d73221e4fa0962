"""``NativeModel``: padded batches in, logits out; the maths of ``layers/`` and ``models/`` without torch.

Shape letters: B batch, L tokens, D hidden size, E embedding size, V vocabulary, M masked tokens of a text.
"""

import logging
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from ...errors import UserError
from ...heads import MASKED_LM, MULTIPLE_CHOICE, REPLACED_TOKENS, SEQUENCE, SPANS, TOKENS
from ...layers.config import EncoderConfig, check_token_types
from ..kernel.library import LONGEST, Kernel
from .compiled import Compiled
from .maths import Floats
from .plain import Function, Mask, Named, Plain, Weights
from .tensors import StoredArray, release_pages

logger = logging.getLogger(__name__)

Ids = npt.NDArray[np.int64]

_WORDS = "deberta.embeddings.word_embeddings.weight"
_POSITIONS = "deberta.embeddings.position_embeddings.weight"
_WORDS_AT_ONCE = 8192  # rows of the word embeddings that are widened together


class Embeddings:
    """Words, absolute positions and token types, as in ``layers/embeddings.py``."""

    def __init__(self, make: Plain, weights: Weights, config: EncoderConfig) -> None:
        named = Named(make, weights, "deberta.embeddings.", config)
        self.words = _stored(weights, _WORDS)
        self.positions = weights.get(_POSITIONS)
        self.max_positions = config.max_position_embeddings
        self.adds_positions = config.position_biased_input
        self.types = named.floats("token_type_embeddings.weight") if config.type_vocab_size else None
        self.projection: Function | None = None
        if config.embedding_size != config.hidden_size:
            self.projection = make.linear(weights["deberta.embeddings.embed_proj.weight"], None)
        self.norm = named.norm("LayerNorm")

    def __call__(self, input_ids: Ids, token_type_ids: Ids | None, padding: Mask | None) -> Floats:
        """``(B, L)`` ids to ``(B, L, D)``; padding becomes zero.

        Raises:
            UserError: for more tokens than there are absolute positions, or a token type that is not there.
        """
        x = self.words.rows(input_ids)
        if self.adds_positions:
            x = x + self.absolute(x.shape[1])
        if self.types is not None:
            x = x + self._of_types(self.types, token_type_ids)
        if self.projection is not None:
            x = self.projection(x)
        x = self.norm(x)
        if padding is not None:
            x *= padding[..., None].astype(np.float32)
        return x

    def _of_types(self, types: Floats, token_type_ids: Ids | None) -> Floats:
        """Embeddings of the token types; numpy alone takes a negative one from the end."""
        if token_type_ids is None:
            return types[:1]
        if token_type_ids.size:
            lowest, highest = int(token_type_ids.min()), int(token_type_ids.max())
            check_token_types(lowest, highest, available=len(types))
        return types[token_type_ids]

    def absolute(self, length: int) -> Floats:
        """Embeddings of the positions 0 .. L-1, ``(L, E)``.

        Raises:
            UserError: if the table has fewer.
        """
        assert self.positions is not None, "a checkpoint without positions is not asked for them"
        if length > self.max_positions:
            raise UserError(
                f"the model has {self.max_positions} absolute positions; got {length} "
                "tokens: shorten the text"
            )
        return self.positions.floats()[:length]


class Convolution:
    """V2's convolution over the input, added to the first layer's output: tap by tap."""

    def __init__(self, make: Plain, weights: Weights, config: EncoderConfig) -> None:
        named = Named(make, weights, "deberta.encoder.conv.", config)
        kernel, self.bias = named.floats("conv.weight"), named.floats("conv.bias")  # (D, D / groups, taps)
        self.taps = [
            [make.linear(StoredArray("F32", np.ascontiguousarray(part)), None) for part in parts]
            for parts in (np.split(kernel[:, :, tap], config.conv_groups) for tap in range(kernel.shape[2]))
        ]
        self.activation = make.activation(config.conv_act)
        self.norm = named.norm("LayerNorm")

    def __call__(self, embedded: Floats, first_output: Floats, padding: Mask | None) -> Floats:
        """Add the convolved embeddings, ``(B, L, D)``, to the first layer's output; padding is zero."""
        L, around = embedded.shape[1], len(self.taps) // 2
        padded = np.pad(embedded, ((0, 0), (around, around), (0, 0)))
        x = np.zeros_like(embedded) + self.bias
        for tap, groups in enumerate(self.taps):
            seen = np.split(padded[:, tap : tap + L], len(groups), axis=-1)
            products = [linear(part) for linear, part in zip(groups, seen, strict=True)]
            x += np.concatenate(products, axis=-1)
        if padding is None:
            return self.norm(first_output + self.activation(x))
        real = padding[..., None].astype(np.float32)
        return self.norm(first_output + self.activation(x * real)) * real


class Encoder:
    """The stack of layers with the relative table that they share."""

    def __init__(self, make: Plain, weights: Weights, config: EncoderConfig) -> None:
        named = Named(make, weights, "deberta.encoder.", config)
        table_RD = None
        if config.has_relative_scores:
            table_RD = named.floats("rel_embeddings.weight")
            if config.normalizes_relative_table:
                table_RD = named.norm("LayerNorm")(table_RD)
        self.layers = []
        for number in range(config.num_hidden_layers):
            self.layers.append(make.layer(weights, number, config, table_RD))
            release_pages(weights)  # so that a layer is not in memory twice
        self.convolution = Convolution(make, weights, config) if config.conv_kernel_size else None

    def __call__(
        self, embedded: Floats, padding: Mask | None, *, num_layers: int, first_token_suffices: bool = False
    ) -> Floats:
        """``(B, L, D)`` to ``(B, L, D)``, or ``(B, 1, D)`` where nobody reads more of the last layer."""
        x = embedded
        for number, layer in enumerate(self.layers[:num_layers]):
            is_last = 0 < number == num_layers - 1  # a convolution reads all that the first layer makes
            x = layer(x, padding, x[:, :1] if first_token_suffices and is_last else None)
            if number == 0 and self.convolution is not None:
                x = self.convolution(embedded, x, padding)
        return x


class NativeModel:
    """A checkpoint with its head, in numpy or on the kernel.

    Args:
        weights: the checkpoint's tensors, complete and of the right shapes.
        config: what its ``config.json`` says.
        head: a head's name in ``heads.py``.
        compiled: the kernel; None computes everything in numpy.

    Raises:
        UserError: if the head cannot be built as the config says.
    """

    def __init__(
        self, weights: Weights, config: EncoderConfig, *, head: str, compiled: Kernel | None
    ) -> None:
        make = Plain() if compiled is None else Compiled(compiled)
        self.num_layers = config.num_hidden_layers
        self.embeddings = Embeddings(make, weights, config)
        self.encoder = Encoder(make, weights, config)
        self._head = _HEADS[head](make, weights, config)

    def run(
        self,
        input_ids: Ids,
        attention_mask: Ids,
        token_type_ids: Ids | None = None,
        masked_positions: Ids | None = None,
    ) -> dict[str, Floats]:
        """Compute the logits of one padded batch, by the names of the head's outputs.

        Args:
            input_ids: ``(B, L)``.
            attention_mask: ``(B, L)``, 1 for real tokens.
            token_type_ids: ``(B, L)``; read only by models that have token types.
            masked_positions: ``(B, M)``, the tokens whose words are wanted; masked language models only.

        Raises:
            UserError: for more tokens than the model takes.
            MemoryError: if there is not enough memory.
        """
        if input_ids.shape[1] > LONGEST:
            raise UserError(f"a text has at most {LONGEST:,} tokens; got {input_ids.shape[1]:,}: cut it")
        padding: Mask | None = np.ascontiguousarray(attention_mask > 0)
        if padding is not None and padding.all():
            padding = None
        embedded = self.embeddings(input_ids, token_type_ids, padding)
        return self._head(self, embedded, padding, masked_positions)

    def states(self, embedded: Floats, padding: Mask | None, *, first_token_suffices: bool = False) -> Floats:
        """What the last layer makes of embeddings: see `Encoder`."""
        return self.encoder(
            embedded, padding, num_layers=self.num_layers, first_token_suffices=first_token_suffices
        )


HeadFunction = Callable[["NativeModel", Floats, "Mask | None", "Ids | None"], dict[str, Floats]]


class TextHead:
    """A label of a text, or the score of a choice: pooler and classifier."""

    def __init__(self, make: Plain, weights: Weights, config: EncoderConfig) -> None:
        self.pool = Named(make, weights, "pooler.", config).linear("dense")
        self.activation = make.activation(config.pooler_hidden_act)
        self.classify = Named(make, weights, "", config).linear("classifier")

    def __call__(
        self, model: NativeModel, embedded: Floats, padding: Mask | None, positions: Ids | None
    ) -> dict[str, Floats]:
        """``(B, labels)``."""
        first = model.states(embedded, padding, first_token_suffices=True)[:, 0]
        return {"logits": self.classify(self.activation(self.pool(first)))}


class TokenHead:
    """A label of every token."""

    def __init__(self, make: Plain, weights: Weights, config: EncoderConfig) -> None:
        self.classify = Named(make, weights, "", config).linear("classifier")

    def __call__(
        self, model: NativeModel, embedded: Floats, padding: Mask | None, positions: Ids | None
    ) -> dict[str, Floats]:
        """``(B, L, labels)``."""
        return {"logits": self.classify(model.states(embedded, padding))}


class SpanHead:
    """Every token as start and end of an answer."""

    def __init__(self, make: Plain, weights: Weights, config: EncoderConfig) -> None:
        self.outputs = Named(make, weights, "", config).linear("qa_outputs")

    def __call__(
        self, model: NativeModel, embedded: Floats, padding: Mask | None, positions: Ids | None
    ) -> dict[str, Floats]:
        """``(B, L)`` each."""
        start, end = np.moveaxis(self.outputs(model.states(embedded, padding)), -1, 0)
        return {"start_logits": np.ascontiguousarray(start), "end_logits": np.ascontiguousarray(end)}


class ReplacedTokenHead:
    """Which tokens were replaced (DeBERTaV3, arXiv:2111.09543, section 3.1)."""

    def __init__(self, make: Plain, weights: Weights, config: EncoderConfig) -> None:
        named = Named(make, weights, "mask_predictions.", config)
        self.norm, self.dense, self.classify = (
            named.norm("LayerNorm"), named.linear("dense"), named.linear("classifier"),
        )  # fmt: skip
        self.activation = make.activation(config.hidden_act)

    def __call__(
        self, model: NativeModel, embedded: Floats, padding: Mask | None, positions: Ids | None
    ) -> dict[str, Floats]:
        """``(B, L)``, positive for "replaced"."""
        states = model.states(embedded, padding)
        hidden = self.activation(self.dense(self.norm(states + states[:, :1])))
        return {"logits": self.classify(hidden)[..., 0]}


class MaskedLMHead:
    """The words behind [MASK], with the enhanced mask decoder where the checkpoint has positions for it.

    The official head (``lm_predictions.*``), or transformers' first one (``cls.*``), which has no decoder.
    """

    NUM_STEPS = 2  # of the decoder: DeBERTa, arXiv:2006.03654, section 3.2

    def __init__(self, make: Plain, weights: Weights, config: EncoderConfig) -> None:
        is_legacy = "lm_predictions.lm_head.bias" not in weights
        prefix = "cls.predictions." if is_legacy else "lm_predictions.lm_head."
        named = Named(make, weights, f"{prefix}transform." if is_legacy else prefix, config)
        self.dense, self.norm = named.linear("dense"), named.norm("LayerNorm")
        self.activation = make.activation(config.hidden_act)
        self.bias = weights[f"{prefix}bias"].floats()
        self.words = _stored(weights, _WORDS)
        self.has_decoder = False
        if is_legacy:
            logger.warning(
                "the masked LM head is transformers' original one (cls.predictions), without a mask decoder"
            )
        elif not config.position_biased_input:
            self.has_decoder = _POSITIONS in weights
            if not self.has_decoder:
                logger.warning(
                    "no absolute position embeddings in the file: predicting without the "
                    "enhanced mask decoder"
                )
            elif config.embedding_size != config.hidden_size:
                raise UserError(
                    f"the enhanced mask decoder adds positions to hidden states; got embedding_size "
                    f"{config.embedding_size}, need hidden_size {config.hidden_size}"
                )

    def __call__(
        self, model: NativeModel, embedded: Floats, padding: Mask | None, positions: Ids | None
    ) -> dict[str, Floats]:
        """``(B, M, V)``, or ``(B, L, V)`` without positions."""
        states = self._decode(model, embedded, padding)
        if positions is not None:
            states = np.take_along_axis(states, positions[..., None], axis=1)
        hidden = self.norm(self.activation(self.dense(states)))
        rows = hidden.reshape(-1, hidden.shape[-1])
        logits = np.empty((len(rows), len(self.bias)), np.float32)
        for first in range(0, len(self.bias), _WORDS_AT_ONCE):
            some = np.arange(first, min(first + _WORDS_AT_ONCE, len(self.bias)))
            logits[:, some[0] : some[-1] + 1] = rows @ self.words.rows(some).T
        return {"logits": (logits + self.bias).reshape(*hidden.shape[:-1], -1)}

    def _decode(self, model: NativeModel, embedded: Floats, padding: Mask | None) -> Floats:
        if not self.has_decoder:
            return model.states(embedded, padding)
        states = model.encoder(embedded, padding, num_layers=model.num_layers - 1)
        queries = states + model.embeddings.absolute(states.shape[1])
        for _ in range(self.NUM_STEPS):
            queries = model.encoder.layers[-1](states, padding, queries)
        return queries


_HEADS: Mapping[str, Callable[[Plain, Weights, EncoderConfig], HeadFunction]] = {
    SEQUENCE: TextHead,
    MULTIPLE_CHOICE: TextHead,
    TOKENS: TokenHead,
    SPANS: SpanHead,
    REPLACED_TOKENS: ReplacedTokenHead,
    MASKED_LM: MaskedLMHead,
}


def _stored(weights: Weights, name: str) -> StoredArray:
    found = weights[name]
    assert isinstance(found, StoredArray), f"{name} is not a linear layer's weight"
    return found
