"""Linear layers for inference on a CPU, their weights laid out once as what multiplies them reads them."""

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..errors import UserError
from .int8 import Int8Linear
from .kernel.library import LinearArguments, WeightKind, kernel
from .kernel.weights import PackedWeight

_TYPICAL_TOKENS = 1024  # oneDNN's layout serves every batch; this one costs small batches nothing

_KIND_OF_PRECISION = {
    "highest": WeightKind.THREE_BF16,
    "high": WeightKind.TWO_BF16,
    "medium": WeightKind.TWO_BF16,
}
"""How fp32 is multiplied where the CPU has AMX, by torch's own setting: see README.md of ``kernel/``."""

_CANNOT = "this model is packed for inference and cannot be"
_CURE = "open the checkpoint again"


def refuse_to_save(model: nn.Module) -> None:
    """Refuse to save a model with packed parts, before anything is written.

    Raises:
        UserError: if it has any.
    """
    if any(isinstance(module, ReadOnly) for module in model.modules()):
        raise UserError(f"{_CANNOT} saved; {_CURE}")


class ReadOnly(nn.Module):
    """A module that is made for inference: it refuses, in one line, whatever would change its weights."""

    _is_sealed = False

    def seal(self) -> None:
        """Refuse changes from now on; for the end of ``__init__``."""
        super().train(False)
        self._is_sealed = True

    def train(self, mode: bool = True) -> Self:
        """Evaluation mode is the only one.

        Raises:
            UserError: if training is asked for.
        """
        if mode:
            raise UserError(f"{_CANNOT} trained; {_CURE}")
        return super().train(False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        like = torch.empty(0, dtype=torch.float32, device="cpu")
        changed = fn(like)
        if changed.dtype != like.dtype or changed.device != like.device:
            raise UserError(f"{_CANNOT} moved to {changed.dtype} on {changed.device}; {_CURE}")
        applied: Self = super()._apply(fn, recurse)
        return applied

    def _save_to_state_dict(self, *args: object, **kwargs: object) -> None:
        raise UserError(f"{_CANNOT} saved; {_CURE}")

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        raise UserError(f"{_CANNOT} loaded into; {_CURE}")

    def __setattr__(self, name: str, value: Any) -> None:
        if self._is_sealed and (isinstance(value, nn.Module | nn.Parameter) or self._owns(name)):
            raise UserError(f"{_CANNOT} given another {name}; {_CURE}")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if self._is_sealed and self._owns(name):
            raise UserError(f"{_CANNOT} without its {name}; {_CURE}")
        super().__delattr__(name)

    def add_module(self, name: str, module: nn.Module | None) -> None:
        """Refused once sealed."""
        if self._is_sealed:
            raise UserError(f"{_CANNOT} given another {name}; {_CURE}")
        super().add_module(name, module)

    def _owns(self, name: str) -> bool:
        return name in self._modules or name in self._parameters or name in self._buffers


class Guard(ReadOnly):
    """The first child of a module that holds packed ones: torch asks it before any other part is changed.

    Without it embeddings and heads would already be trained, moved or loaded into when a packed part refuses.

    Args:
        holder: the module, in evaluation mode.
    """

    def __init__(self, holder: nn.Module) -> None:
        super().__init__()
        self._holder = (holder,)  # in a tuple it is not a submodule
        self.seal()

    @classmethod
    def put_into(cls, holder: nn.Module) -> None:
        """Make a guard the first child of a module."""
        others = list(holder._modules.items())
        holder._modules.clear()
        holder.add_module("packed_guard", cls(holder))
        holder._modules.update(others)

    def train(self, mode: bool = True) -> Self:
        """As `ReadOnly`, and the holder, which torch switches before its children, goes back.

        Raises:
            UserError: if training is asked for.
        """
        if mode:
            self._holder[0].training = False
        return super().train(mode)


class PackedLinear(ReadOnly):
    """A linear layer in oneDNN's layout, with the exact GELU after it if asked for.

    Args:
        linear: what to pack, fp32 on a CPU.
        has_gelu: whether to apply the GELU to the result.
    """

    def __init__(self, linear: nn.Linear, *, has_gelu: bool) -> None:
        super().__init__()
        self.out_features = linear.out_features
        self._bias = None if linear.bias is None else linear.bias.detach()
        self._weight = _reorder(linear.weight.detach())
        self._activation = ("gelu", "none") if has_gelu else ("none", "")
        self.seal()

    def forward(self, x: Tensor) -> Tensor:
        """``(..., in_features)`` to ``(..., out_features)``."""
        activation, form = self._activation
        output: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, activation, [], form)
        return output

    def __getstate__(self) -> dict[str, object]:
        """For copies and pickles, which know no tensors in oneDNN's layout."""
        return {**self.__dict__, "_weight": self._weight.to_dense()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "_weight": _reorder(state["_weight"])})


