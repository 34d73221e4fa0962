"""Time several ways of doing one thing in alternating rounds: a drifting machine is fair to all."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from ...cpu.kernel.library import kernel
from ...cpu.linear import KernelLinear, PackedLinear

_WARMUP_CALLS = 2


def alternate(contenders: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, list[float]]:
    """Seconds of a call of each contender, one figure a round.

    Every round calls all contenders in turn, and the order turns by one each round.

    Args:
        contenders: what to time, by name.
        rounds: counted rounds, after two calls of each that are not counted.
    """
    names = list(contenders)
    for name in names:
        for _ in range(_WARMUP_CALLS):
            contenders[name]()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            started = time.perf_counter()
            contenders[name]()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def times_as_fast(slow: Sequence[float], fast: Sequence[float]) -> float:
    """The median over rounds of the ratio within a round."""
    return statistics.median(one / other for one, other in zip(slow, fast, strict=True))


def matmul_rate(*, size: int = 1024, rounds: int = 9) -> float:
    """Floating-point operations a second on square fp32 products, 2 * size**3 each: the best round.

    torch's own library may use half of a processor of another firm, so oneDNN and our kernel are asked too.
    """
    first, second, out = torch.randn(size, size), torch.randn(size, size), torch.empty(size, size)
    layer = nn.Linear(size, size, bias=False).requires_grad_(False)
    ways: dict[str, Callable[[], object]] = {"torch": lambda: torch.mm(first, second, out=out)}
    layers: list[nn.Module] = []
    if torch.backends.mkldnn.is_available():
        layers.append(PackedLinear(layer, has_gelu=False))
    if kernel():
        layers.append(KernelLinear(layer))
    for packed in layers:
        ways[type(packed).__name__] = lambda packed=packed: packed(first)  # type: ignore[misc]
    with torch.inference_mode():
        seconds = alternate({name: _ten_times(run) for name, run in ways.items()}, rounds=rounds)
    return 10 * 2 * size**3 / min(min(one) for one in seconds.values())


def _ten_times(run: Callable[[], object]) -> Callable[[], None]:
    def ten() -> None:
        for _ in range(10):
            run()

    return ten
