"""10,000 calls of varying shape from 8 threads: equal answers, and nothing is kept from call to call.

Memory is counted where it is handed out: bytes in use of glibc's allocator, which serves numpy, torch and the
kernel, and blocks of Python's own. The resident set says less: each thread has a heap of its own, whose freed
memory comes and goes by megabytes.
"""

import ctypes
import gc
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from debertav3 import Predictor
from debertav3.cpu.kernel import library

REPOSITORY = Path(__file__).parents[2]
WORDS = ("a man is playing the guitar on stage", "nobody listens to him", "in the rain")
CALLS, THREADS = 10_000, 8
LEAK = 200
"""Bytes a call that count as a leak: 1 MB in the second half. A thread may keep 0.2 MB of freed blocks."""
LEAKED_BLOCKS = 0.5
"""Python objects a call, likewise."""


class _Malloc(ctypes.Structure):
    """``struct mallinfo2``."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


class Kept(NamedTuple):
    """What is in use now."""

    bytes: int
    blocks: int

    @classmethod
    def now(cls) -> "Kept":
        try:
            mallinfo = ctypes.CDLL(None).mallinfo2
        except (AttributeError, OSError):
            pytest.skip("memory in use is counted by glibc 2.33 or newer")
        mallinfo.restype = _Malloc
        gc.collect()
        found = mallinfo()
        return cls(found.uordblks + found.hblkhd, sys.getallocatedblocks())

    def leaks(self, after: "Kept", calls: int) -> bool:
        """Whether calls between the two kept something each."""
        return after.bytes - self.bytes > LEAK * calls or after.blocks - self.blocks > LEAKED_BLOCKS * calls


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["native", "torch"])
def test_many_calls_from_many_threads(backend: str) -> None:
    if library.kernel() is None:
        pytest.skip("there is no kernel for this processor, or none is wanted")
    predictor = Predictor.from_pretrained(REPOSITORY / "models" / "nano", backend=backend)
    rng = random.Random(0)
    batches = [[(_words(rng), _words(rng)) for _ in range(rng.choice([1, 1, 1, 2, 5]))] for _ in range(200)]
    wanted = [predictor.nli(batch) for batch in batches]
    largest = sorted(batches, key=lambda batch: len(batch) * max(len(a + b) for a, b in batch))[-8:]

    def warm() -> None:  # a thread keeps a block of the size of its largest call
        for batch in largest:
            predictor.nli(batch)

    def ask(number: int) -> bool:
        return predictor.nli(batches[number % len(batches)]) == wanted[number % len(batches)]

    with ThreadPoolExecutor(THREADS, initializer=warm) as pool:
        assert all(pool.map(ask, range(CALLS // 2)))
        half = Kept.now()
        assert all(pool.map(ask, range(CALLS // 2, CALLS)))
        end = Kept.now()
    print(f"{backend}: {half} after {CALLS // 2:,} calls, {end} after {CALLS:,}")
    assert not half.leaks(end, CALLS // 2), (half, end)


def test_a_leak_would_be_seen() -> None:
    start = Kept.now()
    malloc = ctypes.CDLL(None).malloc
    malloc.restype = ctypes.c_void_p
    lost = [malloc(2 * LEAK) for _ in range(1000)]
    assert Kept.now().bytes - start.bytes > LEAK * len(lost)
    free = ctypes.CDLL(None).free
    free.argtypes = [ctypes.c_void_p]
    while lost:
        free(lost.pop())
    assert not start.leaks(Kept.now(), 1000)
    objects = [{number: str(number)} for number in range(1000)]
    assert start.leaks(Kept.now(), len(objects))


def _words(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.choice([1, 1, 3, 3, 8, 8, 20, 20, 40])))
