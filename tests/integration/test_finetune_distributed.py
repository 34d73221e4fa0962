"""Two gloo processes with the same total batch reach the losses and weights of one process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from debertav3 import DebertaV2ForSequenceClassification, DebertaV3Tokenizer
from debertav3.sizes import config_for

FORMS = {"entailment": "Somebody {}.", "neutral": "Somebody {} often.", "contradiction": "Nobody {}."}
VERBS = ("sleeps", "sings", "runs", "reads", "waits", "works", "walks", "laughs")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, nano: Path) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = config_for("nano", vocab_size=len(tokenizer), initializer_range=0.2, **shape, **dropout)
    DebertaV2ForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    lines = [
        json.dumps({"premise": f"Person {number} {verb}.", "hypothesis": form.format(verb), "label": label})
        for number, verb in enumerate(VERBS)
        for label, form in FORMS.items()
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


SETTINGS = ("batch_size=8", "epochs=2", "learning_rate=1e-3", "log_every_steps=1", "save_every_steps=2")


def train(processes: int, model: Path, rows: Path, out: Path, *more: str) -> dict[str, Any]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [
        sys.executable,
        *(launcher if processes > 1 else []),
        *["-m", "debertav3", "finetune", "nli"],
        *["--model", str(model), "--train", str(rows), "--dev", str(rows), "--out", str(out)],
    ]
    for setting in (*SETTINGS, "eval_batch_size=5", *more):
        command += ["--set", setting]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "find_unused_parameters" not in done.stderr  # nothing is sought at each step that is not there
    report: dict[str, Any] = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    return report


def losses_of(report: dict[str, Any]) -> list[float]:
    return [entry["loss"] for entry in report["history"] if "loss" in entry]


def test_two_processes_equal_one(model: Path, rows: Path, tmp_path: Path) -> None:
    one, two = (train(count, model, rows, tmp_path / str(count)) for count in (1, 2))
    losses = losses_of(one), losses_of(two)
    assert len(losses[0]) == 6
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    (scores_of_one,), (scores_of_two,) = one["dev"].values(), two["dev"].values()
    assert scores_of_two["confusion"] == scores_of_one["confusion"]
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("1", "2")]
    for name in weights[0]:
        torch.testing.assert_close(weights[1][name], weights[0][name], atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_two_processes_equal_one_with_sift(model: Path, rows: Path, tmp_path: Path) -> None:
    # Each process draws the first change for itself, and its direction decides where uphill is: the
    # regularizers are equal on average only, but a wrong count of examples or processes would double them.
    sift = ("sift=true", "sift_step_size=0.5", "sift_weight=1")
    plain = train(1, model, rows, tmp_path / "plain")
    one, two = (train(count, model, rows, tmp_path / str(count), *sift) for count in (1, 2))
    added = [losses_of(report)[0] - losses_of(plain)[0] for report in (one, two)]
    assert added[0] > 0.1
    assert added[1] == pytest.approx(added[0], rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [("freeze_embeddings=true", "freeze_layers=1"), ("lora=true",), ("lora=true", "sift=true")],
    ids=["frozen", "lora", "lora-sift"],
)
def test_parts_that_do_not_learn_are_not_waited_for(
    model: Path, rows: Path, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    one, two = (train(count, model, rows, tmp_path / str(count), *settings) for count in (1, 2))
    if "sift=true" in settings:
        assert len(losses_of(two)) == len(losses_of(one))
    else:
        assert losses_of(two) == pytest.approx(losses_of(one), abs=1e-5)
