"""Checkpoint folders are complete or absent, and a damaged one is never used."""

import logging
from pathlib import Path

import pytest

from debertav3.files import damage_of
from debertav3.finetune import checkpoints


def published(folder: Path, step: int) -> Path:
    staged = folder / checkpoints.STAGING
    (staged / "inner").mkdir(parents=True)
    (staged / "weights").write_bytes(b"w" * step)
    (staged / "inner" / "state").write_text("s", encoding="utf-8")
    target = folder / f"checkpoint-{step}"
    checkpoints.publish(staged, target)
    return target


def test_a_published_checkpoint_is_whole(tmp_path: Path) -> None:
    target = published(tmp_path, 7)
    assert damage_of(target) is None
    assert not (tmp_path / checkpoints.STAGING).exists()
    assert published(tmp_path, 7) == target  # the same step again replaces it
    assert damage_of(target) is None


@pytest.mark.parametrize(
    "damage", ["flip", "truncate", "delete", "no-manifest", "bad-manifest", "empty-manifest"]
)
def test_damage_is_found_and_the_older_checkpoint_taken(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    older, newer = published(tmp_path, 9), published(tmp_path, 10)
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
        assert checkpoints.newest_complete(tmp_path) == older
    assert "checkpoint-10" in caplog.text


def test_steps_are_compared_as_numbers(tmp_path: Path) -> None:
    names = [published(tmp_path, step).name for step in (100, 9, 20)]
    assert [path.name for path in checkpoints.numbered(tmp_path)] == [names[1], names[2], names[0]]


def test_older_checkpoints_go_but_the_best_stays(tmp_path: Path) -> None:
    best = published(tmp_path, 1)
    for step in (2, 3):
        published(tmp_path, step)
    checkpoints.remove_older(tmp_path, keep=1, best=str(best))
    assert [path.name for path in checkpoints.numbered(tmp_path)] == ["checkpoint-1", "checkpoint-3"]


def test_nothing_there_means_nothing_to_resume(tmp_path: Path) -> None:
    assert checkpoints.newest_complete(tmp_path / "absent") is None
