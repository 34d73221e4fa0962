"""The recipes of models/nano and of German run end to end with small values, killed in between."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

MINUTES = 25


def command(repository: Path, recipe: str, data: Path, wordnet: Path, out: Path) -> list[str]:
    make = repository / "recipes" / "nano" / "make.py"
    stages = repository / "recipes" / recipe / "stages.yaml"
    places = ["--recipe", str(stages), "--data", str(data), "--wordnet", str(wordnet), "--out", str(out)]
    return [sys.executable, str(make), *places, "--processes", "1", "--tiny"]


def environment(repository: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(repository / "src"), "HF_HUB_OFFLINE": "1"}


@pytest.fixture
def wordnet() -> Path:
    folder = Path(os.environ.get("DEBERTAV3_WORDNET", "/usr/share/wordnet"))
    if not (folder / "data.noun").is_file():
        pytest.skip(f"no WordNet at {folder}: apt install wordnet-base, or set DEBERTAV3_WORDNET")
    return folder


@pytest.mark.slow
def test_nano_from_the_data_to_the_card(
    repository: Path, data_folder: Path, wordnet: Path, tmp_path: Path
) -> None:
    line = command(repository, "nano", data_folder, wordnet, tmp_path / "nano")
    draws, kills, start = random.Random(0), 0, time.monotonic()
    while True:
        process = subprocess.Popen(line, env=environment(repository), start_new_session=True)
        try:
            process.wait(draws.uniform(20, 60) if kills < 3 else MINUTES * 60)
            break
        except subprocess.TimeoutExpired:
            assert time.monotonic() - start < MINUTES * 60
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
    assert process.returncode == 0
    out = tmp_path / "nano"
    model = out / "model" / "nano"
    card = (model / "README.md").read_text(encoding="utf-8")
    assert "| MultiNLI matched |" in card and "| product reviews sentiment |" in card and "{{" not in card
    records = {path.parent.name: json.loads(path.read_text()) for path in out.glob("*/stage.json")}
    assert len(records) == 17 and all(one["outputs"] and sum(one["seconds"]) > 0 for one in records.values())
    evaluation = json.loads((out / "model" / "evaluation-1.json").read_text())
    assert set(evaluation["example"]) == {"entailment", "neutral", "contradiction"}


@pytest.mark.slow
def test_german_from_the_text_to_scores(repository: Path, data_folder: Path, tmp_path: Path) -> None:
    line = command(repository, "german", data_folder, tmp_path, tmp_path / "german")
    subprocess.run(line, env=environment(repository), check=True, timeout=MINUTES * 60)
    for task in ("answers", "emotion"):
        found = json.loads((tmp_path / "german" / "results" / f"{task}.json").read_text())
        assert found and "nano" in json.dumps(found)
