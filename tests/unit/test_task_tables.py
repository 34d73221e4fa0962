"""Rows from every kind of source are the same rows, and a damaged source is named with its line."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard

from debertav3.errors import UserError
from debertav3.tasks.choice_forms import read_choices
from debertav3.tasks.names import TASKS
from debertav3.tasks.rows import Row
from debertav3.tasks.sources import expand
from debertav3.tasks.tables import read_table

ROWS = [{"text": 'He said "no",\nthen left.', "label": "a"}, {"text": "ünïcode", "label": "b"}]


def write_csv(path: Path) -> None:
    path.write_text('text,label\n"He said ""no"",\nthen left.",a\nünïcode,b\n', encoding="utf-8-sig")


def write_semicolons(path: Path) -> None:
    path.write_text(
        ' text ;"label"\r\n"He said ""no"",\nthen left.";a\r\nünïcode;b\r\n', encoding="utf-16", newline=""
    )


def write_tabs(path: Path) -> None:
    path.write_text('text\tlabel\n"He said ""no"",\nthen left."\ta\nünïcode\tb\n', encoding="utf-8")


def write_jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")


def write_list(path: Path) -> None:
    path.write_text("\n" + json.dumps(ROWS, indent=2), encoding="utf-8")


def write_gz(path: Path) -> None:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write("".join(json.dumps(row) + "\n" for row in ROWS))


def write_parquet(path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("x.csv", write_csv),
        ("y.csv", write_semicolons),
        ("z.csv", write_tabs),
        ("x.jsonl", write_jsonl),
        ("list.json", write_list),
        ("x.jsonl.gz", write_gz),
        ("x.parquet", write_parquet),
    ],
)
def test_all_kinds_of_files_give_the_same_rows(tmp_path: Path, name: str, write: object) -> None:
    path = tmp_path / name
    write(path)  # type: ignore[operator]
    rows = list(read_table(str(path)))
    assert [row.fields for row in rows] == ROWS
    assert all(row.place.startswith(str(path)) for row in rows)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", b"", "is empty"),
        ("x.csv", b"a,b\n1,2\n3\n", r"line 3 has 1 cells; the first line has 2 names"),
        ("x.csv", b"a,b\n1,2,3\n", r"line 2 has 3 cells; the first line has 2 names \(a, b\)"),
        ("x.csv", b"a,b,a\n1,2,3\n", "columns need different names; two are called 'a'"),
        ("x.csv", b'a,b\n"1,2\n', "line 2 is not valid CSV"),
        ("x.csv", b"a,b\n\xc3\xa4,1\n\xff,1\n", "line 3 is not UTF-8"),
        ("x.tsv", b"a\tb\n1\n", r"line 2 has 1 cells; .* save such texts as \.csv, quoted"),
        ("x.parquet", b"PAR0", "not a Parquet file"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        list(read_table(str(path)))


@pytest.mark.parametrize(
    ("content", "message"), [('[{"a": 1}, 2]', "row 2 is not an object"), ('[{"a": 1}', "is not valid JSON")]
)
def test_a_damaged_list_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UserError, match=message):
        list(read_table(str(tmp_path / "x.json")))


def test_a_quote_of_a_tsv_file_belongs_to_the_text(tmp_path: Path) -> None:
    texts = ['"Great film', "bad film", 'nice "one"', '"', '"all of it"']
    path = tmp_path / "train.tsv"
    path.write_text("text\tlabel\n" + "".join(f"{text}\ta\n" for text in texts), encoding="utf-8")
    rows = list(read_table(str(path)))
    assert [row.fields["text"] for row in rows] == texts
    assert [row.place for row in rows] == [f"{path} line {line}" for line in range(2, 7)]


@pytest.mark.parametrize("name", ["x.csv", "x.tsv"])
def test_a_text_of_a_table_may_be_long(tmp_path: Path, name: str) -> None:
    text, between = "word " * 30_000, "," if name == "x.csv" else "\t"
    (tmp_path / name).write_text(f"text{between}label\n{text}{between}a\n", encoding="utf-8")
    (row,) = read_table(str(tmp_path / name))
    assert row.fields["text"] == text


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.parquet"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="does not exist"):
        list(read_table(str(tmp_path / name)))


def test_a_folder_stands_for_its_files(tmp_path: Path) -> None:
    for name in ("train-2.jsonl", "train-1.csv", "dev.jsonl", "validation.tsv.gz", "notes.txt", "train.md"):
        (tmp_path / name).touch()
    names = [Path(path).name for path in expand([str(tmp_path)], role="train")]
    assert names == ["train-1.csv", "train-2.jsonl"]
    names = [Path(path).name for path in expand(["x.csv", str(tmp_path)], role="dev")]
    assert names == ["x.csv", "dev.jsonl", "validation.tsv.gz"]
    with pytest.raises(UserError, match=r"no file train\*"):
        (tmp_path / "empty").mkdir()
        expand([str(tmp_path / "empty")], role="train")


def test_a_dataset_saved_as_a_folder_is_read_by_name(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    write_jsonl(tmp_path / "train.jsonl")
    rows = list(read_table(f"datasets:{tmp_path}"))
    assert [row.fields for row in rows] == ROWS


def test_numbers_of_a_dataset_have_their_names(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    tags = datasets.ClassLabel(names=["O", "B-PER"])
    features = datasets.Features(
        {
            "tokens": datasets.List(datasets.Value("string")),
            "ner_tags": datasets.List(tags),
            "label": datasets.ClassLabel(names=["no", "yes"]),
        }
    )
    rows = [{"tokens": ["Anna", "sings"], "ner_tags": [1, 0], "label": 1}]
    rows.append({"tokens": ["x"], "ner_tags": [0], "label": -1})
    (tmp_path / "train").mkdir()
    datasets.Dataset.from_list(rows, features=features).to_parquet(tmp_path / "train" / "train.parquet")
    read = [row.fields for row in read_table(f"datasets:{tmp_path / 'train'}")]
    assert read[0] == {"tokens": ["Anna", "sings"], "ner_tags": ["B-PER", "O"], "label": "yes"}
    assert read[1]["label"] == -1


def choices_of(task: str, folder: Path, *rows: dict[str, object]) -> list[tuple[tuple[str, ...], str]]:
    path = folder / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return [(example.texts, example.label) for example in TASKS[task].read(str(path))]


def test_the_public_copies_of_multiple_choice_are_read(tmp_path: Path) -> None:
    race_row = {"article": "A.", "question": "He _ it.", "options": ["saw", "did"], "answer": "B"}
    assert choices_of("race", tmp_path, race_row) == [(("A.", "He saw it.", "He did it."), "1")]
    arc_row = {"question": "Q?", "choices": {"text": ["x", "y"], "label": ["A", "B"]}, "answerKey": "A"}
    assert choices_of("arc", tmp_path, arc_row) == [(("Q?", "x", "y"), "0")]
    ends = {f"ending{number}": f"e{number}" for number in range(4)}
    swag_row = {"sent1": "S.", "sent2": "He", **ends, "label": 3}
    assert choices_of("swag", tmp_path, swag_row) == [(("S.", "He e0", "He e1", "He e2", "He e3"), "3")]
    copa_row = {"premise": "P.", "choice1": "c", "choice2": "d", "question": "cause", "label": 1}
    assert choices_of("copa", tmp_path, copa_row) == [(("P. What was the cause of this?", "c", "d"), "1")]


@pytest.mark.parametrize("names", ["ABCD", "1234", "2143"])
def test_the_right_answer_of_arc_is_the_choice_of_that_name(tmp_path: Path, names: str) -> None:
    choices = {"text": [f"text {name}" for name in names], "label": list(names)}
    rows = [{"question": "Q?", "choices": choices, "answerKey": name} for name in names]
    for name, (texts, label) in zip(names, choices_of("arc", tmp_path, *rows), strict=True):
        assert texts[1 + int(label)] == f"text {name}"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1", "2"], "line 1: the right choice is 'A'; the choices are called 1, 2"),
        (["A", "A"], "line 1: choices.label must give each of the 2 choices a name of its own"),
        (["A"], "line 1: choices.label must give each of the 2 choices a name of its own"),
        ("AB", "line 1: choices.label must give each of the 2 choices a name of its own"),
    ],
    ids=["unknown", "twice", "few", "text"],
)
def test_names_of_choices_that_tell_nothing_are_refused(tmp_path: Path, names: Any, message: str) -> None:
    row = {"question": "Q?", "choices": {"text": ["x", "y"], "label": names}, "answerKey": "A"}
    with pytest.raises(UserError, match=message):
        choices_of("arc", tmp_path, row)


def test_rows_with_an_odd_number_of_choices_are_passed_over(tmp_path: Path) -> None:
    rows = [{"question": "Q?", "choices": list("abcd"), "label": 0}] * 2
    odd = {"question": "Q?", "choices": list("abc"), "label": 0}
    assert len(choices_of("arc", tmp_path, *rows, odd)) == 2


def test_a_question_without_gap_stands_before_the_option() -> None:
    fields = {"article": "A.", "question": "Why?", "options": ["x", "y"]}
    assert read_choices(Row("", fields))[:2] == ("A.", ["Why? x", "Why? y"])


def test_a_wrong_choice_number_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="line 1: the right choice is 7; need 0 to 1"):
        choices_of("arc", tmp_path, {"question": "Q?", "choices": ["a", "b"], "label": 7})


OBJECTS = [{"text": "caf\u00e9"}, {"text": "b", "n": [1, None]}]
LINES = b'{"text": "caf\xc3\xa9"}\n\n{"text": "b", "n": [1, null]}'


@pytest.mark.parametrize(
    "content",
    [
        LINES,
        gzip.compress(LINES),
        zstandard.compress(LINES),
        b"\xef\xbb\xbf" + LINES,
        LINES.decode().encode("utf-16"),
        LINES.replace(b"\n", b"\r\n"),
    ],
    ids=["plain", "gzip", "zstd", "bom", "utf-16", "windows"],
)
def test_rows_come_with_their_line_numbers(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    assert [(row.place, row.fields) for row in read_table(path)] == [
        (f"{path} line 1", OBJECTS[0]),
        (f"{path} line 3", OBJECTS[1]),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"a": 1,}', "line 2 is not valid JSON"),
        (b"[1, 2]", "line 2 holds a JSON list"),
        (b'{"a": "\xff"}', r"line 2 is not UTF-8 text \(byte 8\)"),
        (b"[" * 100_000, "line 2 is nested too deeply"),
        (b'{"a": ' + b"[" * 70 + b"]" * 70 + b"}", "line 2 is nested too deeply"),
        (
            b'{"n": ' + b"9" * 5000 + b"}",
            "line 2 is not usable: it contains an integer of thousands of digits",
        ),
        (b'{"n": 1e999}', "line 2: n is an infinite number"),
        (b'{"n": Infinity}', "line 2 is not usable: it contains the number Infinity"),
        (b'{"a": "half \\ud83d"}', "line 2 has half of a surrogate pair"),
        (b'{"a": 1, "a": 2}', "line 2 is not usable: it contains the name 'a' twice"),
    ],
    ids=[
        "malformed",
        "no-object",
        "latin-1",
        "deep",
        "too-deep-to-write",
        "digits",
        "endless",
        "infinity",
        "surrogate",
        "twice",
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n' + line + b"\n")
    with pytest.raises(UserError, match=message):
        [(row.place, row.fields) for row in read_table(path)]


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        list(read_table(tmp_path / "none.jsonl"))
    (tmp_path / "x.jsonl").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        list(read_table(tmp_path / "x.jsonl"))


@pytest.mark.parametrize(("kind", "compress"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
def test_a_compressed_file_cut_short_is_named(tmp_path: Path, kind: str, compress: Any) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(compress((LINES + b"\n") * 1000)[:-8])
    with pytest.raises(UserError, match=f"damaged {kind}"):
        [(row.place, row.fields) for row in read_table(path)]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("Body;Kind;\r\na;x;\r\nb;y;\r\n", [{"Body": "a", "Kind": "x"}, {"Body": "b", "Kind": "y"}]),
        ("v1,v2,,,\nham,see you,,,\n", [{"v1": "ham", "v2": "see you"}]),
        ("a;b;\n1;2\n", [{"a": "1", "b": "2"}]),
        ("a;b\n1;2;\n", [{"a": "1", "b": "2"}]),
        (",text,label\n0,good,1\n", [{"": "0", "text": "good", "label": "1"}]),
        (",,text\n1,2,x\n", [{"Unnamed: 0": "1", "Unnamed: 1": "2", "text": "x"}]),
    ],
    ids=["trailing", "several", "header", "rows", "index", "indices"],
)
def test_separators_at_line_ends_make_no_columns(
    tmp_path: Path, text: str, rows: list[dict[str, str]]
) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text, encoding="utf-8", newline="")
    assert [row.fields for row in read_table(path)] == rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,\n1,2,\n3,4,more\n", "line 3: 'more' is in a column without a name. Name it"),
    ],
)
def test_what_is_in_a_column_without_a_name_is_never_dropped(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        list(read_table(path))


def test_a_cell_beside_the_columns_of_a_workbook_is_never_dropped(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for cells in (["text", "label", None], ["a", "x", None], ["b", "y", "more"]):
        book.active.append(cells)
    book.save(tmp_path / "x.xlsx")
    with pytest.raises(UserError, match="row 3: 'more' is in a column without a name"):
        list(read_table(tmp_path / "x.xlsx"))
