"""Runs the tests of what builds on transformers with other versions of it: ``make test-transformers``.

Each version gets a virtual environment of its own for as long as its tests run. It reuses the packages of the
environment that runs this script, and holds only transformers and what that version needs otherwise.

    python tests/transformers_versions.py                 # the newest patch of every supported minor version
    python tests/transformers_versions.py oldest 5.14     # only these
"""

import argparse
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]

TESTS = (
    "tests/integration/test_auto_classes.py",
    "tests/integration/test_ecosystem.py",
    "tests/unit/test_models.py",
    "tests/parity/test_models_match_transformers.py",
    "tests/parity/test_ner_pipeline.py",
    "tests/golden/test_finetune_golden.py",
)
"""Models, heads, ``from_pretrained``, Auto classes, Trainer, pipelines, PEFT, CrossEncoder, fine-tuning."""


def oldest_supported() -> str:
    """The floor that ``pyproject.toml`` declares, such as ``5.5``."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    dependencies = project["optional-dependencies"]["torch"]
    (floor,) = [match[1] for line in dependencies if (match := re.match(r"transformers>=([\d.]+)", line))]
    return floor


def supported() -> list[str]:
    """Every minor version from the floor to the newest that the package index has, oldest first."""
    command = [sys.executable, "-m", "pip", "index", "versions", "transformers"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (listed,) = re.findall(r"^Available versions: (.*)$", answer, re.MULTILINE)
    floor = _number(oldest_supported())
    minors = {_number(version)[:2] for version in listed.split(", ") if floor <= _number(version) < (6,)}
    return [f"{major}.{minor}" for major, minor in sorted(minors)]


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))


def make_environment(folder: Path, version: str) -> Path:
    """Create a virtual environment with that minor version, and return its Python."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True).stdout.strip()
    reused = sysconfig.get_path("purelib")
    (Path(own) / "reused.pth").write_text(f"import site; site.addsitedir({reused!r})\n")
    pip = [python, "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check"]
    installed = subprocess.run([*pip, f"transformers=={version}.*"], capture_output=True, text=True)
    if installed.returncode:  # else its warnings are about reused packages, which these tests do not need
        raise RuntimeError(f"transformers {version} cannot be installed:\n{installed.stderr}")
    return python


def run_tests(python: Path, version: str) -> bool:
    """Run the tests with that Python; whether they passed and really met that version."""
    imported = subprocess.run(
        [python, "-c", "import transformers; print(transformers.__version__)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    if not imported.startswith(f"{version}."):
        raise RuntimeError(f"asked for transformers {version}, imported {imported}")
    print(f"== transformers {imported}", flush=True)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"}
    command = [python, "-m", "pytest", "-p", "no:cacheprovider", "-m", "not slow and not gpu and not hub"]
    return subprocess.run([*command, *TESTS], cwd=REPOSITORY, env=environment).returncode == 0


def main() -> int:
    """Test each version; 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("versions", nargs="*", help="such as 5.14, or oldest; all supported ones by default")
    failed = []
    for name in parser.parse_args().versions or supported():
        version = oldest_supported() if name == "oldest" else name
        with tempfile.TemporaryDirectory() as folder:
            if not run_tests(make_environment(Path(folder), version), version):
                failed.append(version)
    print(f"failed with transformers {', '.join(failed)}" if failed else "passed with every version")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
