"""The parts of a model on our C++ kernel, which runs whole layers; arrays are numpy's."""

import logging
import math
from functools import partial

import numpy as np

from ...layers.buckets import RelativeBuckets
from ...layers.config import EncoderConfig
from ..kernel.layer import LayerPlan
from ..kernel.library import LARGEST_WIDTH, Kernel, NormArguments, address
from ..kernel.memory import aligned
from ..kernel.tables import KernelTables
from ..kernel.weights import PackedWeight
from .maths import Floats
from .plain import Function, LayerFunction, Mask, Named, Plain, TableProjection, Weights
from .tensors import Int8Array, StoredArray

logger = logging.getLogger(__name__)

_SHORT = 64  # tokens that the first tables serve


class PackedLinear:
    """A linear layer in the kernel."""

    def __init__(self, compiled: Kernel, weight: StoredArray | Int8Array, bias: Floats | None) -> None:
        self._kernel = compiled
        if isinstance(weight, Int8Array):
            self.packed = PackedWeight.of_int8(compiled, weight.weight, weight.scale, bias)
        else:
            self.packed = PackedWeight.of_floats(compiled, weight.floats(), bias)

    def __call__(self, x: Floats) -> Floats:
        """``(..., in)`` to ``(..., out)``."""
        y = self._kernel.linear(self.packed.arguments(), x.reshape(math.prod(x.shape[:-1]), x.shape[-1]))
        return y.reshape(*x.shape[:-1], y.shape[-1])


class PackedNorm:
    """A LayerNorm in the kernel."""

    def __init__(self, compiled: Kernel, weight: Floats, bias: Floats, epsilon: float) -> None:
        self._kernel, self._epsilon = compiled, epsilon
        self._weight, self._bias = np.array(weight, np.float32), np.array(bias, np.float32)

    def arguments(self) -> NormArguments:
        """What the kernel reads; valid as long as this lives."""
        return NormArguments(address(self._weight), address(self._bias))

    def __call__(self, x: Floats) -> Floats:
        """``(..., D)`` to the same."""
        y = _copy(x)
        self._kernel.normalize(y.reshape(-1, y.shape[-1]), self.arguments(), self._epsilon)
        return y


class Compiled(Plain):
    """Makes the parts of a model, for the kernel; what it does not have is numpy's.

    Args:
        compiled: the kernel.
    """

    def __init__(self, compiled: Kernel) -> None:
        self._kernel = compiled

    def linear(self, weight: StoredArray | Int8Array, bias: Floats | None) -> Function:
        """A linear layer, ``(..., in)`` to ``(..., out)``."""
        return PackedLinear(self._kernel, weight, bias)

    def norm(self, weight: Floats, bias: Floats, epsilon: float) -> Function:
        """LayerNorm."""
        return PackedNorm(self._kernel, weight, bias, epsilon)

    def activation(self, name: str) -> Function:
        """A function by its name in ``config.json``."""
        return self._gelu if name == "gelu" else super().activation(name)

    def layer(
        self, weights: Weights, number: int, config: EncoderConfig, table_RD: Floats | None
    ) -> LayerFunction:
        """One layer: the kernel's where it knows the form, else numpy's with the kernel's parts."""
        if config.hidden_act != "gelu" or config.head_width > LARGEST_WIDTH:
            if number == 0:
                logger.info(
                    "hidden_act %s and heads of %d are not supported by the kernel: numpy computes attention",
                    config.hidden_act,
                    config.head_width,
                )
            return super().layer(weights, number, config, table_RD)
        named = Named(self, weights, f"deberta.encoder.layer.{number}.", config)
        return KernelLayer(self._kernel, named, config, table_RD)

    def _gelu(self, x: Floats) -> Floats:
        y = _copy(x)
        self._kernel.gelu(y.reshape(-1, y.shape[-1]))
        return y


class KernelLayer:
    """One layer in the kernel: see `LayerFunction`."""

    def __init__(
        self, compiled: Kernel, named: Named, config: EncoderConfig, table_RD: Floats | None
    ) -> None:
        self._kernel = compiled
        names = {
            "query": "attention.self.query_proj",
            "key": "attention.self.key_proj",
            "value": "attention.self.value_proj",
            "output": "attention.output.dense",
            "widen": "intermediate.dense",
            "narrow": "output.dense",
        }
        self._linears = {
            role: PackedLinear(
                compiled, named.weights[f"{named.prefix}{name}.weight"], named.floats(f"{name}.bias")
            )
            for role, name in names.items()
        }
        self._norms = {
            role: PackedNorm(
                compiled, named.floats(f"{name}.weight"), named.floats(f"{name}.bias"), config.layer_norm_eps
            )
            for role, name in (
                ("attention_norm", "attention.output.LayerNorm"),
                ("output_norm", "output.LayerNorm"),
            )
        }
        self._config, self._buckets = config, RelativeBuckets.of(config)
        self._project = partial(
            TableProjection, config, query=self._linears["query"], key=self._linears["key"], named=named
        )
        self._table_RD = table_RD if config.has_relative_scores else None
        self._served: tuple[int, KernelTables | None] = (0, None)  # tokens, and tables that serve so many
        self._plan = LayerPlan(
            {role: linear.packed.arguments() for role, linear in self._linears.items()},
            heads=config.num_attention_heads,
            head_width=config.head_width,
            scale=config.scale,
            epsilon=config.layer_norm_eps,
        )

    def __call__(self, states: Floats, padding: Mask | None, queries: Floats | None) -> Floats:
        """See `LayerFunction`."""
        batch, length, width = states.shape
        states = np.ascontiguousarray(states)
        asking = states if queries is None else np.ascontiguousarray(queries)
        out = aligned(batch, asking.shape[1], width)
        arguments, kept = self._plan.call(
            self._kernel, self._tables_for(length), batch=batch, length=length, queries=asking.shape[1]
        )
        for role, norm in self._norms.items():
            setattr(arguments, role, norm.arguments())
        arguments.attention.hides_queries = True
        if padding is not None:
            arguments.attention.key_mask = address(padding)
        arguments.states, arguments.out = address(states), address(out)
        arguments.queries = None if queries is None else address(asking)
        self._kernel.layer(arguments)
        del kept  # alive until here
        return out

    def _tables_for(self, length: int) -> KernelTables | None:
        """The tables of as many rows as texts of this length meet, or of more; made when they are needed."""
        served, tables = self._served
        if self._table_RD is None or length <= served:
            return tables
        longest = max(_SHORT, 1 << (length - 1).bit_length())
        first, end = self._buckets.window(longest)
        projected = self._project(self._table_RD[first:end])
        tables = KernelTables.make(
            self._buckets,
            projected.key_NRH,
            projected.query_NRH,
            scale=self._config.scale,
            compiled=self._kernel,
            first_row=first,
        )
        self._served = longest, tables  # at once: other threads may ask
        return tables


def _copy(x: Floats) -> Floats:
    y = aligned(*x.shape)
    y[...] = x
    return y
