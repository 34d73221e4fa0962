"""Stores of checkpoints remove and read only what they wrote; folders of somebody else stay."""

import json
from pathlib import Path

from debertav3.finetune import checkpoints
from debertav3.pretrain.state import CheckpointStore


def foreign(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "notes.txt").write_text("mine")


def notes(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob("*/notes.txt"))


def test_of_pretraining(tmp_path: Path) -> None:
    names = (".tmp-mine", ".old-photos", "step-000000000", "step-notes", "step-1")
    foreign(tmp_path, *names)
    store = CheckpointStore(tmp_path, keep=1)
    store.clean()
    for step in (1, 2, 3):
        store.save({}, {"step": step})
    assert store.newest() == tmp_path / "step-000000003"
    written = sorted(path.name for path in tmp_path.iterdir() if (path / "manifest.json").exists())
    assert written == ["step-000000003"]
    assert notes(tmp_path) == sorted(names)


def test_of_finetuning(tmp_path: Path) -> None:
    foreign(tmp_path, "checkpoint-1", "checkpoint-notes")
    for step in (2, 3, 4):
        (tmp_path / ".saving").mkdir()
        (tmp_path / ".saving" / "state.json").write_text(json.dumps(step))
        checkpoints.publish(tmp_path / ".saving", tmp_path / f"checkpoint-{step}")
        checkpoints.remove_older(tmp_path, keep=1, best=None)
    assert [path.name for path in checkpoints.ours(tmp_path)] == ["checkpoint-4"]
    assert notes(tmp_path) == ["checkpoint-1", "checkpoint-notes"]
