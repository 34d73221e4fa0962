"""``predict`` and ``evaluate`` read what training reads: words and tags, CoNLL files, flat rankings."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from debertav3 import Predictor, UserError
from debertav3.inference.files.predict import evaluate_file, predict_file
from debertav3.inference.files.row_answers import FILE_TASKS, AnswerOptions, FileTask
from debertav3.tasks import metrics
from debertav3.tasks.columns import Columns
from debertav3.tasks.tables import read_table
from tiny_models import ModelFolders

TAGS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}
SENTENCES = [
    (["Ann", "Bell", "sleeps", "."], ["B-PER", "I-PER", "O", "O"]),
    (["Rome", "is", "old"], ["B-LOC", "O", "O"]),
]


@pytest.fixture(scope="module")
def folders(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelFolders:
    return ModelFolders(nano, tmp_path_factory)


@pytest.fixture(scope="module")
def tagger(folders: ModelFolders) -> Predictor:
    return Predictor.from_pretrained(folders("DebertaV2ForTokenClassification", id2label=TAGS))


def ner(tagger: Predictor, **columns: Any) -> FileTask:
    return FILE_TASKS["ner"](tagger, AnswerOptions(columns=Columns(**columns)))


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def expected(tagger: Predictor, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Metrics of the sentences under the names that were always read."""
    rows = [{"tokens": words, "label": tags} for words, tags in SENTENCES]
    return evaluate_file(ner(tagger), jsonl(tmp_path_factory.mktemp("rows") / "in.jsonl", rows))


@pytest.mark.parametrize(
    ("words_name", "tags_name"), [("tokens", "ner_tags"), ("words", "tags"), ("tokens", "labels")]
)
def test_words_and_tags_stand_where_training_reads_them(
    tagger: Predictor, tmp_path: Path, expected: dict[str, Any], words_name: str, tags_name: str
) -> None:
    rows = [{words_name: words, tags_name: tags} for words, tags in SENTENCES]
    source = jsonl(tmp_path / "in.jsonl", rows)
    assert evaluate_file(ner(tagger), source) == expected
    predict_file(ner(tagger), source, tmp_path / "out.jsonl")
    want = tagger.tag([words for words, _ in SENTENCES])
    assert [row["prediction"] for row in read(tmp_path / "out.jsonl")] == [
        [one["entity"] for one in sentence] for sentence in want
    ]
    as_text = [{words_name: " ".join(words), tags_name: " ".join(tags)} for words, tags in SENTENCES]
    assert evaluate_file(ner(tagger), jsonl(source, as_text)) == expected


def test_words_may_be_under_any_name(tagger: Predictor, tmp_path: Path, expected: dict[str, Any]) -> None:
    source = jsonl(
        tmp_path / "in.jsonl", [{"text": "no", "w": words, "t": tags} for words, tags in SENTENCES]
    )
    assert evaluate_file(ner(tagger, text="w", label="t"), source) == expected


def test_numbered_tags_are_no_truth(tagger: Predictor, tmp_path: Path) -> None:
    source = jsonl(tmp_path / "in.jsonl", [{"tokens": ["Ann", "sleeps"], "ner_tags": [1, 0]}])
    predict_file(ner(tagger), source, tmp_path / "out.jsonl")
    assert len(read(tmp_path / "out.jsonl")[0]["prediction"]) == 2
    with pytest.raises(UserError, match="none of its 1 rows has a label"):
        evaluate_file(ner(tagger), source)


def conll(sentences: list[tuple[list[str], list[str]]], *, between: str = " NN ") -> str:
    return "-DOCSTART- O\n\n" + "\n".join(
        "".join(f"{word}{between}{tag}\n" for word, tag in zip(*sentence, strict=True))
        for sentence in sentences
    )


def test_conll_files_are_read(tagger: Predictor, tmp_path: Path, expected: dict[str, Any]) -> None:
    source = tmp_path / "in.conll"
    source.write_text(conll(SENTENCES), encoding="utf-8")
    assert evaluate_file(ner(tagger), source) == expected
    predict_file(ner(tagger), source, tmp_path / "out.jsonl")
    found = read(tmp_path / "out.jsonl")
    assert [(row["tokens"], row["label"]) for row in found] == SENTENCES
    named = source.rename(tmp_path / "in.txt")
    predict_file(ner(tagger), named, tmp_path / "out", source_format="conll", target_format="conll")
    assert read(tmp_path / "out") == found
    named.write_text("Ann\nsleeps\n\nRome\n", encoding="utf-8")
    predict_file(ner(tagger), named, tmp_path / "bare.jsonl", source_format="conll")
    assert [list(row) for row in read(tmp_path / "bare.jsonl")] == [["tokens", "prediction", "scores"]] * 2


