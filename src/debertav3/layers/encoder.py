"""The encoder (official files ``deberta/bert.py`` and ``deberta/disentangled_attention.py``).

Attribute names are those of the released checkpoints (``attention.self.query_proj``, ``LayerNorm``,
``rel_embeddings``), also where they are not ours: a checkpoint loads without conversion.

Shape letters: B batch, L tokens, D hidden size, N heads.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError
from .activations import ACTIVATION, activate_in_place
from .attention import DisentangledSelfAttention, RelativeEmbeddings, Version, weights_version
from .config import EncoderConfig
from .fused_layer import FusedLayer
from .int8_linear import Int8Linear
from .packed import KernelLinear, PackedLinear, can_pack, pack_linear
from .scratch import may_overwrite, scratch

_RETURN_FRESH = (nn.Linear, Int8Linear, PackedLinear, KernelLinear)
"""Linear layers whose result belongs to nobody else."""


class ResidualOutput(nn.Module):
    """Dense, dropout, add the residual, LayerNorm: the end of attention and of the feed-forward part."""

    def __init__(self, input_size: int, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(input_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """``(B, L, input_size)`` and ``(B, L, D)`` to ``(B, L, D)``."""
        x = self.dropout(self.dense(x))
        is_ours = type(self.dense) in _RETURN_FRESH and may_overwrite(self.dense, self.dropout)
        return self.LayerNorm(x.add_(residual) if is_ours else x + residual)


class Attention(nn.Module):
    """Disentangled self-attention with its output projection."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.self = DisentangledSelfAttention(config)
        self.output = ResidualOutput(config.hidden_size, config)

    def forward(
        self,
        hidden_states: Tensor,
        mask: Tensor | None,
        table_RD: Tensor | None,
        table_version: Version,
        query_states: Tensor | None,
        output_attentions: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """See ``DisentangledSelfAttention.forward``; the residual is the source of the queries."""
        context, weights = self.self(
            hidden_states, mask, table_RD, table_version, query_states, output_attentions
        )
        return self.output(context, hidden_states if query_states is None else query_states), weights


class Intermediate(nn.Module):
    """The widening half of the feed-forward part."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = config.hidden_act

    def forward(self, x: Tensor) -> Tensor:
        """``(B, L, D)`` to ``(B, L, intermediate_size)``."""
        if type(self.dense) is PackedLinear:
            return self.dense(x)  # the activation is in it
        if type(self.dense) is nn.Linear and may_overwrite(self.dense, self):
            return activate_in_place(self.activation, self._widen(x))
        return ACTIVATION[self.activation](self.dense(x))

    def _widen(self, x: Tensor) -> Tensor:
        wide = scratch("intermediate", x, *x.shape[:-1], self.dense.out_features)
        if wide is None:
            return self.dense(x)
        torch.addmm(self.dense.bias, x.flatten(0, -2), self.dense.weight.t(), out=wide.flatten(0, -2))
        return wide


class Layer(nn.Module):
    """One transformer layer.

    Give ``forward`` its tensors by position: gradient checkpointing may look for them there only.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.intermediate = Intermediate(config)
        self.output = ResidualOutput(config.intermediate_size, config)

    def forward(
        self,
        hidden_states: Tensor,
        mask: Tensor | None,
        table_RD: Tensor | None,
        table_version: Version = None,
        query_states: Tensor | None = None,
        output_attentions: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return ``(B, L, D)`` and the attention weights or None; see ``DisentangledSelfAttention``."""
        attended, weights = self.attention(
            hidden_states, mask, table_RD, table_version, query_states, output_attentions
        )
        return self.output(self.intermediate(attended), attended), weights


class Convolution(nn.Module):
    """V2's convolution over the input, added to the first layer's output."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.conv = nn.Conv1d(
            config.hidden_size,
            config.hidden_size,
            config.conv_kernel_size,
            padding=(config.conv_kernel_size - 1) // 2,
            groups=config.conv_groups,
        )
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.activation = ACTIVATION[config.conv_act]

    def forward(self, embedded: Tensor, first_output: Tensor, masks: "AttentionMasks") -> Tensor:
        """Add the convolved embeddings to the first layer's output; padding comes out as zero.

        Args:
            embedded: ``(B, L, D)``, the encoder's input.
            first_output: ``(B, L, D)``, the first layer's output.
            masks: which tokens are real, and which may see which.
        """
        if masks.are_packed:
            x = self._convolve_seen(embedded, masks)
        else:
            x = self.conv(embedded.transpose(1, 2)).transpose(1, 2)
        if masks.padding is None:
            return self.LayerNorm(first_output + self.activation(self.dropout(x)))
        real = masks.padding.unsqueeze(-1)
        x = x.masked_fill(~real, 0.0)
        x = self.LayerNorm(first_output + self.activation(self.dropout(x)))
        return x * real.to(x.dtype)

    def _convolve_seen(self, embedded: Tensor, masks: "AttentionMasks") -> Tensor:
        """The convolution where a token meets only those of its own sequence: tap by tap."""
        assert masks.pairs is not None
        L, width = embedded.shape[1], self.conv.kernel_size[0] // 2
        around = F.pad(embedded, (0, 0, width, width))
        total = torch.zeros_like(embedded)
        for tap, weight in enumerate(self.conv.weight.unbind(-1)):
            offset = max(min(tap - width, L), -L)
            seen = masks.pairs[:, 0].diagonal(offset, 1, 2)
            seen = F.pad(seen, (max(-offset, 0), max(offset, 0))).unsqueeze(-1)
            x = (around[:, tap : tap + L] * seen).transpose(1, 2)
            total = total + F.conv1d(x, weight.unsqueeze(-1), groups=self.conv.groups).transpose(1, 2)
        return total if self.conv.bias is None else total + self.conv.bias


@dataclass(slots=True)
class AttentionMasks:
    """What a caller's ``attention_mask`` means to the parts of the model.

    Args:
        padding: ``(B, L)`` bool, True for real tokens; None where all are.
        packed_pairs: what packed sequences say beyond that, ``(B, 1, L, L)`` bool, True where query i may see
            key j.
    """

    padding: Tensor | None
    packed_pairs: Tensor | None = None

    @property
    def are_packed(self) -> bool:
        """Whether ``pairs`` says more than ``padding``."""
        return self.packed_pairs is not None

    @property
    def pairs(self) -> Tensor | None:
        """``(B, 1, L, L)`` bool, True where query i may see key j; None for everywhere."""
        if self.packed_pairs is not None or self.padding is None:
            return self.packed_pairs
        return self.padding[:, None, :, None] & self.padding[:, None, None, :]

    @classmethod
    def read(cls, attention_mask: Tensor | None) -> "AttentionMasks":
        """Understand a mask of 0/1 numbers or bools.

        Padding sees nothing, as in transformers: the states there enter the loss of question answering.

        Args:
            attention_mask: ``(B, L)`` for padding, ``(B, L, L)`` for packed sequences (query i, key j) or
                ``(B, 1, L, L)``.

        Raises:
            UserError: for another number of dimensions.
        """
        if attention_mask is None:
            return cls(None)
        mask = attention_mask if attention_mask.dtype == torch.bool else attention_mask > 0
        match mask.dim():
            case 2 if _hides_nothing(mask):
                return cls(None)
            case 2:
                return cls(mask)
            case 3:
                return cls(mask.any(-2), mask[:, None])
            case 4 if mask.shape[1] == 1 and mask.shape[2] == 1:
                return cls.read(mask[:, 0, 0])
            case 4 if mask.shape[1] == 1:
                return cls(mask[:, 0].any(-2), mask)
        raise _wrong_shape(mask)

    @staticmethod
    def check_shape(attention_mask: Tensor | None, *, batch: int, length: int) -> None:
        """Refuse a mask of another batch or length, which would hide tokens of other rows, or none.

        Args:
            attention_mask: as in `read`.
            batch: B, the number of rows.
            length: L, tokens a row.

        Raises:
            UserError: if the shape does not fit.
        """
        if attention_mask is None or torch.compiler.is_compiling() or torch.jit.is_tracing():
            return  # in a graph sizes are symbols, and what was traced fitted
        rows, *rest = attention_mask.shape
        fitting = ([length], [length, length], [1, length, length], [1, 1, length])
        if rows not in (1, batch) or rest not in fitting:  # one mask may hold for all rows
            raise _wrong_shape(attention_mask, batch, length)


def _wrong_shape(mask: Tensor, batch: object = "batch", length: object = "tokens") -> UserError:
    return UserError(
        f"attention_mask has shape {tuple(mask.shape)}; need ({batch}, {length}), "
        f"({batch}, {length}, {length}) or ({batch}, 1, {length}, {length})"
    )


def _hides_nothing(mask: Tensor) -> bool:
    """Whether a mask can be dropped; asked only where the answer costs no wait for a device and no graph."""
    is_cheap = mask.device.type == "cpu" and not (torch.compiler.is_compiling() or torch.jit.is_tracing())
    return is_cheap and bool(mask.all())


@dataclass(slots=True)
class EncoderOutput:
    """What the encoder returns."""

    last_hidden_state: Tensor
    """``(B, L, D)``, or ``(B, 1, D)`` where the first token suffices."""
    hidden_states: list[Tensor] = field(default_factory=list)
    """The input and every layer's output, ``(B, L, D)`` each, where asked for."""
    attentions: list[Tensor] = field(default_factory=list)
    """Every layer's attention weights, ``(B, N, L, L)`` each, where asked for."""


class Encoder(nn.Module):
    """The stack of layers with the relative table that they share.

    Args:
        config: sizes and options.
        layer_class: what makes a layer; ``models/`` gives one that supports gradient checkpointing.
    """

    def __init__(self, config: EncoderConfig, *, layer_class: type[Layer] = Layer) -> None:
        super().__init__()
        self.hidden_size = config.hidden_size
        self.layer = nn.ModuleList(layer_class(config) for _ in range(config.num_hidden_layers))
        self.has_relative_attention = config.relative_attention
        self.normalizes_relative_table = config.normalizes_relative_table
        if config.relative_attention:
            self.rel_embeddings = nn.Embedding(2 * config.span, config.hidden_size)
        if config.normalizes_relative_table:
            self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.conv = Convolution(config) if config.conv_kernel_size else None
        self.hides_padded_queries = True
        """Whether padding sees nothing; a folded graph does not care, since nobody reads it there."""
        self._normalized: RelativeEmbeddings | None = None
        self._fused: list[FusedLayer] = []

    def relative_embeddings(self) -> RelativeEmbeddings:
        """The relative table as the layers read it."""
        if not self.has_relative_attention:
            return RelativeEmbeddings(None, None)
        table = self.rel_embeddings.weight
        if not self.normalizes_relative_table:
            return RelativeEmbeddings(table, weights_version(self.rel_embeddings))
        version = weights_version(self.rel_embeddings, self.LayerNorm)
        if version is None or self.training:
            return RelativeEmbeddings(self.LayerNorm(table), version)
        cached = self._normalized  # one read: another thread may replace it meanwhile
        if cached is None or cached.version != version:
            cached = self._normalized = RelativeEmbeddings(self.LayerNorm(table), version)
        return cached

    def pairs(self, masks: AttentionMasks) -> Tensor | None:
        """The mask as the layers read it: see ``DisentangledSelfAttention.forward``."""
        if self.hides_padded_queries or masks.are_packed or masks.padding is None:
            return masks.pairs
        return masks.padding[:, None, None, :]

    def train(self, mode: bool = True) -> Self:
        """Switch between training and inference; forgets the normalised relative table."""
        self._normalized = None
        return super().train(mode)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """Move or convert the parameters; forgets the normalised relative table."""
        self._normalized = None
        self._fused = []
        return super()._apply(fn, recurse)

    def forward(
        self,
        hidden_states: Tensor,
        masks: AttentionMasks,
        *,
        num_layers: int | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        first_token_suffices: bool = False,
    ) -> EncoderOutput:
        """Run the layers.

        Args:
            hidden_states: ``(B, L, D)``, the embeddings.
            masks: which tokens are real, and which may see which.
            num_layers: how many layers to run; None for all.
            output_hidden_states: whether to keep the input and every layer's output.
            output_attentions: whether to keep every layer's attention weights.
            first_token_suffices: whether nobody reads the last layer's output but that of the first token; it
                may then be all there is.
        """
        output = EncoderOutput(hidden_states)
        if output_hidden_states:
            output.hidden_states.append(hidden_states)
        relative = self.relative_embeddings()
        fused = self._fused if not output_attentions and self._can_run_fused(hidden_states) else []
        pairs = None if fused else self.pairs(masks)
        can_shorten = first_token_suffices and not output_hidden_states
        x = hidden_states
        layers = self.layer[:num_layers]
        for number, layer in enumerate(layers):
            weights = None
            if fused:
                is_last = 0 < number == len(layers) - 1  # a convolution reads all that the first layer makes
                queries = x[:, :1] if can_shorten and is_last else None
                x = fused[number](x, masks.padding, masks.packed_pairs, relative, queries)
            else:
                x, weights = layer(x, pairs, *relative, None, output_attentions)
            if number == 0 and self.conv is not None:
                x = self.conv(hidden_states, x, masks)
            if output_hidden_states:
                output.hidden_states.append(x)
            if weights is not None:
                output.attentions.append(weights)
        output.last_hidden_state = x
        return output

    def run_last_layer(self, states: Tensor, masks: AttentionMasks, queries: Tensor) -> Tensor:
        """Run the last layer with queries of its own.

        Args:
            states: ``(B, L, D)``, source of keys and values.
            masks: as given to ``forward``.
            queries: ``(B, L, D)``, source of the queries and of the residual.

        Returns:
            ``(B, L, D)``.
        """
        relative = self.relative_embeddings()
        if self._can_run_fused(states):
            return self._fused[-1](states, masks.padding, masks.packed_pairs, relative, queries)
        output, _ = self.layer[-1](states, self.pairs(masks), *relative, queries)
        return output

    def fuse_layers(self) -> None:
        """Prepare to run whole layers in the C++ kernel, where all are of the form that it knows."""
        layers = [cast(Layer, layer) for layer in self.layer]
        if all(map(FusedLayer.fits, layers)):
            self._fused = [FusedLayer(layer) for layer in layers]

    def _can_run_fused(self, states: Tensor) -> bool:
        return bool(self._fused) and all(layer.can_run(states) for layer in self._fused)


def pack_for_inference(model: nn.Module) -> bool:
    """Replace every linear layer of the encoder by a packed one, where possible; there is no way back.

    Args:
        model: an encoder or what holds one. It can no longer be trained, saved or moved.

    Returns:
        Whether it was done: only for fp32 weights on a CPU with oneDNN or our kernel.
    """
    if not can_pack(model):
        return False
    for encoder in [module for module in model.modules() if isinstance(module, Encoder)]:
        for parent in list(encoder.modules()):
            for name, child in list(parent.named_children()):
                if type(child) is nn.Linear or type(child) is Int8Linear:
                    is_wide = isinstance(parent, Intermediate)
                    if not is_wide or parent.activation == "gelu":
                        setattr(parent, name, pack_linear(child, has_gelu=is_wide))
        encoder.fuse_layers()
    return True
