"""A layer of the encoder in the kernel: what every call needs and no call changes."""

from collections.abc import Mapping

from .library import AttentionArguments, Kernel, LayerArguments, LinearArguments
from .tables import KernelTables


class LayerPlan:
    """Makes the arguments of a layer's calls.

    Args:
        linears: the linear layers by the names of ``LayerArguments``; what they point to must outlive this.
        heads: N.
        head_width: H; N * H is the width of the states.
        scale: the factor of every score.
        epsilon: of both LayerNorms.
    """

    def __init__(
        self,
        linears: Mapping[str, LinearArguments],
        *,
        heads: int,
        head_width: int,
        scale: float,
        epsilon: float,
    ) -> None:
        self._constant = LayerArguments(
            **linears,
            attention=AttentionArguments(heads=heads, head_width=head_width, scale=scale),
            width=heads * head_width,
            epsilon=epsilon,
        )

    def call(
        self, compiled: Kernel, tables: KernelTables | None, *, batch: int, length: int, queries: int
    ) -> tuple[LayerArguments, object]:
        """Arguments for a call, without addresses of norms, states and masks.

        Args:
            compiled: the kernel.
            tables: the layer's; None without position terms.
            batch: B.
            length: L, in tokens.
            queries: how many tokens ask, from the first on.

        Returns:
            The arguments, and what must outlive the call.
        """
        arguments = LayerArguments.from_buffer_copy(self._constant)
        attention = arguments.attention
        attention.batch, attention.length, attention.queries = batch, length, queries
        attention.team, attention.threads = compiled.crew()
        return arguments, None if tables is None else tables.give(attention, compiled.more_rows)
