"""Averages of the weights: an exponential moving average (EMA), and the mean of the last points of the run.

An average is often better than the last weights, most of all while the learning rate is still high (Izmailov
et al. 2018, arXiv:1803.05407; Morales-Brotons et al. 2024, arXiv:2411.18704).

Both networks are averaged at the same steps with the same factors, and averaging is linear. So under GDES the
average of E_G plus the average of delta is the average of E_D = E_G + delta, and averages are
exported in the same way as weights.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from .optimization import StepEngine
from .settings import AveragingConfig
from .sharding import let_go, local, share_like, whole

EMA, MEAN = "ema", "mean"
KINDS = (EMA, MEAN)


def ema_decay(highest: float, step: int) -> float:
    """Decay of the average in ``step``, counted from 0: a short memory at first, ``highest`` later."""
    return min(highest, (1 + step) / (10 + step))


class WeightAverages:
    """The averages that a run keeps, each a copy of the trained weights.

    Args:
        engines: whose weights are averaged.
        config: which averages.
        num_steps: length of the run.
    """

    def __init__(self, engines: Mapping[str, StepEngine], config: AveragingConfig, *, num_steps: int) -> None:
        self.config = config
        self._points = config.points(num_steps)
        self._engines = tuple(engines.values())
        self._trained = {name: dict(engine.named_trained()) for name, engine in engines.items()}
        wanted = {EMA: config.ema_decay is not None, MEAN: config.mean_last > 0}
        self._averages = {
            kind: {
                engine: {name: weight.detach().clone() for name, weight in weights.items()}
                for engine, weights in self._trained.items()
            }
            for kind in KINDS
            if wanted[kind]
        }

    def _num_points(self, done: int) -> int:
        """Points of the mean among the first ``done`` steps."""
        return bisect_right(self._points, done)

    def kinds(self, done: int) -> list[str]:
        """Averages that are not empty after ``done`` steps."""
        return [kind for kind in self._averages if done and (kind == EMA or self._num_points(done))]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the weights after step ``step`` (counted from 0) to the averages."""
        if self.config.ema_decay is not None:
            self._approach(EMA, 1 - ema_decay(self.config.ema_decay, step))
        points = self._num_points(step + 1)
        if points > self._num_points(step):
            self._approach(MEAN, 1 / points)

    def _approach(self, kind: str, share: float) -> None:
        for engine, averages in self._averages[kind].items():
            for name, average in averages.items():
                local(average).lerp_(local(self._trained[engine][name].detach()), share)

    @contextmanager
    def in_place(self, kind: str) -> Iterator[None]:
        """Inside the block, the networks have the averaged weights; after it their own, bit for bit."""
        kept = {
            engine: {name: weight.detach().clone() for name, weight in weights.items()}
            for engine, weights in self._trained.items()
        }
        self._put(self._averages[kind])
        try:
            yield
        finally:
            self._put(kept)

    @torch.no_grad()
    def _put(self, values: Mapping[str, Mapping[str, Tensor]]) -> None:
        for one in self._engines:
            let_go(one.model)
        for engine, weights in self._trained.items():
            for name, weight in weights.items():
                local(weight).copy_(local(values[engine][name]))

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Whole tensors by their file in a checkpoint. Every process must call this."""
        return {
            f"{engine}-{kind}": {name: whole(average).cpu().clone() for name, average in averages.items()}
            for kind, engines in self._averages.items()
            for engine, averages in engines.items()
        }

    def file_names(self) -> list[str]:
        """The names of `tensors`."""
        return [f"{engine}-{kind}" for kind, engines in self._averages.items() for engine in engines]

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Mapping[str, Tensor]], done: int) -> None:
        """Restore what `tensors` returned after ``done`` steps. Every process must call this.

        A mean without a point is empty, and may be missing: its first point overwrites it.
        """
        filled = self.kinds(done)
        for kind, engines in self._averages.items():
            for engine, averages in engines.items():
                if kind not in filled and f"{engine}-{kind}" not in tensors:
                    continue
                for name, average in averages.items():
                    stored = share_like(tensors[f"{engine}-{kind}"][name], average)
                    local(average).copy_(local(stored))
