"""``debertav3 finetune`` on a tiny model: it learns, its folder answers, a broken run goes on bit for bit."""

import html
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

from debertav3 import DebertaV2ForSequenceClassification
from debertav3.cpu.table_memory import clip_grad_norm
from debertav3.errors import DivergedError, UserError
from debertav3.finetuning import trainer as training
from debertav3.finetuning.config import FinetuneConfig
from debertav3.finetuning.objectives.text import TextObjective
from debertav3.finetuning.preparation import read_data
from debertav3.finetuning.resuming import checkpoints_of
from debertav3.finetuning.run import run
from debertav3.runs import checkpoints
from debertav3.sizes import config_for
from debertav3.tokenization import DebertaV3Tokenizer

ANIMALS = ("dog", "cat", "horse", "bird", "fish", "cow", "sheep", "mouse")


def nli_rows(count: int, *, seed: int) -> list[dict[str, str]]:
    """Pairs whose label one word of the hypothesis gives away: a tiny model learns them in a few steps."""
    draw = random.Random(seed)
    forms = {
        "entailment": "Some {} sleeps.",
        "neutral": "The {} may sleep.",
        "contradiction": "No {} sleeps.",
    }
    rows = []
    for number in range(count):
        label = tuple(forms)[number % 3]
        animal = draw.choice(ANIMALS)
        rows.append(
            {
                "premise": f"A {animal} sleeps here, {seed}, {number}.",
                "hypothesis": forms[label].format(animal),
                "label": label,
            }
        )
    return rows


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, nano: Path) -> Path:
    """A checkpoint without a trained head, with nano's tokenizer."""
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
    torch.manual_seed(0)
    config = config_for(
        "nano",
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        initializer_range=0.2,
    )
    DebertaV2ForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("data")
    return write_jsonl(folder / "train.jsonl", nli_rows(64, seed=1)), write_jsonl(
        folder / "dev.jsonl", nli_rows(32, seed=2)
    )


Configure = Callable[..., FinetuneConfig]


@pytest.fixture
def configure(tiny: Path, files: tuple[Path, Path]) -> Configure:
    def make(**changes: Any) -> FinetuneConfig:
        settings = {
            "train": (str(files[0]),),
            "dev": (str(files[1]),),
            "batch_size": 8,
            "epochs": 4.0,
            "learning_rate": 5e-3,
            "log_every_steps": 4,
            **changes,
        }
        return FinetuneConfig.of(task="nli", model=str(tiny), **settings)

    return make


