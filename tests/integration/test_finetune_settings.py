"""Settings of a fine-tuning do in a whole run what they say."""

import json
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from debertav3 import DebertaV2ForSequenceClassification, DebertaV3Tokenizer
from debertav3.errors import UserError
from debertav3.finetuning.config import FinetuneConfig
from debertav3.finetuning.preparation import read_data
from debertav3.finetuning.run import run
from debertav3.layers.encoder import Intermediate
from debertav3.sizes import config_for

Train = Callable[..., tuple[dict[str, Any], Path]]
NO_DROPOUT = {"classifier_dropout": 0.0, "hidden_dropout": 0.0, "attention_dropout": 0.0}


@pytest.fixture
def model(tmp_path: Path, nano: Path) -> Path:
    tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = config_for("nano", vocab_size=len(tokenizer), initializer_range=0.2, **shape)
    DebertaV2ForSequenceClassification(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def train(model: Path, tmp_path: Path) -> Train:
    """Trains on 48 sentences, three quarters of them "good", and returns scores and folder."""
    draw, rows = random.Random(0), tmp_path / "rows.jsonl"
    labels = [int(number % 4 > 0) for number in range(48)]
    lines = [
        json.dumps({"sentence": f"{('no', 'yes')[label]} {draw.randrange(99)} times", "label": label})
        for label in labels
    ]
    rows.write_text("\n".join(lines), encoding="utf-8")
    runs: list[Path] = []

    def start(**changes: Any) -> tuple[dict[str, Any], Path]:
        settings = {"batch_size": 16, "learning_rate": 1e-2, "check_data": False, "log_every_steps": 1}
        source = (str(rows),)
        config = FinetuneConfig.of(
            task="sst2", model=str(model), train=source, dev=source, **{**settings, **changes}
        )
        runs.append(tmp_path / f"run-{len(runs)}")
        report = run(config, read_data(config), runs[-1])
        assert report is not None
        return report, runs[-1]

    return start


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_frozen_parts_stay_and_layers_learn_at_their_own_rates(train: Train, model: Path) -> None:
    before = weights(model)
    _, out = train(
        max_steps=1, warmup_steps=0, schedule="constant_with_warmup", weight_decay=0, layer_decay=0.5
    )
    moved = {key: float((value - before[key]).abs().max()) for key, value in weights(out).items()}
    layer = "deberta.encoder.layer.{}.output.dense.weight".format
    # Adam's first step moves what has a gradient by the learning rate.
    assert moved["classifier.weight"] == pytest.approx(1e-2, rel=1e-3)
    assert moved[layer(1)] == pytest.approx(5e-3, rel=1e-3)
    assert moved[layer(0)] == pytest.approx(2.5e-3, rel=1e-3)
    assert moved["deberta.embeddings.word_embeddings.weight"] == pytest.approx(1.25e-3, rel=1e-3)

    _, out = train(max_steps=2, freeze_embeddings=True, freeze_layers=1)
    changed = {key for key, value in weights(out).items() if not torch.equal(value, before[key])}
    frozen = ("deberta.embeddings.", "deberta.encoder.layer.0.")
    assert changed == {key for key in before if not key.startswith(frozen)}


def test_muon_turns_matrices_and_adamw_moves_the_rest(train: Train, model: Path) -> None:
    """An update of Muon is near an orthogonal matrix times 0.2 lr sqrt(n), by ``match_rms_adamw``."""
    before = weights(model)
    _, out = train(
        optimizer="muon", max_steps=1, warmup_steps=0, schedule="constant_with_warmup", weight_decay=0
    )
    moved = {key: value - before[key] for key, value in weights(out).items()}
    update = moved["deberta.encoder.layer.1.attention.output.dense.weight"]
    sizes = torch.linalg.svdvals(update) / (1e-2 * 0.2 * max(update.shape) ** 0.5)
    assert all(0.7 < float(one) < 1.3 for one in sizes[:10])  # AdamW's differ far more
    for key in ("classifier.weight", "deberta.embeddings.word_embeddings.weight"):
        assert float(moved[key].abs().max()) == pytest.approx(1e-2, rel=1e-3)
    with pytest.raises(UserError, match="none of them learns here: use optimizer=adamw"):
        train(optimizer="muon", max_steps=1, freeze_layers=2)


def test_lora_with_sift_leaves_a_plain_checkpoint(train: Train, model: Path) -> None:
    pytest.importorskip("peft")
    report, out = train(lora=True, lora_rank=4, sift=True, sift_weight=0.1, learning_rate=3e-2, epochs=8.0)
    assert report["accuracy"] > 0.8  # the commoner label is right in 0.75
    assert set(weights(out)) == set(weights(model))
    assert not list(out.glob("adapter*"))


def test_gradient_checkpointing_computes_layers_twice_and_changes_nothing(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, calls = Intermediate.forward, []

    def counted(self: Intermediate, *args: Any, **kwargs: Any) -> Any:
        if self.training:
            calls.append(self)
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(Intermediate, "forward", counted)
    _, plain = train(max_steps=2, **NO_DROPOUT)
    assert len(calls) == 2 * 2
    _, saving = train(max_steps=2, gradient_checkpointing=True, **NO_DROPOUT)
    assert len(calls) == 2 * 2 + 2 * 2 * 2
    ends = weights(plain), weights(saving)
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


def test_balanced_classes_raise_the_loss_of_the_rare_label(train: Train) -> None:
    def first_loss(**changes: Any) -> float:
        report, _ = train(max_steps=1, batch_size=48, **NO_DROPOUT, **changes)
        return float(next(entry["loss"] for entry in report["history"] if "loss" in entry))

    assert first_loss(balance_classes=True) != pytest.approx(first_loss(), rel=1e-3)


def test_few_shots_are_so_many_and_balanced(train: Train) -> None:
    report, _ = train(train_limit=8, batch_size=4, epochs=1.0, check_data=True)
    assert report["train"]["examples"] == 8
    assert report["train"]["steps"] == 2
    assert report["data"]["train"]["labels"] == {"negative": 4, "positive": 4}


def test_a_model_that_has_learned_nothing_is_named(train: Train, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="debertav3"):
        _, out = train(max_steps=1, learning_rate=1e-9, balance_classes=True)
    assert "constant baseline 0.7500: NO better" in caplog.text
    assert str(out / "report.html") in caplog.text


def test_tensorboard_keeps_its_curves(train: Train) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    report, out = train(max_steps=2, report_to=("tensorboard",))
    events = EventAccumulator(str(out / "tensorboard")).Reload()
    logged = [entry["loss"] for entry in report["history"] if "loss" in entry]
    assert [scalar.value for scalar in events.Scalars("train/loss")] == pytest.approx(logged)


@pytest.mark.parametrize(
    ("name", "message"), [("tensorbord", "unknown tracker"), ("dvclive", "pip install dvclive")]
)
def test_a_tracker_that_is_not_there_is_named_before_the_data_are_read(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_data(FinetuneConfig.of(task="sst2", model="nano", train=("absent.jsonl",), report_to=(name,)))


@pytest.mark.parametrize(
    ("processes", "changes", "message"),
    [
        ("2", {"batch_size": 5}, "batch_size 5 is not a multiple of 2 processes x 2 examples"),
        ("1", {"batch_size": 5, "micro_batch_size": 2}, "batch_size 5 is not a multiple of 1 processes x 2"),
    ],
)
def test_a_batch_that_cannot_be_split_is_refused_before_the_data_are_read(
    monkeypatch: pytest.MonkeyPatch, processes: str, changes: dict[str, Any], message: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", processes)
    with pytest.raises(UserError, match=message):
        read_data(FinetuneConfig.of(task="sst2", model="nano", train=("absent.jsonl",), **changes))
