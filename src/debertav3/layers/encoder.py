"""The encoder (official files ``deberta/bert.py`` and ``deberta/disentangled_attention.py``).

Attribute names are those of the released checkpoints (``attention.self.query_proj``, ``LayerNorm``,
``rel_embeddings``), also where they are not ours: a checkpoint loads without conversion.

Shape letters: B batch, L tokens, D hidden size, N heads.
"""

from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .activations import ACTIVATION
from .attention import DisentangledSelfAttention, has_global_hook, is_plain, is_watched
from .config import EncoderConfig
from .masks import AttentionMasks
from .relative_position import records_graph
from .unpadded import Mask, UnpaddedBatch


class ResidualOutput(nn.Module):
    """Dense, dropout, add the residual, LayerNorm: the end of attention and of the feed-forward part."""

    def __init__(self, input_size: int, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(input_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """``(B, L, input_size)`` and ``(B, L, D)`` to ``(B, L, D)``."""
        output: Tensor = self.LayerNorm(self.dropout(self.dense(x)) + residual)
        return output


class Attention(nn.Module):
    """Disentangled self-attention with its output projection."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.self = DisentangledSelfAttention(config)
        self.output = ResidualOutput(config.hidden_size, config)

    def forward(
        self,
        hidden_states: Tensor,
        mask: Mask,
        table_RD: Tensor | None,
        query_states: Tensor | None,
        output_attentions: bool,
        num_outputs: int | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """See ``DisentangledSelfAttention.forward``; the residual is the source of the queries."""
        context, weights = self.self(hidden_states, mask, table_RD, query_states, output_attentions)
        residual = hidden_states if query_states is None else query_states
        if num_outputs is not None:
            context, residual = (_first(x, num_outputs, mask) for x in (context, residual))
        return self.output(context, residual), weights


def _first(x: Tensor, count: int, mask: Mask) -> Tensor:
    """The first tokens of each text; one of each where they follow one another."""
    return mask.firsts(x) if isinstance(mask, UnpaddedBatch) else x[:, :count]


class Intermediate(nn.Module):
    """The widening half of the feed-forward part."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = config.hidden_act

    def forward(self, x: Tensor) -> Tensor:
        """``(B, L, D)`` to ``(B, L, intermediate_size)``."""
        x = self.dense(x)
        if self.activation == "gelu" and self._may_overwrite():
            return cast(
                Tensor, torch.ops.aten.gelu_(x)
            )  # fresh memory of this size costs more than the GELU itself
        return ACTIVATION[self.activation](x)

    def _may_overwrite(self) -> bool:
        """Whether nobody else has what ``dense`` returned: no gradient, hook, adapter or recorded graph."""
        return (
            not torch.is_grad_enabled()
            and is_plain(self.dense, nn.Linear)
            and not has_global_hook()
            and not records_graph()
        )


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
        mask: Mask,
        table_RD: Tensor | None,
        query_states: Tensor | None = None,
        output_attentions: bool = False,
        num_outputs: int | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return ``(B, L, D)`` and the attention weights or None; see ``DisentangledSelfAttention``.

        With ``num_outputs``, only the first so many tokens of each text come out, having seen all of them.
        """
        attended, weights = self.attention(
            hidden_states, mask, table_RD, query_states, output_attentions, num_outputs
        )
        return self.output(self.intermediate(attended), attended), weights


class Convolution(nn.Module):
    """V2's convolution over the input, nGiE, added to the first layer's output (official: ``ConvLayer``)."""

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

    def forward(self, embedded: Tensor, first_output: Tensor, masks: AttentionMasks) -> Tensor:
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
        real = None if masks.padding is None else masks.padding.unsqueeze(-1)
        if real is not None:
            x = x.masked_fill(~real, 0.0)
        output: Tensor = self.LayerNorm(first_output + self.activation(self.dropout(x)))
        return output if real is None else output * real.to(output.dtype)

    def _convolve_seen(self, embedded: Tensor, masks: AttentionMasks) -> Tensor:
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
class EncoderOutput:
    """What the encoder returns."""

    last_hidden_state: Tensor
    """``(B, L, D)``, or ``(B, 1, D)`` where the first token suffices; ``(1, T, D)`` or ``(1, B, D)`` without
    padding."""
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
        self.num_rows = 2 * config.span
        self.normalizes_relative_table = config.normalizes_relative_table
        if config.relative_attention:
            self.rel_embeddings = nn.Embedding(self.num_rows, config.hidden_size)
        if config.normalizes_relative_table:
            self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.conv = Convolution(config) if config.conv_kernel_size else None
        self.hides_padded_queries = True
        """Whether padding sees nothing; a folded graph does not care, since nobody reads it there."""

    def relative_table(self, device: torch.device | None = None) -> Tensor | None:
        """The relative table as the layers read it, ``(R, D)``; None without relative attention.

        Args:
            device: where the states are; None for where the table is.
        """
        if not self.has_relative_attention:
            return None
        # The module is called, not its weight read: adapters, hooks and offloading change what it gives.
        device = self.rel_embeddings.weight.device if device is None else device
        table: Tensor = self.rel_embeddings(torch.arange(self.num_rows, device=device))
        if self.normalizes_relative_table:
            table = self.LayerNorm(table)
        return table

    def pairs(self, masks: AttentionMasks) -> Mask:
        """The mask as the layers read it: see ``DisentangledSelfAttention.forward``."""
        if masks.unpadded is not None:
            return masks.unpadded
        if self.hides_padded_queries or masks.are_packed or masks.padding is None:
            return masks.pairs
        return masks.padding[:, None, None, :]

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
                may then be all there is. In training all come out, so that dropout draws the same numbers.
        """
        output = EncoderOutput(hidden_states)
        if output_hidden_states:
            output.hidden_states.append(hidden_states)
        table_RD, pairs = self.relative_table(hidden_states.device), self.pairs(masks)
        can_shorten = first_token_suffices and not output_hidden_states and not self.training
        x, layers = hidden_states, self.layer[:num_layers]
        for number, layer in enumerate(layers):
            is_last = 0 < number == len(layers) - 1  # a convolution reads all that the first layer makes
            if can_shorten and is_last and self._is_unseen(layer):
                x, weights = layer(x, pairs, table_RD, None, output_attentions, 1)
            else:
                x, weights = layer(x, pairs, table_RD, None, output_attentions)
            if number == 0 and self.conv is not None:
                x = self.conv(hidden_states, x, masks)
            if output_hidden_states:
                output.hidden_states.append(x)
            if weights is not None:
                output.attentions.append(weights)
        output.last_hidden_state = x
        return output

    def _is_unseen(self, layer: nn.Module) -> bool:
        """Whether nobody looks inside, or replaced a part, and a layer may leave out what nobody reads."""
        is_ours = isinstance(layer, Layer) and not has_global_hook() and not records_graph()
        return is_ours and not any(is_watched(part) for part in (self, *layer.modules()))

    def run_last_layer(self, states: Tensor, masks: AttentionMasks, queries: Tensor) -> Tensor:
        """Run the last layer with queries of its own.

        Args:
            states: ``(B, L, D)``, source of keys and values.
            masks: as given to ``forward``.
            queries: ``(B, L, D)``, source of the queries and of the residual.

        Returns:
            ``(B, L, D)``.
        """
        table_RD = self.relative_table(states.device)
        output: tuple[Tensor, Tensor | None] = self.layer[-1](states, self.pairs(masks), table_RD, queries)
        return output[0]
