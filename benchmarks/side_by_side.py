"""Time several ways of doing one thing in alternating rounds: a drifting machine is fair to all."""

import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping

import torch


def alternate(
    contenders: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 9,
    warmup: int = 2,
    inner: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds per call of each contender, one figure a round.

    Every round calls all contenders in turn, and the order turns by one each round.

    Args:
        contenders: what to time, by name.
        rounds: counted rounds.
        warmup: calls of each contender before counting.
        inner: calls per figure; raise it for calls shorter than about 10 ms.
        clock: seconds; ``time.process_time`` for one thread on a machine that does other work.
    """
    names = list(contenders)
    for name in names:
        for _ in range(warmup):
            contenders[name]()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            start = clock()
            for _ in range(inner):
                contenders[name]()
            seconds[name].append((clock() - start) / inner)
    return seconds


def ratio(slow: list[float], fast: list[float]) -> float:
    """How many times as fast: the median over rounds of the ratio within a round."""
    return statistics.median(s / f for s, f in zip(slow, fast, strict=True))


def matmul_rate(*, size: int = 1024, rounds: int = 9) -> float:
    """Floating-point operations per second on square fp32 products, 2 * size**3 each: the best round."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    out = torch.empty(size, size)
    seconds = alternate({"matmul": lambda: torch.mm(a, b, out=out)}, rounds=rounds, warmup=3, inner=10)[
        "matmul"
    ]
    return 2 * size**3 / min(seconds)


def machine() -> dict[str, object]:
    """What was measured on, for the JSON line that every benchmark ends with."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "cpu": name,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def print_json(name: str, **figures: object) -> None:
    """The last line of every benchmark: one JSON object."""
    print(json.dumps({"benchmark": name, **machine(), **figures}))
