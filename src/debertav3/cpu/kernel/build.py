"""Compiles the kernel: run by ``hatch_build.py`` when the package is installed, or by hand.

Run: python src/debertav3/cpu/kernel/build.py

Imports the standard library only, because it runs before anything is installed.
"""

import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

logger = logging.getLogger(__name__)

FOLDER = Path(__file__).parent
FLAGS = (
    "-std=c++17",
    "-O3",
    "-fPIC",
    "-shared",
    "-pthread",
    "-fno-math-errno",
    "-ffp-contract=off",  # a product and a sum become one rounding only where the source says fma
    "-fvisibility=hidden",
    "-Wno-maybe-uninitialized",
)
_Flags = dict[str, tuple[str, ...]]
_X86: _Flags = {
    "avx512": ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"),
    "avx2": ("-mavx2", "-mfma"),
}
_X86["avx512vnni"] = (*_X86["avx512"], "-mavx512vnni")
_X86["amx"] = (*_X86["avx512"], "-mavx512bf16", "-mamx-tile", "-mamx-bf16", "-mamx-int8")
_ARM: _Flags = {
    "neon": ("-march=armv8-a",),
    "dotprod": ("-march=armv8.2-a+dotprod",),
    "i8mm": ("-march=armv8.2-a+dotprod+i8mm",),
}
_BY_MACHINE = {("Linux", "x86_64"): _X86, ("Linux", "aarch64"): _ARM, ("Darwin", "arm64"): _ARM}


def instructions(system: str, machine: str) -> dict[str, tuple[str, ...]]:
    """Compiler flags by the name of the library that they make; none where there is no kernel.

    Args:
        system: as ``platform.system()`` says it.
        machine: as ``platform.machine()`` says it.
    """
    return _BY_MACHINE.get((system, machine), {})


INSTRUCTIONS = instructions(platform.system(), platform.machine())
"""Those of this system and processor; nothing else depends on the machine that compiles."""

OLDEST_MACOS = os.environ.get("MACOSX_DEPLOYMENT_TARGET", "11.0")
"""On macOS: the version that a library is made for."""


def library_file(instructions: str) -> Path:
    """Where the library for these instructions is."""
    return FOLDER / f"debertav3_{instructions}.so"


def sources_digest() -> int:
    """64 bits that change with sources and flags, so that an old library is never called."""
    sources = [path for path in sorted(FOLDER.iterdir()) if path.suffix in (".h", ".cpp")]
    texts = (path.read_bytes() for path in (*sources, Path(__file__)))
    return int.from_bytes(hashlib.sha256(b"\0".join(texts)).digest()[:8], "little")


def build() -> list[Path]:
    """Compile the kernel for every instruction set, where there is a compiler for it.

    Returns:
        Those that could be made; one line of log says why where one, or all, could not.
    """
    if not INSTRUCTIONS:
        logger.warning(
            "CPU kernel not built: there is none for %s on %s (Linux on x86-64 or Arm, macOS on Arm); "
            "torch or numpy will compute",
            platform.system(),
            platform.machine(),
        )
        return []
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        logger.warning(
            "CPU kernel not built: no C++ compiler (g++, clang++ or $CXX); torch or numpy will compute"
        )
        return []
    made = []
    for name in INSTRUCTIONS:
        try:
            made.append(_compile(compiler, name))
        except OSError as error:
            logger.warning("CPU kernel not built: %s failed: %s", compiler, error)
            return []
        except subprocess.CalledProcessError as error:  # too old for these instructions
            logger.warning("CPU kernel not built for %s: %s", name, error.stderr.strip().splitlines()[-1:])
    return made


def _compile(compiler: str, name: str) -> Path:
    target = library_file(name)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:  # renamed when whole: never half-written
        made = Path(folder) / target.name
        command = [
            *compiler.split(),
            *FLAGS,
            *INSTRUCTIONS[name],
            f"-DDEBERTAV3_SOURCES={sources_digest()}ULL",
            str(FOLDER / "kernel.cpp"),
            "-o",
            str(made),
        ]
        environment = {**os.environ, "MACOSX_DEPLOYMENT_TARGET": OLDEST_MACOS}
        subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        made.replace(target)
    return target


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    print(*build(), sep="\n")
    sys.exit(0)
