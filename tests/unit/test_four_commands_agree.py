"""`data check`, `finetune`, `predict` and `evaluate` read every shape alike: rows, columns and labels."""

import csv
import gzip
import io
import json
import logging
import random
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from debertav3.cli import app
from debertav3.finetuning.data_check import check_data
from debertav3.finetuning.preparation import Data, read_data, resolve
from debertav3.heads import BY_NAME, TOKENS
from debertav3.inference.files.file_task import CheckedRow, FileTask
from debertav3.inference.files.input import check_file, examples
from debertav3.inference.files.row_answers import FILE_TASKS, AnswerOptions
from debertav3.tasks.choice import ChoiceTask
from debertav3.tasks.choice_forms import FORMS, read_choices
from debertav3.tasks.columns import Columns, Trained, find_columns
from debertav3.tasks.label_map import read_label_map
from debertav3.tasks.metrics import tag_entities
from debertav3.tasks.names import TASKS
from debertav3.tasks.ranking import RankingTask
from debertav3.tasks.read_options import ReadOptions
from debertav3.tasks.rows import Row
from debertav3.tasks.squad import SpanTask
from debertav3.tasks.tagging import MarkedText, TaggingTask
from debertav3.tasks.text import TextTask
from debertav3.tokenization import DebertaV3Tokenizer
from more_shapes import MORE_SHAPES
from shapes import BIG, MET, SHAPES, Shape

COLUMN_OPTIONS = ("text_column", "pair_column", "label_column")


@pytest.fixture(scope="module")
def tokenizer(nano: Path) -> DebertaV3Tokenizer:
    return DebertaV3Tokenizer.from_pretrained(nano)


def written(shape: Shape, folder: Path) -> Path:
    path = folder / shape.name
    path.write_bytes(shape.content.encode() if isinstance(shape.content, str) else shape.content)
    return path


def said_block(caplog: pytest.LogCaptureFixture) -> dict[str, str]:
    """The block that says what was understood, but for guesses and labels: rows, columns, first rows."""
    start = next(n for n, line in enumerate(caplog.messages) if line.endswith("is read as"))
    found = {}
    for line in caplog.messages[start + 1 :]:
        parts = re.fullmatch(r"  (\S+(?: \S+)?) +(.*)", line)
        if parts and parts.group(1) not in ("labels", "guess", "note"):
            found.setdefault(*parts.groups())
    return found


def answering(data: Data, shape: Shape, *, is_said: bool) -> FileTask:
    """The task of `predict` over a model that was trained on the data, with the user's options or without."""
    task, said = data.task, shape.said
    name = BY_NAME[task.head].tasks[0]
    if isinstance(task, RankingTask):
        name = "rerank"
    elif shape.task in ("nli", "rte", "mnli"):
        name = "nli"
    target = task.target if isinstance(task, TextTask) else None
    predictor: Any = SimpleNamespace(
        labels=list(data.labels) or ["LABEL_0"],
        is_multi_label=target == "several-labels",
        nli_columns=SimpleNamespace(names=data.labels),
    )
    named: Any = data.columns  # as run.json has them
    asked = [said.get(option) if is_said else None for option in COLUMN_OPTIONS]
    columns = find_columns(
        Trained(
            task.name,
            named.get("text"),
            named.get("pair"),
            named.get("label"),
            tuple(named.get("choices", ())),
        ),
        Columns(
            text=asked[0],
            pair=asked[1],
            label=asked[2],
            choices=said.get("choice_columns", ()) if is_said else (),
        ),
    )
    reading = ReadOptions(
        encoding=said.get("encoding"),
        has_header=said.get("header"),
        sheet=said.get("sheet"),
        records=said.get("records"),
        tag_names=said.get("tag_names", ()),
        columns=() if name == "ner" and not is_said else columns.names,
    )
    label_map = read_label_map(said["labels"]) if "labels" in said else {}
    options = AnswerOptions(columns=columns, trained_task=task.name, reading=reading, label_map=label_map)
    return FILE_TASKS[name](predictor, options)


