"""A table is read as it was written, in every format; what a user says of a file counts; refusals help."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from debertav3.errors import UserError
from debertav3.finetuning.preparation import read_data, resolve
from debertav3.tasks.custom import custom_task
from debertav3.tasks.formats import CSV, JSON, JSONL, PARQUET, XLSX, Format
from debertav3.tasks.names import TASKS
from debertav3.tasks.read_options import ReadOptions, Said
from debertav3.tasks.table_writers import Layout, open_writer
from debertav3.tasks.tables import read_table

CHARACTERS = st.characters(codec="utf-8", exclude_characters="\r\x00", exclude_categories=("Cs", "Cc"))
CONTROLS = st.sampled_from("\r\x00\x0b\x0c\x1a\x1c\x1d\x1e\x1f\x7f\x85\u2028\u2029\ufeff\u00a0")
"""What some program takes for the end of a line, of a file or of a text."""
CELLS = st.text(st.one_of(CHARACTERS, st.sampled_from("\n\t,;|\"'{}[]#")), min_size=1, max_size=30)
ROWS = st.lists(
    st.fixed_dictionaries({"id": st.integers(0, 10**6).map(str), "text": CELLS, "label": CELLS}),
    min_size=1,
    max_size=6,
)
ENDINGS = {CSV: ".csv", JSON: ".json", JSONL: ".jsonl", PARQUET: ".parquet", XLSX: ".xlsx"}
BOUNDED = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def assert_read_as_written(tmp_path: Path, file_format: Format, rows: list[dict[str, Any]]) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("openpyxl")
    path = tmp_path / f"x{ENDINGS[file_format]}"
    names = ["id", "text", "label"]
    schema = pyarrow.schema([(name, pyarrow.string()) for name in names])
    layout = Layout(file_format=file_format, columns=names, schema=schema)
    with open_writer(path, layout) as write:
        write([{**row, "prediction": "a", "scores": 1.0} for row in rows])
    found = [{name: row.fields[name] for name in names} for row in read_table(path)]
    assert found == rows


@pytest.mark.parametrize("file_format", ENDINGS, ids=lambda one: one.name)
@BOUNDED
@given(rows=ROWS)
def test_what_is_written_is_read(tmp_path: Path, file_format: Format, rows: list[dict[str, Any]]) -> None:
    assert_read_as_written(tmp_path, file_format, rows)


@pytest.mark.parametrize("file_format", [CSV, JSON, JSONL, PARQUET], ids=lambda one: one.name)
@settings(BOUNDED, max_examples=100)
@given(
    texts=st.lists(st.text(st.one_of(CONTROLS, CHARACTERS), min_size=1, max_size=8), min_size=1, max_size=4)
)
def test_control_characters_stay_where_they_are(
    tmp_path: Path, file_format: Format, texts: list[str]
) -> None:
    rows = [{"id": str(number), "text": f"a{text}b", "label": "x"} for number, text in enumerate(texts)]
    assert_read_as_written(tmp_path, file_format, rows)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@BOUNDED
@given(rows=ROWS)
def test_a_quoted_table_is_read_with_any_separator(
    tmp_path: Path, delimiter: str, rows: list[dict[str, Any]]
) -> None:
    out = io.StringIO()
    writer = csv.DictWriter(out, ["id", "text", "label"], delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    path = tmp_path / "x.csv"
    path.write_text(out.getvalue(), encoding="utf-8", newline="")
    assert [row.fields for row in read_table(path)] == rows


@pytest.mark.parametrize("orient", ["columns", "index", "records", "split", "values", "table", "lines"])
def test_pandas_json_in_every_orient(tmp_path: Path, orient: str) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": ["fine film", "dull film", "so so"], "label": ["pos", "neg", "pos"]})
    path = tmp_path / "x.json"
    is_lines = orient == "lines"
    frame.to_json(path, orient="records" if is_lines else orient, lines=is_lines)
    said = {"text_column": "1", "label_column": "2"} if orient == "values" else {}
    (task_rows,) = [custom_task(str(path), **said).read(str(path))]
    assert [(one.texts[0], one.label) for one in task_rows] == [
        ("fine film", "pos"),
        ("dull film", "neg"),
        ("so so", "pos"),
    ]


def beir(folder: Path) -> Path:
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": f"d{n}", "title": "T", "text": f"passage {n}"} for n in range(40)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in corpus))
    queries = [{"_id": "q1", "text": "first?"}, {"_id": "q2", "text": "second?"}]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries))
    lines = "query-id\tcorpus-id\tscore\nq1\td0\t2\nq1\td1\t1\nq2\td5\t1\n"
    for split in ("train", "test"):
        (folder / "qrels" / f"{split}.tsv").write_text(lines)
    return folder


def test_a_folder_of_beir_is_ranked(tmp_path: Path) -> None:
    folder = beir(tmp_path / "set")
    data = read_data(resolve("rerank", model="nano", given={"train": [str(folder)], "dev": [str(folder)]}))
    gold = {(example.texts, example.label) for example in data.train if example.label}
    assert gold == {
        (("first?", "T passage 0"), 1.0),
        (("first?", "T passage 1"), 0.5),
        (("second?", "T passage 5"), 0.5),  # grades are divided by the highest
    }
    assert len(data.train) == 3 + 2 * 20  # passages drawn at random
    assert list(data.dev) == [str(folder / "qrels" / "test.tsv")]
    rows = [row.fields for row in read_table(folder / "qrels" / "test.tsv")]
    assert rows == [row.fields for row in read_table(folder / "qrels" / "test.tsv")]
    assert set(rows[0]) == {"query_id", "passage_id", "query", "text", "relevance"}
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "first?"}\n')
    with pytest.raises(UserError, match=r"test.tsv names query 'q2', which .*set does not have"):
        list(read_table(folder / "qrels" / "test.tsv"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "triples.train.small.tsv",
            "who is it\tAnn is here\tIt rains a lot\nwhat is it\tIt is a cup\tNo way\n",
        ),
        (
            "x.jsonl",
            '{"anchor": "who is it", "positive": "Ann is here", "negative": "It rains a lot"}\n'
            '{"anchor": "what is it", "positive": "It is a cup", "negative": "No way"}\n',
        ),
        (
            "y.jsonl",
            '{"query": "who is it", "pos": ["Ann is here"], "neg": ["It rains a lot"]}\n'
            '{"query": "what is it", "pos": ["It is a cup"], "neg": ["No way"]}\n',
        ),
    ],
)
def test_triples_are_ranked(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    data = read_data(resolve("rerank", model="nano", given={"train": [str(path)]}))
    assert [(example.texts, example.label) for example in data.train] == [
        (("who is it", "Ann is here"), 1.0),
        (("who is it", "It rains a lot"), 0.0),
        (("what is it", "It is a cup"), 1.0),
        (("what is it", "No way"), 0.0),
    ]


def test_triples_of_identifiers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "qidpidtriples.train.tsv"
    path.write_text("12\t345\t678\n13\t346\t679\n")
    with pytest.raises(UserError, match="has identifiers where texts are needed"):
        list(read_table(path))


def test_labels_are_called_what_the_map_says(tmp_path: Path) -> None:
    rows = tmp_path / "x.jsonl"
    rows.write_text('{"premise": "a", "hypothesis": "b", "gelabelt": "folgt"}\n' * 2)
    (tmp_path / "map.yaml").write_text("folgt: entailment\nnicht: contradiction\n")
    said = Said(label="gelabelt", label_map={"folgt": "entailment"})
    assert [one.label for one in TASKS["nli"].with_said(said).read(str(rows))] == ["entailment"] * 2
    config = resolve(
        "custom",
        model="nano",
        given={"train": [str(rows)], "label_column": "gelabelt", "labels": str(tmp_path / "no.yaml")},
    )
    with pytest.raises(UserError, match=r"--labels .*no.yaml does not exist"):
        read_data(config)
    with pytest.raises(UserError, match=r"unknown label 'folgt'.*--labels FILE"):
        TASKS["nli"].with_said(Said(label="gelabelt")).read(str(rows))


def test_bad_rows_are_left_out_and_listed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"sentence": "a", "label": 1}\n{"sentence": "b", "label": 7}\n{broken\n{"x": 1}\n')
    with pytest.raises(UserError, match="line 2: unknown label 7"):
        TASKS["sst2"].read(str(path))
    (example,) = TASKS["sst2"].read(str(path), ReadOptions(skip_bad=True))
    assert example.label == "positive"
    assert [line.split(" line ")[1][0] for line in caplog.messages if line.startswith("skipped ")] == list(
        "234"
    )


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("x.json", '{"train": [{"a": 1}], "test": [{"a": 2}]}', {}, "several lists of rows.*--records train"),
        ("x.json", '{"train": [{"a": 1}]}', {"records": "dev"}, "nothing called 'dev'; it has 'train'"),
        ("x.csv", "a,b\n1,2\n", {"encoding": "nonsense"}, "--encoding 'nonsense' is not known. Say utf-8"),
        ("x.txt", "some words\nmore words\n", {}, "nor its content says what it contains.*--format csv"),
        ("x.xml", "<!DOCTYPE a [<!ENTITY b 'c'>]><a><b/></a>", {}, "defines its own entities"),
    ],
)
def test_refusals_show_the_way(
    tmp_path: Path, name: str, content: str, options: dict[str, Any], message: str
) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        list(read_table(path, ReadOptions(**options)))


def test_a_sheet_is_said(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["readme"])
    sheet = book.create_sheet("rows")
    for cells in (["text", "label"], ["a", "x"]):
        sheet.append(cells)
    book.save(tmp_path / "x.xlsx")
    for said in ("rows", "2"):
        assert [row.fields for row in read_table(tmp_path / "x.xlsx", ReadOptions(sheet=said))] == [
            {"text": "a", "label": "x"}
        ]
    with pytest.raises(UserError, match="has no sheet 'other'; it has 'Sheet', 'rows'"):
        list(read_table(tmp_path / "x.xlsx", ReadOptions(sheet="other")))
