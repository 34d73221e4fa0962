"""Multiple choice: the pairs of training, the plain model's logits, rows of every training task."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from debertav3 import Predictor, UserError
from debertav3.inference.export.request import ExportConfig
from debertav3.inference.export.run import export_model
from debertav3.inference.files.predict import evaluate_file, predict_file
from debertav3.inference.files.row_answers import FILE_TASKS, AnswerOptions, FileTask
from debertav3.tasks.choice_forms import read_choices
from debertav3.tasks.names import TASKS
from debertav3.tasks.rows import Row
from tiny_models import ModelFolders, assert_same, model_of, softmax

CONTEXT = "Anna went to bed late, since she had to read a book of five hundred pages for school."
CHOICES = ["She is tired.", "She has eaten so much cake that she cannot move.", "No."]
ENDS = {f"ending{number}": f"end {number}" for number in range(4)}
ROWS: dict[str, dict[str, Any]] = {
    "race": {"article": "Ann slept.", "question": "He _ it.", "options": ["saw", "did"], "answer": "B"},
    "swag": {"sent1": "Ann slept.", "sent2": "Then she", **ENDS, "label": 3},
    "copa": {
        "premise": "Ann slept.",
        "choice1": "She was tired.",
        "choice2": "She ran.",
        "question": "cause",
        "label": 0,
    },
    "arc": {"question": "Who?", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"},
    "plain": {"context": "Ann slept.", "choices": ["Soundly.", "A car."], "label": 0},
}


@pytest.fixture(scope="module")
def folder(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ModelFolders(nano, tmp_path_factory)("DebertaV2ForMultipleChoice")


@pytest.fixture(scope="module")
def predictor(folder: Path) -> Predictor:
    return Predictor.from_pretrained(folder, device="cpu")


def task(predictor: Predictor, **options: Any) -> FileTask:
    return FILE_TASKS["choice"](predictor, AnswerOptions(**options))


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def directly(predictor: Predictor, context: str, choices: list[str]) -> np.ndarray:
    """Logits of the model called on all choices at once, as training lays them out: ``(choices,)``."""
    inputs = predictor.engine.tokenizer(
        [context] * len(choices), choices, truncation=True, max_length=64, padding=True, return_tensors="np"
    )
    with torch.inference_mode():
        output = model_of(predictor)(**{key: torch.from_numpy(value)[None] for key, value in inputs.items()})
    return output.logits[0].numpy()


def test_choose_equals_the_model_called_plainly(predictor: Predictor) -> None:
    logits = directly(predictor, CONTEXT, CHOICES)
    pairs = [(CONTEXT, choice) for choice in CHOICES]
    assert predictor.engine.run(predictor.engine.sequences(pairs)).reshape(-1) == pytest.approx(
        logits, abs=1e-5
    )
    found = predictor.choose(CONTEXT, CHOICES)
    assert found["scores"] == pytest.approx(softmax(logits).tolist(), abs=1e-6)
    assert found["index"] == int(logits.argmax())
    assert (found["text"], found["score"]) == (CHOICES[found["index"]], max(found["scores"]))


def test_many_are_chosen_as_one_is(predictor: Predictor) -> None:
    contexts, groups = [CONTEXT, "Who?", CONTEXT], [CHOICES, ["Ann", "Tom"], CHOICES[:1]]
    together = predictor.choose(contexts, groups)
    assert_same(together, [predictor.choose(*one) for one in zip(contexts, groups, strict=True)])
    assert predictor.choose([], []) == []


@pytest.mark.parametrize(
    ("context", "choices", "message"),
    [
        ("a", [], "a list of choices is empty"),
        (["a", "b"], [["x"]], "for each of the 2 contexts"),
        ("a", ["x", " "], "choice 1 is empty"),
        ("", ["x"], "context 0 is empty"),
    ],
)
def test_what_cannot_be_chosen_from_is_refused(
    predictor: Predictor, context: Any, choices: Any, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        predictor.choose(context, choices)


@pytest.mark.parametrize("kind", ROWS)
def test_rows_form_the_pairs_of_training(predictor: Predictor, tmp_path: Path, kind: str) -> None:
    row = ROWS[kind]
    example = task(predictor).read(Row("the row", row))
    if kind in TASKS:
        (trained,) = TASKS[kind].read(str(jsonl(tmp_path / "train.jsonl", [row])))
        assert (example.inputs[0], *example.inputs[1]) == trained.texts
        assert str(example.gold) == trained.label
    assert len(example.inputs[2]) == len(example.inputs[1])


def test_files_are_answered_and_scored(predictor: Predictor, tmp_path: Path) -> None:
    rows = [*ROWS.values(), {"question": "Who?", "choices": ["Ann", "Tom", "Eve"]}]
    source, target = jsonl(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    predict_file(task(predictor), source, target, metrics=tmp_path / "metrics.json")
    found = [json.loads(line) for line in target.read_text("utf-8").splitlines()]
    right = 0
    for row, got in zip(rows, found, strict=True):
        context, texts, options, *_ = read_choices(Row("", row))
        logits = directly(predictor, context, texts)
        assert got["prediction"] == int(logits.argmax())
        assert got["scores"]["probabilities"] == pytest.approx(softmax(logits).tolist(), abs=2e-6)
        assert got["scores"]["text"] == options[got["prediction"]]
        right += got["prediction"] == task(predictor).read(Row("the row", row)).gold
    report = json.loads((tmp_path / "metrics.json").read_text())
    assert (report["labelled"], report["accuracy"]) == (5, right / 5)
    assert evaluate_file(task(predictor), source) == report


def test_a_row_that_fits_several_is_read_as_the_model_was_trained(predictor: Predictor) -> None:
    row = {"context": "Ann slept.", "question": "Who?", "choices": ["Ann", "Tom"]}
    assert task(predictor).read(Row("the row", row)).inputs[0] == "Ann slept."
    assert task(predictor, trained_task="arc").read(Row("", row)).inputs[0] == "Who?"
    assert task(predictor, trained_task="swag").read(Row("", row)).inputs[0] == "Ann slept."


def test_bad_rows_are_one_clear_line(predictor: Predictor, tmp_path: Path) -> None:
    for row, message in (
        ({"text": "x"}, "line 1: needs the fields"),
        ({"question": "Who?", "choices": ["Ann"]}, "line 1: .* at least two texts"),
        ({"question": "Who?", "choices": ["Ann", "Tom"], "label": 7}, "right choice is 7"),
        ({"question": "Who?", "choices": ["Ann", " "]}, "choice 1 is empty"),
    ):
        with pytest.raises(UserError, match=message) as raised:
            evaluate_file(task(predictor), jsonl(tmp_path / "in.jsonl", [row]))
        assert "\n" not in str(raised.value)


def test_other_heads_and_backends_are_refused(
    folder: Path, nano: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = ModelFolders(nano, tmp_path_factory)("DebertaV2ForSequenceClassification")
    with pytest.raises(UserError, match="needs a multiple-choice head"):
        Predictor.from_pretrained(other, task="choice")
    with pytest.raises(UserError, match="runs exported graphs"):
        Predictor.from_pretrained(folder, backend="onnx")
    pytest.importorskip("onnxruntime")
    export_model(folder, tmp_path / "graph", ExportConfig(format="onnx"))
    with pytest.raises(UserError, match="multiple choice does not run on exported folders") as raised:
        Predictor.from_pretrained(tmp_path / "graph", task="choice")
    assert "\n" not in str(raised.value)
