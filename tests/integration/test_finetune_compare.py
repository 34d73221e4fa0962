"""``debertav3 compare`` trains what is not finished, leaves what is, and writes mean and spread."""

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch

from debertav3 import DebertaV2ForSequenceClassification, DebertaV3Tokenizer
from debertav3.errors import UserError
from debertav3.finetune.compare import Line, compare, glue_averages, parse_sources
from debertav3.sizes import config_for


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_a_broken_comparison_goes_on_and_adds_up(tmp_path: Path, nano: Path) -> None:
    tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
    models = []
    for width in (16, 24):
        torch.manual_seed(0)
        shape = {
            "hidden_size": width,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 16,
        }
        folder = tmp_path / f"width {width}"
        config = config_for("nano", vocab_size=len(tokenizer), **shape)
        DebertaV2ForSequenceClassification(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        models.append(str(folder))
    sst2 = write(tmp_path / "a.jsonl", [{"sentence": f"word {n}", "label": n % 2} for n in range(12)])
    stsb = write(
        tmp_path / "b.jsonl", [{"sentence1": "a", "sentence2": f"{n}", "label": n} for n in range(12)]
    )
    tasks = {"sst2": {"train": [sst2], "dev": [sst2]}, "stsb": {"train": [stsb], "dev": [stsb]}}
    out, overrides = tmp_path / "out", ["max_steps=2", "batch_size=4", "check_data=false"]

    compare(models[:1], tasks, [1, 2], out, overrides=overrides)
    kept = {path: path.stat().st_mtime_ns for path in out.glob("*/run.json")}
    assert len(kept) == 4
    lines = compare(models, tasks, [1, 2], out, overrides=overrides)
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
    with pytest.raises(UserError, match=r"b\.jsonl has changed since .*stsb--1 was made from it"):
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


def test_a_run_without_dev_set_is_refused(tmp_path: Path, nano: Path) -> None:
    with pytest.raises(UserError, match="give --dev nli=FILE"):
        compare([str(nano)], {"nli": {"train": ["x.jsonl"], "dev": []}}, [1], tmp_path)


@pytest.mark.parametrize(
    ("task", "row", "message"),
    [
        ("rtee", {"sentence1": "a", "sentence2": "b", "label": 0}, "Did you mean 'rte'"),
        ("rte", {"sentence1": "a", "label": 0}, "b.jsonl line 1 has no column "),
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
        Line(model="m", task=task, dev=dev, score=name, values=values, parameters=7, seconds=10.0)
        for (task, dev, name), values in scores.items()
    ]
    (average,) = glue_averages(lines)
    assert average.values == pytest.approx(((0.2 + 0.7 + 0.2 + 2.5) / 8, (0.4 + 0.7 + 0.2 + 2.5) / 8))
    assert average.seconds == 80.0
    assert glue_averages([line for line in lines if line.task != "rte"]) == []


def test_a_task_may_have_several_sources() -> None:
    found = parse_sources(["a=x.jsonl", "b=datasets:n:c", "a=y=z"], ["a", "b"], option="--train")
    assert found == {"a": ["x.jsonl", "y=z"], "b": ["datasets:n:c"]}
