"""``run.json`` repeats its run, and the command in it is one that does, whatever started the run."""

import json
import logging
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from debertav3 import DebertaV2ForSequenceClassification, DebertaV3Tokenizer
from debertav3.cli import app
from debertav3.errors import UserError
from debertav3.finetuning.command import command_of
from debertav3.finetuning.compare import compare
from debertav3.finetuning.config import FinetuneConfig
from debertav3.finetuning.preparation import resolve
from debertav3.sizes import config_for


@pytest.fixture(autouse=True)
def logger() -> Iterator[None]:
    """Takes the command's own handler away again: its stderr is closed after each call."""
    yield
    package = logging.getLogger("debertav3")
    package.handlers = []
    package.setLevel(logging.NOTSET)


def invoke(args: list[str]) -> Any:
    done = CliRunner().invoke(app, ["finetune", *args])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture
def folder(tmp_path: Path, nano: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a tiny ``model`` and ``rows.jsonl``."""
    tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = config_for("nano", vocab_size=len(tokenizer), **shape)
    DebertaV2ForSequenceClassification(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    write(tmp_path / "rows.jsonl", range(12))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, numbers: range) -> None:
    rows = [{"sentence": f"word {number}", "label": number % 2} for number in numbers]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


FIRST = ["sst2", "--model", "model", "--train", "rows.jsonl", "--dev", "rows.jsonl", "--seed", "7"]
SETTINGS = ["--set", "max_steps=2", "--set", "batch_size=4", "--set", "learning_rate=1e-2"]


def other_out(words: list[str]) -> list[str]:
    """The same command with another ``--out``: a finished run is never trained over."""
    at = words.index("--out") + 1
    return [*words[:at], "elsewhere", *words[at + 1 :]]


def record_of(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "run.json").read_text(encoding="utf-8"))
    return content


def test_a_run_is_repeated_from_its_record(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke([*FIRST, *SETTINGS, "--out", "first"])
    invoke(["--config", "first/run.json", "--out", "again"])
    first, again = (load_file(folder / name / "model.safetensors") for name in ("first", "again"))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert record_of(folder / "again")["config"] == record_of(folder / "first")["config"]
    assert record_of(folder / "first")["working_folder"] == str(folder)
    assert "of --config" not in caplog.text

    line = shlex.split(record_of(folder / "again")["command"])
    assert line[:2] == ["debertav3", "finetune"]
    assert invoke([*other_out(line[2:]), "--dry-run"]) == record_of(folder / "first")["config"]
    changed = invoke(["--config", "first/run.json", "--seed", "8", "--out", "other", "--dry-run"])
    assert changed == {**record_of(folder / "first")["config"], "seed": 8}

    write(folder / "rows.jsonl", range(14))
    invoke(["--config", "first/run.json", "--out", "other", "--dry-run"])
    assert "rows.jsonl has changed since the run of --config" in caplog.text
    caplog.clear()
    write(folder / "more.jsonl", range(14))
    more = ["--train", "more.jsonl", "--dev", "more.jsonl"]
    invoke(["--config", "first/run.json", *more, "--out", "other", "--dry-run"])
    assert "of --config" not in caplog.text

    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with pytest.raises(UserError, match=r"there is no rows\.jsonl here; the run of --config was started in"):
        invoke(["--config", "../first/run.json", "--out", "other"])


def test_a_broken_record_and_a_missing_task_are_one_line(folder: Path) -> None:
    (folder / "run.json").write_text('{"config": ', encoding="utf-8")
    with pytest.raises(UserError, match=r"--config run\.json is not valid JSON"):
        invoke(["--config", "run.json", "--out", "x"])
    with pytest.raises(UserError, match=r"which task\? Give TASK"):
        invoke(["--out", "x"])
    (folder / "some.yaml").write_text("task: sst2\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"which model\? Give --model"):
        invoke(["--config", "some.yaml", "--out", "x"])


def test_bad_data_are_reported_before_torch_is_loaded(folder: Path) -> None:
    with (folder / "rows.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"sentence": "no end\n')
    code = (
        "import sys; from debertav3.cli import main; sys.argv[1:] = ['finetune', 'sst2', '--model', 'model',"
        "'--train', 'rows.jsonl', '--out', 'x']\n"
        "try: main()\nfinally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "rows.jsonl" in done.stderr
    assert "line 13" in done.stderr
    assert not (folder / "x").exists()


def test_runs_of_compare_and_search_say_how_to_repeat_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")
    from debertav3.finetuning.search import search

    monkeypatch.setattr(sys, "argv", ["debertav3", "compare", "--models", "model", "--tasks", "sst2"])
    files = {"train": ["rows.jsonl"], "dev": ["rows.jsonl"]}
    compare(["model"], {"sst2": files}, [5], folder / "table", overrides=["max_steps=1", "batch_size=4"])
    base = resolve("sst2", model="model", given=files, overrides=["max_steps=1", "batch_size=4"])
    search(base, {"learning_rate": [1e-3]}, folder / "study", trials=1)
    runs = [*folder.glob("table/*/run.json"), *folder.glob("study/*/run.json")]
    assert len(runs) == 2
    for file in runs:
        record = record_of(file.parent)
        words = shlex.split(record["command"])
        assert words[:2] == ["debertav3", "finetune"]
        assert invoke([*other_out(words[2:]), "--dry-run"]) == record["config"]
        assert record["command"] in (file.parent / "README.md").read_text(encoding="utf-8")


CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {"task": "nli", "model": "xsmall", "tokenizer": "a b", "train": ("x y.jsonl",)},
    "recipe": {
        "task": "mnli",
        "model": "microsoft/deberta-v3-xsmall",
        "train": ("datasets:nyu-mll/glue:mnli",),
    },
    "sift": {"task": "mnli", "model": "large", "sift": True, "sift_weight": 3.0, "train": ("a", "b")},
    "custom": {
        "task": "custom",
        "model": "o/m",
        "train": ("a.csv",),
        "dev": ("b.csv", "c.csv"),
        "text_column": "the 'text': [1]",
        "label_kind": "several-labels",
        "lora": True,
    },
    "all": {
        "task": "cola",
        "model": "large",
        "train": ("a.tsv",),
        "seed": 0,
        "learning_rate": 3.3333333333333335e-07,
        "micro_batch_size": 4,
        "max_steps": 9,
        "schedule": "cosine",
        "classifier_dropout": None,  # where the recipe has one
        "precision": "bf16",
        "keep_best": False,
        "length_grouping": False,
        "report_to": ("tensorboard", "trackio"),
    },
}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_command_resolves_to_the_same_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # neither files nor a model: only how a command is read is asked
    monkeypatch.setattr("debertav3.finetuning.steps.prepared", lambda *_, **__: nullcontext((None, None)))
    monkeypatch.setattr("debertav3.finetuning.rehearsal.rehearse", lambda *_: None)
    config = FinetuneConfig.of(**CONFIGS[name])
    words = shlex.split(command_of(config, Path("the out")))
    assert words[-2:] == ["--out", "the out"]
    assert invoke([*words[2:], "--dry-run"]) == config.to_dict()


def test_the_command_names_nothing_that_goes_without_saying() -> None:
    config = resolve("mnli", model="microsoft/deberta-v3-xsmall", given={})
    wanted = "debertav3 finetune mnli --model microsoft/deberta-v3-xsmall --out my-mnli"
    assert command_of(config, Path("my-mnli")) == wanted
