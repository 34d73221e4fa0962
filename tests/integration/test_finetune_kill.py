"""A fine-tuning killed by SIGKILL at random moments and resumed ends with the weights of an unbroken one."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from debertav3 import DebertaV2ForSequenceClassification, DebertaV3Tokenizer
from debertav3.finetuning.config import FinetuneConfig
from debertav3.finetuning.preparation import read_data
from debertav3.finetuning.resuming import checkpoints_of
from debertav3.finetuning.run import run
from debertav3.runs.record import has_record
from debertav3.sizes import config_for

FORMS = {"entailment": "Somebody {}.", "neutral": "Somebody {} often.", "contradiction": "Nobody {}."}
VERBS = ("sleeps", "sings", "runs", "reads", "waits", "works", "walks", "laughs")
STEPS_PER_EPOCH = 6


def settings_in(folder: Path, nano: Path, *, epochs: int) -> FinetuneConfig:
    """A tiny model and data, and a run that saves after every step."""
    tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = config_for("nano", vocab_size=len(tokenizer), initializer_range=0.2, **shape)
    DebertaV2ForSequenceClassification(config).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    rows = folder / "rows.jsonl"
    lines = [
        json.dumps({"premise": f"Person {number} {verb}.", "hypothesis": form.format(verb), "label": label})
        for number, verb in enumerate(VERBS)
        for label, form in FORMS.items()
    ]
    rows.write_text("\n".join(lines), encoding="utf-8")
    return FinetuneConfig.of(
        task="nli",
        model=str(folder / "model"),
        train=(str(rows),),
        dev=(str(rows),),
        batch_size=len(lines) // STEPS_PER_EPOCH,
        epochs=epochs,
        learning_rate=1e-3,
        save_every_steps=1,
        check_data=False,
    )


def start(config: FinetuneConfig, out: Path, log: Path) -> subprocess.Popen[bytes]:
    file = out.with_suffix(".json")
    file.write_text(json.dumps(config.to_dict()), encoding="utf-8")
    command = [sys.executable, "-m", "debertav3", "finetune", "nli", "--model", config.model, "--resume"]
    command += ["--train", *config.data.train, "--config", str(file), "--out", str(out)]  # JSON is YAML
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with log.open("ab") as stderr:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr, env=environment)


def newest_step(out: Path) -> int:
    found = checkpoints_of(out).all()
    return int(found[-1].name.split("-")[1]) if found else 0


def kill_at_random(process: subprocess.Popen[bytes], out: Path, draw: random.Random, *, last: int) -> bool:
    """Kill while it loads, within a second of its first checkpoint, or in its last writings.

    Returns:
        False if the run ended before.
    """
    before, patience = newest_step(out), time.monotonic() + 120
    is_loading = before >= last or draw.random() < 0.2
    while process.poll() is None and newest_step(out) == before and not is_loading:
        assert time.monotonic() < patience, "no new checkpoint in two minutes"
        time.sleep(0.005)
    try:
        process.wait(timeout=draw.uniform(0.0, 6.0 if is_loading else 1.0))
        return False
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True


@pytest.mark.parametrize(
    ("kills", "epochs"), [(2, 3), pytest.param(20, 7, marks=pytest.mark.slow)], ids=["two", "twenty"]
)
def test_kills_change_nothing(tmp_path: Path, nano: Path, kills: int, epochs: int) -> None:
    config = settings_in(tmp_path, nano, epochs=epochs)
    log, broken = tmp_path / "log", [tmp_path / "broken-0"]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the other processes
    try:
        whole = run(config, read_data(config), tmp_path / "straight")
        draw, stopped_at = random.Random(kills), []
        while len(stopped_at) < kills:
            process = start(config, broken[-1], log)
            if kill_at_random(process, broken[-1], draw, last=epochs * STEPS_PER_EPOCH):
                stopped_at.append(newest_step(broken[-1]))
                if has_record(broken[-1]):  # it was complete, and the process about to end
                    broken.append(tmp_path / f"broken-{len(broken)}")
            else:
                assert process.returncode == 0, log.read_text(encoding="utf-8")
                broken.append(tmp_path / f"broken-{len(broken)}")
        run(config, read_data(config), broken[-1], resume=True)
    finally:
        torch.set_num_threads(threads)
    print(f"killed at the steps {stopped_at} of {epochs * STEPS_PER_EPOCH}, in {len(broken)} runs")
    assert whole is not None
    straight = load_file(tmp_path / "straight" / "model.safetensors")
    for folder in broken:
        assert json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["dev"] == whole["dev"]
        weights = load_file(folder / "model.safetensors")
        assert all(torch.equal(weights[name], straight[name]) for name in straight)
