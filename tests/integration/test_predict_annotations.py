"""From an annotation tool to a model and back: predictions become pre-annotations with the same entities."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from debertav3 import Predictor, UserError, cli
from debertav3.finetuning.config import FinetuneConfig
from debertav3.finetuning.objectives import objective_of
from debertav3.inference.files.predict import check_run, evaluate_file, predict_file
from debertav3.inference.files.row_answers import FILE_TASKS, AnswerOptions
from debertav3.tasks.annotations.marks import Mark
from debertav3.tasks.names import TASKS
from debertav3.tasks.preannotations import TOOLS, Tool, tool_named
from debertav3.tasks.summary import Summary
from debertav3.tasks.tables import read_table
from tiny_models import ModelFolders

TAGS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}
TEXTS = ["Ann Bell sleeps (Rome's, they say).", "It  rained on 'em,\nin Oslo."]


@pytest.fixture(scope="module")
def tagger(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folders = ModelFolders(nano, tmp_path_factory)
    return Predictor.from_pretrained(folders("DebertaV2ForTokenClassification", id2label=TAGS))


def doccano(folder: Path) -> Path:
    rows = [
        {"id": 1, "text": TEXTS[0], "label": [[0, 8, "PER"], [17, 21, "LOC"]]},
        {"id": 2, "text": TEXTS[1], "label": []},
    ]
    path = folder / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def marks(entities: list[dict[str, Any]]) -> list[Mark]:
    return [Mark(one["start"], one["end"], one["entity_group"]) for one in entities]


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_predictions_come_back_from_every_tool(tagger: Predictor, tmp_path: Path, tool: Tool) -> None:
    task = FILE_TASKS["ner"](tagger, AnswerOptions())
    target = tmp_path / f"out{(*tool.endings, '')[0]}"
    predict_file(task, doccano(tmp_path), target, tool=tool, metrics=tmp_path / "metrics.json")
    wanted = [marks(one) for one in tagger.ner(TEXTS)]
    assert any(wanted), "an untrained tagger that finds nothing shows nothing"
    rows = list(read_table(target))
    if tool.name == "conll":
        assert [row.fields["tokens"][0] for row in rows] == ["Ann", "It"]
        return
    assert [row.fields["text"] for row in rows] == TEXTS
    assert [[Mark(**one) for one in row.fields["entities"]] for row in rows] == wanted
    assert json.loads((tmp_path / "metrics.json").read_text("utf-8"))["labelled"] == 2
    assert [tuple(one.texts) for one in TASKS["ner"].read(str(target))]


def test_sentences_of_words_become_texts(tagger: Predictor, tmp_path: Path) -> None:
    source, target = tmp_path / "in.conll", tmp_path / "out.json"
    source.write_text("Ann\nsleeps\n.\n\nRome\n", encoding="utf-8")
    predict_file(FILE_TASKS["ner"](tagger, AnswerOptions()), source, target, tool=tool_named("label-studio"))
    content = json.loads(target.read_text("utf-8"))
    assert [one["data"]["text"] for one in content] == ["Ann sleeps .", "Rome"]


def test_rows_come_back_as_their_tool_wrote_them(tagger: Predictor, tmp_path: Path) -> None:
    source = doccano(tmp_path)
    predict_file(FILE_TASKS["ner"](tagger, AnswerOptions()), source, tmp_path / "out.jsonl")
    given = [json.loads(line) for line in source.read_text("utf-8").splitlines()]
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert [{name: row[name] for name in ("id", "text", "label")} for row in found] == given


def test_evaluation_counts_whole_entities(tagger: Predictor, tmp_path: Path) -> None:
    found = evaluate_file(FILE_TASKS["ner"](tagger, AnswerOptions()), doccano(tmp_path))
    assert (found["rows"], found["labelled"]) == (2, 2)
    assert found["per_label"]["PER"]["support"] == found["per_label"]["LOC"]["support"] == 1


@pytest.mark.parametrize(
    ("tool", "name", "message"),
    [
        ("brat", "out.jsonl", "brat takes a folder. Give a name without .jsonl"),
        ("label-studio", "out.csv", "label-studio takes files that end in .json or .jsonl"),
    ],
)
def test_a_name_that_the_tool_does_not_take_is_refused(
    tmp_path: Path, tool: str, name: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check_run(
            tmp_path / name, None, target_format=None, tool=tool_named(tool), resume=False, overwrite=False
        )


def test_an_unknown_tool_is_named_with_those_that_there_are() -> None:
    with pytest.raises(
        UserError, match=r"'excel' is not known\. Choose one of: label-studio, doccano, prodigy"
    ):
        tool_named("excel")


def test_only_entities_are_pre_annotations(
    nano: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["nli", "--model", nano, "--data", doccano(tmp_path), "--out", tmp_path / "out", "--as", "brat"]
    monkeypatch.setattr(sys, "argv", ["debertav3", "predict", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert "--as is for task ner, which finds entities, not nli" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("max_length", [8, 64])
def test_texts_are_trained_on_as_prediction_sees_them(
    tagger: Predictor, tmp_path: Path, max_length: int
) -> None:
    """Words with the spaces of their text: ``Rome's,`` is three words and no space."""
    examples = TASKS["ner"].read(str(doccano(tmp_path)))
    labels = TASKS["ner"].choose_labels(Summary.of(examples), source="")
    config = FinetuneConfig.of(task="ner", model="nano", max_length=max_length)
    tokenizer = tagger.engine.inputs.tokenizer
    objective = objective_of(TASKS["ner"])
    dataset = objective.encode(examples, tokenizer, labels=labels, config=config)
    assert max(dataset.lengths) <= max_length
    if max_length == 64:
        ids = [feature["input_ids"][1:-1] for feature in dataset.features]
        assert ids == tokenizer.encode_batch(TEXTS)
    logits = np.zeros((len(dataset), max(dataset.lengths), len(labels)))
    for row, feature in enumerate(dataset.features):
        for position, label in enumerate(feature["labels"]):
            logits[row, position, max(label, 0)] = 1.0
    assert objective.score(logits, dataset, labels=labels)["f1"] == 1.0
