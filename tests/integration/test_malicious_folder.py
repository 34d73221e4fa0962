"""Contract: no checkpoint folder makes us run code, reach the network or open a file outside of it."""

import ast
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from debertav3 import models
from debertav3.checkpoint import save_model
from debertav3.sizes import config_for

# Runs in a process of its own: an audit hook cannot be removed again. Everything is imported first, so that
# what the hook sees afterwards comes from the folder alone.
WATCHER = """
import json, sys
import torch
from debertav3 import models
from debertav3.checkpoint import open_model, open_trio
from debertav3.checkpoint.doctor import examine
from debertav3.errors import UserError

good, root, *attacks = sys.argv[1:]
FATAL = {"os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "pty.spawn", "subprocess.Popen",
         "socket.connect", "socket.getaddrinfo", "ctypes.dlopen", "webbrowser.open"}
seen = []

def watch(event, arguments):
    text = " ".join(str(getattr(a, "co_filename", a)) for a in arguments if not isinstance(a, (int, float)))
    if event in FATAL or any(word in text for word in ("evil", "secret", "/outside", "/marker")):
        seen.append(f"{event}: {text[:200]}")

def attempt(action, *arguments, **options):
    try:
        action(*arguments, **options)
        return "opened"
    except UserError as error:
        return f"refused: {error}"

def attempt_all(folder):
    return {
        "open_model": attempt(open_model, folder, head=models.DebertaV2ForSequenceClassification),
        "open_trio": attempt(open_trio, folder),
        "doctor": attempt(examine, folder),
    }

attempt_all(good)
sys.addaudithook(watch)
verdicts = {}
for attack in attacks:
    seen.clear()
    answers = attempt_all(f"{root}/{attack}/model")
    verdicts[attack] = {"seen": list(seen), **answers}
print(json.dumps(verdicts))
"""


class Payload:
    """Unpickling this writes a file, by way of a shell."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


class EvalPayload(Payload):
    def __reduce__(self) -> Any:
        return eval, (f"open({str(self.marker)!r}, 'w').close()",)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = config_for(
        "nano",
        vocab_size=99,
        hidden_size=16,
        num_attention_heads=2,
        intermediate_size=8,
        num_hidden_layers=1,
        num_labels=2,
    )
    return save_model(
        models.DebertaV2ForSequenceClassification(config), tmp_path_factory.mktemp("good") / "model"
    )


def edit_config(folder: Path, name: str = "config.json", **changes: Any) -> None:
    path = folder / name
    raw = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(raw | changes))


def write_code(folder: Path, marker: Path) -> None:
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w').close()\nclass Evil:\n    pass\n")


def replace_by_link(path: Path, target: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def plant(attack: str, folder: Path, outside: Path, marker: Path) -> None:
    """Plant one attack in a folder that was sound."""
    weights, config = folder / "model.safetensors", folder / "config.json"
    write_code(folder, marker)
    if attack == "internal-attention":  # CVE-2026-4372
        edit_config(
            folder,
            _attn_implementation_internal="evil/kernel",
            _experts_implementation_internal="evil/kernel",
            attn_implementation="evil/kernel",
            kernel_config={"LayerNorm": "evil/kernel"},
            transformers_weights="../secret.safetensors",
        )
    elif attack == "auto-map":
        edit_config(folder, auto_map={"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"})
    elif attack == "custom-pipeline":
        edit_config(folder, custom_pipelines={"x": {"impl": "evil.Evil", "pt": ["AutoModel"]}})
    elif attack == "tokenizer-auto-map":
        edit_config(folder, "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", None]})
    elif attack == "adapter":
        edit_config(folder, "adapter_config.json", base_model_name_or_path="evil/model", peft_type="LORA")
    elif attack in ("pickle", "pickle-eval", "old-pickle"):
        weights.unlink()
        payload = (EvalPayload if attack == "pickle-eval" else Payload)(marker)
        if attack == "old-pickle":
            (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": payload}))
        else:
            torch.save({"deberta.x": torch.ones(1), "payload": payload}, folder / "pytorch_model.bin")
    elif attack == "generator-pickle":
        torch.save({"payload": Payload(marker)}, folder / "pytorch_model.generator.bin")
    elif attack == "weights-link":
        replace_by_link(weights, outside / "secret.safetensors")
    elif attack == "config-link":
        replace_by_link(config, outside / "secret.json")
    elif attack == "tokenizer-link":
        replace_by_link(folder / "spm.model", outside / "secret.model")
    elif attack == "generator-link":
        replace_by_link(folder / "generator", outside)
    elif attack in ("index-parent", "index-absolute"):
        weights.unlink()
        name = "../secret.safetensors" if attack == "index-parent" else str(outside / "secret.safetensors")
        index = {"metadata": {}, "weight_map": {"deberta.embeddings.word_embeddings.weight": name}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    elif attack == "deep-json":
        config.write_text("[" * 200_000)


OPENED = {
    "internal-attention",
    "tokenizer-auto-map",
    "adapter",
    "tokenizer-link",
    "generator-link",
    "generator-pickle",
}
"""Attacks on what opening a model does not read at all; the model itself is sound."""

ATTACKS = [
    "internal-attention",
    "auto-map",
    "custom-pipeline",
    "tokenizer-auto-map",
    "adapter",
    "pickle",
    "pickle-eval",
    "old-pickle",
    "generator-pickle",
    "weights-link",
    "config-link",
    "tokenizer-link",
    "generator-link",
    "index-parent",
    "index-absolute",
    "deep-json",
]


@pytest.fixture(scope="module")
def root(good: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for every attack: the model, what lies outside of it, and the place of the marker."""
    root = tmp_path_factory.mktemp("attacks")
    for attack in ATTACKS:
        outside = root / attack / "outside"
        outside.mkdir(parents=True)
        shutil.copy(good / "model.safetensors", outside / "secret.safetensors")
        shutil.copy(good / "config.json", outside / "secret.json")
        (outside / "secret.model").write_bytes(b"secret")
        shutil.copytree(good, root / attack / "model")
        plant(attack, root / attack / "model", outside, root / attack / "marker")
    return root


