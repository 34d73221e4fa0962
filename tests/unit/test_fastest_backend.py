"""What ``auto`` takes: what a short measurement on this machine said, remembered, and never silently."""

import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from debertav3 import Predictor, UserError
from debertav3.checkpoint.folder import Checkpoint
from debertav3.cpu.kernel import library
from debertav3.inference.backends import choose, fastest
from debertav3.inference.backends.choose import BackendConfig, Way, ways
from debertav3.inference.backends.fastest import race

PAIR = ("a dog runs", "a dog sleeps")


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for every test."""
    monkeypatch.setenv("DEBERTAV3_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "backends"


class Timed:
    """A backend that takes so long for a batch."""

    device, dtype, head, batch_tokens = "cpu", "fp32", "sequence-classification", 1024
    config: Mapping[str, object] = {"vocab_size": 100}

    def __init__(self, name: str, seconds: float) -> None:
        self.name, self.seconds, self.calls = name, seconds, 0

    def run(self, batch: Any) -> Any:
        self.calls += 1
        time.sleep(self.seconds)
        return {"logits": np.zeros((len(batch["input_ids"]), 3), np.float32)}


def way(backend: Timed, nano: Path, *, problem: str | None = None) -> Way:
    def opening() -> Timed:
        if problem:
            raise UserError(problem)
        return backend

    return Way(backend.name, Checkpoint.open(nano), opening, "fp32")


def names(folder: Path, **how: Any) -> list[str]:
    return [one.name for one in ways(Checkpoint.open(folder), task="nli", how=BackendConfig(**how))]


def test_the_batch_is_no_longer_than_the_model_takes() -> None:
    class Short(Timed):
        config: Mapping[str, object] = {"vocab_size": 100, "max_position_embeddings": 24}

        def run(self, batch: Any) -> Any:
            assert batch["input_ids"].shape[1] <= 24
            return super().run(batch)

    short = Short("native", 0.0)
    assert race(short, [], limit_seconds=0.01)[0] is short


def test_the_fastest_wins_by_more_than_noise(nano: Path) -> None:
    present = Timed("native", 0.02)
    for seconds, wins in ((0.004, True), (0.0195, False), (0.03, False)):
        chosen, measured = race(present, [way(Timed("onnx", seconds), nano)], limit_seconds=0.3)
        assert (chosen.name == "onnx") == wins
        assert measured.startswith("native ") and ", onnx " in measured


def test_the_race_ends_in_time(nano: Path) -> None:
    slow = [Timed(name, 0.2) for name in ("native", "onnx", "openvino")]
    started = time.perf_counter()
    race(slow[0], [way(one, nano) for one in slow[1:]], limit_seconds=0.3)
    assert time.perf_counter() - started < 0.3 + 6 * 0.2 + 0.3  # a first call and a round of each
    assert slow[2].calls == 0  # no time was left to open it


def test_what_cannot_be_opened_is_left_out(nano: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        chosen, _ = race(Timed("native", 0.001), [way(Timed("onnx", 0), nano, problem="is broken")])
    assert chosen.name == "native" and "backend onnx cannot be used: is broken" in caplog.text


@pytest.mark.skipif(library.kernel() is None, reason="without the kernel the order is another")
def test_the_ways_of_a_checkpoint(nano: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names(nano)[0] == "native" and names(nano, backend="light") == ["native"]
    assert names(nano, backend="torch") == ["torch"] and names(nano, dtype="bf16") == ["torch"]
    assert "torch" in sys.modules and names(nano) == ["native", "torch"]
    monkeypatch.delitem(sys.modules, "torch")
    assert names(nano) == ["native"]  # importing torch takes longer than it could win
    monkeypatch.setattr(choose, "_has_cpu_kernel", lambda: False)
    assert names(nano) == ["torch", "native"]
    monkeypatch.setattr(choose, "is_installed", lambda name: False)
    assert names(nano) == ["native"]


def test_much_work_is_measured_once_and_a_single_answer_never(
    nano: Path, memory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found: list[str] = []

    def racing(present: Any, others: list[Way]) -> tuple[Any, str]:
        found.append(present.name)
        return next(one for one in others if one.name == "torch").open(), "native 1, torch 2"

    monkeypatch.setattr(fastest, "race", racing)
    monkeypatch.setattr("debertav3.inference.engine.BIG_INPUT_TOKENS", 40)
    predictor = Predictor.from_pretrained(nano, device="cpu", batch_tokens=512)
    first = predictor.engine.backend.name
    one = predictor.nli(PAIR)
    assert not found and not memory.exists() and predictor.engine.backend.name == first
    with caplog.at_level(logging.INFO):
        many = predictor.nli([PAIR] * 30)
    assert found == [first] and predictor.engine.backend.name == "torch"
    assert "auto: torch (measured on this machine, tokens/s: native 1, torch 2)" in caplog.text
    assert many[0] == pytest.approx(one, abs=1e-5)
    assert [path.read_text() for path in memory.iterdir()] == ["torch\nnative 1, torch 2\n"]
    again = Predictor.from_pretrained(nano, device="cpu", batch_tokens=512)
    assert again.engine.backend.name == "torch"  # as the memory says
    again.nli([PAIR] * 30)
    named = Predictor.from_pretrained(nano, device="cpu", backend="native", batch_tokens=512)
    named.nli([PAIR] * 30)
    assert len(found) == 1 and named.engine.backend.name == "native"
    next(memory.iterdir()).write_text("")  # damaged: as if nothing were known
    assert Predictor.from_pretrained(nano, device="cpu").engine.backend.name == first


def test_the_memory_is_of_the_content(nano: Path, tmp_path: Path) -> None:
    def key(folder: Path) -> str:
        return fastest.memory_key(Checkpoint.open(folder), task="nli", device="auto", dtype="fp32")

    copied = tmp_path / "copied"
    copied.mkdir()
    for path in nano.iterdir():
        if path.is_file():
            (copied / path.name).symlink_to(path) if path.suffix == ".safetensors" else (
                copied / path.name
            ).write_bytes(path.read_bytes())
    assert key(copied) == key(nano)
    config = (copied / "config.json").read_text()
    (copied / "config.json").write_text(config.replace('"layer_norm_eps": 1e-07', '"layer_norm_eps": 1e-06'))
    assert (copied / "config.json").read_text() != config and key(copied) != key(nano)
