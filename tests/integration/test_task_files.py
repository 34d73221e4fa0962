"""A file that trains also predicts and evaluates, whatever its format; a cell means one label."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from debertav3 import Predictor, UserError
from debertav3.finetuning.config import FinetuneConfig
from debertav3.finetuning.preparation import read_data
from debertav3.inference.files.predict import evaluate_file, predict_file
from debertav3.inference.files.row_answers import FILE_TASKS, AnswerOptions
from debertav3.tasks.labels import find_label, label_text
from debertav3.tasks.names import TASKS, answering_name, training_name
from debertav3.tasks.rows import Row
from debertav3.tasks.tables import read_table
from tiny_models import ModelFolders

ROWS: list[dict[str, Any]] = [
    {"premise": 'A man said "no".', "hypothesis": "He ünderstood; or not.", "label": 0},
    {"premise": "Two dogs, one cat.", "hypothesis": "Three animals.", "label": 2},
    {"premise": "Nobody knows.", "hypothesis": " ", "label": 1},
    {"premise": "It rains.", "hypothesis": "It is wet.", "label": None},
    {"premise": "It rains.", "hypothesis": "It is dry.", "label": 1},
]
SEVERAL = "multi_label_classification"
NLI = {0: "contradiction", 1: "entailment", 2: "neutral"}


def lines_of(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def table_of(rows: list[dict[str, Any]], delimiter: str, end: str = "\n") -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter, lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def raw_table_of(rows: list[dict[str, Any]]) -> str:
    cells = [["" if value is None else str(value) for value in row.values()] for row in rows]
    return "".join("\t".join(row) + "\n" for row in [list(rows[0]), *cells])


def write_parquet(path: Path) -> None:
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)


def write_pandas(path: Path) -> None:
    """As pandas saves a column of numbers with a gap: as real numbers and NaN."""
    import pyarrow
    import pyarrow.parquet

    label = [float("nan") if row["label"] is None else float(row["label"]) for row in ROWS]
    columns = {name: [row[name] for row in ROWS] for name in ("premise", "hypothesis")}
    pyarrow.parquet.write_table(pyarrow.table({**columns, "label": label}), path)


def write_workbook(path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(list(ROWS[0]))
    for row in ROWS:
        book.active.append(
            [float(value) if name == "label" and value else value for name, value in row.items()]
        )
    book.save(path)


def write_data_set(path: Path) -> None:
    path.mkdir()
    (path / "train.jsonl").write_text(lines_of(ROWS), encoding="utf-8")


JSONL = lines_of(ROWS).encode()
FILES: dict[str, bytes | Callable[[Path], None]] = {
    "rows.jsonl": JSONL,
    "rows.ndjson": JSONL,
    "nan.jsonl": JSONL.replace(b"null", b"NaN"),
    "mark.jsonl": b"\xef\xbb\xbf" + JSONL,
    "utf16.jsonl": JSONL.decode().encode("utf-16"),
    "windows.jsonl": JSONL.replace(b"\n", b"\r\n"),
    "rows.jsonl.gz": gzip.compress(JSONL),
    "rows.jsonl.zst": zstandard.compress(JSONL),
    "lines.json": JSONL,
    "list.json": json.dumps(ROWS, indent=1).encode(),
    "list.json.gz": gzip.compress(json.dumps(ROWS).encode()),
    "data.json": json.dumps({"data": ROWS}, indent=1).encode(),
    "comma.csv": table_of(ROWS, ",").encode(),
    "semicolon.csv": table_of(ROWS, ";", "\r\n").encode("utf-8-sig"),
    "bar.csv": table_of(ROWS, "|").encode(),
    "excel.csv": table_of(ROWS, "\t", "\r\n").encode("utf-16"),
    "pandas.csv": table_of([{"": n, **row} for n, row in enumerate(ROWS)], ",").encode(),
    "reals.csv": table_of(ROWS, ",").replace(",2\n", ",2.0\n").replace(",1\n", ",1.0\n").encode(),
    "comma.csv.gz": gzip.compress(table_of(ROWS, ",").encode()),
    "comma.csv.zst": zstandard.compress(table_of(ROWS, ",").encode()),
    "raw.tsv": raw_table_of(ROWS).encode(),
    "raw.tsv.gz": gzip.compress(raw_table_of(ROWS).replace("\n", "\r\n").encode()),
    "rows.parquet": write_parquet,
    "pandas.parquet": write_pandas,
    "book.xlsx": write_workbook,
    "datasets:hub": write_data_set,
    "lines.data": JSONL,
    "list": json.dumps(ROWS).encode(),
    "parquet.bin": write_parquet,
}


@pytest.fixture(scope="module")
def predictor(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = ModelFolders(nano, tmp_path_factory)("DebertaV2ForSequenceClassification", id2label=NLI)
    return Predictor.from_pretrained(folder)


@pytest.fixture(scope="module")
def expected(predictor: Predictor) -> list[str | None]:
    pairs = [(row["premise"], row["hypothesis"]) for row in ROWS if row["hypothesis"].strip()]
    answers = [max(shares, key=lambda name: shares[name]) for shares in predictor.nli(pairs)]
    return [*answers[:2], None, *answers[2:]]


def written(name: str, folder: Path) -> str:
    content, path = FILES[name], folder / name.removeprefix("datasets:")
    content(path) if callable(content) else path.write_bytes(content)
    return f"datasets:{path}" if name.startswith("datasets:") else str(path)


@pytest.mark.parametrize("name", FILES)
def test_training_prediction_and_evaluation_read_the_same(
    predictor: Predictor,
    expected: list[str | None],
    tmp_path: Path,
    name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = written(name, tmp_path)
    labels = ["entailment", "contradiction", "neutral"]
    texts = [(row["premise"], row["hypothesis"]) for row in (ROWS[0], ROWS[1], ROWS[4])]
    trained = TASKS["nli"].read(source)
    assert [(example.texts, example.label) for example in trained] == list(zip(texts, labels, strict=True))
    config = FinetuneConfig.of(task="nli", model="nano", train=(source,), dev=(source,))
    assert read_data(config).rows == {source: 3}
    report = evaluate_file(FILE_TASKS["nli"](predictor, AnswerOptions()), source)
    assert (report["rows"], report["labelled"]) == (5, 3)
    answered = [expected[index] for index in (0, 1, 4)]
    assert report["accuracy"] == sum(map(str.__eq__, map(str, answered), labels)) / 3
    predict_file(FILE_TASKS["nli"](predictor, AnswerOptions()), source, tmp_path / "answers.jsonl")
    found = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text("utf-8").splitlines()]
    assert [row["prediction"] for row in found] == expected
    assert [row["premise"] for row in found] == [row["premise"] for row in ROWS]
    assert caplog.text.count("skipped 1 rows without a text") >= 3  # training, evaluation, prediction
    assert "NaN" not in (tmp_path / "answers.jsonl").read_text("utf-8")


@pytest.mark.parametrize("name", ["out.xlsx", "out.json", "out.jsonl.zst", "out.csv.zst", "out.parquet"])
def test_what_is_written_reads_back(
    predictor: Predictor, expected: list[str | None], tmp_path: Path, name: str
) -> None:
    source, target = written("rows.jsonl", tmp_path), tmp_path / name
    predict_file(FILE_TASKS["nli"](predictor, AnswerOptions()), source, target)
    found = [row.fields for row in read_table(target)]
    assert [row["prediction"] or None for row in found] == expected
    assert [row["premise"] for row in found] == [row["premise"] for row in ROWS]
    if name == "out.json":
        assert len(json.loads(target.read_text("utf-8"))) == len(ROWS)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.xyz", b"premise,hypothesis\na,b\n", r"neither its ending \(.xyz\) nor its content says"),
        ("rows", b"", "nor its content says"),
        ("rows.parquet.gz", b"", "already compressed"),
        ("rows.xlsx", b"no workbook", "cannot be read as an Excel workbook"),
    ],
)
def test_an_unknown_kind_is_never_taken_for_json_lines(
    predictor: Predictor, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        TASKS["nli"].read(str(tmp_path / name))
    with pytest.raises(UserError, match=message):
        evaluate_file(FILE_TASKS["nli"](predictor, AnswerOptions()), tmp_path / name)


def test_an_output_of_unknown_kind_is_refused_before_any_work(predictor: Predictor, tmp_path: Path) -> None:
    source = written("rows.jsonl", tmp_path)
    with pytest.raises(UserError, match=r"its ending \(.xyz\) does not say what to write"):
        predict_file(FILE_TASKS["nli"](predictor, AnswerOptions()), source, tmp_path / "out.xyz")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"premise": "a \\ud83d", "hypothesis": "b", "label": 0}', "line 2 has half of a surrogate pair"),
        ('{"premise": "a", "hypothesis": "b", "id": ' + "1" * 5000 + "}", "line 2 is not usable"),
        ('{"premise": "a", "hypothesis": "b", "x": ' + "[" * 80 + "]" * 80 + "}", "line 2 is nested too"),
        ('{"premise": "a", "hypothesis": "b", "x": 1e999}', "line 2: x is an infinite number"),
    ],
    ids=["surrogate", "digits", "deep", "infinite"],
)
def test_what_no_output_could_hold_is_refused_with_its_line(
    predictor: Predictor, tmp_path: Path, line: str, message: str
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps(ROWS[0]) + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=message):
        TASKS["nli"].read(str(source))
    with pytest.raises(UserError, match=message):
        predict_file(FILE_TASKS["nli"](predictor, AnswerOptions()), source, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_a_number_beyond_64_bits_is_refused_where_the_output_cannot_hold_it(
    predictor: Predictor, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow")
    source = tmp_path / "in.jsonl"
    source.write_text(lines_of([ROWS[0], {**ROWS[1], "id": 2**70}]), encoding="utf-8")
    with pytest.raises(UserError, match="line 2: id is a number beyond 64 bits"):
        predict_file(FILE_TASKS["nli"](predictor, AnswerOptions()), source, tmp_path / "out.parquet")
    predict_file(FILE_TASKS["nli"](predictor, AnswerOptions()), source, tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text("utf-8").splitlines()[1])["id"] == 2**70


@pytest.mark.parametrize(
    ("cells", "label"),
    [
        ([1, 1.0, "1", "1.0", " 1 ", "1."], "1"),
        ([True, "true", "True", "TRUE", " true"], "true"),
        ([False, "false", "False"], "false"),
        ([-1, -1.0, "-1", "-1.0"], "-1"),
        (["yes", " yes "], "yes"),
        ([2.5, "2.5"], "2.5"),
        (["v1.0"], "v1.0"),
    ],
)
def test_one_cell_means_one_label_everywhere(tmp_path: Path, cells: list[Any], label: str) -> None:
    names = [label, "other"]
    for cell in cells:
        assert label_text(cell) == label
        assert names[find_label(cell, names)] == label
        source = tmp_path / "rows.jsonl"
        source.write_text(lines_of([{"text": "a", "label": cell}, {"text": "b", "label": "other"}]))
        config = FinetuneConfig.of(task="custom", model="nano", train=(str(source),), label_kind="one-label")
        assert [example.label for example in read_data(config).train] == names


WORDS = "-DOCSTART- O\n\nAnn NNP B-PER\nsleeps VB O\n\nRome NNP B-LOC\n"


@pytest.mark.parametrize("name", ["words.txt", "words", "words.conll.gz", "words.bio"])
def test_words_and_tags_are_known_under_any_name(
    nano: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(WORDS.encode()) if name.endswith(".gz") else WORDS.encode())
    trained = TASKS["ner"].read(str(path))
    assert [(example.texts, example.label) for example in trained] == [
        (("Ann", "sleeps"), ("B-PER", "O")),
        (("Rome",), ("B-LOC",)),
    ]
    config = FinetuneConfig.of(task="custom", model="nano", train=(str(path),))
    assert read_data(config).train == trained
    tags = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}
    folder = ModelFolders(nano, tmp_path_factory)("DebertaV2ForTokenClassification", id2label=tags)
    report = evaluate_file(FILE_TASKS["ner"](Predictor.from_pretrained(folder), AnswerOptions()), path)
    assert (report["labelled"], "accuracy" in report) == (2, True)


@pytest.mark.parametrize("indent", [None, 1])
def test_squads_own_form_is_answered_and_scored(
    nano: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, indent: int | None
) -> None:
    context = "Ann sleeps in Rome."
    questions = [
        {"id": "1", "question": "Who?", "answers": [{"text": "Ann", "answer_start": 0}]},
        {"id": "2", "question": "When?", "is_impossible": True, "answers": []},
    ]
    path = tmp_path / "dev.json"
    document = {
        "version": "v2.0",
        "data": [{"title": "A", "paragraphs": [{"context": context, "qas": questions}]}],
    }
    path.write_text(json.dumps(document, indent=indent), encoding="utf-8")
    assert [example.label for example in TASKS["squad2"].read(str(path))] == ["Ann", ""]
    folder = ModelFolders(nano, tmp_path_factory)("DebertaV2ForQuestionAnswering")
    task = FILE_TASKS["qa"](Predictor.from_pretrained(folder), AnswerOptions())
    report = evaluate_file(task, path)
    assert (report["labelled"], report["HasAns_total"], report["NoAns_total"]) == (2, 1, 1)
    assert 0 <= report["f1"] <= 100


@pytest.mark.parametrize(
    ("name", "config", "found"),
    [
        ("mnli", {}, "nli"),
        ("sst2", {}, "classify"),
        ("squad1", {}, "qa"),
        ("race", {}, "choice"),
        ("classify", {}, "classify"),
        ("sing", {}, "sing"),
        ("custom", {"architectures": ["DebertaV2ForTokenClassification"]}, "ner"),
        ("custom", {"problem_type": "multi_label_classification", "id2label": {"0": "score"}}, "rerank"),
        (
            "custom",
            {"problem_type": "multi_label_classification", "id2label": {"0": "a", "1": "b"}},
            "classify",
        ),
    ],
)
def test_the_names_of_training_answer(name: str, config: dict[str, Any], found: str) -> None:
    assert answering_name(name, config) == found


def test_the_names_of_answers_train() -> None:
    assert training_name("classify") == ("custom", "auto")
    assert training_name("rerank") == ("custom", "ranking")
    assert training_name("qa") == ("squad2", None)
    for name in ("nli", "ner", "choice"):
        assert training_name(name) == (name, None)
        assert name in TASKS and name in FILE_TASKS


def test_task_choice_trains_on_any_form(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    row = {"context": "Ann slept.", "choices": ["It was night.", "It rained."], "label": "B"}
    source.write_text(lines_of([row]), encoding="utf-8")
    (example,) = TASKS["choice"].read(str(source))
    assert (example.texts, example.label) == (("Ann slept.", "It was night.", "It rained."), "1")


def test_lists_may_be_cells_of_a_table(predictor: Predictor) -> None:
    task = FILE_TASKS["rerank"](predictor, AnswerOptions())
    row = Row("x", {"query": "Who?", "texts": '["Ann", "Tom"]', "label": "1"})
    assert task.read(row)[:2] == (("Who?", ["Ann", "Tom"]), [1])
