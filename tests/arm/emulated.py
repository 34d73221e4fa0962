"""A 64-bit Arm machine in build/arm: Debian's Python with the wheels that answers need, run by QEMU.

Run: python tests/arm/emulated.py

For Debian and its like, with qemu-user (or qemu-user-static) and g++-aarch64-linux-gnu; about 220 MB. Nothing
outside build/arm is changed, and no rights of root are needed.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
MACHINE = REPOSITORY / "build" / "arm"
ROOT, WHEELS, SOURCE = MACHINE / "root", MACHINE / "wheels", MACHINE / "src"
DEBIAN_PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6")
COMPILER = "aarch64-linux-gnu-g++"


def emulator() -> str | None:
    """QEMU's user mode for 64-bit Arm."""
    return shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")


def missing() -> str | None:
    """What this machine lacks to run the other; None where it can."""
    if emulator() is None:
        return "needs qemu-aarch64: apt install qemu-user"
    if shutil.which(COMPILER) is None:
        return f"needs {COMPILER}: apt install g++-aarch64-linux-gnu"
    return None if WHEELS.is_dir() else "needs the machine in build/arm: make test-arm"


def run(
    arguments: Sequence[str | Path], *, cpu: str, threads: int = 1, kernel: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python there, with the package installed.

    Args:
        arguments: of Python.
        cpu: a processor by QEMU's name.
        threads: to compute with.
        kernel: as ``DEBERTAV3_KERNEL``.
    """
    qemu = emulator()
    assert qemu is not None
    settings = {
        "CXX": str(shutil.which(COMPILER)),
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": f"{WHEELS}{os.pathsep}{SOURCE}",
        "HF_HUB_OFFLINE": "1",
    }
    if kernel is not None:
        settings["DEBERTAV3_KERNEL"] = kernel
    (python,) = (ROOT / "usr" / "bin").glob("python3.[0-9]*")
    command = [qemu, "-cpu", cpu, "-L", ROOT, python, *arguments]
    return subprocess.run(
        [str(part) for part in command],
        env={"PATH": os.environ["PATH"], **settings},
        capture_output=True,
        text=True,
        check=False,
    )


def install() -> str:
    """Copy the package there and compile the kernel as on installation; what the compiler's log said."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.copytree(REPOSITORY / "src", SOURCE, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    built = run([SOURCE / "debertav3" / "cpu" / "kernel" / "build.py"], cpu="max")
    assert built.returncode == 0, built.stderr
    return built.stdout + built.stderr


def make() -> None:
    """Download and unpack what is not there yet."""
    if WHEELS.is_dir():
        return
    for folder in ("apt/state/lists/partial", "apt/cache/archives/partial", "apt/sources"):
        (MACHINE / folder).mkdir(parents=True, exist_ok=True)
    (MACHINE / "apt" / "status").touch()
    own = Path(
        "/etc/apt/sources.list.d/debian.sources"
    )  # of all that this machine reads, what has Arm for sure
    if own.is_file():
        shutil.copy(own, MACHINE / "apt" / "sources")
    config = MACHINE / "apt" / "apt.conf"
    config.write_text(
        f'APT {{ Architecture "arm64"; Architectures {{ "arm64"; }}; Sandbox::User ""; }};\n'
        f'Dir {{ State "{MACHINE}/apt/state"; State::status "{MACHINE}/apt/status";\n'
        f'Cache "{MACHINE}/apt/cache"; Etc::SourceParts "{MACHINE}/apt/sources"; }};\n'
    )
    apt = {**os.environ, "APT_CONFIG": str(config)}
    subprocess.run(["apt-get", "update", "-qq"], env=apt, check=True)
    download = ["apt-get", "install", "-qq", "--yes", "--download-only", "--no-install-recommends"]
    subprocess.run([*download, *DEBIAN_PACKAGES], env=apt, check=True)
    for package in sorted((MACHINE / "apt" / "cache" / "archives").glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", package, ROOT], check=True)
    (python,) = (ROOT / "usr" / "bin").glob("python3.[0-9]*")
    half = MACHINE / "wheels.half"
    shutil.rmtree(half, ignore_errors=True)
    platforms = [f"--platform=manylinux_{version}_aarch64" for version in ("2_28", "2_17")]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:", "--target", half]
    version = f"--python-version={python.name.removeprefix('python')}"
    constraints = ["-c", REPOSITORY / "constraints.txt"]
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    subprocess.run([*pip, *platforms, version, *constraints, *project["dependencies"]], check=True)
    half.rename(WHEELS)


if __name__ == "__main__":
    make()
    print(install(), end="")
