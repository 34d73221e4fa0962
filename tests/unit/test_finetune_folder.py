"""An --out that cannot be is refused in one line, before anything is read, loaded or written."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from debertav3.errors import UserError
from debertav3.finetuning.config import FinetuneConfig
from debertav3.finetuning.resuming import check_can_be_made, starting_point, write_settings


@pytest.mark.parametrize(
    "out", ["rows.csv", "rows.csv/x", "rows.csv/x/y", "/proc/x/y", "n" * 300, "a/" + "n" * 300]
)
def test_what_cannot_be_a_folder_is_refused(tmp_path: Path, out: str) -> None:
    (tmp_path / "rows.csv").write_text("text,label\n", encoding="utf-8")
    with pytest.raises(
        UserError, match=r"--out .*(is a file\. Give the path of a folder|cannot be written: .*Choose )"
    ):
        check_can_be_made(tmp_path / out)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


@pytest.mark.parametrize("out", ["", "a", "a/b/c"])
def test_what_can_be_made_is_not_made_yet(tmp_path: Path, out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_can_be_made(tmp_path / out)
    check_can_be_made(Path(out))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "command",
    [
        ["finetune", "sst2", "--model", "nano", "--train", "absent.jsonl", "--dry-run"],
        ["finetune", "sst2", "--model", "nano", "--train", "absent.jsonl"],
        ["search", "sst2", "--model", "nano", "--train", "absent.jsonl", "--dev", "absent.jsonl"],
        ["compare", "--models", "nano", "--tasks", "sst2", *("--train=sst2=no.jsonl", "--dev=sst2=no.jsonl")],
    ],
    ids=["dry-run", "finetune", "search", "compare"],
)
def test_the_commands_refuse_it_before_torch_is_loaded(command: list[str]) -> None:
    code = (
        "import sys; from debertav3.cli import main\ntry: main()\nfinally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command, "--out", "/proc/x/y"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("debertav3: error: --out /proc/x/y cannot be written: ")


@pytest.mark.parametrize("version", ["now", "before the setting called labels"])
def test_class_names_are_not_the_setting_called_labels(tmp_path: Path, version: str) -> None:
    config = FinetuneConfig(task="nli", model="nano")
    facts = {"data": {}, "contents": {"train": ["a"], "dev": [], "model": {}, "tokenizer": {}}}
    write_settings(config, tmp_path, **facts, labels=("yes", "no"))
    if version != "now":
        file = tmp_path / "checkpoints" / "settings.json"
        pinned = json.loads(file.read_text())
        pinned["labels"] = pinned.pop("class_names")
        file.write_text(json.dumps(pinned))
    assert starting_point(config, tmp_path, **facts, labels=("yes", "no"), resume=True) is None
    with pytest.raises(UserError, match=r"changed: class_names \(was \['yes', 'no'\], now \['no', 'yes'\]\)"):
        starting_point(config, tmp_path, **facts, labels=("no", "yes"), resume=True)
