"""``debertav3 finetune`` without dev files: a held-out share, cross-validation, and a dry run."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from debertav3 import DebertaV2ForSequenceClassification, cli
from debertav3.errors import UserError
from debertav3.finetuning import crossvalidation
from debertav3.sizes import config_for
from debertav3.tokenization import DebertaV3Tokenizer

WORDS = {"good": ("fine", "great", "lovely"), "bad": ("awful", "poor", "dull")}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, nano: Path) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    config = config_for("nano", vocab_size=len(tokenizer), initializer_range=0.2, **shape)
    DebertaV2ForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("rows") / "reviews.csv"
    draw = random.Random(0)
    lines = ["Body,Verdict"]
    for number in range(30):
        label = "good" if number % 3 else "bad"
        lines.append(f"Film {number} was {draw.choice(WORDS[label])} indeed,{label}")
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def finetune(*words: Any) -> dict[str, Any]:
    """What the command prints; its error, if it ends with one."""
    done = CliRunner().invoke(cli.app, ["finetune", *map(str, words)])
    if done.exception is not None:
        raise done.exception
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def quick(tiny: Path, rows: Path) -> list[Any]:
    return ["custom", "--model", tiny, "--train", rows, "--label-column", "Verdict", "--epochs", 1,
            "--batch-size", 8, "--learning-rate", "1e-3", "--max-length", 32]  # fmt: skip


def test_every_fold_is_trained_and_every_example_predicted_once(
    tiny: Path, rows: Path, tmp_path: Path
) -> None:
    out = tmp_path / "folds"
    command = [*quick(tiny, rows), "--folds", 3, "--out", out]
    answer = finetune(*command)
    assert answer["folds"] == 3
    for one in answer["scores"].values():
        assert len(one["values"]) == 3
        assert one["mean"] == pytest.approx(sum(one["values"]) / 3)
        assert one["sd"] == pytest.approx((sum((x - one["mean"]) ** 2 for x in one["values"]) / 2) ** 0.5)
    assert json.loads((out / "folds.json").read_text(encoding="utf-8"))["scores"] == answer["scores"]
    predicted = [
        json.loads(line) for line in (out / "out_of_fold.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    texts = [line.rpartition(",") for line in rows.read_text(encoding="utf-8").splitlines()[1:]]
    assert sorted((row["texts"][0], row["gold"]) for row in predicted) == sorted(
        (t, label) for t, _, label in texts
    )
    assert {row["fold"] for row in predicted} == {f"fold {number} of 3" for number in (1, 2, 3)}
    right = [
        sum(row["gold"] == row["predicted"] for row in predicted if row["fold"][5] == n) / 10 for n in "123"
    ]
    assert right == pytest.approx(answer["scores"]["accuracy"]["values"])

    before = (out / "fold-1" / "run.json").stat().st_mtime_ns
    (out / "fold-2" / "run.json").unlink()  # as if the second had been interrupted after its training
    for name in ("model.safetensors", "config.json", "metrics.json", "README.md", "report.html"):
        (out / "fold-2" / name).unlink()
    for file in (out / "fold-2").glob("*"):
        if file.is_file():
            file.unlink()
    assert finetune(*command)["scores"] == answer["scores"]
    assert (out / "fold-1" / "run.json").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="fold-1 was made with another seed; choose another --out"):
        finetune(*command, "--seed", 5)
    moved, changed = tmp_path / "moved.csv", tmp_path / "changed.csv"
    moved.write_text(rows.read_text(encoding="utf-8"), encoding="utf-8")
    changed.write_text(rows.read_text(encoding="utf-8") + "One more film,good\n", encoding="utf-8")
    assert finetune(*quick(tiny, moved), "--folds", 3, "--out", out)["scores"] == answer["scores"]
    with pytest.raises(UserError, match="fold-1 was made with another train; choose another --out"):
        finetune(*quick(tiny, changed), "--folds", 3, "--out", out)


def test_what_folds_write_is_neither_an_input_nor_somebody_else_s(
    tiny: Path, rows: Path, tmp_path: Path
) -> None:
    for name in ("out_of_fold.jsonl", "folds.json"):
        mine = tmp_path / name
        mine.write_text("mine", encoding="utf-8")
        with pytest.raises(UserError, match=f"would replace {mine}, which --train reads"):
            finetune(*quick(tiny, mine), "--folds", 3, "--out", tmp_path)
        with pytest.raises(UserError, match=f"contains {name}, which does not come from a run"):
            finetune(*quick(tiny, rows), "--folds", 3, "--out", tmp_path)
        assert mine.read_text(encoding="utf-8") == "mine"
        mine.unlink()


@pytest.mark.parametrize("changed", ["train", "model"])
def test_folds_are_of_the_same_data_and_weights(
    changed: str, tiny: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, model = tmp_path / "reviews.csv", tmp_path / "model"
    shutil.copyfile(rows, train)
    shutil.copytree(tiny, model)
    trained: list[Path] = []

    def run(settings: object, part: object, folder: Path, **more: object) -> object:
        trained.append(folder)
        with (train if changed == "train" else model / "config.json").open("a") as file:
            file.write("One more film,good\n" if changed == "train" else " ")
        return {}

    monkeypatch.setattr(crossvalidation, "run", run)
    with pytest.raises(UserError, match=rf"^{changed}( \(config\.json\))? changed during the run"):
        finetune(*quick(model, train), "--folds", 3, "--out", tmp_path / "out")
    assert [folder.name for folder in trained] == ["fold-1"]


def test_a_held_out_share_selects_and_scores_and_is_repeated(tiny: Path, rows: Path, tmp_path: Path) -> None:
    answer = finetune(*quick(tiny, rows), "--dev-split", 0.2, "--out", tmp_path / "a")
    assert list(answer["dev"]) == ["dev_split=0.2"]
    record = json.loads((tmp_path / "a" / "run.json").read_text(encoding="utf-8"))
    assert "--dev-split 0.2" in record["command"]
    again = finetune("--config", tmp_path / "a" / "run.json", "--out", tmp_path / "b")
    assert again["dev"] == answer["dev"]


def test_a_dry_run_finds_what_would_stop_the_run(tiny: Path, rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    settings = finetune(*quick(tiny, rows), "--out", out, "--dry-run")
    assert (settings["epochs"], settings["batch_size"], settings["learning_rate"]) == (1.0, 8, 1e-3)
    assert settings["max_length"] == 32
    with pytest.raises(UserError, match="has no tokenizer of its own"):
        finetune(*quick(Path("nano"), rows), "--out", out, "--dry-run")
    with pytest.raises(UserError, match="freeze_layers=5, but the model has 1 layers"):
        finetune(*quick(tiny, rows), "--out", out, "--dry-run", "--set", "freeze_layers=5")
    assert not out.exists()
