"""Hatchling's hook: compiles the CPU kernel while the package is built or installed, where that can be done.

A wheel with the kernel is for the system and processor that it was built on, and for every Python 3: ctypes
opens the kernel. Without it, a wheel is for every platform. Installation never fails for its sake.
"""

import logging
import platform
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
        script = runpy.run_path(str(Path(self.root, KERNEL, "build.py")))
        libraries = script["build"]()
        if not libraries:
            return
        build_data["pure_python"] = False
        system = "linux"
        if platform.system() == "Darwin":
            system = f"macosx_{script['OLDEST_MACOS'].replace('.', '_')}"
        build_data["tag"] = f"py3-none-{system}_{platform.machine()}"
        build_data["artifacts"] += [str(KERNEL / library.name) for library in libraries]
