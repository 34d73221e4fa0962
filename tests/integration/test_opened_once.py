"""A command opens its model once: the Hub is asked once, each file read once, few modules know the name."""

import fnmatch
import importlib.util
import json
import pickle
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import huggingface_hub
import pytest
import torch

from debertav3 import DebertaV3Tokenizer, Predictor, UserError, cli
from debertav3.checkpoint import Checkpoint, open_model
from debertav3.checkpoint.int8 import restore_int8, save_int8
from debertav3.files.model_content import content_sums
from debertav3.files.model_folder import ModelFolder
from debertav3.models import DebertaV2ForSequenceClassification
from tiny_models import ModelFolders

NLI = {0: "contradiction", 1: "entailment", 2: "neutral"}
NAME = "somebody/nli"
PAIR = ("A man is asleep on a bench.", "Nobody is awake.")

_opened: Counter[str] | None = None
"""How often each file is opened by Python while `opens` runs."""


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _opened is not None and isinstance(arguments[0], str | Path):
        _opened[str(arguments[0])] += 1


sys.addaudithook(_note)  # there is no way to remove one


@contextmanager
def opens() -> Iterator[Counter[str]]:
    """Count which files are opened."""
    global _opened
    _opened = Counter()
    try:
        yield _opened
    finally:
        _opened = None


