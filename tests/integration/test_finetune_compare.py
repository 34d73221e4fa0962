"""``debertav3 compare`` trains what is not finished, leaves what is, and writes mean and spread."""

import dataclasses
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from debertav3 import DebertaV2ForSequenceClassification, DebertaV3Tokenizer
from debertav3.errors import DivergedError, UserError
from debertav3.finetuning.compare import Line, compare, glue_averages, parse_sources
from debertav3.finetuning.trainer import FinetuneTrainer
from debertav3.sizes import config_for


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def tiny(folder: Path, nano: Path, *, width: int) -> str:
    tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
    torch.manual_seed(0)
    shape = {"hidden_size": width, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = config_for("nano", vocab_size=len(tokenizer), **shape)
    DebertaV2ForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_a_broken_comparison_goes_on_and_adds_up(tmp_path: Path, nano: Path) -> None:
    models = [tiny(tmp_path / f"width {width}", nano, width=width) for width in (16, 24)]
    sst2 = write(tmp_path / "a.jsonl", [{"sentence": f"word {n}", "label": n % 2} for n in range(12)])
    stsb = write(
        tmp_path / "b.jsonl", [{"sentence1": "a", "sentence2": f"{n}", "label": n} for n in range(12)]
    )
    tasks = {"sst2": {"train": [sst2], "dev": [sst2]}, "stsb": {"train": [stsb], "dev": [stsb]}}
    out, overrides = tmp_path / "out", ["max_steps=2", "batch_size=4", "check_data=false"]

    compare(models[:1], tasks, [1, 2], out, overrides=overrides)
    kept = {path: path.stat().st_mtime_ns for path in out.glob("*/run.json")}
    assert len(kept) == 4
    lines = compare(models, tasks, [1, 2], out, overrides=overrides).lines
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    found = dict.fromkeys((Path(line.model).name, line.task) for line in lines)
    assert list(found) == [
        ("width 16", "sst2"),
        ("width 16", "stsb"),
        ("width 24", "sst2"),
        ("width 24", "stsb"),
    ]
    assert lines[-1].parameters > lines[0].parameters

    with pytest.raises(UserError, match="was made with another epochs"):
        compare(models, tasks, [1, 2], out, overrides=[*overrides, "epochs=9"])

    content = Path(stsb).read_text(encoding="utf-8")
    Path(stsb).write_text(content.replace('"a"', '"b"'), encoding="utf-8")
    with pytest.raises(UserError, match=r"stsb--1 was made with another train, dev"):
        compare(models, tasks, [1, 2], out, overrides=overrides)
    Path(stsb).write_text(content, encoding="utf-8")

    rows = json.loads((out / "compare.json").read_text(encoding="utf-8"))["rows"]
    assert {(row["task"], row["score"]) for row in rows} == {
        ("sst2", "accuracy"),
        ("stsb", "pearson"),
        ("stsb", "spearman"),
    }
    for row in rows:
        assert len(row["values"]) == 2
        assert row["mean"] == pytest.approx(statistics.mean(row["values"]))
        assert row["spread"] == pytest.approx(statistics.stdev(row["values"]))
    table = (out / "compare.md").read_text(encoding="utf-8").splitlines()
    assert len(table) == 2 + len(rows)
    assert f"| {rows[0]['mean']:.4f} |" in table[2]


def test_no_two_models_share_a_folder_and_moved_data_count_as_the_same(tmp_path: Path, nano: Path) -> None:
    rows = [{"sentence": f"word {n}", "label": n % 2} for n in range(8)]
    sst2 = write(tmp_path / "a.jsonl", rows)
    tasks, out = {"sst2": {"train": [sst2], "dev": [sst2]}}, tmp_path / "out"
    (tmp_path / "x").mkdir()
    models = [tiny(tmp_path / "x" / "y", nano, width=16), tiny(tmp_path / "x_y", nano, width=24)]
    overrides = ["max_steps=1", "batch_size=4", "check_data=false"]
    found = compare(models, tasks, [1], out, overrides=overrides)
    assert [line.model for line in found.lines] == models
    assert found.lines[0].parameters < found.lines[1].parameters
    folders = {path.parent: path.stat().st_mtime_ns for path in out.glob("*/run.json")}
    assert len(folders) == 2

    moved = write(tmp_path / "b.jsonl", rows)
    tasks = {"sst2": {"train": [moved], "dev": [moved]}}
    compare(models, tasks, [1], out, overrides=overrides)
    assert {path.parent: path.stat().st_mtime_ns for path in out.glob("*/run.json")} == folders

    tiny(tmp_path / "x_y", nano, width=16)  # other weights under the same path
    with pytest.raises(UserError, match=r"made with another model \(config\.json, model\.safetensors\)"):
        compare(models, tasks, [1], out, overrides=overrides)

    record = json.loads((min(folders) / "run.json").read_text(encoding="utf-8"))
    del record["contents"]  # as older versions wrote it
    (min(folders) / "run.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(UserError, match="made with another train, dev"):  # known by path
        compare([record["config"]["model"]], tasks, [1], out, overrides=overrides)
    tasks = {"sst2": {"train": [sst2], "dev": [sst2]}}
    assert compare([record["config"]["model"]], tasks, [1], out, overrides=overrides).lines


def test_what_fails_is_noted_and_the_rest_is_done(
    tmp_path: Path, nano: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(tmp_path / "model", nano, width=16)
    empty = tiny(tmp_path / "empty", nano, width=16)
    (tmp_path / "empty" / "model.safetensors").unlink()
    sst2 = write(tmp_path / "a.jsonl", [{"sentence": f"word {n}", "label": n % 2} for n in range(8)])
    tasks, out = {"sst2": {"train": [sst2], "dev": [sst2]}}, tmp_path / "out"
    trained: list[int] = []
    train = FinetuneTrainer.train

    def diverging(self: Any, *args: Any, **kwargs: Any) -> Any:
        trained.append(self.config.seed)
        if trained in ([1], [1, 2, 1]):  # then it is tried a third time
            raise DivergedError("training stopped.")
        return train(self, *args, **kwargs)

    monkeypatch.setattr(FinetuneTrainer, "train", diverging)

    def again() -> Any:
        return compare([empty, model], tasks, [1, 2], out, overrides=["max_steps=1", "check_data=false"])

    for _ in range(2):
        found = again()
        assert [(one.model, one.seed, one.what) for one in found.failures] == [
            (empty, 1, "not possible"),
            (empty, 2, "not possible"),
            (model, 1, "diverged"),
        ]
        (line,) = found.lines
        assert (line.model, line.seeds, len(line.values)) == (model, (2,), 1)
        told = json.loads((out / "compare.json").read_text(encoding="utf-8"))
        assert told["failed"] == [vars(failure) for failure in found.failures]
        assert told["rows"][0]["seeds"] == [2]
        table = (out / "compare.md").read_text(encoding="utf-8")
        assert f"| {empty} | sst2 | | | not possible | | 0 of 2 | | |" in table
        assert "| 1 of 2 |" in table
        assert f"- {model} on sst2, seed 1: diverged: training stopped." in table
        summary = found.summary()
        assert summary.startswith(f"runs that failed: 3; {empty} on sst2, seed 1, 2: not possible (")
        assert f"; {model} on sst2, seed 1: diverged (training stopped." in summary
        assert "\n" not in summary
    found = again()
    assert trained == [1, 2, 1, 1]  # what has finished is never trained again
    assert [line.seeds for line in found.lines] == [(1, 2)]
    assert {one.what for one in found.failures} == {"not possible"}


def test_a_missing_model_is_refused_before_the_first_training(tmp_path: Path, nano: Path) -> None:
    model = tiny(tmp_path / "model", nano, width=16)
    sst2 = write(tmp_path / "a.jsonl", [{"sentence": f"word {n}", "label": n % 2} for n in range(8)])
    out, tasks = tmp_path / "out", {"sst2": {"train": [sst2], "dev": [sst2]}}
    absent = [str(tmp_path / "absent"), str(tmp_path / "gone")]
    with pytest.raises(UserError) as refused:
        compare([model, *absent], tasks, [1, 2], out, overrides=["max_steps=1"])
    assert "\n" not in str(refused.value)
    assert all(str(refused.value).count(name) == 1 for name in absent)
    assert not list(out.glob("*"))


def test_the_command_prints_the_table_and_ends_with_code_2(tmp_path: Path, nano: Path) -> None:
    model = tiny(tmp_path / "model", nano, width=16)
    sst2 = write(tmp_path / "a.jsonl", [{"sentence": f"word {n}", "label": n % 2} for n in range(8)])
    command = [
        "compare",
        "--models",
        model,
        "--tasks",
        "sst2",
        "--seeds",
        "1",
        "--out",
        str(tmp_path / "out"),
    ]
    command += ["--train", f"sst2={sst2}", "--dev", f"sst2={sst2}", "--set", "learning_rate=1e30"]
    command += ["max_steps=3", "keep_best=false", "check_data=false"]
    done = subprocess.run(
        [sys.executable, "-m", "debertav3", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert f"| {model} | sst2 | | | diverged | | 0 of 1 | | |" in done.stdout
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("debertav3: error: ")]
    assert f"runs that failed: 1; {model} on sst2, seed 1: diverged (training diverged: " in line
    assert "Traceback" not in done.stderr


def test_a_run_without_dev_set_is_refused(tmp_path: Path, nano: Path) -> None:
    with pytest.raises(UserError, match="give --dev nli=FILE"):
        compare([str(nano)], {"nli": {"train": ["x.jsonl"], "dev": []}}, [1], tmp_path)


@pytest.mark.parametrize(
    ("task", "row", "message"),
    [
        ("rtee", {"sentence1": "a", "sentence2": "b", "label": 0}, "Did you mean 'rte'"),
        ("rte", {"sentence1": "a", "label": 0}, "b.jsonl line 1: needs the fields "),
    ],
    ids=["unknown-task", "bad-data"],
)
def test_the_last_task_is_looked_at_before_the_first_is_trained(
    tmp_path: Path, nano: Path, task: str, row: dict[str, Any], message: str
) -> None:
    good = write(tmp_path / "a.jsonl", [{"sentence": f"word {n}", "label": n % 2} for n in range(4)])
    bad = write(tmp_path / "b.jsonl", [row])
    tasks = {"sst2": {"train": [good], "dev": [good]}, task: {"train": [bad], "dev": [bad]}}
    with pytest.raises(UserError, match=message):
        compare([str(nano)], tasks, [1], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("assignment", ["mnli", "cola=x"])
def test_sources_must_name_a_task(assignment: str) -> None:
    with pytest.raises(UserError, match="write TASK=FILE with one of mnli, rte"):
        parse_sources([assignment], ["mnli", "rte"], option="--train")


def test_the_average_of_glue_is_over_tasks_and_needs_all() -> None:
    scores = {
        ("cola", "d", "matthews_corrcoef"): (0.2, 0.4),
        ("cola", "d", "accuracy"): (1.0, 1.0),  # not counted
        ("wnli", "d", "accuracy"): (1.0, 1.0),  # not counted
        ("mnli", "matched", "accuracy"): (0.6, 0.6),
        ("mnli", "mismatched", "accuracy"): (0.8, 0.8),
        ("stsb", "d", "pearson"): (0.1, 0.1),
        ("stsb", "d", "spearman"): (0.3, 0.3),
        **{(task, "d", "accuracy"): (0.5, 0.5) for task in ("qnli", "qqp", "rte", "sst2", "mrpc")},
    }
    lines = [
        Line(
            model="m",
            task=task,
            dev=dev,
            score=name,
            seeds=(1, 2),
            values=values,
            parameters=7,
            seconds=10.0,
        )
        for (task, dev, name), values in scores.items()
    ]
    (average,) = glue_averages(lines)
    assert average.values == pytest.approx(((0.2 + 0.7 + 0.2 + 2.5) / 8, (0.4 + 0.7 + 0.2 + 2.5) / 8))
    assert average.seconds == 80.0
    assert glue_averages([line for line in lines if line.task != "rte"]) == []
    lines[-1] = dataclasses.replace(lines[-1], seeds=(2,), values=(0.5,))  # seed 1 has failed
    (average,) = glue_averages(lines)
    assert average.seeds == (2,)
    assert average.values == pytest.approx([(0.4 + 0.7 + 0.2 + 2.5) / 8])
    lines[0] = dataclasses.replace(lines[0], seeds=(1,), values=(0.2,))
    assert glue_averages(lines) == []


def test_a_task_may_have_several_sources() -> None:
    found = parse_sources(["a=x.jsonl", "b=datasets:n:c", "a=y=z"], ["a", "b"], option="--train")
    assert found == {"a": ["x.jsonl", "y=z"], "b": ["datasets:n:c"]}


def test_a_model_is_opened_once_for_all_its_runs(
    tmp_path: Path, nano: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not once more for each check and each run."""
    from debertav3.files.model_folder import ModelFolder

    models = [tiny(tmp_path / f"width {width}", nano, width=width) for width in (16, 24)]
    rows = write(tmp_path / "a.jsonl", [{"sentence": f"word {n}", "label": n % 2} for n in range(12)])
    found: list[str] = []
    find = ModelFolder.find.__func__  # type: ignore[attr-defined]  # of a class method

    def note(cls: type[ModelFolder], name: Any, **how: Any) -> ModelFolder:
        found.append(str(name))
        folder: ModelFolder = find(cls, name, **how)
        return folder

    monkeypatch.setattr(ModelFolder, "find", classmethod(note))
    tasks = {task: {"train": [rows], "dev": [rows]} for task in ("sst2", "cola")}
    compare(
        models, tasks, [1, 2], tmp_path / "out", overrides=["max_steps=1", "batch_size=4", "check_data=false"]
    )
    assert sorted(found) == sorted(models)