def as_training_has_it(example: CheckedRow, name: str) -> tuple[tuple[str, ...], Any]:
    """Texts and gold label of a row of `predict` in the form of a training row."""
    inputs, gold = example.inputs, example.gold
    if name == "choice":
        return (inputs[0], *inputs[1]), str(gold)
    if name == "qa":
        return tuple(inputs), (gold or [""])[0]
    if name == "rerank":
        return tuple(inputs), gold.value
    texts = (inputs,) if isinstance(inputs, str) else tuple(inputs)
    return texts, tuple(sorted(gold)) if isinstance(gold, list) else gold


def trained_rows(data: Data) -> list[tuple[Any, Any]]:
    """Texts and labels of the training rows; entities of texts by their characters, as `predict` has them."""
    found: list[tuple[Any, Any]] = []
    for example in data.train:
        if isinstance(example.extra, MarkedText):
            spans = example.extra.spans
            entities = tag_entities(example.label)
            marks = [(spans[first][0], spans[stop - 1][1], kind) for first, stop, kind in entities]
            found.append(((example.extra.text,), tuple(sorted(marks))))
        elif data.task.head == TOKENS:
            found.append((example.texts, tuple(sorted(example.label))))
        else:
            found.append((example.texts, example.label))
    return found


def reordered(value: Any) -> Any:
    """The same JSON with the keys of every object in the opposite order."""
    if isinstance(value, dict):
        is_ordered = all(key.isdecimal() for key in value) or all(  # numbers of rows; lists of rows
            isinstance(one, list) and one and isinstance(one[0], dict) for one in value.values()
        )
        keys = value if is_ordered else reversed(value)
        return {key: reordered(value[key]) for key in keys}
    return [reordered(one) for one in value] if isinstance(value, list) else value


def cells_of(shape: Shape, block: dict[str, str]) -> tuple[list[list[str]], str] | None:
    """The cells of a table of text whose columns have names, and what is between them; None for others."""
    has_numbers = any(block.get(role, "").isdecimal() for role in ("text", "second text", "label"))
    if not isinstance(shape.content, str) or not block["format"].startswith("a table of text") or has_numbers:
        return None
    first = shape.content.splitlines()[0]
    delimiter = max(",;\t", key=first.count)
    is_quoted = "quotes belong" not in block["format"]
    quoting = csv.QUOTE_MINIMAL if is_quoted else csv.QUOTE_NONE
    cells = list(csv.reader(io.StringIO(shape.content), delimiter=delimiter, quoting=quoting))
    is_first = block.get("text") in cells[0] and len(set(map(len, cells))) == 1  # nothing above the names
    return (cells, delimiter) if is_first else None


def table(cells: list[list[str]], delimiter: str) -> str:
    has_quotes = any('"' in cell for row in cells for cell in row)
    if has_quotes and delimiter == "\t":
        return "".join(delimiter.join(row) + "\n" for row in cells)
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter, lineterminator="\n").writerows(cells)
    return stream.getvalue()


def shuffled(names: list[str]) -> list[int]:
    """Another order of columns; those without a name stay, since where they are says what they are."""
    named = [place for place, name in enumerate(names) if name]
    others = iter(random.Random(0).sample(named, len(named)))
    return [next(others) if name else place for place, name in enumerate(names)]


def says_numbers(shape: Shape) -> bool:
    """Whether the user names columns by their numbers."""
    return any(str(shape.said.get(option)).isdecimal() for option in COLUMN_OPTIONS)


def variants(shape: Shape, block: dict[str, str]) -> dict[str, Shape]:
    """The same rows with other line ends and marks, compressed, and with the columns in another order."""
    content = shape.content.encode() if isinstance(shape.content, str) else shape.content
    found = {"gzip": replace(shape, name=f"{shape.name}.gz", content=gzip.compress(content))}
    if b"\0" not in content and b"\r" not in content:
        found["windows"] = replace(shape, content=content.replace(b"\n", b"\r\n"))
    if isinstance(shape.content, str):
        found["mark"] = replace(shape, content=b"\xef\xbb\xbf" + content)
    if shape.name.endswith(".json") and isinstance(shape.content, str):
        found["reordered"] = replace(shape, content=json.dumps(reordered(json.loads(shape.content))))
    elif shape.name.endswith(".jsonl") and isinstance(shape.content, str) and "{\n" not in shape.content:
        rows = [reordered(json.loads(line)) for line in shape.content.splitlines()]
        found["reordered"] = replace(shape, content="".join(json.dumps(row) + "\n" for row in rows))
    elif (cells := cells_of(shape, block)) is not None and not says_numbers(shape):
        order = shuffled(cells[0][0])
        found["reordered"] = replace(
            shape, content=table([[row[n] for n in order] for row in cells[0]], cells[1])
        )
    return found


