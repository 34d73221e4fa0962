"""A whole layer of the encoder in the C++ kernel of ``cpu_kernel/``, for inference on x86 processors.

Between products nothing goes back to torch: residual, LayerNorm and GELU happen while rows are in cache, and
no fresh memory is taken but that of the result.

Shape letters: B batch, L tokens, T tokens that ask, D hidden size.
"""

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from .cpu_kernel.library import AttentionArguments, LayerArguments, NormArguments, kernel
from .fused_attention import FusedTables, can_fuse, give_tables_and_mask
from .packed import KernelLinear
from .scratch import may_overwrite

if TYPE_CHECKING:
    from .attention import RelativeEmbeddings, Version
    from .encoder import Layer


class FusedLayer:
    """What the kernel needs of a layer whose linear layers are all `KernelLinear`.

    Args:
        layer: the layer; it must outlive this.
    """

    def __init__(self, layer: "Layer") -> None:
        attention, output = layer.attention.self, layer.attention.output
        self._attention = attention
        self._linears = {name: cast(KernelLinear, linear) for name, linear in _linears(layer).items()}
        self._norms = {"attention_norm": output.LayerNorm, "output_norm": layer.output.LayerNorm}
        self._modules = [
            *self._linears.values(), *self._norms.values(), attention, output, layer.attention, layer,
            layer.intermediate, layer.output, output.dropout, layer.output.dropout,
        ]  # fmt: skip
        self._constant = LayerArguments(
            **{name: linear.arguments() for name, linear in self._linears.items()},
            attention=AttentionArguments(
                heads=attention.num_heads, head_width=attention.head_width, scale=attention.scale
            ),
            width=attention.num_heads * attention.head_width,
            epsilon=output.LayerNorm.eps,
        )
        self._kept: tuple[Version, FusedTables | None] | None = None

    @staticmethod
    def fits(layer: "Layer") -> bool:
        """Whether a layer is of the form that the kernel knows."""
        output = layer.attention.output
        return (
            layer.intermediate.activation == "gelu"
            and all(type(linear) is KernelLinear for linear in _linears(layer).values())
            and all(type(norm) is nn.LayerNorm for norm in (output.LayerNorm, layer.output.LayerNorm))
            and output.LayerNorm.eps == layer.output.LayerNorm.eps
        )

    def can_run(self, states: Tensor) -> bool:
        """Whether nothing asks for what happens inside: no gradient, no graph, no hook."""
        return (
            self._attention.backend in ("auto", "fused")
            and not self._attention.training
            and can_fuse(states, dropout_prob=0.0)
            and may_overwrite(*self._modules)
        )

    def __call__(
        self,
        states: Tensor,
        padding: Tensor | None,
        pairs: Tensor | None,
        relative: "RelativeEmbeddings",
        queries: Tensor | None,
    ) -> Tensor:
        """Run the layer.

        Args:
            states: ``(B, L, D)``, source of keys and values, and of queries unless these have their own.
            padding: ``(B, L)`` bool, True for real tokens; padding is not seen and sees nothing. None where
                all are real.
            pairs: see ``AttentionMasks.packed_pairs``; with them, ``padding`` says nothing more.
            relative: the relative table.
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
        arguments = LayerArguments.from_buffer_copy(self._constant)
        for name, norm in self._norms.items():
            pointers = NormArguments(weight=norm.weight.data_ptr(), bias=norm.bias.data_ptr())
            setattr(arguments, name, pointers)
        attention = arguments.attention
        attention.batch, attention.length, attention.queries = *states.shape[:2], out.shape[1]
        attention.team = compiled.team
        attention.hides_queries = pairs is None
        mask = padding[:, None, None] if pairs is None and padding is not None else pairs
        tables = self._tables(relative, states.shape[1])
        kept = give_tables_and_mask(attention, tables, mask, compiled.more_rows)
        arguments.states, arguments.out = states.data_ptr(), out.data_ptr()
        arguments.queries = None if queries is None else queries.data_ptr()
        compiled.layer(arguments)
        del kept  # alive until here
        return out

    def _tables(self, relative: "RelativeEmbeddings", length: int) -> FusedTables | None:
        """The layer's projected table: what projects it cannot change, so the table's version says all."""
        kept = self._kept  # one read: another thread may replace it meanwhile
        if kept is None or kept[0] is None or kept[0] != relative.version:
            tables = self._attention.fused_tables(*relative, length)
            kept = self._kept = (relative.version, tables)
        return kept[1]


def _linears(layer: "Layer") -> dict[str, nn.Module]:
    """The linear layers by their names in ``LayerArguments``."""
    attention = layer.attention.self
    return {
        "query": attention.query_proj,
        "key": attention.key_proj,
        "value": attention.value_proj,
        "output": layer.attention.output.dense,
        "widen": layer.intermediate.dense,
        "narrow": layer.output.dense,
    }
