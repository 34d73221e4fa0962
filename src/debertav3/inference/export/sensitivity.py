"""Which layers int8 hurts: each linear layer alone is rounded as int8 rounds, and the outputs are compared.

The runtimes differ in details; outliers, which are what breaks int8, hurt in all of them.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_LEVELS = 127


def rank_layers(
    folded: "PreTrainedModel", batches: Sequence[Mapping[str, np.ndarray]], names: Sequence[str]
) -> list[str]:
    """Order layers by how much rounding them changes the outputs, the worst first.

    Args:
        folded: the model of the graph.
        batches: what to try.
        names: linear layers of the model.
    """
    tensors = [
        {name: torch.from_numpy(array) for name, array in batch.items() if _is_read(folded, name)}
        for batch in batches
    ]
    with torch.inference_mode():
        plain = [_outputs(folded, batch) for batch in tensors]
        change = {}
        for name in tqdm(names, desc="layers", unit="layer", leave=False, disable=None):
            module = cast(nn.Linear, folded.get_submodule(name))
            handle = module.register_forward_hook(_round_linear)
            try:
                rounded = [_outputs(folded, batch) for batch in tensors]
            finally:
                handle.remove()
            change[name] = sum(
                float((one - other).square().mean()) for one, other in zip(plain, rounded, strict=True)
            )
    return sorted(names, key=lambda name: -change[name])


def _is_read(folded: "PreTrainedModel", name: str) -> bool:
    return name != "token_type_ids" or folded.config.type_vocab_size > 0


def _outputs(model: "PreTrainedModel", batch: dict[str, Tensor]) -> Tensor:
    values = [value for value in model(**batch).values() if isinstance(value, Tensor)]
    return torch.cat([value.flatten() for value in values])


def _round_linear(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """The layer with int8 weights, one scale for each output, and int8 activations, one scale for all."""
    linear = cast(nn.Linear, module)
    weight = _rounded(linear.weight, linear.weight.abs().amax(dim=1, keepdim=True))
    x = inputs[0]
    return F.linear(_rounded(x, x.abs().max()), weight, linear.bias)


def _rounded(x: Tensor, largest: Tensor) -> Tensor:
    step = largest.clamp_min(1e-12) / _LEVELS
    return (x / step).round() * step
