"""10,000 calls of varying shape from 8 threads: equal answers, and no memory that grows from call to call."""

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from debertav3 import Predictor
from debertav3.cpu.kernel import library

REPOSITORY = Path(__file__).parents[2]
WORDS = ("a man is playing the guitar on stage", "nobody listens to him", "in the rain")
CALLS, THREADS = 10_000, 8
GROWTH_MIB = 8
"""What the allocator may still add in the second half; 2 KiB lost in each call would be 10 MiB."""


def resident_mib() -> float:
    """The memory of this process that is in RAM, from Linux."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["native", "torch"])
def test_many_calls_from_many_threads(backend: str) -> None:
    if library.kernel() is None:
        pytest.skip("there is no kernel for this processor, or none is wanted")
    if not Path("/proc/self/status").exists():
        pytest.skip("memory is read from /proc")
    predictor = Predictor.from_pretrained(REPOSITORY / "models" / "nano", backend=backend)
    rng = random.Random(0)
    batches = [[(_words(rng), _words(rng)) for _ in range(rng.choice([1, 1, 1, 2, 5]))] for _ in range(200)]
    wanted = [_numbers(predictor, batch) for batch in batches]

    def ask(number: int) -> bool:
        return _numbers(predictor, batches[number % len(batches)]) == wanted[number % len(batches)]

    with ThreadPoolExecutor(THREADS) as pool:
        assert all(pool.map(ask, range(CALLS // 2)))
        half = resident_mib()
        assert all(pool.map(ask, range(CALLS // 2, CALLS)))
        grown = resident_mib() - half
    print(f"{backend}: {half:.1f} MiB after {CALLS // 2:,} calls, {grown:+.2f} MiB after {CALLS // 2:,} more")
    assert grown < GROWTH_MIB


def _words(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.choice([1, 3, 8, 20, 60, 120])))


def _numbers(predictor: Predictor, batch: list[tuple[str, str]]) -> list[dict[str, float]]:
    return predictor.nli(batch)
