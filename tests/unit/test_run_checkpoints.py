"""Checkpoints of a run are complete or absent, a damaged one is never used, and only its own are removed."""

import logging
from pathlib import Path

import pytest

from debertav3.errors import UserError
from debertav3.files import damage_of
from debertav3.finetuning.resuming import checkpoints_of
from debertav3.pretrain.stable_part import checkpoints_of as pretrain_checkpoints_of
from debertav3.runs import checkpoints
from debertav3.runs.checkpoints import CheckpointStore


@pytest.fixture(params=["finetune", "pretrain"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> CheckpointStore:
    return (
        checkpoints_of(tmp_path) if request.param == "finetune" else pretrain_checkpoints_of(tmp_path, keep=1)
    )


def saved(store: CheckpointStore, step: int) -> Path:
    with store.saving(step) as staged:
        (staged / "inner").mkdir()
        (staged / "weights").write_bytes(b"w" * step)
        (staged / "inner" / "state").write_text("s", encoding="utf-8")
    return store.path(step)


def test_names_are_those_of_earlier_versions(tmp_path: Path) -> None:
    assert checkpoints_of(tmp_path).path(500) == tmp_path / "checkpoints" / "checkpoint-500"
    assert pretrain_checkpoints_of(tmp_path, keep=2).path(500) == tmp_path / "checkpoints" / "step-000000500"


def test_a_saved_checkpoint_is_whole(store: CheckpointStore) -> None:
    target = saved(store, 7)
    assert damage_of(target) is None
    assert saved(store, 7) == target  # the same step again replaces it
    assert damage_of(target) is None
    assert [path.name for path in store.folder.iterdir()] == [target.name]


@pytest.mark.parametrize(
    "damage", ["flip", "truncate", "delete", "no-manifest", "bad-manifest", "empty-manifest"]
)
def test_damage_is_found_and_the_older_checkpoint_taken(
    store: CheckpointStore, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    older, newer = saved(store, 9), saved(store, 10)
    if damage == "flip":
        (newer / "weights").write_bytes(b"w" * 9 + b"x")
    elif damage == "truncate":
        (newer / "weights").write_bytes(b"w" * 9)
    elif damage == "delete":
        (newer / "inner" / "state").unlink()
    elif damage == "no-manifest":
        (newer / "manifest.json").unlink()
    else:
        (newer / "manifest.json").write_text("{" if damage == "bad-manifest" else "{}", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        assert store.newest() == older
    assert newer.name in caplog.text


def test_steps_are_compared_as_numbers(store: CheckpointStore) -> None:
    for step in (2 * 10**9, 10**10, 9, 100, 20):
        store.path(step).mkdir(parents=True)
    assert store.all() == [store.path(step) for step in (9, 20, 100, 2 * 10**9, 10**10)]


def test_older_checkpoints_go_but_the_best_stays(store: CheckpointStore) -> None:
    best = saved(store, 1)
    for step in (2, 3):
        saved(store, step)
    store.remove_older(best=str(best))
    assert store.all() == [store.path(1), store.path(3)]


def test_folders_of_others_stay(store: CheckpointStore) -> None:
    names = {".tmp-mine", ".old-photos", store.path(0).name, f"{store.name}-notes", store.name}
    for name in names:
        (store.folder / name).mkdir(parents=True)
        (store.folder / name / "notes.txt").write_text("mine")
    for step in (1, 2, 3):
        saved(store, step)
        store.remove_older()
    assert {path.name for path in store.folder.iterdir()} == names | {store.path(3).name}
    store.remove_all()
    assert {path.name for path in store.folder.iterdir()} == names


def test_what_a_crash_leaves_is_not_read_and_goes_with_the_next_save(store: CheckpointStore) -> None:
    left = (f".{store.path(5).name}.0123abcd.debertav3-partial", f".saving/{store.path(5).name}")
    for name in left:
        (store.folder / name).mkdir(parents=True)
    assert store.newest() is None and not store.all()
    saved(store, 1)
    assert [path.name for path in store.folder.iterdir()] == [store.path(1).name]


@pytest.mark.parametrize("where", ["block", "publishing"])
def test_a_full_disk_leaves_the_checkpoint_before(
    store: CheckpointStore, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved(store, 1)
    full = OSError(28, "No space left on device")

    def no_room(*_: Path) -> None:
        raise full

    if where == "publishing":
        monkeypatch.setattr(checkpoints, "publish_folder", no_room)
    with pytest.raises(UserError, match=r"step 2 cannot be written .*No space left on device"):  # noqa: SIM117
        with store.saving(2) as staged:
            (staged / "weights").write_bytes(b"w")
            if where == "block":
                raise full
    assert [path.name for path in store.folder.iterdir()] == [before.name]
    assert store.newest() == before


def test_nothing_there_means_nothing_to_resume(store: CheckpointStore) -> None:
    assert store.newest() is None
    store.remove_all()
    assert not store.folder.exists()
