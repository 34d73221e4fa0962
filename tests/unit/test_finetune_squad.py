"""SQuAD: scores equal the official script's, answers are found again through windows, bad files are named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from debertav3 import DebertaV3Tokenizer
from debertav3.errors import UserError
from debertav3.finetuning.batches import EncodedDataset
from debertav3.finetuning.config import FinetuneConfig
from debertav3.finetuning.objectives import objective_of
from debertav3.tasks.names import TASKS
from debertav3.tasks.squad import SpanTask, official_scores

TASK = TASKS["squad2"]
OBJECTIVE = objective_of(TASK)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("model", ["bert_single", "nlnet_single"])
@pytest.mark.parametrize("has_doubts", [False, True])
def test_scores_equal_the_official_scripts(data_folder: Path, model: str, has_doubts: bool) -> None:
    folder = data_folder / "squad" / "metric-parity"
    source = data_folder / "squad" / "dev-v2.0-slice.json"
    golds = [example.extra for example in TASK.read(str(source))]
    passages = [passage for title in read_json(source)["data"] for passage in title["paragraphs"]]
    ids = [one["id"] for passage in passages for one in passage["qas"]]
    by_id = read_json(folder / f"predictions_{model}.json")
    answers = [by_id[id] for id in ids]
    if has_doubts:
        doubt_of = read_json(folder / f"na_prob_synthetic_{model}.json")
        doubts = [doubt_of[id] for id in ids]
        got = official_scores(golds, answers, no_answer_scores=doubts, threshold=0.5)
        expected = read_json(folder / f"expected_{model}_na_t0.5.json")
    else:
        got = official_scores(golds, answers)
        expected = read_json(folder / f"expected_{model}.json")
    assert got == expected


@pytest.mark.parametrize("ids", [("doc7", "doc7"), (None, None)])
@pytest.mark.parametrize("wrong", [0, 1])
def test_questions_that_share_an_id_are_scored_each(
    tmp_path: Path, ids: tuple[str | None, ...], wrong: int
) -> None:
    rows = [{"question": f"q{i}", "context": "a b", "answers": ["a"], "id": id} for i, id in enumerate(ids)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    examples = TASKS["squad1"].read(str(path))
    answers = ["b" if i == wrong else "a" for i in range(2)]
    assert TASKS["squad1"].own_scores(examples, answers) == {"f1": 50.0, "exact_match": 50.0}


@pytest.fixture(scope="module")
def tokenizer(nano: Path) -> DebertaV3Tokenizer:
    return DebertaV3Tokenizer.from_pretrained(nano)


CONTEXT = "Rivers flow. " * 40 + "The capital of Norway is Oslo, a city by the sea. " + "Hills rise. " * 40


def article(*questions: dict[str, Any]) -> dict[str, Any]:
    return {"data": [{"paragraphs": [{"context": CONTEXT, "qas": list(questions)}]}]}


def question(id: str, text: str | None) -> dict[str, Any]:
    answers = [] if text is None else [{"text": text, "answer_start": CONTEXT.index(text)}]
    return {"id": id, "question": "What is the capital of Norway?", "answers": answers}


def write(folder: Path, content: Any) -> str:
    path = folder / "squad.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


def perfect_logits(dataset: EncodedDataset) -> tuple[np.ndarray, np.ndarray]:
    """What a model that knows the labels would say."""
    longest = max(dataset.lengths)
    logits = np.full((2, len(dataset), longest), -10.0)
    for row, feature in enumerate(dataset.features):
        for column, place in enumerate(feature["labels"]):
            logits[column, row, place] = 10.0
    return logits[0], logits[1]


def test_labels_lead_back_to_the_answers(tmp_path: Path, tokenizer: DebertaV3Tokenizer) -> None:
    examples = TASK.read(write(tmp_path, article(question("yes", "Oslo"), question("no", None))))
    config = FinetuneConfig.of(task="squad2", model="nano", max_length=64, window_overlap=16)
    dataset = OBJECTIVE.encode(examples, tokenizer, labels=(), config=config).sorted_by_length()
    assert len(dataset) > 6  # several windows for each question
    scores = OBJECTIVE.score(perfect_logits(dataset), dataset, labels=())
    assert scores["exact_match"] == scores["f1"] == scores["best_f1"] == 100.0
    assert TASK.baseline(examples, examples, labels=())["best_f1"] == 50.0
    outcomes = OBJECTIVE.outcomes(perfect_logits(dataset), dataset, labels=())
    assert [(one.gold, one.predicted) for one in outcomes] == [
        ("Oslo", "Oslo"),
        ("(no answer)", "(no answer)"),
    ]
    assert all(one.is_right and one.confidence is not None and one.confidence > 0.9 for one in outcomes)


def test_real_answers_survive_the_windows(data_folder: Path, tokenizer: DebertaV3Tokenizer) -> None:
    examples = TASK.read(str(data_folder / "squad" / "dev-v2.0-slice.json"))[:150]
    config = FinetuneConfig.of(task="squad2", model="nano", max_length=256)
    dataset = OBJECTIVE.encode(examples, tokenizer, labels=(), config=config).sorted_by_length()
    scores = OBJECTIVE.score(perfect_logits(dataset), dataset, labels=())
    assert (
        scores["exact_match"] > 97
    )  # an answer that ends within a token, such as "19" of "1940s", cannot be cut out


def test_squad1_leaves_questions_without_answer_out(tmp_path: Path) -> None:
    path = write(tmp_path, article(question("yes", "Oslo"), question("no", None)))
    (example,) = TASKS["squad1"].read(path)
    assert example.label == "Oslo"
    assert isinstance(TASKS["squad1"], SpanTask)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"data": [{"paragraphs": [{}]}]}, "not in SQuAD's format"),
        (
            article({**question("1", "Oslo"), "answers": [{"text": "Oslo", "answer_start": 3}]}),
            "at character 3",
        ),
        (article({**question("1", None), "question": " "}), r"no labelled rows \(1 have no text\)"),
        (article(), "no labelled rows"),
    ],
    ids=["format", "offset", "empty", "none"],
)
def test_bad_files_are_named(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        TASK.read(write(tmp_path, content))


def test_rows_of_the_hub_are_read(tmp_path: Path) -> None:
    path = tmp_path / "squad.jsonl"
    row = {
        "id": "1",
        "question": "Which?",
        "context": "It is Oslo.",
        "answers": {"text": ["Oslo"], "answer_start": [6]},
    }
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    (example,) = TASK.read(str(path))
    assert (example.label, example.extra.start) == ("Oslo", 6)


@pytest.mark.parametrize(
    ("texts", "starts", "message"),
    [
        (["Oslo"], [], "must be lists of the same length"),
        (None, None, "must be lists of the same length"),
        (["Oslo"], ["six"], "answer_start must be a number of characters, 0 or more, got 'six'"),
        (["Oslo"], [-5], "answer_start must be a number of characters, 0 or more, got -5"),
        (["s"], [None], "the context has 's' 2 times; say which with answer_start"),
        (["Rome"], [None], "the context has 'Rome' 0 times"),
        ([None], [6], "an answer must be a text that is not empty, got None"),
        ([""], [6], "an answer must be a text that is not empty, got ''"),
    ],
    ids=["short", "null", "text-start", "negative", "twice", "nowhere", "no-text", "empty"],
)
def test_bad_answers_are_named(tmp_path: Path, texts: Any, starts: Any, message: str) -> None:
    path = tmp_path / "squad.jsonl"
    row = {"question": "Which?", "context": "It is Oslo.", "answers": {"text": texts, "answer_start": starts}}
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=f"line 1: .*{message}"):
        TASK.read(str(path))


@pytest.mark.parametrize(
    "row",
    [
        {"answers": {"text": "Oslo", "answer_start": 6}},
        {"answers": {"text": ["Oslo"], "answer_start": ["6"]}},
        {"answers": {"text": ["Oslo"], "answer_start": [None]}},
        {"answers": ["Oslo"]},
        {"answer": "Oslo"},
        {"answer_text": "Oslo", "answer_start": "6.0"},
        {"text": "Oslo", "answer_start": 6, "is_impossible": False},
    ],
)
def test_an_answer_may_be_written_in_many_ways(tmp_path: Path, row: dict[str, Any]) -> None:
    path = tmp_path / "squad.jsonl"
    path.write_text(json.dumps({"question": "Which?", "context": "It is Oslo.", **row}))
    ((example,),) = (TASK.read(str(path)),)
    assert (example.label, example.extra.start) == ("Oslo", 6)


def test_a_bad_answer_of_an_official_file_is_named(tmp_path: Path) -> None:
    answers = [{"text": "Oslo", "answer_start": "six"}]
    with pytest.raises(UserError, match="question 1: answer_start must be a number of characters"):
        TASK.read(write(tmp_path, article({**question("1", None), "answers": answers})))
