"""A linear layer as the kernel multiplies by it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .library import Kernel, LinearArguments, WeightKind, address
from .memory import Floats


@dataclass(frozen=True, slots=True)
class PackedWeight:
    """Weights in the layout that one kernel reads, and a bias."""

    kernel_name: str
    kind: WeightKind
    in_features: int
    out_features: int
    packed: Floats
    bias: Floats | None

    @classmethod
    def of_floats(
        cls,
        compiled: Kernel,
        weight: Floats,
        bias: Floats | None,
        *,
        kind: WeightKind = WeightKind.THREE_BF16,
    ) -> "PackedWeight":
        """Lay an ``(out, in)`` fp32 weight out.

        Args:
            compiled: the kernel that is to read it.
            weight: it is copied.
            bias: ``(out,)``, or None.
            kind: how it is multiplied where the processor has AMX.
        """
        out_features, in_features = weight.shape
        packed = compiled.pack_linear(weight)
        return cls(compiled.name, kind, in_features, out_features, packed, _own(bias))

    @classmethod
    def of_int8(
        cls, compiled: Kernel, weight: npt.NDArray[np.int8], scale: Floats, bias: Floats | None
    ) -> "PackedWeight":
        """Lay an ``(out, in)`` int8 weight with its ``(out,)`` scales out; see ``cpu/int8.py``."""
        out_features, in_features = weight.shape
        packed = compiled.pack_int8(weight, scale)
        return cls(compiled.name, WeightKind.INT8, in_features, out_features, packed, _own(bias))

    def arguments(self) -> LinearArguments:
        """What the kernel reads; valid as long as this is."""
        return LinearArguments(
            weight=address(self.packed),
            bias=None if self.bias is None else address(self.bias),
            in_=self.in_features,
            out=self.out_features,
            kind=self.kind,
        )


def _own(bias: Floats | None) -> Floats | None:
    return None if bias is None else np.array(bias, np.float32)
