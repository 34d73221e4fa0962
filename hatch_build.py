"""Hatchling's hook: compiles the CPU kernel while the package is built or installed, where that can be done.

A wheel with the kernel is for Linux on x86-64; without it, it is for every platform. Installation never fails
because of the kernel.
"""

import logging
import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

KERNEL = Path("src", "debertav3", "cpu", "kernel")


class CpuKernelHook(BuildHookInterface):
    """See ``src/debertav3/cpu/kernel/build.py``."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the libraries, and put them into the wheel."""
        if self.target_name != "wheel":
            return
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        libraries = runpy.run_path(str(Path(self.root, KERNEL, "build.py")))["build"]()
        if not libraries:
            return
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-linux_x86_64"
        build_data["artifacts"] += [str(KERNEL / library.name) for library in libraries]