@pytest.mark.parametrize("name", [*SHAPES, *MORE_SHAPES])
def test_four_commands_agree(
    tmp_path: Path, tokenizer: DebertaV3Tokenizer, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = {**SHAPES, **MORE_SHAPES}[name]
    trained = agree(first, tmp_path, tokenizer, caplog)
    for kind, shape in variants(first, trained).items():
        folder = tmp_path / kind
        folder.mkdir()
        found = agree(shape, folder, tokenizer, caplog)
        assert similar(found) == similar(trained), kind


def similar(block: dict[str, str]) -> dict[str, Any]:
    """What does not depend on the order of columns."""
    found: dict[str, Any] = {key: value for key, value in block.items() if key != "left out"}
    return found | {"label": sorted(block.get("label", "").split(","))}


def agree(
    shape: Shape, folder: Path, tokenizer: DebertaV3Tokenizer, caplog: pytest.LogCaptureFixture
) -> dict[str, str]:
    """Read a shape by all commands; return the block that they say."""
    path = written(shape, folder)
    config = resolve(shape.task, model="nano", given={"train": [str(path)], **shape.said})
    caplog.clear()
    with caplog.at_level(logging.INFO):
        data = read_data(config)
    trained = said_block(caplog)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        facts = check_data(config, lambda *_: tokenizer)
    assert said_block(caplog) == trained
    assert facts["train"]["examples"] == len(shape.rows)
    assert [(example.texts, example.label) for example in data.train] == shape.rows
    for is_said in (True, False):
        task = answering(data, shape, is_said=is_said)
        caplog.clear()
        with caplog.at_level(logging.INFO):
            source = check_file(task, path)
        answered_too = "without a gold label" in trained.get("left out", "")  # by prediction
        wanted = {key: value for key, value in trained.items() if key != "left out" or not answered_too}
        assert said_block(caplog) == wanted, is_said
        answered = (one for _, one in examples(task, source.reading) if one.gold is not None)
        rows = [as_training_has_it(one, task.name) for one in answered]
        assert rows == trained_rows(data), is_said
    return trained


def renamed(shape: Shape, block: dict[str, str]) -> Shape | None:
    """The same rows under other names of columns, which the user says; None where there are no such names."""
    roles = {"text_column": "text", "pair_column": "second text", "label_column": "label"}
    said = {option: block[role] for option, role in roles.items() if role in block}
    if isinstance(shape.content, str) and shape.name.endswith(".jsonl") and "{\n" not in shape.content:
        rows = [json.loads(line) for line in shape.content.splitlines()]
        if shape.task == "ner" or not all(
            isinstance(row, dict) and said["label_column"] in row for row in rows
        ):
            return None
        names = {
            name: f"Spalte {place}" for place, name in enumerate(dict.fromkeys(n for r in rows for n in r))
        }
        content = "".join(json.dumps({names[name]: row[name] for name in row}) + "\n" for row in rows)
    elif (found := cells_of(shape, block)) is not None and "," not in said.get("label_column", ","):
        cells, delimiter = found
        names = {name: name and f"Spalte {place}" for place, name in enumerate(cells[0])}
        content = table([[names[name] for name in cells[0]], *cells[1:]], delimiter)
    else:
        return None
    kept = {name: value for name, value in shape.said.items() if name not in roles}
    new = {key: names[name] for key, name in said.items()}
    if "choices" in block:
        new["choice_columns"] = tuple(names[name] for name in block["choices"].split(","))
    return replace(shape, content=content, said={**kept, **new})


@pytest.mark.parametrize("name", SHAPES)
def test_columns_may_have_any_names(
    tmp_path: Path, tokenizer: DebertaV3Tokenizer, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    trained = agree(SHAPES[name], tmp_path, tokenizer, caplog)
    shape = renamed(SHAPES[name], trained) if {"text", "label"} <= trained.keys() else None
    if shape is not None:
        (tmp_path / "renamed").mkdir()
        found = agree(shape, tmp_path / "renamed", tokenizer, caplog)
        assert {found[key] for key in found if key.startswith("row ")} == {
            trained[key] for key in trained if key.startswith("row ")
        }


@pytest.mark.parametrize("name", SHAPES)
def test_a_dry_run_reads_every_row(tmp_path: Path, nano: Path, name: str) -> None:
    shape = SHAPES[name]
    options = []
    for option, value in shape.said.items():
        if option == "header":
            options.append("--header" if value else "--no-header")
        else:
            text = ",".join(value) if isinstance(value, tuple) else str(value)
            options += [f"--{option.replace('_', '-')}", text]
    path = str(written(shape, tmp_path))
    task = "custom" if shape.task == "rerank" else shape.task
    command = ["finetune", shape.task, "--model", str(nano), "--train", path, *options, "--dry-run"]
    result = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert f"training data: {len(shape.rows)} examples" in result.output
    assert json.loads(result.stdout.splitlines()[-1])["task"] == task
    assert not (tmp_path / "out").exists()


def rows_of(task: str) -> tuple[list[dict[str, Any]], list[tuple[tuple[str, ...], Any]], dict[str, str]]:
    """Two rows of a task under names that nobody uses, what they are, and a map of their labels."""
    found = TASKS[task]
    if isinstance(found, SpanTask):
        rows: list[dict[str, Any]] = [
            {"x1": "Who?", "x2": "Ann sings.", "x3": {"text": ["Ann"], "answer_start": [0]}},
            {"x1": "What?", "x2": "It rains.", "x3": ["rains"]},
        ]
        return rows, [(("Who?", "Ann sings."), "Ann"), (("What?", "It rains."), "rains")], {}
    if isinstance(found, TaggingTask):
        rows = [
            {"x1": list(words), "x3": [tag.replace("PER", "person") for tag in tags]}
            for words, tags in (MET, BIG)
        ]
        return rows, [MET, BIG], {"person": "PER"}
    if isinstance(found, ChoiceTask):
        form = FORMS.get(task, FORMS["arc"])
        second = ["cause", "effect"] if form.pair_values else ["a b", "c d"]
        row = {"x1": "Ann saw _ there.", "x4": "one", "x5": "two"}
        rows = [
            {**row, **({"x2": two} if form.pair else {}), "x3": right}
            for two, right in zip(second, "LR", strict=True)
        ]
        texts = [
            read_choices(
                Row("", one),
                trained=task,
                columns=Columns(
                    text="x1",
                    pair="x2" if form.pair else None,
                    choices=("x4", "x5"),
                    is_text_asked=True,
                    is_choices_asked=True,
                ),
            )
            for one in rows
        ]
        wanted = [((one.context, *one.texts), str(n)) for n, one in enumerate(texts)]
        return (
            rows,
            wanted,
            {"L": form.names[0] if form.names else "A", "R": form.names[1] if form.names else "B"},
        )
    assert isinstance(found, TextTask)
    is_pair = len(found.columns[0]) == 2
    names = found.label_sets[0][:2] if found.label_sets else (1.5, 2.0)
    rows = [{"x1": f"one {n}", **({"x2": f"two {n}"} if is_pair else {}), "x3": f"L{n}"} for n in range(2)]
    wanted = [
        (tuple(str(row[name]) for name in ("x1", "x2") if name in row), names[n])
        for n, row in enumerate(rows)
    ]
    return rows, wanted, {f"L{n}": str(name) for n, name in enumerate(names)}


@pytest.mark.parametrize("task", TASKS)
def test_every_task_takes_columns_of_any_names_and_a_map_of_labels(
    tmp_path: Path, tokenizer: DebertaV3Tokenizer, task: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows, wanted, label_map = rows_of(task)
    said: dict[str, Any] = {"text_column": "x1", "label_column": "x3"}
    said |= {"pair_column": "x2"} if "x2" in rows[0] else {}
    said |= {"choice_columns": ("x4", "x5")} if "x4" in rows[0] else {}
    if label_map:
        said["labels"] = str(tmp_path / "map.yaml")
        (tmp_path / "map.yaml").write_text(
            "".join(f"'{key}': '{value}'\n" for key, value in label_map.items())
        )
    content = "".join(json.dumps(row) + "\n" for row in rows)
    block = agree(Shape(task, "x.jsonl", content, wanted, said), tmp_path, tokenizer, caplog)
    shown = {name for value in block.values() for name in value.split(",")}
    assert {name for row in rows for name in row} <= shown
