"""Files whose rows were once read as something else: no row is lost, no label or word is rewritten."""

import decimal
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from debertav3 import DebertaV3Tokenizer, Predictor, UserError
from debertav3.data.cleaning import clean_text
from debertav3.finetuning.config import FinetuneConfig
from debertav3.finetuning.data_check import check_data
from debertav3.finetuning.preparation import read_data, resolve
from debertav3.finetuning.records import changes_between, data_facts, run_contents
from debertav3.inference.files.predict import evaluate_file, predict_file
from debertav3.inference.files.row_answers import FILE_TASKS, AnswerOptions
from debertav3.tasks.annotations.character_spans import DOCCANO
from debertav3.tasks.annotations.format import Marked
from debertav3.tasks.annotations.label_studio import LABEL_STUDIO
from debertav3.tasks.annotations.marks import Mark
from debertav3.tasks.columns import Columns
from debertav3.tasks.label_map import read_label_map
from debertav3.tasks.labels import find_label
from debertav3.tasks.preannotations import tool_named
from debertav3.tasks.read_options import ReadOptions
from debertav3.tasks.table_writers import _cell
from debertav3.tasks.tables import read_table
from tiny_models import ModelFolders

NLI_LABELS = {0: "entailment", 1: "neutral", 2: "contradiction"}


