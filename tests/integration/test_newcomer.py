"""A newcomer's path: a table with odd headers, check, train, evaluate, export, predict; also in Python."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pandas
import pytest

import debertav3
from debertav3 import Predictor
from debertav3.inference.export.request import ExportConfig
from debertav3.inference.export.run import export_model

WORDS = {
    "billing": ("invoice", "payment", "refund"),
    "access": ("password", "login", "account"),
    "delivery": ("parcel", "courier", "address"),
}
NUM_TICKETS, NUM_EMPTY = 36, 2


class Outcome(NamedTuple):
    out: str
    err: str


def tickets() -> str:
    r"""Semicolons, one at the end of each line too; quoted line ends; some empty bodies; ``\r\n``."""
    lines = ["Ticket ID;Body;Category;Created (UTC);Priority;"]
    for number in range(NUM_TICKETS):
        category = list(WORDS)[number % 3]
        word = WORDS[category][number // 3 % 3]
        body = f'"My {word} is wrong;\r\nplease look at it, {number}"' if number % 16 != 5 else ""
        lines.append(f"{1000 + number};{body};{category};2026-01-0{number % 9 + 1} 10:00;{number % 2};")
    return "\r\n".join([*lines, ""])


def done(*args: object) -> Outcome:
    """What a command says that must succeed."""
    result = subprocess.run(
        [sys.executable, "-m", "debertav3", *map(str, args)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        timeout=600,
    )
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    return Outcome(result.stdout, result.stderr)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("newcomer") / "tickets.csv"
    path.write_text(tickets(), encoding="utf-8", newline="")
    return path


@pytest.fixture(scope="module")
def trained(table: Path, nano: Path) -> Path:
    out = table.parent / "my-tickets"
    options = ["--epochs", 1, "--max-length", 32, "--batch-size", 16, "--dev-split", 0.2]
    done("finetune", "custom", "--train", table, "--model", nano, "--out", out, *options)
    return out


@pytest.fixture(scope="module")
def exported(trained: Path, table: Path) -> Path:
    out = trained.parent / "my-tickets-int8"
    options = ["--format", "torch", "--int8", "--calibration", table, "--force"]
    outcome = done("export", "--model", trained, "--out", out, *options)
    closing = [line for line in outcome.err.splitlines() if "layers kept in float" in line]
    assert len(closing) == 1
    assert closing[0].startswith(f"debertav3: {out}: ")
    assert "decisions are equal, accuracy " in closing[0] and " -> " in closing[0]
    return out


def test_check_says_what_it_takes_and_with_which_tokenizer(table: Path) -> None:
    outcome = done("data", "check", "custom", table)
    assert "debertav3:   label     Category\ndebertav3:   labels    one of" in outcome.err
    assert f"debertav3: {table}: skipped {NUM_EMPTY} rows without a text" in outcome.err
    assert "nano; --tokenizer names another" in outcome.err
    assert all(line.startswith("debertav3: ") for line in outcome.err.splitlines())
    assert "labels: access 12, billing 11, delivery 11" in outcome.out
    assert f"examples: {NUM_TICKETS - NUM_EMPTY}" in outcome.out


def test_the_report_has_the_name_of_the_run(trained: Path) -> None:
    report = (trained / "report.html").read_text(encoding="utf-8")
    assert "<title>my-tickets" in report


def test_the_model_is_scored_on_the_same_table(trained: Path, table: Path) -> None:
    report = json.loads(done("evaluate", "custom", "--model", trained, "--data", table).out)
    assert (report["rows"], report["labelled"]) == (NUM_TICKETS, NUM_TICKETS - NUM_EMPTY)
    assert 0 <= report["accuracy"] <= 1


def test_int8_answers_every_row_of_the_table(exported: Path, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers.csv"
    outcome = done("predict", "custom", "--model", exported, "--data", table, "--out", out)
    assert f"debertav3: {table}: skipped {NUM_EMPTY} rows without a text" in outcome.err
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:5] == ["Ticket ID", "Body", "Category", "Created (UTC)", "Priority"]
    assert [row["Ticket ID"] for row in rows] == [str(1000 + number) for number in range(NUM_TICKETS)]
    assert all((row["prediction"] in WORDS) == bool(row["Body"]) for row in rows)
    texts = [row["Body"] for row in rows if row["Body"]]
    found = Predictor.from_pretrained(exported, task="classify").classify(texts)
    assert [one["label"] for one in found] == [row["prediction"] for row in rows if row["Body"]]


def test_an_export_answers_as_the_model(trained: Path, table: Path, tmp_path: Path) -> None:
    for package in ("onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    done("export", "--model", trained, "--format", "onnx", "--out", tmp_path / "onnx")
    for model, name in ((trained, "own.csv"), (tmp_path / "onnx", "onnx.csv")):
        done("predict", "custom", "--model", model, "--data", table, "--out", tmp_path / name)
    own, exported = (pandas.read_csv(tmp_path / name)["prediction"] for name in ("own.csv", "onnx.csv"))
    assert own.equals(exported)


def test_the_same_in_python(trained: Path, table: Path, nano: Path, tmp_path: Path) -> None:
    frame = pandas.read_csv(table, sep=";").dropna(axis=1, how="all")
    made = debertav3.finetune(
        "custom",
        nano,
        frame,
        out=tmp_path / "made",
        text_column="Body",
        label_column="Category",
        epochs=1,
        max_length=32,
        batch_size=16,
        dev_split=0.2,
    )
    weights = "model.safetensors"
    assert (made.out / weights).read_bytes() == (trained / weights).read_bytes()
    assert "<title>made" in (made.out / "report.html").read_text(encoding="utf-8")
    assert 0 <= made.metrics["dev_split=0.2"]["accuracy"] <= 1
    config = ExportConfig(format="torch", int8=True, calibration=table, force=True)
    int8 = export_model(made.out, tmp_path / "int8", config).folder
    texts = list(frame["Body"].dropna())
    answers = [Predictor.from_pretrained(folder).classify(texts) for folder in (made.out, int8)]
    assert all({one["label"] for one in found} <= WORDS.keys() for found in answers)
