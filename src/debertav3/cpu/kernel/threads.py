"""On which threads the kernel runs: those of torch where it is loaded, else the library's own.

A second pool of threads would spin beside the first, so where torch has started its OpenMP threads the kernel
is handed those.
"""

import ctypes
import os
import sys
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple


class Crew(NamedTuple):
    """What shares a call's work."""

    team: int | None
    """Address of a function in the form of ``GOMP_parallel``; None runs everything on the calling thread."""
    threads: int


def num_threads() -> int:
    """Threads to compute with: ``OMP_NUM_THREADS``, else as many as cores that this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def crew(own_team: int | None) -> Crew:
    """The threads for a call, as this process is now.

    Args:
        own_team: address of the library's own team.
    """
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "get_num_threads"):
        return Crew(own_team, num_threads())
    return Crew(_torch_team() or own_team, torch.get_num_threads())


@lru_cache(maxsize=1)
def _torch_team() -> int | None:
    """Address of ``GOMP_parallel`` in torch's own OpenMP runtime; None where it has none of that form."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as lines:
            mapped = libraries_in(lines)
    except OSError:
        mapped = set()
    names = ("libgomp", "libiomp5", "libomp")
    runtimes = [path for path in sorted(mapped) if Path(path).name.startswith(names)]
    # torch's own first: another package may have loaded a second runtime
    runtimes.sort(key=lambda path: "torch" not in path)
    for path in runtimes:
        try:
            return ctypes.cast(ctypes.CDLL(path).GOMP_parallel, ctypes.c_void_p).value
        except (OSError, AttributeError):
            continue
    return None


def libraries_in(maps: Iterable[str]) -> set[str]:
    """Paths of the shared libraries in ``/proc/self/maps``, with whatever spaces they have."""
    fields = [line.rstrip("\n").split(maxsplit=5) for line in maps]
    return {one[5].removesuffix(" (deleted)") for one in fields if len(one) == 6 and ".so" in one[5]}