@pytest.fixture(scope="module")
def folders(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelFolders:
    return ModelFolders(nano, tmp_path_factory)


def write(path: Path, content: str | list[Any]) -> Path:
    text = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
    path.write_text(text, encoding="utf-8")
    return path


def table(path: Path, **said: Any) -> list[dict[str, Any]]:
    return [dict(row.fields) for row in read_table(path, ReadOptions(**said))]


def custom(path: Path, **said: Any) -> list[tuple[tuple[str, ...], Any]]:
    data = read_data(resolve("custom", model="nano", given={"train": [str(path)], **said}))
    return [(example.texts, example.label) for example in data.train]


def sentences(path: Path, **said: Any) -> list[tuple[list[str], Any]]:
    data = read_data(resolve("ner", model="nano", given={"train": [str(path)], **said}))
    return [(list(example.texts), example.label) for example in data.train]


def test_the_texts_of_a_query_stay_together(tmp_path: Path) -> None:
    rows = [
        {"query": f"query {q}", "text": f"text {q} {t}", "label": int(t == 0)}
        for q in range(20)
        for t in range(5)
    ]
    given = {
        "train": [str(write(tmp_path / "x.jsonl", rows))],
        "dev_split": 0.2,
        "label_kind": "ranking",
        "text_column": "query",
        "pair_column": "text",
        "label_column": "label",
    }
    data = read_data(resolve("custom", model="nano", given=given))
    (dev,) = data.dev.values()
    held, trained = ({example.texts[0] for example in part} for part in (dev, data.train))
    assert len(dev) == 5 * len(held) and not held & trained and trained
    gold = data.task.scores(dev, [example.label for example in dev], labels=data.labels)
    assert gold["mrr"] == 1


def test_questions_about_a_context_stay_together(tmp_path: Path) -> None:
    rows = [
        {"question": f"What is {q}?", "context": f"It is a{c} b{c}.", "answers": [f"a{c}"]}
        for c in range(20)
        for q in range(4)
    ]
    given = {"train": [str(write(tmp_path / "x.jsonl", rows))], "dev_split": 0.2}
    data = read_data(resolve("squad1", model="nano", given=given))
    (dev,) = data.dev.values()
    assert dev and not {one.texts[1] for one in dev} & {one.texts[1] for one in data.train}


@pytest.mark.parametrize("dimension", ["A1:B4", "A1"])
def test_a_wrong_dimension_of_a_sheet_hides_no_row(tmp_path: Path, dimension: str) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for cells in [["text", "label", "note"], *([f"text {n}", "ab"[n % 2], n] for n in range(30))]:
        book.active.append(cells)
    book.save(tmp_path / "right.xlsx")
    with zipfile.ZipFile(tmp_path / "right.xlsx") as old, zipfile.ZipFile(tmp_path / "x.xlsx", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.startswith("xl/worksheets/sheet"):
                content, count = re.subn(
                    rb'dimension ref="[^"]*"', f'dimension ref="{dimension}"'.encode(), content
                )
                assert count == 1
            new.writestr(name, content)
    assert table(tmp_path / "x.xlsx") == table(tmp_path / "right.xlsx")
    assert len(table(tmp_path / "x.xlsx")) == 30


def test_a_label_map_says_what_is_written_in_it(tmp_path: Path) -> None:
    path = write(tmp_path / "map.yaml", "0: no\n1: yes\nno: negative\n010: x\n12:30: y\n")
    assert read_label_map(path) == {"0": "no", "1": "yes", "no": "negative", "010": "x", "12:30": "y"}
    with pytest.raises(UserError, match="'good' occurs twice"):
        read_label_map(write(tmp_path / "twice.yaml", "good: a\ngood: b\n"))
    with pytest.raises(UserError, match="one word or number"):
        read_label_map(write(tmp_path / "empty.yaml", "good:\n"))


def test_a_changed_label_map_is_another_run(tmp_path: Path) -> None:
    rows = write(tmp_path / "x.csv", "text,label\n" + "a fine film,1\na dull film,2\n" * 3)
    labels = write(tmp_path / "map.yaml", "1: good\n2: bad\n")
    config = resolve("custom", model="nano", given={"train": [str(rows)], "labels": str(labels)})
    before = run_contents(config, data_facts(read_data(config)))
    write(labels, "1: bad\n2: good\n")
    assert changes_between(before, run_contents(config, data_facts(read_data(config)))) == ["labels"]


def test_decimal_commas_are_asked_about(tmp_path: Path) -> None:
    cells = ["1,5", "2", "3,5", "4", "2,5", "3"] * 3
    text = "text;Rating\n" + "".join(f"text {n};{cell}\n" for n, cell in enumerate(cells))
    path = write(tmp_path / "x.csv", text)
    with pytest.raises(UserError, match="or number for a decimal comma"):
        custom(path)
    assert custom(path, label_kind="number")[0] == (("text 0",), 1.5)


def test_codes_with_underscores_are_no_numbers(tmp_path: Path) -> None:
    text = "text,label\n" + "".join(f"a longer text {n},{n % 25}_{n % 25}\n" for n in range(50))
    assert custom(write(tmp_path / "x.csv", text))[1][1] == "1_1"


@pytest.mark.parametrize("tool", [DOCCANO, LABEL_STUDIO], ids=lambda tool: tool.name)
def test_an_annotation_comes_with_the_text_that_its_offsets_count(tool: Any) -> None:
    marked = Marked(
        "Anna sleeps.", [Mark(0, 4, "PER")], [0.9], [(0, 4), (5, 12)], {"text": "Other. Anna sleeps."}
    )
    written = tool.write(marked)
    assert written.get("data", written)["text"] == "Anna sleeps."


def test_the_own_text_of_an_annotated_row_is_kept_beside(folders: ModelFolders, tmp_path: Path) -> None:
    tagger = Predictor.from_pretrained(
        folders("DebertaV2ForTokenClassification", id2label={0: "B-A", 1: "O"})
    )
    rows = [{"text": "A document. Anna sleeps.", "sentence": "Anna sleeps."}]
    task = FILE_TASKS["ner"](tagger, AnswerOptions(columns=Columns(text="sentence")))
    predict_file(task, write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl", tool=tool_named("doccano"))
    (row,) = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert (row["text"], row["row_text"]) == ("Anna sleeps.", "A document. Anna sleeps.")


def test_a_label_called_as_a_column_is_no_header(tmp_path: Path) -> None:
    values = ["relevant", "irrelevant", "relevant", "relevant", "irrelevant", "relevant"]
    text = "".join(f"This trial compares drug {n} with others,{value}\n" for n, value in enumerate(values))
    assert [
        label for _, label in custom(write(tmp_path / "x.csv", text), text_column="1", label_column="2")
    ] == values


@pytest.mark.parametrize(
    "bad", [[[0, 3, "PER"], [7, 11, None]], [[7.5, 11.0, "LOC"]], [{"start": "a", "end": 3}]]
)
def test_a_damaged_entity_is_refused(tmp_path: Path, bad: list[Any]) -> None:
    rows = [{"text": "Anna sees Rome.", "label": [[0, 4, "PER"]]}, {"text": "Max in Rome.", "label": bad}]
    with pytest.raises(UserError, match="line 2"):
        sentences(write(tmp_path / "x.jsonl", rows))


def test_words_of_conll_files_are_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "x.conll", "It O\ncosts O\n10\u00a0000 O\n\nMax B-PER\nlaughs O\n")
    assert sentences(path)[0][0] == ["It", "costs", "10\u00a0000"]
    cut = write(tmp_path / "y.conll", "In O\nNew York B-LOC\nMax B-PER\nis O\n")
    with pytest.raises(UserError, match=r"line 2 has 3 columns; other lines have 2\. Separate"):
        sentences(cut)


def test_words_of_a_table_are_as_written(tmp_path: Path) -> None:
    words = ["True", "5.0", "False", "10.00", "Anna", "sleeps"]
    lines = [f"{n // 3},{word},{'B-PER' if word == 'Anna' else 'O'}" for n, word in enumerate(words)]
    path = write(tmp_path / "x.csv", "sentence_id,word,tag\n" + "\n".join(lines) + "\n")
    assert [found for found, _ in sentences(path)] == [words[:3], words[3:]]


def test_a_tag_that_is_a_comma_stays_one(tmp_path: Path) -> None:
    rows = [{"tokens": [",", "he", "ran", ","], "tags": [",", "PRP", "VBD", ","]}] * 2
    ((_, tags), _) = sentences(write(tmp_path / "x.jsonl", rows))
    assert tuple(tags) == (",", "PRP", "VBD", ",")


@pytest.mark.parametrize(("gold", "names"), [("0", ["1", "2", "3"]), ("1", ["2", "3"]), (7, ["10", "20"])])
def test_a_number_is_no_index_among_labels_that_are_numbers(gold: object, names: list[str]) -> None:
    with pytest.raises(UserError, match="unknown label"):
        find_label(gold, names)
    assert find_label("1", ["a", "b"]) == 1


def test_one_document_of_brat_is_read_alone(tmp_path: Path) -> None:
    for name, text in (("doc[1]", "Max ran."), ("doc1", "Ann ran."), ("doc[1].v2", "Bob ran.")):
        write(tmp_path / f"{name}.txt", text)
        write(tmp_path / f"{name}.ann", f"T1\tPER 0 3\t{text[:3]}\n")
    assert [row["text"] for row in table(tmp_path / "doc[1].ann")] == ["Max ran."]


def test_what_occurs_twice_in_xml_is_a_list(tmp_path: Path) -> None:
    path = write(tmp_path / "x.xml", "<all><row><text>a b</text><label>x</label><label>y</label></row></all>")
    assert table(path) == [{"text": "a b", "label": ["x", "y"]}]


def test_two_columns_of_one_name_in_parquet_are_refused(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    names = ["text", "label", "label"]
    parquet.write_table(pyarrow.table([["a"], ["x"], ["y"]], names=names), tmp_path / "x.parquet")
    with pytest.raises(UserError, match="two are called 'label'"):
        table(tmp_path / "x.parquet")


def test_a_guessed_encoding_of_a_class_folder_is_said(tmp_path: Path) -> None:
    pytest.importorskip("charset_normalizer")
    for name, text in (("pos", "Un film très naïf et déjà vu, mais très bon."), ("neg", "A dull film.")):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "1.txt").write_bytes(text.encode("latin-1"))
    reading = read_table(tmp_path / "set")
    assert len(list(reading)) == 2
    assert any("encoding" in str(note) or "read as" in str(note) for note in reading.all_notes())


@pytest.mark.parametrize("lines", [False, True])
def test_lists_of_cells_may_have_a_header(tmp_path: Path, lines: bool) -> None:
    cells = [["text", "label"], ["a fine\u2028film", "good"], ["a dull film", "bad"]]
    parts = [json.dumps(row, ensure_ascii=False) for row in cells]
    path = write(tmp_path / "x.json", "\n".join(parts) + "\n" if lines else f"[{','.join(parts)}]")
    assert table(path) == [dict(zip(cells[0], row, strict=True)) for row in cells[1:]]
    numbered = table(path, has_header=False)
    assert [list(row) for row in numbered] == [["1", "2"]] * 3


@pytest.mark.parametrize("end", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\r", "\r\n", "\n"])
def test_cleaning_glues_no_words_together(end: str) -> None:
    text = f"alpha beta gamma{end}delta " + "more words follow here " * 6
    cleaned = clean_text(text)
    assert cleaned is not None and "gamma\ndelta" in cleaned


def test_decimals_are_written_without_quotes() -> None:
    assert _cell(decimal.Decimal("12.50")) == "12.50"
    assert _cell(["a"]) == '["a"]'


def test_parquet_with_named_classes_becomes_parquet(folders: ModelFolders, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    names = list(NLI_LABELS.values())
    kinds = {"label": {"names": names, "_type": "ClassLabel"}}
    schema = pyarrow.schema(
        [("premise", pyarrow.string()), ("hypothesis", pyarrow.string()), ("label", pyarrow.int64()),
         ("price", pyarrow.decimal128(6, 2)), ("id", pyarrow.uint64())],
        metadata={"huggingface": json.dumps({"info": {"features": kinds}})},
    )  # fmt: skip
    rows = [
        {"premise": "a", "hypothesis": "b", "label": n, "price": decimal.Decimal("1.50"), "id": 2**64 - 1}
        for n in range(3)
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), tmp_path / "in.parquet")
    model = Predictor.from_pretrained(folders("DebertaV2ForSequenceClassification", id2label=NLI_LABELS))
    task = FILE_TASKS["nli"](model, AnswerOptions())
    predict_file(task, tmp_path / "in.parquet", tmp_path / "out.parquet")
    found = parquet.read_table(tmp_path / "out.parquet")
    assert found["label"].to_pylist() == names
    assert found.schema.field("price").type == pyarrow.decimal128(6, 2)
    assert found["id"].to_pylist() == [2**64 - 1] * 3


@pytest.mark.parametrize("name", ["nli", "classify"])
def test_rows_with_shares_of_labels_are_scored_by_the_largest(
    folders: ModelFolders, tmp_path: Path, name: str
) -> None:
    model = Predictor.from_pretrained(folders("DebertaV2ForSequenceClassification", id2label=NLI_LABELS))
    hard = [{"premise": f"a {n}", "hypothesis": "b", "label": NLI_LABELS[n % 3]} for n in range(6)]
    soft = [
        {
            **row,
            "label": {
                str(row["label"]): 0.6,
                "neutral": 0.3,
                "contradiction": 0.1,
            },
        }
        for row in hard[:1]
    ]
    soft += [{**row, "label": {str(row["label"]): 2}} for row in hard[1:]]
    soft_scores, hard_scores = (
        evaluate_file(FILE_TASKS[name](model, AnswerOptions()), write(tmp_path / f"{kind}.jsonl", rows))
        for kind, rows in (("soft", soft), ("hard", hard))
    )
    assert soft_scores == hard_scores


def test_a_class_called_as_a_statistic_is_a_class(tmp_path: Path, nano: Path) -> None:
    text = "text,label\n" + "".join(f"text {n},{('mean', 'kind', 'harsh')[n % 3]}\n" for n in range(60))
    config = FinetuneConfig.of(task="custom", model=str(nano), train=(str(write(tmp_path / "x.csv", text)),))
    tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
    assert check_data(config, lambda *_: tokenizer)["train"]["labels"] == {
        "mean": 20,
        "kind": 20,
        "harsh": 20,
    }


def test_a_source_is_named_once(tmp_path: Path) -> None:
    path = str(write(tmp_path / "x.csv", "text,label\n" + "a fine film,1\na dull film,2\n" * 3))
    with pytest.raises(UserError, match=r"--train names .*x\.csv twice"):
        read_data(resolve("custom", model="nano", given={"train": [path, path], "dev_split": 0.5}))


def test_a_bad_first_choice_can_be_left_out(folders: ModelFolders, tmp_path: Path) -> None:
    model = Predictor.from_pretrained(folders("DebertaV2ForMultipleChoice"))
    rows = [{"context": "a", "choices": "b"}, {"context": "a", "choices": ["b", "c"]}]
    task = FILE_TASKS["choice"](model, AnswerOptions(reading=ReadOptions(skip_bad=True)))
    predict_file(task, write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl")
    first, second = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert first["prediction"] is None and second["prediction"] in (0, 1)
