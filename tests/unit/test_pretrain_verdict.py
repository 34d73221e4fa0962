"""Contract: the verdict on a pre-training follows from its log, weights and baselines, and names figures."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from debertav3.checkpoint.sanity import is_absurd
from debertav3.data.shards import FORMAT, ShardWriter, TokenShards
from debertav3.files import write_json
from debertav3.pretrain.settings import recipe
from debertav3.pretrain.verdict import broken_weights, judge, word_frequency_loss

RUN = {"config": {"precision": "fp32"}, "vocabulary": 1000, "word_frequency_loss": 6.0}
GOOD = {
    "step": 100,
    "heldout_mlm_loss": 3.0,
    "heldout_rtd_loss": 0.2,
    "heldout_rtd_accuracy": 0.95,
    "heldout_rtd_accuracy_all_original": 0.9,
    "heldout_rtd_f1": 0.6,
}


def row(skipped: int, step: int = 100) -> dict[str, Any]:
    return {"step": step, "generator_skipped_steps": skipped, "discriminator_skipped_steps": 0}


@pytest.mark.parametrize(
    ("rows", "kind", "said"),
    [
        ([row(0), GOOD], "trained", "3.00 nats per token; predicting word frequencies alone gives 6.00"),
        ([row(10), GOOD], "trained", "predicting original everywhere is correct for 90.0%"),
        (
            [row(0), {**GOOD, "heldout_mlm_loss": 6.1}],
            "not yet",
            "predicting word frequencies alone gives 6.00",
        ),
        ([row(0), {**GOOD, "heldout_rtd_accuracy": 0.9}], "not yet", "90.0%"),
        ([row(0), {**GOOD, "heldout_rtd_accuracy": 0.901}], "not yet", "90.1% of held-out tokens correctly"),
        (
            [row(0), {**GOOD, "heldout_rtd_accuracy": 0.901, "heldout_rtd_recall": 0.01}],
            "not yet",
            "predicts original almost everywhere: it classifies 90.1%",
        ),
        ([row(0)], "not validated", "no held-out text"),
        ([row(5, 6)], "diverged", "5 of 6 steps were skipped"),
        ([row(6, 50), row(5), GOOD], "diverged", "11 of 100 steps were skipped"),
        ([row(0), {**GOOD, "heldout_mlm_loss": None}], "diverged", "not a finite number"),
        ([row(0), {**GOOD, "heldout_mlm_loss": 55.0}], "diverged", "guessing among all 1,000 tokens"),
    ],
)
def test_verdicts(rows: list[dict[str, Any]], kind: str, said: str) -> None:
    verdict = judge(rows, RUN)
    assert verdict.kind == kind
    assert said in str(verdict)


def course(*losses: tuple[float, float]) -> list[dict[str, Any]]:
    """Log of training and held-out losses, 100 steps apart."""
    return [
        one
        for number, (training, heldout) in enumerate(losses, 1)
        for one in (
            {"step": 100 * number, "mlm_loss": training},
            {**GOOD, "step": 100 * number, "heldout_mlm_loss": heldout},
        )
    ]


@pytest.mark.parametrize(
    ("rows", "kind", "said"),
    [
        (
            course((5.0, 4.0), (3.0, 3.2), (1.0, 4.5)),
            "past its best",
            "lowest at step 200 (3.20 nats per token) and has risen to 4.50 since, while that of "
            "training fell from 3.00 to 1.00: too little text",
        ),
        (
            course((5.0, 4.0), (3.0, 3.2), (4.6, 4.5)),
            "past its best",
            "and that of training from 3.00 to 4.60: lower learning_rate",
        ),
        (course((5.0, 4.0), (3.0, 3.2), (6.5, 6.5)), "not yet", "has risen to 6.50 since"),
        (course((3.0, 3.2), (2.9, 3.29)), "trained", "3.29 nats per token; predicting word frequencies"),
        (
            [{**GOOD, "step": 10, "heldout_mlm_loss": 2.0}, {**GOOD, "heldout_mlm_loss": 3.0}],
            "past its best",
            "has risen to 3.00 since.",
        ),
    ],
)
def test_a_loss_that_has_risen_since_its_lowest_is_named(
    rows: list[dict[str, Any]], kind: str, said: str
) -> None:
    verdict = judge(rows, RUN)
    assert verdict.kind == kind
    assert said in str(verdict)


def test_absurd_weights_are_found() -> None:
    model = torch.nn.Linear(3, 2)
    assert judge([row(0), GOOD], RUN, broken=broken_weights([model, None])).kind == "trained"
    for value in (1e30, -2e4, math.nan, math.inf):
        with torch.no_grad():
            model.bias[1] = value
        assert broken_weights([model, None]) == ["bias"]
        assert judge([row(0), GOOD], RUN, broken=["bias"]).kind == "diverged"
    assert not is_absurd(torch.tensor([40.0, -9e3]))
    assert not is_absurd(torch.tensor([10**9]))
    assert not is_absurd(torch.empty(0))


def test_a_scaler_may_look_for_its_scale() -> None:
    fp16 = {**RUN, "config": {"precision": "fp16"}}
    assert judge([row(20), GOOD], fp16).kind == "trained"
    assert judge([row(21), GOOD], fp16).kind == "diverged"


def test_word_frequencies_alone(tmp_path: Path) -> None:
    splits = {}
    for split, documents in (("train", [[0, 0, 1]]), ("heldout", [[0, 1]])):
        with ShardWriter(tmp_path / split, "a", np.dtype("<u2")) as writer:
            for document in documents:
                writer.add(document)
        splits[split] = [writer.facts()]
    index = {"format": FORMAT, "vocab_size": 3, "dtype": "<u2", "fingerprint": "x", "splits": splits}
    write_json(tmp_path / "index.json", index)
    train, heldout = TokenShards(tmp_path), TokenShards(tmp_path, "heldout")
    assert word_frequency_loss(train, heldout) == pytest.approx(-(math.log(3 / 6) + math.log(2 / 6)) / 2)
    assert train.content()["train/a.tokens"] == splits["train"][0]["sha256"]


@pytest.mark.parametrize(("steps", "warmup"), [(6, 0), (400, 40), (401, 400)])
def test_a_warm_up_is_shorter_than_the_run(steps: int, warmup: int) -> None:
    config = recipe("nano").with_overrides([f"max_steps={steps}"])
    assert config.optimizer.warmup_steps == 400
    assert (
        config.warmup == config.optimizer_config().warmup_steps == config.resolved()["warmup_steps"] == warmup
    )
