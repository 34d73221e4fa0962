"""``debertav3 search`` tries each setting once, goes on where it was broken off, and keeps the best trial."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from debertav3 import DebertaV2ForSequenceClassification, DebertaV3Tokenizer
from debertav3.errors import DivergedError, UserError
from debertav3.finetuning import trainer as training
from debertav3.finetuning.config import FinetuneConfig
from debertav3.finetuning.objectives.text import TextObjective
from debertav3.finetuning.search import paper_grid, read_grid, search
from debertav3.sizes import config_for
from debertav3.tasks.names import TASKS

pytest.importorskip("optuna")
GRID = {"learning_rate": [1e-9, 2e-2], "warmup_steps": [0.0, 0.5]}


@pytest.fixture
def base(tmp_path: Path, nano: Path) -> FinetuneConfig:
    """A run that only a large learning rate lets learn anything."""
    tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = config_for("nano", vocab_size=len(tokenizer), initializer_range=0.2, **shape)
    DebertaV2ForSequenceClassification(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    rows = tmp_path / "rows.jsonl"
    lines = [json.dumps({"sentence": ("bad", "good")[n % 2] + f" {n}", "label": n % 2}) for n in range(24)]
    rows.write_text("\n".join(lines), encoding="utf-8")
    return FinetuneConfig.of(
        task="sst2",
        model=str(tmp_path / "model"),
        train=(str(rows),),
        dev=(str(rows),),
        batch_size=8,
        epochs=4.0,
        check_data=False,
    )


def test_a_broken_search_goes_on_and_finds_the_best(
    base: FinetuneConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="debertav3")
    out, trained = tmp_path / "out", []
    train = training.FinetuneTrainer.train

    def broken(self: Any, *args: Any, **kwargs: Any) -> Any:
        if len(trained) == 1:
            trained.append("broken")
            raise KeyboardInterrupt
        trained.append((self.config.optimizer.learning_rate, self.config.optimizer.warmup_steps))
        return train(self, *args, **kwargs)

    monkeypatch.setattr(training.FinetuneTrainer, "train", broken)
    with pytest.raises(KeyboardInterrupt):
        search(base, GRID, out, trials=8)
    rows = search(base, GRID, out, trials=8)
    trained.remove("broken")
    assert len(trained) == len(set(trained)) == 4  # of eight trials: the grid has no more
    assert sorted(row["trial"] for row in rows) == list(range(4))
    assert "all 4 settings of the grid have been tried" in caplog.text
    assert rows[0]["settings"]["learning_rate"] == 2e-2
    assert rows[0]["score"] > rows[-1]["score"]
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)

    kept = out / f"trial-{rows[0]['trial']}"
    assert list(out.glob("trial-*")) == [kept]
    assert json.loads((kept / "metrics.json").read_text(encoding="utf-8"))["accuracy"] == rows[0]["score"]
    assert json.loads((out / "search.json").read_text(encoding="utf-8"))["best"] == rows[0]
    assert "Best: `--set learning_rate=0.02" in (out / "search.md").read_text(encoding="utf-8")
    with pytest.raises(UserError, match="search of another seed"):
        search(base.with_values({"seed": 2}, source="test"), GRID, out, trials=9)


def test_trials_on_other_data_or_weights_are_not_ranked_together(
    base: FinetuneConfig, tmp_path: Path, nano: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("debertav3.finetuning.search._score_of", lambda *args, **kwargs: 0.5)
    out, rows = tmp_path / "out", Path(base.data.dev[0])
    search(base, GRID, out, trials=1)
    content = rows.read_text(encoding="utf-8")
    moved = tmp_path / "moved.jsonl"
    moved.write_text(content, encoding="utf-8")
    search(base.with_values({"dev": [str(moved)]}, source="test"), GRID, out, trials=1)
    rows.write_text("\n".join(content.splitlines()[:20]), encoding="utf-8")
    with pytest.raises(UserError, match="search of another train, dev: scores would not be comparable"):
        search(base, GRID, out, trials=2)
    rows.write_text(content, encoding="utf-8")
    config = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-3}))
    with pytest.raises(UserError, match=r"search of another model \(config\.json\)"):
        search(base, GRID, out, trials=2)


def test_only_folders_that_the_search_made_are_removed(
    base: FinetuneConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def score(base: Any, chosen: dict[str, Any], folder: Path, **kwargs: Any) -> float:
        folder.mkdir()
        return -float(folder.name.removeprefix("trial-"))

    monkeypatch.setattr("debertav3.finetuning.search._score_of", score)
    out = tmp_path / "out"
    for name in ("trial-run of 2025", "trial-3"):
        (out / name).mkdir(parents=True)
        (out / name / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"trial-3 is not part of this search"):
        search(base, GRID, out, trials=4)
    assert sorted(path.name for path in out.glob("trial-*")) == ["trial-0", "trial-3", "trial-run of 2025"]
    assert (out / "trial-3" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_so_many_trials_are_so_many_settings(
    base: FinetuneConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    base = base.with_values({"seed": seed}, source="test")
    scored: list[dict[str, Any]] = []

    def score(base: Any, chosen: dict[str, Any], folder: Path, **kwargs: Any) -> float | None:
        scored.append(dict(chosen))
        return None if chosen["batch_size"] == 2 else chosen["batch_size"] / 8

    monkeypatch.setattr("debertav3.finetuning.search._score_of", score)
    grid = {"batch_size": [1, 2, 4, 4], "sift": [True, False]}
    for trials in (2, 5, 6):  # the later commands add to the earlier
        search(base, grid, tmp_path / "out", trials=trials)
        assert len(scored) == len({json.dumps(one) for one in scored}) == trials
    search(base, grid, tmp_path / "out", trials=9)
    assert len(scored) == 6


def test_a_trial_that_diverges_fails_and_the_search_goes_on(
    base: FinetuneConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[float] = []
    train = training.FinetuneTrainer.train

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        trained.append(self.config.optimizer.learning_rate)
        if self.config.optimizer.learning_rate == 2e-2:
            raise DivergedError("training stopped.")
        return train(self, *args, **kwargs)

    monkeypatch.setattr(training.FinetuneTrainer, "train", counted)
    grid = {"learning_rate": [1e-9, 2e-2]}
    rows = search(base, grid, tmp_path / "out", trials=6)
    assert sorted(trained) == [1e-9, 2e-2]  # nor is a setting that diverges trained twice
    assert {row["settings"]["learning_rate"] for row in rows} == {1e-9}
    found = json.loads((tmp_path / "out" / "search.json").read_text(encoding="utf-8"))
    assert found["trials"] == rows
    assert {row["settings"]["learning_rate"] for row in found["diverged"]} == {2e-2}
    assert len(rows) == len(found["diverged"]) == 1
    assert "| diverged | 0.02 |" in (tmp_path / "out" / "search.md").read_text(encoding="utf-8")

    with pytest.raises(UserError, match=r"none of the settings tried \(1\) has a score"):
        search(base, {"learning_rate": [2e-2]}, tmp_path / "all", trials=2)


def test_the_score_is_the_one_that_selects_the_best_checkpoint(
    base: FinetuneConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scores(*args: Any, **kwargs: Any) -> dict[str, float]:
        return {"other": 0.9, "accuracy": 0.4}

    monkeypatch.setattr(TextObjective, "score", scores)
    monkeypatch.setattr(type(TASKS["sst2"]), "baseline", scores)
    settings = base.with_values({"max_steps": 1}, source="test")
    (row,) = search(settings, {"learning_rate": [1e-9]}, tmp_path / "out", trials=1)
    assert row["score"] == 0.4


def test_the_grid_is_the_papers_unless_it_is_given(nano: Path) -> None:
    assert paper_grid("large")["learning_rate"] == [5e-6, 8e-6, 9e-6, 1e-5]
    assert paper_grid("base")["learning_rate"] == [1.5e-5, 2e-5, 3e-5, 4e-5]
    assert paper_grid("xsmall")["learning_rate"][2] == 4.5e-5
    base = FinetuneConfig.of(task="rte", model="base")
    for key, values in paper_grid(str(nano)).items():
        for value in values:
            base.with_values({key: value}, source="test")
    given = read_grid(["batch_size=8,16", "sift=true,false"], base)
    assert given == {"batch_size": [8, 16], "sift": [True, False]}
    with pytest.raises(UserError, match="Did you mean 'batch_size'"):
        read_grid(["batch_sise=8"], base)
    with pytest.raises(UserError, match="--grid 'batch_size' has no '='"):
        read_grid(["batch_size"], base)
    with pytest.raises(UserError, match="batch_size must be an integer of at least 1"):
        read_grid(["batch_size=8,many"], base)
