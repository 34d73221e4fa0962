"""The public names have their types for users: no ``Any``, and a misspelled name is an error."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import debertav3


def test_type_checkers_see_the_names_that_can_be_imported(repository: Path) -> None:
    tree = ast.parse((repository / "src" / "debertav3" / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (one for one in tree.body if isinstance(one, ast.If) and "not" not in ast.unparse(one.test))
    seen = {
        alias.asname: f".{node.module}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == debertav3._MODULES
    assert {*seen, "__version__"} == set(debertav3.__all__)


SCRIPT = """
import debertav3
reveal_type(debertav3.Predictor)
reveal_type(debertav3.DebertaV3Tokenizer)
reveal_type(debertav3.DebertaV2Model)
reveal_type(debertav3.finetune)
reveal_type(debertav3.Predictor.from_pretrained("nano").nli(("a", "b")))
debertav3.Preditcor
"""


@pytest.mark.slow
def test_a_users_type_checker_knows_the_types(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "script.py"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(repository / "src")},
        capture_output=True,
        text=True,
    )
    found = [line for line in done.stdout.splitlines() if "Revealed type" in line]
    assert len(found) == 5 and not any('"Any"' in line for line in found), done.stdout
    assert (
        "Predictor" in found[0]
        and "FinetuneResult" in found[3]
        and "dict[str, float]" in found[4].replace("builtins.", "")
    )
    assert 'Module has no attribute "Preditcor"' in done.stdout