def test_a_bad_conll_file_is_one_clear_line(tagger: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "in.conll"
    source.write_text("Ann B-PER\nsleeps\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"in\.conll line 2 has a word and no tag"):
        evaluate_file(ner(tagger), source)
    with pytest.raises(UserError, match="read, not written"):
        predict_file(ner(tagger), source, tmp_path / "out.conll")


FLAT = [
    ("Who sleeps?", "A man is asleep.", 0.0),
    ("What is old?", "Rome.", 1.0),
    ("Who sleeps?", "Two dogs run.", 1.0),
    ("What is old?", "It rains today.", 0.0),
    ("Who sleeps?", "Nobody.", 0.5),
]


def test_flat_rows_are_ranked_by_query(folders: ModelFolders, tmp_path: Path) -> None:
    ranker = Predictor.from_pretrained(
        folders(
            "DebertaV2ForSequenceClassification",
            id2label={0: "LABEL_0"},
            problem_type="multi_label_classification",
        )
    )
    rows = [{"query": query, "text": text, "relevance": value} for query, text, value in FLAT]
    source = jsonl(tmp_path / "in.jsonl", rows)
    task = FILE_TASKS["rerank"]
    report = evaluate_file(task(ranker, AnswerOptions()), source)
    predict_file(
        task(ranker, AnswerOptions()), source, tmp_path / "out.jsonl", metrics=tmp_path / "metrics.json"
    )
    assert json.loads((tmp_path / "metrics.json").read_text()) == report
    found = [row["prediction"] for row in read(tmp_path / "out.jsonl")]
    ranks, gains = [], []
    for query in dict.fromkeys(query for query, _, _ in FLAT):
        mine = [place for place, row in enumerate(FLAT) if row[0] == query]
        ranked = ranker.rerank(query, [FLAT[place][1] for place in mine])
        by_place = [one["score"] for one in sorted(ranked, key=lambda one: one["index"])]
        assert [found[place] for place in mine] == pytest.approx(by_place, abs=1e-6)
        relevance = np.array([FLAT[place][2] for place in mine])
        ranks.append(metrics.reciprocal_rank(np.array(by_place), relevance))
        gains.append(metrics.ndcg(np.array(by_place), relevance))
    assert report["labelled"] == 5
    assert report["mrr"] == pytest.approx(np.mean(ranks))
    assert report["ndcg"] == pytest.approx(np.mean(gains))
    named = [{"q": query, "t": text, "gold": str(value)} for query, text, value in FLAT]
    options = AnswerOptions(columns=Columns(text="q", pair="t", label="gold"))
    assert evaluate_file(task(ranker, options), jsonl(source, named)) == report


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("semicolons.csv", ' premise ;"hypothesis";label\r\n"A ""dog""; barks.";It barks.;1\r\n'),
        ("tabs.csv", 'premise\thypothesis\tlabel\n"A ""dog""; barks."\tIt barks.\t1\n'),
        ("raw.tsv", 'premise\thypothesis\tlabel\nA "dog"; barks.\tIt barks.\t1\n'),
    ],
)
def test_tables_are_read_as_training_reads_them(tmp_path: Path, name: str, content: str) -> None:
    source = tmp_path / name
    source.write_bytes(content.encode("utf-8-sig"))
    want = {"premise": 'A "dog"; barks.', "hypothesis": "It barks.", "label": "1"}
    assert [row.original for row in read_table(source)] == [want]
    assert [row.fields for row in read_table(source)] == [want]


def test_tsv_is_not_written(tagger: Predictor, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="of format tsv are read, not written"):
        predict_file(ner(tagger), jsonl(tmp_path / "in.jsonl", []), tmp_path / "out.tsv")


@pytest.mark.parametrize(
    ("name", "head", "row", "options", "message"),
    [
        ("zero-shot", "nli", {"text": "a", "labels": ["sports", ""]}, {}, "labels must be a list of texts"),
        ("rerank", "nli", {"query": "q", "texts": ["a", " "]}, {}, "texts must be a list of texts"),
        ("ner", "tags", {"tokens": ["EU", "is"]}, {"aggregation": "simple"}, "rows of words need --aggr"),
    ],
)
def test_what_cannot_be_answered_is_found_before_the_first_answer(
    folders: ModelFolders,
    tmp_path: Path,
    name: str,
    head: str,
    row: dict[str, object],
    options: dict[str, Any],
    message: str,
) -> None:
    classes = {"nli": "SequenceClassification", "tags": "TokenClassification"}
    names = {"nli": {0: "entailment", 1: "neutral", 2: "contradiction"}, "tags": TAGS}
    model = Predictor.from_pretrained(folders(f"DebertaV2For{classes[head]}", id2label=names[head]))
    source = jsonl(tmp_path / "in.jsonl", [row])
    task = FILE_TASKS[name](model, AnswerOptions(**options))
    with pytest.raises(UserError, match=f"line 1: {message}"):
        task.read(next(iter(read_table(source))))


def test_words_without_characters_are_read_as_in_training(folders: ModelFolders, tmp_path: Path) -> None:
    model = Predictor.from_pretrained(folders("DebertaV2ForTokenClassification", id2label=TAGS))
    rows = [{"tokens": ["EU", "", "rejects"], "tags": ["B-LOC", "O", "O"]}]
    predict_file(
        FILE_TASKS["ner"](model, AnswerOptions()), jsonl(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    )
    (row,) = read(tmp_path / "out.jsonl")
    assert len(row["prediction"]) == 3 and row["prediction"][1] == "O"
