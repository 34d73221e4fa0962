"""The three tasks on which `pretraining_study.py` fine-tunes: files, and one recipe for all rows."""

import gzip
import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class StudyTask:
    """A task, how long it is trained, and the score that is compared."""

    name: str
    task: str
    ending: str
    metric: str
    settings: tuple[str, ...]


TASKS = (
    StudyTask(
        name="inference",
        task="nli",
        ending="jsonl",
        metric="accuracy",
        settings=("max_length=64", "epochs=1", "learning_rate=3e-4", "train_limit=6000"),
    ),
    StudyTask(
        name="sentiment",
        task="custom",
        ending="jsonl",
        metric="accuracy",
        settings=("max_length=64", "epochs=1", "learning_rate=3e-4", "train_limit=5000"),
    ),
    StudyTask(
        name="entities",
        task="ner",
        ending="conll",
        metric="f1",
        settings=("max_length=64", "epochs=3", "learning_rate=5e-4"),
    ),
)


def write_sets(data: Path, out: Path) -> None:
    """Write train and dev files: SNLI split by premise, sentence polarity by text, entities as they are."""
    out.mkdir(parents=True, exist_ok=True)
    for name, source, column in (
        ("inference", "nli/snli_dev", "premise"),
        ("sentiment", "classification/sentence_polarity", "text"),
    ):
        with gzip.open(data / f"{source}.jsonl.gz", "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        for part, is_dev in (("train", False), ("dev", True)):
            kept = [json.dumps(row) for row in rows if _is_held_out(row[column]) == is_dev]
            (out / f"{name}_{part}.jsonl").write_text("\n".join(kept) + "\n", encoding="utf-8")
    for part in ("train", "dev"):
        shutil.copyfile(data / "ner" / f"uner_ewt_{part}.conll", out / f"entities_{part}.conll")


def _is_held_out(text: str) -> bool:
    """One text in eight, chosen by hash."""
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % 8 == 0
