"""An encoder made for inference on a CPU; where the kernel is built, it runs whole layers in it.

Between matmuls nothing goes back to torch there: residual, LayerNorm and GELU happen while rows are in cache,
and no fresh memory is taken but that of the result. Without the kernel, and where somebody looks inside (by a
hook, a patched ``forward``, attention weights or dropout switched on), layers run module by module.

Shape letters: B batch, L tokens, T tokens that ask, D hidden size.
"""

from typing import cast

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..layers.activations import ACTIVATION
from ..layers.attention import has_global_hook, is_watched
from ..layers.encoder import Attention, Encoder, EncoderOutput, Intermediate, Layer, ResidualOutput
from ..layers.masks import AttentionMasks
from ..layers.relative_position import records_graph
from .attention import FUSED, PackedSelfAttention, can_read, give_mask, has_room
from .kernel.layer import LayerPlan
from .kernel.library import LayerArguments, NormArguments, kernel
from .linear import KernelLinear, PackedLinear, ReadOnly, pack_linear


class PackedResidualOutput(ReadOnly, ResidualOutput):
    """`ResidualOutput` with a packed linear layer."""

    def __init__(self, output: ResidualOutput) -> None:
        nn.Module.__init__(self)
        self.dense = pack_linear(output.dense)
        self.LayerNorm, self.dropout = output.LayerNorm, output.dropout
        self.seal()

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """``(B, L, input_size)`` and ``(B, L, D)`` to ``(B, L, D)``."""
        x = self.dropout(self.dense(x))
        is_kept = is_watched(self.dense) or is_watched(self.dropout)  # by who looked
        output: Tensor = self.LayerNorm(x + residual if is_kept else x.add_(residual))  # fresh memory is slow
        return output


class PackedIntermediate(ReadOnly, Intermediate):
    """`Intermediate` with a packed linear layer, with the GELU inside where oneDNN does it."""

    def __init__(self, intermediate: Intermediate) -> None:
        nn.Module.__init__(self)
        self.activation = intermediate.activation
        dense = pack_linear(intermediate.dense, has_gelu=self.activation == "gelu")
        self._is_activated = self.activation == "gelu" and type(dense) is PackedLinear
        self.dense = dense
        self.seal()

    def forward(self, x: Tensor) -> Tensor:
        """``(B, L, D)`` to ``(B, L, intermediate_size)``."""
        x = self.dense(x)
        return x if self._is_activated else ACTIVATION[self.activation](x)


class PackedAttention(ReadOnly, Attention):
    """`Attention` of packed parts."""

    def __init__(self, attention: Attention, table_RD: Tensor | None) -> None:
        nn.Module.__init__(self)
        self.self = PackedSelfAttention(attention.self, table_RD)
        self.output = PackedResidualOutput(attention.output)
        self.seal()


class PackedLayer(ReadOnly, Layer):
    """A layer of packed parts, which the kernel can run as a whole.

    Args:
        layer: what to pack; it must not be used any more.
        table_RD: the relative table after its LayerNorm; None without relative attention.
    """

    def __init__(self, layer: Layer, table_RD: Tensor | None) -> None:
        nn.Module.__init__(self)
        self.attention = PackedAttention(layer.attention, table_RD)
        self.intermediate = PackedIntermediate(layer.intermediate)
        self.output = PackedResidualOutput(layer.output)
        self._plan: _LayerPlan | None = None
        self.seal()

    def can_run_whole(self, states: Tensor) -> bool:
        """Whether the kernel knows the form, and nobody asks for what happens inside."""
        plan = self._plan
        if plan is None:
            plan = self._plan = _LayerPlan(self)
        return (
            plan.is_known
            and plan.attention.backend in ("auto", "fused")
            and can_read(states)
            and has_room(states.shape[-2], plan.attention.head_width)
            and plan.is_unseen()
        )

    def run_whole(
        self, states: Tensor, padding: Tensor | None, pairs: Tensor | None, queries: Tensor | None
    ) -> Tensor:
        """Run the layer in the kernel.

        Args:
            states: ``(B, L, D)``, source of keys and values, and of queries unless these have their own.
            padding: ``(B, L)`` bool, True for real tokens; padding is not seen and sees nothing. None where
                all are real.
            pairs: see ``AttentionMasks.packed_pairs``; with them, ``padding`` says nothing more.
            queries: ``(B, T, D)``, source of the queries and of the residual, for the first T tokens of each
                text; None for ``states``.

        Returns:
            ``(B, T, D)``.
        """
        compiled = kernel()
        assert compiled is not None, "packed without a kernel"
        states = states.contiguous()
        queries = None if queries is None else queries.contiguous()
        out = torch.empty_like(states if queries is None else queries)
        plan = self._plan
        assert plan is not None, "ask can_run_whole first"
        batch, length, _ = states.shape
        tables = plan.attention.kept_tables(FUSED)
        arguments, kept = plan.kernel_plan.call(
            compiled, tables, batch=batch, length=length, queries=out.shape[1]
        )
        plan.give_norms(arguments)
        arguments.attention.hides_queries = pairs is None
        mask = padding[:, None, None] if pairs is None and padding is not None else pairs
        kept_mask = None if mask is None else give_mask(arguments.attention, mask)
        arguments.states, arguments.out = states.data_ptr(), out.data_ptr()
        arguments.queries = None if queries is None else queries.data_ptr()
        compiled.layer(arguments)
        del kept, kept_mask  # alive until here
        return out

    def __getstate__(self) -> dict[str, object]:
        """For copies and pickles: a plan has addresses and is made again."""
        return {**self.__dict__, "_plan": None}


