"""The core installation, without torch and transformers, answers; all else names its extra in one line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HIDDEN = """
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "transformers", "accelerate", "datasets"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import importlib.util
found = importlib.util.find_spec
def find_spec(name, package=None):
    try:
        return found(name, package)
    except ModuleNotFoundError:
        return None
importlib.util.find_spec = find_spec
"""
"""Makes the packages look as if they were not installed."""


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    pairs = "A man sleeps,A man is awake,contradiction\nA dog barks,An animal barks,entailment\n"
    path.write_text("premise,hypothesis,label\n" + pairs)
    return path


def without_torch(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", HIDDEN + code], capture_output=True, text=True, timeout=120)


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    argv = ["debertav3", *map(str, words)]
    return without_torch(f"from debertav3.cli import main; sys.argv = {argv!r}; main()")


def test_commands_answer(nano: Path, rows: Path, tmp_path: Path) -> None:
    one = command("nli", "A man is playing a guitar.", "Somebody makes music.")
    assert one.returncode == 0 and json.loads(one.stdout).keys() >= {"entailment"}, one.stderr
    out = tmp_path / "answers.jsonl"
    done = command("predict", "nli", "--model", nano, "--data", rows, "--out", out)
    assert done.returncode == 0 and json.loads(out.read_text().splitlines()[0]), done.stderr
    scored = command("evaluate", "nli", "--model", nano, "--data", rows)
    assert scored.returncode == 0 and "accuracy" in scored.stdout, scored.stderr


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (("nli", "a", "b", "--backend", "torch"), "torch"),
        (("nli", "a", "b", "--dtype", "bf16"), "torch"),
        (("doctor", "NANO"), "torch"),
        (("export", "--model", "NANO", "--format", "onnx", "--out", "OUT"), "torch"),
        (("finetune", "nli", "--model", "NANO", "--train", "ROWS", "--dev", "ROWS", "--out", "OUT"), "train"),
    ],
)
def test_commands_that_need_more_say_what(
    words: tuple[str, ...], extra: str, nano: Path, rows: Path, tmp_path: Path
) -> None:
    names = {"NANO": nano, "ROWS": rows, "OUT": tmp_path / "out"}
    done = command(*(names.get(word, word) for word in words))
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert last.startswith("debertav3: error: ") and last.endswith(f"Run: pip install 'debertav3[{extra}]'")
    assert not (tmp_path / "out").exists()


def test_names_that_need_torch_say_so(nano: Path) -> None:
    code = """
import debertav3
for name in sorted(debertav3.__all__):
    try:
        getattr(debertav3, name)
    except debertav3.UserError as error:
        assert isinstance(error, ImportError), error
        print(name, str(error).rpartition("Run: ")[2])
"""
    done = without_torch(code)
    assert done.returncode == 0, done.stderr
    told = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert told == {
        **{name: "pip install 'debertav3[torch]'" for name in told if name != "Classifier"},
        **({"Classifier": "pip install 'debertav3[train]'"} if "Classifier" in told else {}),
    }
    assert {"DebertaV2Model", "DebertaV2ForSequenceClassification", "register_auto_classes"} <= told.keys()
    assert not {"Predictor", "DebertaV3Tokenizer", "UserError", "__version__"} & told.keys()


def test_fine_tuning_from_python_says_so() -> None:
    done = without_torch("import debertav3; debertav3.finetune('nli', model='m', train='x', dev='y')")
    assert done.stderr.strip().endswith("pip install 'debertav3[train]'")


def test_bin_weights_need_torch(tmp_path: Path, nano: Path) -> None:
    shutil.copytree(nano, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    (tmp_path / "model" / "pytorch_model.bin").write_bytes(b"")
    done = command("nli", "a", "b", "--model", tmp_path / "model")
    assert done.returncode == 2
    assert "native does not run" in done.stderr and "pip install 'debertav3[torch]'" in done.stderr
