"""Muon for the matrices of the encoder's layers, AdamW for everything else, as one optimizer.

Muon (Jordan et al. 2024) replaces the update of a matrix by the nearest orthogonal one, computed by five
steps of a Newton-Schulz iteration in bfloat16. It is torch's own, with ``adjust_lr_fn="match_rms_adamw"``
(Liu et al. 2025, arXiv:2502.16982): the update of an (A, B) matrix is scaled by ``0.2 sqrt(max(A, B))``, so
that it is as large as AdamW's usually is and both take one learning rate and one weight decay.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..layers.encoder import Encoder

NEEDS = "optimizer=muon needs torch 2.9 or newer, which has torch.optim.Muon: pip install -U torch"


def encoder_matrices(model: nn.Module) -> Iterator[Tensor]:
    """Weights of the linear maps in the layers of every encoder in a model: no table, norm, bias or head."""
    for encoder in model.modules():
        if isinstance(encoder, Encoder):
            for part in encoder.layer.modules():
                if isinstance(part, nn.Linear) and part.weight.requires_grad:
                    yield part.weight


class MuonWithAdamW(torch.optim.Optimizer):
    """Two optimizers over disjoint parameters, which share groups and state with this one.

    Args:
        muon: groups of matrices, with ``lr`` and ``weight_decay``.
        adamw: groups of the rest.
        momentum: of Muon.
        kind: of AdamW.
        options: of AdamW.

    Raises:
        UserError: if this torch has no Muon.
    """

    def __init__(
        self,
        muon: list[dict[str, Any]],
        adamw: list[dict[str, Any]],
        *,
        momentum: float,
        kind: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
        **options: Any,
    ) -> None:
        if not hasattr(torch.optim, "Muon"):
            raise UserError(NEEDS)
        self._muon = torch.optim.Muon(muon, momentum=momentum, adjust_lr_fn="match_rms_adamw")
        self._adamw = kind(adamw, **options)
        self._num_muon = len(self._muon.param_groups)
        super().__init__([*self._muon.param_groups, *self._adamw.param_groups], {})

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update all parameters that have gradients."""
        loss = None if closure is None else closure()
        # Loading a state makes new groups and a new state: the two parts always work on today's.
        groups = (self.param_groups[: self._num_muon], self.param_groups[self._num_muon :])
        for part, own in zip((self._muon, self._adamw), groups, strict=True):
            part.param_groups, part.state = own, self.state
            part.step()
        return loss
