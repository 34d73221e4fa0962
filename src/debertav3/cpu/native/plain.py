"""The parts of a model in numpy, as the papers write them: the readable form, and the one for any machine.

Official files: ``deberta/bert.py`` and ``deberta/disentangled_attention.py``.

Shape letters: B batch, T tokens that ask, L tokens, N heads, H head width, D hidden size, R rows of the
relative table.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ...layers.buckets import RelativeBuckets
from ...layers.config import EncoderConfig
from ..kernel.tables import offset_rows
from .attention import disentangled_attention
from .linear import Linear
from .maths import ACTIVATION, Floats, layer_norm
from .tensors import Int8Array, StoredArray

Weights = Mapping[str, StoredArray | Int8Array]
"""A checkpoint's tensors by their official names."""

Function = Callable[[Floats], Floats]

Mask = npt.NDArray[np.bool_]


class LayerFunction(Protocol):
    """One layer of the encoder."""

    def __call__(self, states: Floats, padding: Mask | None, queries: Floats | None) -> Floats:
        """Run the layer.

        Args:
            states: ``(B, L, D)``, source of keys and values, and of queries unless these have their own.
            padding: ``(B, L)``, True for real tokens; padding is not seen and sees nothing. None where all
                are real.
            queries: ``(B, T, D)``, source of the queries and of the residual, for the first T tokens of each
                text; None for ``states``.

        Returns:
            ``(B, T, D)``.
        """
        ...


class Plain:
    """Makes the parts of a model, for numpy."""

    def linear(self, weight: StoredArray | Int8Array, bias: Floats | None) -> Function:
        """A linear layer, ``(..., in)`` to ``(..., out)``."""
        return Linear(weight, bias)

    def norm(self, weight: Floats, bias: Floats, epsilon: float) -> Function:
        """LayerNorm."""
        return partial(layer_norm, weight=weight, bias=bias, epsilon=epsilon)

    def activation(self, name: str) -> Function:
        """A function by its name in ``config.json``."""
        return ACTIVATION[name]

    def layer(
        self, weights: Weights, number: int, config: EncoderConfig, table_RD: Floats | None
    ) -> LayerFunction:
        """One layer of the encoder.

        Args:
            weights: the checkpoint's.
            number: of the layer, from 0.
            config: the model's.
            table_RD: the relative table after its LayerNorm; None without relative attention.
        """
        return PlainLayer(Named(self, weights, f"deberta.encoder.layer.{number}.", config), config, table_RD)


class Named:
    """Makes parts from the tensors below one name of a checkpoint.

    Args:
        make: how.
        weights: the checkpoint's tensors.
        prefix: what their names begin with, such as ``pooler.``.
        config: the model's.
    """

    def __init__(self, make: Plain, weights: Weights, prefix: str, config: EncoderConfig) -> None:
        self.make, self.weights, self.prefix, self.config = make, weights, prefix, config

    def floats(self, name: str) -> Floats:
        """A tensor in fp32."""
        return self.weights[self.prefix + name].floats()

    def linear(self, name: str) -> Function:
        """A linear layer with a bias."""
        return self.make.linear(self.weights[f"{self.prefix}{name}.weight"], self.floats(f"{name}.bias"))

    def norm(self, name: str) -> Function:
        """A LayerNorm."""
        weight, bias = self.floats(f"{name}.weight"), self.floats(f"{name}.bias")
        return self.make.norm(weight, bias, self.config.layer_norm_eps)


class TableProjection:
    """The keys (c2p) and queries (p2c) that a layer makes of the relative table.

    In V3 the projections of the content make those of the positions too (``share_att_key``).

    Args:
        config: the model's.
        table_RD: the relative table after its LayerNorm; None without relative attention.
        query: the layer's projection to queries.
        key: likewise to keys.
        named: makes the projections of its own, where it has them.
    """

    def __init__(
        self,
        config: EncoderConfig,
        table_RD: Floats | None,
        query: Function,
        key: Function,
        named: Named,
    ) -> None:
        self.key_NRH: Floats | None = None
        self.query_NRH: Floats | None = None
        if table_RD is None:
            return
        if config.has_c2p:
            of_keys = key if config.share_att_key else named.linear("attention.self.pos_key_proj")
            self.key_NRH = heads_of(of_keys(table_RD), config)
        if config.has_p2c:
            of_queries = query if config.share_att_key else named.linear("attention.self.pos_query_proj")
            self.query_NRH = heads_of(of_queries(table_RD), config)


class PlainLayer:
    """One layer, written out: see `LayerFunction`."""

    def __init__(self, named: Named, config: EncoderConfig, table_RD: Floats | None) -> None:
        self.config, self.buckets = config, RelativeBuckets.of(config)
        self.query, self.key, self.value, self.attended = (
            named.linear(f"attention.{name}")
            for name in ("self.query_proj", "self.key_proj", "self.value_proj", "output.dense")
        )
        self.attention_norm = named.norm("attention.output.LayerNorm")
        self.widen, self.narrow = named.linear("intermediate.dense"), named.linear("output.dense")
        self.activation = named.make.activation(config.hidden_act)
        self.output_norm = named.norm("output.LayerNorm")
        self.table = TableProjection(config, table_RD, self.query, self.key, named)

    def __call__(self, states: Floats, padding: Mask | None, queries: Floats | None) -> Floats:
        """See `LayerFunction`."""
        asking = states if queries is None else queries
        attended = self.attention_norm(self.attended(self._attend(asking, states, padding)) + asking)
        return self.output_norm(self.narrow(self.activation(self.widen(attended))) + attended)

    def _attend(self, asking: Floats, states: Floats, padding: Mask | None) -> Floats:
        T, L = asking.shape[1], states.shape[1]
        first, end = self.buckets.window(L)  # a text of L tokens meets at most 2 L - 1 rows of the table
        row = offset_rows(self.buckets, L) - first
        row_TL = row[np.arange(T)[:, None] - np.arange(L) + L - 1]
        key_NRH, query_NRH = (
            None if x is None else x[:, first:end] for x in (self.table.key_NRH, self.table.query_NRH)
        )
        may_see = None
        if padding is not None:
            may_see = padding[:, None, :T, None] & padding[:, None, None, :]
        q_BNTH, k_BNLH, v_BNLH = (
            heads_of(x, self.config) for x in (self.query(asking), self.key(states), self.value(states))
        )
        context_BNTH = disentangled_attention(
            q_BNTH, k_BNLH, v_BNLH,
            key_NRH=key_NRH, query_NRH=query_NRH, row_TL=row_TL, may_see=may_see, scale=self.config.scale,
        )  # fmt: skip
        return np.ascontiguousarray(context_BNTH.swapaxes(1, 2)).reshape(asking.shape)


def heads_of(x: Floats, config: EncoderConfig) -> Floats:
    """``(..., L, D)`` to ``(..., N, L, H)``."""
    return x.reshape(*x.shape[:-1], config.num_attention_heads, config.head_width).swapaxes(-3, -2)
