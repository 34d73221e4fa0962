"""The kernel's source compiles for 64-bit Arm, so that no operation is left to x86 alone."""

import shutil
import subprocess

import emulated
import pytest

from debertav3.cpu.kernel import build

ARM = build.instructions("Linux", "aarch64")


@pytest.mark.skipif(shutil.which(emulated.COMPILER) is None, reason=f"needs {emulated.COMPILER}")
@pytest.mark.parametrize("name", ARM)
def test_every_library_compiles(name: str) -> None:
    flags = [flag for flag in build.FLAGS if flag != "-O3"]
    command = [emulated.COMPILER, *flags, *ARM[name], "-fsyntax-only", "-DDEBERTAV3_SOURCES=1ULL"]
    done = subprocess.run(
        [*command, build.FOLDER / "kernel.cpp"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