@pytest.fixture(scope="module")
def folder(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny NLI model."""
    return ModelFolders(nano, tmp_path_factory)("DebertaV2ForSequenceClassification", id2label=NLI)


class FakeHub:
    """One repository, in the layout of the Hub's cache.

    Args:
        source: the repository's files.
        cache: where downloads go.
    """

    def __init__(self, source: Path, cache: Path) -> None:
        self.source, self.cache = source, cache
        self.asked: list[str | None] = []
        """The revision of each question."""

    def snapshot_download(
        self, name: str, *, revision: str | None, allow_patterns: list[str], local_files_only: bool
    ) -> str:
        assert name == NAME
        self.asked.append(revision)
        snapshot = self.cache / f"models--{name.replace('/', '--')}" / "snapshots" / (revision or "c0ffee")
        snapshot.mkdir(parents=True, exist_ok=True)
        for path in self.source.iterdir():
            if any(fnmatch.fnmatch(path.name, pattern) for pattern in allow_patterns):
                shutil.copy(path, snapshot)
        return str(snapshot)


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    fake = FakeHub(folder, tmp_path / "cache")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake.snapshot_download)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # no look whether it answers
    monkeypatch.chdir(tmp_path)
    return fake


def run(*arguments: Any) -> None:
    """Run a command in this process."""
    before, sys.argv = sys.argv, ["debertav3", *map(str, arguments)]
    try:
        with pytest.raises(SystemExit) as stopped:
            cli.main()
    finally:
        sys.argv = before
    assert stopped.value.code in (1 if arguments[0] == "doctor" else 0, None)  # the model is random


def rows_in(folder: Path) -> Path:
    """Labelled pairs."""
    rows = [
        {"premise": PAIR[0], "hypothesis": f"{PAIR[1]} {number}", "label": NLI[number % 3]}
        for number in range(12)
    ]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


COMMANDS: dict[str, Callable[[str, Path], list[Any]]] = {
    "nli": lambda model, _: ["nli", *PAIR, "--model", model],
    "info": lambda model, _: ["info", model],
    "doctor": lambda model, _: ["doctor", model],
    "evaluate": lambda model, rows: ["evaluate", "nli", "--model", model, "--data", rows],
    "evaluate custom": lambda model, rows: ["evaluate", "custom", "--model", model, "--data", rows],
    "predict": lambda model, rows: ["predict", "nli", "--model", model, "--data", rows, "--out", "out.jsonl"],
    "finetune": lambda model, rows: [
        *["finetune", "nli", "--model", model, "--train", rows, "--dev", rows, "--out", "run"],
        *["--set", "max_steps=1", "--set", "max_length=32"],
    ],
    "trim-vocab": lambda model, rows: [
        *["trim-vocab", "--model", model, "--data", rows, "--text-column", "premise", "--out", "small"]
    ],
    "tokenizer": lambda model, rows: [
        *["tokenizer", "encode", "--model", model, "--data", rows, "--text-column", "premise", "--out", "ids"]
    ],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_hub_is_asked_once(command: str, hub: FakeHub, tmp_path: Path) -> None:
    run(*COMMANDS[command](NAME, rows_in(tmp_path)))
    assert hub.asked == [None]


@pytest.mark.parametrize("command", ["nli", "info", "doctor", "evaluate", "predict", "trim-vocab"])
def test_config_json_is_read_once(
    command: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with opens() as opened:
        run(*COMMANDS[command](str(folder), rows_in(tmp_path)))
    assert opened[str(folder / "config.json")] == 1


def test_int8_weights_are_read_once(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    save_int8(tmp_path / "model.safetensors", tmp_path / "model_int8.safetensors", kept=())
    (tmp_path / "model.safetensors").unlink()
    checkpoint = Checkpoint.open(tmp_path)
    with opens() as opened:
        model = open_model(checkpoint, head=DebertaV2ForSequenceClassification, keeps_int8=True)
        (tmp_path / "model_int8.safetensors").unlink()  # nothing is read of it again
        restore_int8(model)
    assert opened[str(tmp_path / "model_int8.safetensors")] == 1
    stored = [tensor for tensor in model.model.state_dict().values() if tensor.dtype == torch.int8]
    assert len(stored) == len(model.int8) > 0


def test_a_repository_without_safetensors_is_asked_for_the_same_commit(
    hub: FakeHub, folder: Path, tmp_path: Path
) -> None:
    hub.source = tmp_path / "bin"
    shutil.copytree(folder, hub.source)
    state = open_model(folder, head=DebertaV2ForSequenceClassification).model.state_dict()
    torch.save(state, hub.source / "pytorch_model.bin")
    (hub.source / "model.safetensors").unlink()
    found = Predictor.from_pretrained(NAME).nli(PAIR)
    assert found == pytest.approx(Predictor.from_pretrained(folder).nli(PAIR), abs=1e-6)
    assert hub.asked == [None, "c0ffee"]


def test_the_tokenizer_alone_leaves_the_weights(hub: FakeHub) -> None:
    DebertaV3Tokenizer.from_pretrained(NAME, revision="v2")
    assert hub.asked == ["v2"]
    (snapshot,) = hub.cache.glob("*/snapshots/v2")
    assert not list(snapshot.glob("*.safetensors"))


def test_a_revision_is_kept(hub: FakeHub) -> None:
    checkpoint = Checkpoint.open(NAME, revision="v2")
    assert (hub.asked, checkpoint.name, checkpoint.path.name) == (["v2"], NAME, "v2")
    again = pickle.loads(pickle.dumps(checkpoint))
    assert (again.name, again.path, hub.asked) == (NAME, checkpoint.path, ["v2"])  # in another process
    shutil.rmtree(checkpoint.path)
    assert pickle.loads(pickle.dumps(checkpoint)).folder.has("config.json")  # on another machine
    assert hub.asked == ["v2", "v2"]


def test_run_json_of_the_hub_says_which_columns(hub: FakeHub, folder: Path, tmp_path: Path) -> None:
    hub.source = tmp_path / "trained"
    shutil.copytree(folder, hub.source)
    record = {"config": {"task": "custom"}, "columns": {"text": "review", "label": "verdict"}}
    (hub.source / "run.json").write_text(json.dumps(record))
    assert Checkpoint.open(NAME).trained == ("custom", "review", None, "verdict", ())


def test_what_is_asked_for_is_kept(folder: Path) -> None:
    checkpoint = Checkpoint.open(folder)
    assert Checkpoint.open(checkpoint) is checkpoint
    for part in ("config", "weights", "tokenizer", "trained", "probabilities", "fingerprint", "exports"):
        assert getattr(checkpoint, part) is getattr(checkpoint, part)
    assert checkpoint.fingerprint == content_sums(folder)


def test_the_fingerprint_is_of_what_was_read(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    before, checkpoint = content_sums(tmp_path), Checkpoint.open(tmp_path)
    assert checkpoint.config["vocab_size"]
    (tmp_path / "config.json").write_text("{}")
    assert checkpoint.fingerprint == before != content_sums(tmp_path)


@pytest.mark.parametrize("name", ["../config.json", "a/b", "", "..", "config\0json"])
def test_a_name_that_leaves_the_folder_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(UserError, match="refusing the file name"):
        ModelFolder(folder).file(name)


def test_a_link_that_leaves_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").symlink_to(folder / "config.json")
    for read in (ModelFolder.has, ModelFolder.json):
        with pytest.raises(UserError, match="a link that points outside its folder"):
            read(ModelFolder(tmp_path), "config.json")


@pytest.mark.parametrize("named", [True, False], ids=["head named", "head from the tensors' names"])
def test_a_checkpoint_opens_without_torch(folder: Path, tmp_path: Path, named: bool) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    if not named:
        config = json.loads((tmp_path / "config.json").read_text())
        del config["architectures"]
        (tmp_path / "config.json").write_text(json.dumps(config))
    code = f"""
import sys
from debertav3.checkpoint import Checkpoint
from debertav3.cli.info import describe
checkpoint = Checkpoint.open({str(tmp_path)!r})
assert checkpoint.config["architectures"] == ["DebertaV2ForSequenceClassification"]
assert checkpoint.weights.stored and len(checkpoint.tokenizer) and checkpoint.fingerprint
assert describe({str(tmp_path)!r}, length=128)["head"] == "sequence-classification"
assert not {{"torch", "transformers"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def load_benchmark(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("model_path", repository / "benchmarks" / "model_path.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["model_path"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_the_name_goes_through_few_modules(repository: Path, folder: Path) -> None:
    """From ``debertav3 nli`` to logits; `benchmarks/model_path.py` says what is counted."""
    from debertav3.cli.nli import nli

    found = load_benchmark(repository).trace(lambda: nli(*PAIR, model=str(folder)), folder)
    assert len(found.modules) <= 8, found.modules
    assert found.returns <= 6, found.steps


def test_an_export_on_the_hub_answers(hub: FakeHub, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    from debertav3.inference.export.request import ExportConfig
    from debertav3.inference.export.run import export_model

    hub.source = tmp_path / "export"
    export_model(folder, hub.source, ExportConfig(format="onnx"))
    found = Predictor.from_pretrained(NAME, backend="light")
    assert found.engine.backend.name == "onnx"
    assert found.nli(PAIR) == pytest.approx(Predictor.from_pretrained(folder).nli(PAIR), abs=1e-5)
    assert hub.asked == [None, "c0ffee"]