class _LayerPlan:
    """What a layer needs in every call and no call changes; its modules are sealed, so they stay the same."""

    def __init__(self, layer: PackedLayer) -> None:
        output = layer.attention.output
        self.attention = cast(PackedSelfAttention, layer.attention.self)
        self.norms = {"attention_norm": output.LayerNorm, "output_norm": layer.output.LayerNorm}
        linears: dict[str, nn.Module] = {
            "query": self.attention.query_proj,
            "key": self.attention.key_proj,
            "value": self.attention.value_proj,
            "output": output.dense,
            "widen": layer.intermediate.dense,
            "narrow": layer.output.dense,
        }
        self.is_known = (
            layer.intermediate.activation == "gelu"
            and output.LayerNorm.eps == layer.output.LayerNorm.eps
            and all(type(linear) is KernelLinear for linear in linears.values())
        )
        self._states = [part.__dict__ for part in layer.modules()]  # asked in every call: attributes are slow
        if self.is_known:
            self.kernel_plan = LayerPlan(
                {name: cast(KernelLinear, linear).arguments() for name, linear in linears.items()},
                heads=self.attention.num_heads,
                head_width=self.attention.head_width,
                scale=self.attention.scale,
                epsilon=output.LayerNorm.eps,
            )

    def is_unseen(self) -> bool:
        """Whether no hook, no patched ``forward`` and no dropout that is on needs the modules one by one."""
        for state in self._states:
            if (
                state["_forward_hooks"]
                or state["_forward_pre_hooks"]
                or state["training"]
                or "forward" in state
            ):
                return False
        return True

    def give_norms(self, arguments: LayerArguments) -> None:
        """Fill in the norms as they are now."""
        for name, norm in self.norms.items():
            weights = cast(dict[str, Tensor], norm._parameters)
            setattr(arguments, name, NormArguments(weights["weight"].data_ptr(), weights["bias"].data_ptr()))


class PackedEncoder(ReadOnly, Encoder):
    """Takes the place of an `Encoder` in a model that is to answer on a CPU and never to change.

    It keeps what an encoder that may change computes in every call: projected relative tables, and weights in
    the layout that is multiplied by. So it has no relative table to write into, and refuses to be trained,
    moved, saved, loaded into or given other parts.

    Args:
        encoder: what to pack, fp32 on a CPU; it must not be used any more.
    """

    def __init__(self, encoder: Encoder) -> None:
        nn.Module.__init__(self)
        self.hidden_size = encoder.hidden_size
        self.hides_padded_queries = encoder.hides_padded_queries
        self.conv = encoder.conv
        table_RD = encoder.relative_table()
        self.layer = nn.ModuleList()
        for number, layer in enumerate(encoder.layer):
            self.layer.append(PackedLayer(cast(Layer, layer), table_RD))
            encoder.layer[number] = nn.Identity()  # so that its weights are not in memory twice
        self.seal()

    def relative_table(self, device: torch.device | None = None) -> None:
        """None: the layers keep their projections of it."""
        return None

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
        """Run the layers; see `Encoder.forward`."""
        layers = self._layers()[:num_layers]
        if output_attentions or not _can_run_whole(layers, hidden_states):
            return super().forward(
                hidden_states,
                masks,
                num_layers=num_layers,
                output_hidden_states=output_hidden_states,
                output_attentions=output_attentions,
            )
        output = EncoderOutput(hidden_states)
        if output_hidden_states:
            output.hidden_states.append(hidden_states)
        can_shorten = first_token_suffices and not output_hidden_states
        x = hidden_states
        for number, layer in enumerate(layers):
            is_last = 0 < number == len(layers) - 1  # a convolution reads all that the first layer makes
            queries = x[:, :1] if can_shorten and is_last else None
            x = layer.run_whole(x, masks.padding, masks.packed_pairs, queries)
            if number == 0 and self.conv is not None:
                x = self.conv(hidden_states, x, masks)
            if output_hidden_states:
                output.hidden_states.append(x)
        output.last_hidden_state = x
        return output

    def run_last_layer(self, states: Tensor, masks: AttentionMasks, queries: Tensor) -> Tensor:
        """Run the last layer with queries of its own; see `Encoder.run_last_layer`."""
        last = self._layers()[-1]
        if _can_run_whole([last], states):
            return last.run_whole(states, masks.padding, masks.packed_pairs, queries)
        return super().run_last_layer(states, masks, queries)

    def _layers(self) -> list[PackedLayer]:
        if records_graph():
            raise UserError(
                "this model is packed for inference and cannot be traced, compiled or exported; open the "
                "checkpoint again for that"
            )
        layers = list(self.layer)
        if not all(type(layer) is PackedLayer for layer in layers):
            raise UserError(
                "this model is packed for inference and one of its layers was replaced; open the checkpoint "
                "again to change it"
            )
        return cast(list[PackedLayer], layers)


def _can_run_whole(layers: list[PackedLayer], states: Tensor) -> bool:
    return not has_global_hook() and all(layer.can_run_whole(states) for layer in layers)
