"""Fitted probabilities: the temperature undoes a known scale, thresholds are the best, files are checked."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from debertav3.data.probabilities import Probabilities, read_probabilities
from debertav3.errors import UserError
from debertav3.files.model_folder import ModelFolder
from debertav3.finetuning.calibration import DevPredictions, best_threshold, describe, in_words


def drawn(kind: Any, *, scale: float, rows: int = 4000) -> DevPredictions:
    """Logits whose answers were drawn by the probabilities of the logits divided by ``scale``."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(rows, 3)) * 2
    if kind == "several-labels":
        gold: Any = (random.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(int)
    else:
        shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        gold = (random.random((rows, 1)) > shares.cumsum(-1)).sum(-1).clip(max=2)
    return DevPredictions(logits_NC=logits * scale, gold=gold, kind=kind, labels=("a", "b", "c"))


@pytest.mark.parametrize("kind", ["one-label", "several-labels"])
@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_a_scale(kind: str, scale: float) -> None:
    predictions = drawn(kind, scale=scale)
    fitted = predictions.fit()
    assert fitted is not None
    assert fitted.temperature == pytest.approx(scale, rel=0.1)
    report = describe(predictions, fitted)
    assert report["ece_after"] < 0.03
    if scale == 3.0:
        assert report["ece"] > 0.1
    assert f"{report['ece']:.4f}, and {report['ece_after']:.4f} with the temperature" in in_words(report)
    if kind == "several-labels":
        assert report["micro_f1_after"] > report["micro_f1"] - 0.01
        assert set(fitted.thresholds) == {"a", "b", "c"}


def test_too_few_examples_fit_nothing() -> None:
    predictions = drawn("one-label", scale=3.0, rows=19)
    assert predictions.fit() is None
    assert in_words(describe(predictions, None)) == ""


@pytest.mark.parametrize(
    ("shares", "gold", "wanted"),
    [
        ([0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1], 0.25),
        ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], 0.5),  # between them 0.5 is as good as any
        ([0.6, 0.7, 0.8, 0.9], [0, 0, 1, 1], 0.75),
        ([0.3, 0.3, 0.3, 0.2], [1, 0, 0, 0], 0.25),  # equal ones are never parted
        ([0.3, 0.4], [0, 0], 0.5),
    ],
)
def test_thresholds_by_hand(shares: list[float], gold: list[int], wanted: float) -> None:
    assert best_threshold(np.array(shares), np.array(gold)) == pytest.approx(wanted)


def test_the_file(tmp_path: Path) -> None:
    assert read_probabilities(ModelFolder(tmp_path)) == Probabilities()
    Probabilities(temperature=1.5, thresholds={"a": 0.3}).write(tmp_path)
    found = read_probabilities(ModelFolder(tmp_path))
    assert (found.temperature, found.threshold("a"), found.threshold("b")) == (1.5, 0.3, 0.5)
    for content in (
        {"temperature": 0},
        {"temperature": "1"},
        {"temperature": True},
        {},
        {"temperature": 1, "thresholds": {"a": 2}},
        {"temperature": 1, "thresholds": ["a"]},
    ):
        (tmp_path / "probabilities.json").write_text(json.dumps(content))
        with pytest.raises(UserError, match="Delete the file"):
            read_probabilities(ModelFolder(tmp_path))