def _reorder(weight: Tensor) -> Tensor:
    reordered: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, _TYPICAL_TOKENS)
    return reordered


class KernelLinear(ReadOnly):
    """A linear layer in our C++ kernel.

    Args:
        linear: what to pack, fp32 or int8, on a CPU, where there is a kernel.
    """

    def __init__(self, linear: nn.Linear | Int8Linear) -> None:
        super().__init__()
        compiled = kernel()
        assert compiled is not None, "asked for without a kernel"
        self.in_features, self.out_features = linear.in_features, linear.out_features
        bias = None if linear.bias is None else linear.bias.detach().float().numpy()
        weight = linear.weight.detach()
        if isinstance(linear, Int8Linear):
            scale = linear.weight_scale.detach().float().numpy()
            self._packed = PackedWeight.of_int8(compiled, weight.numpy(), scale, bias)
        else:
            kind = _KIND_OF_PRECISION[torch.get_float32_matmul_precision()]
            self._packed = PackedWeight.of_floats(compiled, weight.float().numpy(), bias, kind=kind)
        self.seal()

    def arguments(self) -> LinearArguments:
        """What the kernel reads; valid as long as this module lives."""
        return self._packed.arguments()

    def forward(self, x: Tensor) -> Tensor:
        """``(..., in_features)`` to ``(..., out_features)``, fp32.

        Raises:
            UserError: where a gradient is wanted, or the states have another width or dtype.
        """
        if torch.is_grad_enabled() and x.requires_grad:
            raise UserError(f"{_CANNOT} trained; {_CURE} to compute gradients")
        if x.shape[-1] != self.in_features or x.dtype != torch.float32:
            raise UserError(
                f"need fp32 states of width {self.in_features}; got {x.dtype} of width {x.shape[-1]}"
            )
        compiled = kernel()
        assert compiled is not None, "packed without a kernel"
        rows = x.detach().reshape(-1, self.in_features).numpy()
        y = torch.from_numpy(compiled.linear(self.arguments(), rows))
        return y.view(*x.shape[:-1], self.out_features)

    def __setstate__(self, state: dict[str, object]) -> None:
        super().__setstate__(state)
        compiled = kernel()
        if compiled is None or compiled.name != self._packed.kernel_name:
            raise UserError(
                f"this model was packed for {self._packed.kernel_name}, which is not the kernel here; {_CURE}"
            )


class TorchInt8(ReadOnly):
    """A linear layer in int8 where there is no kernel; torch multiplies.

    Args:
        linear: the layer; its tensors are out of reach from now on.
    """

    def __init__(self, linear: Int8Linear) -> None:
        super().__init__()
        self._linear = (linear,)  # in a tuple it is not a submodule, so nothing is loaded into it
        self.seal()

    def forward(self, x: Tensor) -> Tensor:
        """See `Int8Linear`."""
        output: Tensor = self._linear[0](x)
        return output


def pack_linear(linear: nn.Linear | Int8Linear, *, has_gelu: bool = False) -> Any:
    """The fastest packed form of a linear layer that there is here.

    Args:
        linear: fp32 or int8, on a CPU.
        has_gelu: whether the GELU follows; `PackedLinear` then has it inside.
    """
    if kernel() is not None:
        return KernelLinear(linear)
    return TorchInt8(linear) if isinstance(linear, Int8Linear) else PackedLinear(linear, has_gelu=has_gelu)