def train(config: FinetuneConfig, out: Path, *, resume: bool = False) -> dict[str, Any] | None:
    return run(config, read_data(config), out, resume=resume)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_a_run_learns_and_leaves_a_folder_that_answers(
    configure: Configure, tmp_path: Path, capfd: Any
) -> None:
    out = tmp_path / "out"
    settings = configure(
        seed=11
    )  # of 32 steps at this rate some seeds learn much, with any dropout, others little
    report = train(settings, out)
    assert report is not None
    losses = [entry["loss"] for entry in report["history"] if "loss" in entry]
    assert losses[-1] < 0.5 * losses[0]
    assert report["accuracy"] > 0.9
    (dev,) = report["dev"].values()
    assert dev["majority_baseline"]["accuracy"] < 0.4
    assert sum(map(sum, dev["confusion"])) == dev["examples"] == 32
    assert sum(entry["support"] for entry in dev["per_label"].values()) == 32

    assert capfd.readouterr().out == ""  # stdout carries answers only
    assert json.loads((out / "metrics.json").read_text(encoding="utf-8"))["accuracy"] == report["accuracy"]
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert FinetuneConfig.of(**record["config"]) == settings
    assert record["labels"] == ["entailment", "neutral", "contradiction"]
    assert record["versions"]["torch"] == torch.__version__
    assert record["command"] in html.unescape((out / "report.html").read_text(encoding="utf-8"))
    assert f"{report['accuracy']:.4f}" in (out / "README.md").read_text(encoding="utf-8")
    assert not list(out.glob(".*"))
    assert not (out / "checkpoints").exists()

    stock = transformers.AutoModelForSequenceClassification.from_pretrained(out).eval()
    ours = DebertaV2ForSequenceClassification.from_pretrained(out).eval()
    tokenizer = DebertaV3Tokenizer.from_pretrained(out)
    rows = nli_rows(32, seed=2)
    texts = [row["premise"] for row in rows], [row["hypothesis"] for row in rows]
    batch = tokenizer(*texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        logits = ours(**batch).logits
        torch.testing.assert_close(logits, stock(**batch).logits, atol=1e-5, rtol=1e-5)
    answers = [ours.config.id2label[index] for index in logits.argmax(-1).tolist()]
    right = sum(answer == row["label"] for answer, row in zip(answers, rows, strict=True))
    assert right / len(rows) == report["accuracy"]


def test_every_dev_file_is_scored_as_itself(configure: Configure, tmp_path: Path) -> None:
    other = write_jsonl(tmp_path / "other.jsonl", nli_rows(7, seed=3))
    config = configure()
    both = configure(dev=(*config.data.dev, str(other)))
    report = train(both, tmp_path / "out")
    assert report is not None
    assert {path: scores["examples"] for path, scores in report["dev"].items()} == {
        both.data.dev[0]: 32,
        str(other): 7,
    }
    assert report["accuracy"] == report["dev"][both.data.dev[0]]["accuracy"]


def test_equal_seeds_give_equal_weights(configure: Configure, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(configure(epochs=1.0, seed=seed), tmp_path / name)
    first, again, other = (weights(tmp_path / name) for name in "abc")
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_accumulated_micro_batches_equal_one_batch(configure: Configure, tmp_path: Path) -> None:
    dropout = {"classifier_dropout": 0.0, "hidden_dropout": 0.0, "attention_dropout": 0.0}
    for name, micro in (("whole", None), ("parts", 2)):
        train(configure(max_steps=4, micro_batch_size=micro, **dropout), tmp_path / name)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    for key in whole:
        torch.testing.assert_close(parts[key], whole[key], atol=1e-5, rtol=1e-4)


class Crash(Exception):
    """Stands for a process that ends between two steps."""


@pytest.mark.parametrize(("warmup", "is_logged"), [(3, True), (2, False), (0.1, False)])
def test_a_warm_up_as_long_as_the_run_is_shortened(
    warmup: float, is_logged: bool, configure: Configure, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(configure(max_steps=3, warmup_steps=warmup), tmp_path / "out")
    told = "a warm-up of 3 steps would cover the whole run of 3 steps: shortened to 0"
    assert (told in caplog.text) is is_logged


def crash_after(step: int, patch: pytest.MonkeyPatch) -> None:
    """Let the run end once the checkpoint of a step is written."""
    save = training.FinetuneTrainer._save_checkpoint

    def save_then_crash(self: training.FinetuneTrainer, model: Any, trial: Any) -> None:
        save(self, model, trial)
        if self.state.global_step == step:
            raise Crash

    patch.setattr(training.FinetuneTrainer, "_save_checkpoint", save_then_crash)


@pytest.mark.parametrize(
    "stop_at",
    [pytest.param(3, marks=pytest.mark.slow), pytest.param(8, marks=pytest.mark.slow), 11],
    ids=["within-first", "at-epoch-end", "within-second"],
)
def test_a_resumed_run_ends_with_the_same_weights(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    settings = {"epochs": 2.0, "save_every_steps": 1, "early_stopping_patience": 3}
    straight = train(configure(**settings), tmp_path / "straight")

    with monkeypatch.context() as patch:
        crash_after(stop_at, patch)
        with pytest.raises(Crash):
            train(configure(**settings), tmp_path / "broken")
    newest = checkpoints_of(tmp_path / "broken").newest()
    assert newest is not None
    saved = torch.load(newest / "optimizer.pt", weights_only=True)["state"].values()
    shapes = [tuple(state["exp_avg"].shape) for state in saved]
    words = weights(newest)["deberta.embeddings.word_embeddings.weight"]
    assert shapes.count(tuple(words.shape)) == 1, "moments of all words, as those of torch's AdamW"
    resumed = train(configure(**settings), tmp_path / "broken", resume=True)

    assert straight is not None
    assert resumed is not None
    assert resumed["dev"] == straight["dev"]
    assert resumed["train"]["steps"] == straight["train"]["steps"] == 16
    ends = weights(tmp_path / "straight"), weights(tmp_path / "broken")
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_run_is_resumed_where_gradients_are_not_kept(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    """As by several processes, or on a GPU: AdamW is torch's there, over the moments of all words."""
    settings = {"epochs": 1.0, "save_every_steps": 1, "optimizer": optimizer}
    with monkeypatch.context() as patch:
        crash_after(5, patch)
        with pytest.raises(Crash):
            train(configure(**settings), tmp_path / "out")
    monkeypatch.setattr(training, "keep_word_gradients", lambda model: [])
    assert train(configure(**settings), tmp_path / "out", resume=True) is not None
    straight = train(configure(**settings), tmp_path / "straight")
    assert straight is not None
    ends = weights(tmp_path / "straight"), weights(tmp_path / "out")
    assert all(torch.allclose(ends[0][key], ends[1][key], atol=1e-4) for key in ends[0])


def broken_off_after_its_best(
    configure: Configure, out: Path, patch: pytest.MonkeyPatch, **changes: Any
) -> FinetuneConfig:
    """A run that learns only in its first epoch and crashes in its second; its best step is the eighth."""
    score = itertools.count(9, -1)
    patch.setattr(
        TextObjective, "score", lambda *args, **kwargs: {"accuracy": next(score) / 10, "macro_f1": 0.5}
    )
    config = configure(epochs=2.0, save_every_steps=3, **changes)
    crash_after(12, patch)
    with pytest.raises(Crash):
        train(config, out)
    return config


def test_a_run_that_was_moved_ends_with_its_best_weights(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        config = broken_off_after_its_best(configure, Path("first"), patch)
    Path("first").rename("second")
    best = weights(Path("second/checkpoints/checkpoint-8"))
    with monkeypatch.context() as patch:
        patch.setattr(TextObjective, "score", lambda *args, **kwargs: {"accuracy": 0.1, "macro_f1": 0.5})
        train(config, Path("second"), resume=True)
    end = weights(Path("second"))
    assert all(torch.equal(end[key], best[key]) for key in best)


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_resuming_without_the_best_checkpoint_is_refused(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    with monkeypatch.context() as patch:
        config = broken_off_after_its_best(configure, tmp_path / "out", patch)
    best = tmp_path / "out" / "checkpoints" / "checkpoint-8"
    if damage == "gone":
        shutil.rmtree(best)
    else:
        (best / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"the best checkpoint so far, .*checkpoint-8, cannot be used"):
        train(config, tmp_path / "out", resume=True)


def test_sift_trains_with_accumulation_and_in_half_precision(configure: Configure, tmp_path: Path) -> None:
    report = train(
        configure(sift=True, sift_weight=0.5, micro_batch_size=4, precision="bf16"), tmp_path / "out"
    )
    assert report is not None
    assert report["accuracy"] > 0.6  # one answer for all is right in a third
    plain = train(configure(max_steps=2, log_every_steps=1), tmp_path / "plain")
    sift = train(configure(max_steps=2, sift=True, log_every_steps=1), tmp_path / "sift")
    assert plain is not None
    assert sift is not None
    first = [next(entry["loss"] for entry in one["history"] if "loss" in entry) for one in (plain, sift)]
    assert first[1] > first[0]  # the regularizer is never negative


@pytest.mark.parametrize("sift", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_shares_that_are_all_or_nothing_train_and_score_as_labels(
    configure: Configure, files: tuple[Path, Path], tmp_path: Path, sift: bool
) -> None:
    in_shares = []
    for path in files:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        soft = [{**row, "label": {row["label"]: 2}} for row in rows]
        in_shares.append(str(write_jsonl(tmp_path / path.name, soft)))
    changes = {"max_steps": 4, "sift": sift}
    hard = train(configure(**changes), tmp_path / "hard")
    soft = train(configure(**changes, train=(in_shares[0],), dev=(in_shares[1],)), tmp_path / "soft")
    assert hard is not None
    assert soft is not None
    torch.testing.assert_close(weights(tmp_path / "soft"), weights(tmp_path / "hard"), atol=1e-6, rtol=1e-5)
    assert soft["accuracy"] == hard["accuracy"]


def test_resuming_with_other_settings_is_refused(configure: Configure, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "settings.json").write_text(json.dumps(configure().to_dict()), encoding="utf-8")
    with pytest.raises(UserError, match=r"changed: epochs \(was 4.0, now 9.0\)"):
        train(configure(epochs=9.0), tmp_path / "out", resume=True)


def test_a_folder_with_a_run_is_not_written_over(configure: Configure, tmp_path: Path) -> None:
    train(configure(max_steps=1), tmp_path / "out")
    before = (tmp_path / "out" / "run.json").read_bytes()
    with pytest.raises(UserError, match="already contains a run"):
        train(configure(max_steps=1), tmp_path / "out")
    with pytest.raises(UserError, match="finished run"):
        train(configure(max_steps=1), tmp_path / "out", resume=True)
    assert (tmp_path / "out" / "run.json").read_bytes() == before


@pytest.mark.parametrize(
    "name", ["README.md", "model.safetensors", "config.json", "checkpoints/mine.pt", "checkpoints"]
)
@pytest.mark.parametrize("resume", [False, True])
def test_what_no_run_has_left_is_not_written_over(
    configure: Configure, tmp_path: Path, name: str, resume: bool
) -> None:
    file = tmp_path / "out" / name
    file.parent.mkdir(parents=True)
    file.write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match=f"contains {name.split('/')[0]}, which does not come from a run"):
        train(configure(max_steps=1), tmp_path / "out", resume=resume)
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [file]
    assert file.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("resume", [False, True])
def test_the_folder_of_the_model_is_not_written_over(tiny: Path, configure: Configure, resume: bool) -> None:
    before = {path: path.read_bytes() for path in tiny.iterdir()}
    with pytest.raises(UserError, match="is the input of --model"):
        train(configure(max_steps=1), tiny / ".." / tiny.name, resume=resume)
    assert {path: path.read_bytes() for path in tiny.iterdir()} == before


def test_a_folder_with_other_files_is_used_and_keeps_them(configure: Configure, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "checkpoints").mkdir(parents=True)
    (
        out / "checkpoints" / ".settings.json.0123abcd.debertav3-partial"
    ).touch()  # of a run that was killed at its first writing
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    train(configure(max_steps=1), out, resume=True)
    assert (out / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert (out / "run.json").exists()
    assert not (out / "checkpoints").exists()


def test_only_checkpoints_of_the_run_are_removed_at_its_end(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        crash_after(8, patch)
        with pytest.raises(Crash):
            train(configure(epochs=2.0), out)
    (out / "checkpoints" / "mine.pt").write_text("mine", encoding="utf-8")
    train(configure(epochs=2.0), out, resume=True)
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["mine.pt"]


@pytest.mark.parametrize("is_old", [False, True], ids=["with-sums", "without-sums"])
def test_resuming_with_other_data_is_refused_where_its_sum_is_known(
    configure: Configure,
    files: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_old: bool,
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_bytes(files[0].read_bytes())
    config = configure(train=(str(rows),), epochs=2.0)
    settings = tmp_path / "out" / "checkpoints" / "settings.json"
    with monkeypatch.context() as patch:
        crash_after(8, patch)
        with pytest.raises(Crash):
            train(config, tmp_path / "out")
    if is_old:
        settings.write_text(json.dumps(config.to_dict()), encoding="utf-8")
    else:
        write_jsonl(rows, nli_rows(64, seed=7))
        with pytest.raises(UserError, match="of the first run; changed since: train"):
            train(config, tmp_path / "out", resume=True)
        rows.write_bytes(files[0].read_bytes())
    report = train(config, tmp_path / "out", resume=True)
    assert report is not None
    assert report["train"]["steps"] == 16


def test_steps_without_a_finite_gradient_are_skipped_and_ten_end_the_run(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = transformers.Trainer.compute_loss

    def sometimes_nan(bad: set[int]) -> Any:
        def loss(self: Any, *args: Any, **kwargs: Any) -> Any:
            value = compute(self, *args, **kwargs)
            is_bad = self.model.training and self.state.global_step in bad
            return value + float("nan") if is_bad else value

        return loss

    monkeypatch.setattr(transformers.Trainer, "compute_loss", sometimes_nan({2, 5}))
    report = train(configure(seed=21), tmp_path / "some")  # a seed that learns within 32 steps
    assert report is not None
    assert report["train"]["skipped_steps"] == 2
    assert report["accuracy"] > 0.9
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path / "some").values())

    monkeypatch.setattr(transformers.Trainer, "compute_loss", sometimes_nan(set(range(9, 99))))
    with pytest.raises(UserError, match="10 steps in a row"):
        train(configure(), tmp_path / "many")
    assert checkpoints_of(tmp_path / "many").newest() is not None
    course = json.loads((tmp_path / "many" / "metrics.json").read_text(encoding="utf-8"))
    assert course["train"]["skipped_steps"] == 10 and not course["dev"]
    assert "10 steps in a row" in (tmp_path / "many" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("what", ["weights", "dev-loss"])
def test_a_diverged_model_is_not_saved(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    fit = transformers.Trainer.train

    def diverge(self: Any, *args: Any, **kwargs: Any) -> Any:
        done = fit(self, *args, **kwargs)
        with torch.no_grad():
            self.model.classifier.weight[:] = float("inf") if what == "weights" else 1e38
        return done

    monkeypatch.setattr(transformers.Trainer, "train", diverge)
    found = "classifier.weight of the model" if what == "weights" else "the loss on .*dev.jsonl"
    with pytest.raises(DivergedError, match=f"diverged: {found} is .*not saved. Lower learning_rate"):
        train(configure(max_steps=1), tmp_path / "out")
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert left == ["checkpoints", "metrics.json", "report.html"]
    assert "training diverged" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_steps_without_a_finite_gradient_are_counted_over_a_resumption(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "clip_grad_norm", lambda *args: torch.tensor(torch.inf))
    config = configure(max_steps=14, save_every_steps=6, eval_every_steps=100)
    with pytest.raises(DivergedError, match="stopped at step 10"):
        train(config, tmp_path / "out")
    with pytest.raises(DivergedError, match="stopped at step 10"):
        train(config, tmp_path / "out", resume=True)


def test_metrics_are_json_where_a_step_had_no_finite_gradient(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    factors = iter([torch.inf, 1.0])

    def bad_first(*args: Any) -> Any:
        return clip_grad_norm(*args) * next(factors)

    monkeypatch.setattr(training, "clip_grad_norm", bad_first)
    train(configure(max_steps=2, log_every_steps=1), tmp_path / "out")

    def refuse(name: str) -> None:
        raise AssertionError(name)

    text = (tmp_path / "out" / "metrics.json").read_text(encoding="utf-8")
    norms = [one["grad_norm"] for one in json.loads(text, parse_constant=refuse)["history"] if "loss" in one]
    assert norms[0] is None
    assert norms[1] > 0


def test_a_checkpoint_that_cannot_be_written_leaves_the_previous_one(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = checkpoints.publish_folder

    def full_disk(staged: Path, target: Path) -> None:
        if target.name == "checkpoint-16":
            raise OSError(28, "No space left on device")
        publish(staged, target)

    monkeypatch.setattr(checkpoints, "publish_folder", full_disk)
    with pytest.raises(UserError, match=r"step 16 cannot be written .*No space left on device"):
        train(configure(), tmp_path / "out")
    left = [path.name for path in (tmp_path / "out" / "checkpoints").iterdir()]
    assert sorted(left) == ["checkpoint-8", "settings.json"]


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "debertav3", "finetune", *map(str, args)]


@pytest.fixture
def quiet() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize(
    ("number", "name"),
    [pytest.param(signal.SIGTERM, "SIGTERM", marks=pytest.mark.slow), (signal.SIGINT, "Ctrl-C")],
    ids=["SIGTERM", "Ctrl-C"],
)
def test_a_signal_saves_and_says_how_to_resume(
    tiny: Path,
    files: tuple[Path, Path],
    tmp_path: Path,
    quiet: dict[str, str],
    number: signal.Signals,
    name: str,
) -> None:
    out = tmp_path / "out"
    args = command(
        "nli", "--model", tiny, "--train", files[0], "--dev", files[1], "--out", out, "--set", "batch_size=8"
    )
    long = [*args, "--set", "epochs=500", "--set", "save_every_steps=1", "--set", "eval_every_steps=100000"]
    process = subprocess.Popen(long, stderr=subprocess.PIPE, text=True, env=quiet)
    while process.poll() is None and not checkpoints_of(out).all():
        time.sleep(0.05)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert re.search(f"stopped by {name} at step \\d+: continue with --resume", stderr)
    assert checkpoints_of(out).newest() is not None
    assert not (out / "run.json").exists()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("missing", "does not exist"),
        ("json", "train.jsonl line 2 is not valid JSON"),
        ("label", "train.jsonl line 2: unknown label 'perhaps'"),
        ("key", "unknown key 'learning_rat'. Did you mean 'learning_rate'?"),
        ("model", "cannot be opened"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    tiny: Path, tmp_path: Path, quiet: dict[str, str], fault: str, message: str
) -> None:
    rows = nli_rows(6, seed=1)
    train = write_jsonl(tmp_path / "train.jsonl", rows)
    lines = train.read_text(encoding="utf-8").splitlines()
    if fault == "missing":
        train.unlink()
    elif fault in ("json", "label"):
        lines[1] = '{"premise": ' if fault == "json" else json.dumps({**rows[1], "label": "perhaps"})
        train.write_text("\n".join(lines), encoding="utf-8")
    model = tmp_path / "absent" if fault == "model" else tiny
    extra = ["--set", "learning_rat=1"] if fault == "key" else []
    done = subprocess.run(
        [*command("nli", "--model", model, "--train", train, "--out", tmp_path / "out"), *extra],
        capture_output=True,
        text=True,
        env={**quiet, "HF_HUB_OFFLINE": "1"},
        check=False,
    )
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("debertav3: error: ")]
    assert message in line or (fault == "model" and "absent" in line)
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "out").exists()


def test_a_dry_run_prints_the_settings_and_writes_nothing(
    tiny: Path, files: tuple[Path, Path], tmp_path: Path, quiet: dict[str, str]
) -> None:
    args = command(
        "nli", "--model", tiny, "--train", files[0], files[1], "--out", tmp_path / "out", "--dry-run"
    )
    done = subprocess.run([*args, "--seed", "5"], capture_output=True, text=True, env=quiet, check=True)
    settings = json.loads(done.stdout)
    assert settings["train"] == [str(files[0]), str(files[1])]
    assert settings["seed"] == 5
    assert not (tmp_path / "out").exists()


def test_early_stopping_counts_over_a_resumption(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(epochs=9.0, learning_rate=1e-12, early_stopping_patience=3)  # nothing improves
    straight = train(config, tmp_path / "straight")
    with monkeypatch.context() as patch:
        crash_after(16, patch)
        with pytest.raises(Crash):
            train(config, tmp_path / "broken")
    resumed = train(config, tmp_path / "broken", resume=True)
    assert straight is not None
    assert resumed is not None
    assert straight["train"]["steps"] == resumed["train"]["steps"] == 4 * 8
    assert resumed["train"]["seconds"] > 0
