"""What tells one machine's arithmetic from another's: processor, instruction sets, and limits set on them.

What was measured or checked on one machine is remembered for machines of the same description.
"""

import os
import platform
from collections.abc import Iterator
from functools import lru_cache

from .kernel.library import kernel

_LINES = ("model name", "flags", "Features", "CPU implementer", "CPU part", "CPU variant")
"""Of ``/proc/cpuinfo``: of x86 and of Arm."""

_LIMITS = (
    "DNNL_",
    "ONEDNN_",
    "OPENBLAS_CORETYPE",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_CBWR",
    "ATEN_CPU_CAPABILITY",
)
"""Beginnings of the names of environment variables that choose instructions inside the runtimes."""


def machine_description() -> tuple[str, ...]:
    """System, processor, its instruction sets, our kernel, and what the environment says of instructions."""
    compiled = kernel()
    limits = sorted(f"{name}={value}" for name, value in os.environ.items() if name.startswith(_LIMITS))
    return (*_processor(), "no kernel" if compiled is None else compiled.name, *limits)


@lru_cache(maxsize=1)
def _processor() -> tuple[str, ...]:
    known = (platform.system(), platform.machine(), platform.processor())
    return (*known, *dict.fromkeys(_cpuinfo()))


def _cpuinfo() -> Iterator[str]:
    """Lines of ``/proc/cpuinfo``, of all cores, which may differ; none on other systems."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                if name.strip() in _LINES:
                    yield f"{name.strip()}: {value.strip()}"
    except OSError:
        return


def installed_version(package: str) -> str:
    """The version of an installed package; ``unknown`` if it does not tell."""
    from importlib.metadata import PackageNotFoundError, version  # 10 ms, which not every answer needs

    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
