"""transformers' own tests of DeBERTa-v2 pass with our classes in place of its own.

They are not in the installed package: set TRANSFORMERS_SOURCE to a checkout of transformers at the installed
version (``git clone --branch v5.23.0 https://github.com/huggingface/transformers``), and install
``parameterized``. ``docs/compatibility.md`` has the result.
"""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path("tests/models/deberta_v2/test_modeling_deberta_v2.py")
NOT_APPLICABLE = {
    # name: reason; empty, because none of the tests that run without accelerators and network fails
}
TIMEOUT_SECONDS = 1800


@pytest.mark.slow
def test_their_tests_pass_with_our_classes() -> None:
    source = Path(os.environ.get("TRANSFORMERS_SOURCE", ""))
    if not os.environ.get("TRANSFORMERS_SOURCE") or not (source / TESTS).is_file():
        pytest.skip(f"set TRANSFORMERS_SOURCE to a checkout of transformers with {TESTS}")
    pytest.importorskip("parameterized")
    here = Path(__file__).parent
    paths = [str(here), str(source), os.environ.get("PYTHONPATH", "")]
    deselected = [f"--deselect={TESTS}::DebertaV2ModelTest::{name}" for name in NOT_APPLICABLE]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "transformers_suite_plugin", *deselected, str(TESTS)],
        cwd=source,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    failed = [
        line for line in result.stdout.splitlines() if line.startswith(("FAILED", "SUBFAILED", "ERROR"))
    ]
    version = importlib.metadata.version("transformers")
    assert result.returncode == 0, "\n".join([f"transformers {version}:", *failed, result.stdout[-2000:]])
    assert " passed" in result.stdout
