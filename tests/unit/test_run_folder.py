"""The folder of a run, of either training: what is in it is kept, and older records are read."""

import json
from pathlib import Path

import pytest

from debertav3.errors import UserError
from debertav3.finetuning import resuming
from debertav3.finetuning.config import FinetuneConfig
from debertav3.pretrain import provenance
from debertav3.runs.record import circumstances, differences, has_record, read_record, write_record

FINETUNED = {"config": {"task": "nli", "model": "nano"}, "data": {}}
PRETRAINED = {"config": {"objective": "rtd", "size": "nano"}, "data": {"folder": "x", "fingerprint": "0"}}
"""As versions wrote them that noted neither commit nor threads of a pre-training."""


def check(training: str, out: Path, *, resume: bool) -> None:
    if training == "finetune":
        resuming.check_folder(FinetuneConfig(task="nli", model="nano"), out, resume=resume)
    else:
        provenance.check_folder(out, resume=resume)


@pytest.mark.parametrize("training", ["finetune", "pretrain"])
@pytest.mark.parametrize("resume", [False, True])
def test_foreign_files_are_kept_whatever_the_training(tmp_path: Path, training: str, resume: bool) -> None:
    (tmp_path / "report.html").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match=r"contains report\.html, which does not come from a run"):
        check(training, tmp_path, resume=resume)
    with pytest.raises(UserError, match=r"report\.html is a file\. Give the path of a folder"):
        check(training, tmp_path / "report.html", resume=resume)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(("training", "record"), [("finetune", FINETUNED), ("pretrain", PRETRAINED)])
def test_a_run_is_known_by_a_record_of_an_earlier_version(
    tmp_path: Path, training: str, record: dict[str, object]
) -> None:
    assert not has_record(tmp_path)
    write_record(tmp_path, record)
    assert has_record(tmp_path) and read_record(tmp_path, needs=("config", "data")) == record
    with pytest.raises(UserError, match="already contains a run"):
        check(training, tmp_path, resume=False)
    if training == "pretrain":
        check(training, tmp_path, resume=True)


@pytest.mark.parametrize("name", ["checkpoints", "encoder"])
def test_empty_folders_of_a_run_that_was_killed_at_once_are_taken(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    check("pretrain", tmp_path, resume=False)
    (tmp_path / name / ".saving").mkdir()
    if name == "checkpoints":
        check("pretrain", tmp_path, resume=False)
    else:
        with pytest.raises(UserError, match="contains encoder"):
            check("pretrain", tmp_path, resume=False)


def test_a_fine_tuned_model_is_no_pretraining_to_resume(tmp_path: Path) -> None:
    write_record(tmp_path, FINETUNED)
    with pytest.raises(UserError, match=r"contains run\.json, which does not come from a run"):
        check("pretrain", tmp_path, resume=True)


def test_differences_give_both_values_and_no_sums() -> None:
    before = {"config": {"rate": 1.0, "size": "nano"}, "data": {"a.tokens": "a" * 64}, "start": None}
    now = {"config": {"rate": 2.0, "size": "nano"}, "data": {"a.tokens": "b" * 64}, "start": "x"}
    assert list(differences(before, now)) == [
        "rate (was 1.0, now 2.0)",
        "a.tokens",
        "start (was None, now 'x')",
    ]
    assert not list(differences(now, now))


def test_a_record_says_what_computed_the_run() -> None:
    facts = circumstances()
    assert {"debertav3", "python", "torch", "safetensors"} <= facts["versions"].keys()
    assert facts["threads"] >= 1 and json.loads(json.dumps(facts)) == facts