@pytest.fixture(scope="module")
def verdicts(good: Path, root: Path) -> dict[str, dict[str, Any]]:
    """What came of every attack, and what the audit hook saw of it."""
    done = subprocess.run(
        [sys.executable, "-c", WATCHER, str(good), str(root), *ATTACKS],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_runs_nothing_and_reads_nothing_outside(attack: str, verdicts: dict, root: Path) -> None:
    verdict = verdicts[attack]
    assert verdict["seen"] == []
    assert not (root / attack / "marker").exists()
    assert verdict["open_model"].startswith("opened" if attack in OPENED else "refused"), verdict[
        "open_model"
    ]
    if attack.startswith("generator"):
        assert verdict["open_trio"].startswith("refused")


def test_payloads_are_live(tmp_path: Path) -> None:
    """The attack would work: what is refused above does run where pickle is trusted."""
    payload = pickle.dumps(Payload(tmp_path / "marker"))
    pickle.loads(payload)
    assert (tmp_path / "marker").exists()


def calls(tree: ast.AST) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def is_true(call: ast.Call, name: str) -> bool:
    values = [keyword.value for keyword in call.keywords if keyword.arg == name]
    return bool(values) and isinstance(values[0], ast.Constant) and values[0].value is True


def test_no_line_of_ours_could_run_code_from_a_file(repository: Path) -> None:
    found = []
    for path in sorted((repository / "src").rglob("*.py")):
        for call in calls(ast.parse(path.read_text(encoding="utf-8"))):
            name = ast.unparse(call.func)
            unsafe_load = name == "torch.load" and not is_true(call, "weights_only")
            unpickles = name in {"pickle.load", "pickle.loads", "dill.load", "joblib.load", "eval", "exec"}
            if unsafe_load or unpickles or is_true(call, "trust_remote_code"):
                found.append(f"{path.relative_to(repository)}:{call.lineno} {name}")
    assert found == []
