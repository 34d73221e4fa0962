"""Workbooks, archives and folders as people have them; other kinds are refused with the way out."""

import bz2
import logging
import lzma
import zipfile
from pathlib import Path
from typing import Any

import pytest

from debertav3.errors import UserError
from debertav3.finetuning.preparation import read_data, resolve
from debertav3.tasks.around_tables import num_above
from debertav3.tasks.read_options import ReadOptions
from debertav3.tasks.tables import read_table

FILMS = [("a fine film", "good"), ("a dull film", "bad"), ("so so", "good")]
CSV = "text,label\n" + "".join(f"{text},{label}\n" for text, label in FILMS)


def rows(path: Path, **said: Any) -> list[tuple[str, Any]]:
    data = read_data(resolve("custom", model="nano", given={"train": [str(path)], **said}))
    return [(example.texts[0], example.label) for example in data.train]


def workbook(path: Path, cells: list[list[Any]], *, merged: str | None = None) -> Path:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in cells:
        book.active.append(row)
    if merged:
        book.active.merge_cells(merged)
    book.save(path)
    return path


@pytest.mark.parametrize(
    "above",
    [[["Reviews"], []], [["Reviews", None], ["of 2024"], []], [["x", "x"]]],
    ids=["title", "two", "groups"],
)
def test_rows_above_a_sheet_s_names_are_left_out(
    tmp_path: Path, above: list[list[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    path = workbook(tmp_path / "x.xlsx", [*above, ["text", "label"], *map(list, FILMS), ["Total", 3]])
    with caplog.at_level(logging.INFO):
        assert rows(path) == FILMS
    assert "above the names of the columns (--header)" in caplog.text
    assert "which begins with 'Total': a row of totals" in caplog.text


def test_a_cell_merged_over_rows_counts_for_each(tmp_path: Path) -> None:
    cells = [["label", "text"], ["good", "a fine film"], [None, "so so"], ["bad", "a dull film"]]
    path = workbook(tmp_path / "x.xlsx", cells, merged="A2:A3")
    assert rows(path) == [("a fine film", "good"), ("so so", "good"), ("a dull film", "bad")]


@pytest.mark.parametrize(
    ("content", "count"),
    [
        ([["text", "label"], ["a", "b"]], 0),
        ([["tweet_content"], ["hello", "world"], ["a", "b"]], 0),  # a name above texts that are cut: refused
        ([["text"], ["hello", "world"], ["a", "b"]], 0),
        ([["one"], ["two"], ["three"]], 0),
        ([["A title of it"], ["text", "label"], ["a", "b"]], 1),
        ([["A title", "", ""], [], ["text", "label", "x"], ["a", "b", "c"]], 2),
        ([["x", "x"], ["a", "b"], ["c", "d"]], 0),
    ],
)
def test_what_is_above_a_table(content: list[list[str]], count: int) -> None:
    assert num_above(content) == count


def test_a_header_that_is_said_is_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("A title,\ntext,label\na,b\n", encoding="utf-8")
    found = [row.fields for row in read_table(path, ReadOptions(has_header=False))]
    assert [list(fields.values()) for fields in found] == [["A title", ""], ["text", "label"], ["a", "b"]]


@pytest.mark.parametrize("last", ["Totally good,bad", "total,bad", "Sum,of it"])
def test_a_last_row_of_texts_is_no_row_of_totals(tmp_path: Path, last: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"{CSV}{last}\n", encoding="utf-8")
    assert len(list(read_table(path))) == 4


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl"])
def test_carriage_returns_alone_end_lines(tmp_path: Path, name: str) -> None:
    json_lines = "".join(f'{{"text": "{text}", "label": "{label}"}}\n' for text, label in FILMS)
    path = tmp_path / name
    path.write_bytes((CSV if name == "x.csv" else json_lines).replace("\n", "\r").encode())
    assert rows(path) == FILMS


@pytest.mark.parametrize("kind", ["bz2", "xz", "zip", "zip of macOS"])
def test_more_kinds_of_compression_are_read(tmp_path: Path, kind: str) -> None:
    if kind == "bz2":
        path = tmp_path / "x.csv.bz2"
        path.write_bytes(bz2.compress(CSV.encode()))
    elif kind == "xz":
        path = tmp_path / "x.csv.xz"
        path.write_bytes(lzma.compress(CSV.encode()))
    else:
        path = tmp_path / "train.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("folder/train.csv", CSV)
            if "macOS" in kind:
                archive.writestr("__MACOSX/folder/._train.csv", "x")
    assert rows(path) == FILMS


@pytest.mark.parametrize("ending", [".bz2", ".xz", ".zip"])
def test_they_are_not_written(tmp_path: Path, ending: str) -> None:
    from debertav3.files import replacing_text

    with pytest.raises(UserError, match="are read, not written"), replacing_text(tmp_path / f"x.csv{ending}"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "members", "message"),
    [
        ("x.zip", ("a.csv", "b.csv"), r"is an archive of 2 files \(a.csv, b.csv\)\. Unpack it and name one"),
        ("x.ods", ("mimetype", "content.xml"), r"is an OpenDocument file\. Save it as Excel workbook"),
        ("x.docx", ("word/document.xml", "a.xml"), r"is a Word document"),
        ("x.xls", (), r"Save it as \.xlsx or CSV"),
        ("x.pkl", (), r"A pickle may run code; write a table"),
        ("x.feather", (), r"read_feather\(path\)\.to_parquet"),
        ("x.html", (), r"is a web page\. Save its table as CSV"),
    ],
)
def test_other_kinds_are_refused_with_the_way_out(
    tmp_path: Path, name: str, members: tuple[str, ...], message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(b"<!DOCTYPE html><html></html>" if name == "x.html" else b"\xd0\xcf\x11\xe0" * 20)
    if members:
        with zipfile.ZipFile(path, "w") as archive:
            for one in members:
                archive.writestr(one, "x")
    with pytest.raises(UserError, match=message):
        list(read_table(path))


def test_texts_in_a_folder_for_each_class(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for split, folder, text in (
        ("train", "neg", "a dull film"),
        ("train", "pos", "a fine film"),
        ("train", "unsup", "so so"),
        ("test", "neg", "bad"),
        ("test", "pos", "good"),
    ):
        (tmp_path / split / folder).mkdir(parents=True)
        (tmp_path / split / folder / "0_1.txt").write_text(f"{text}\n", encoding="utf-8")
    with caplog.at_level(logging.INFO):
        found = rows(tmp_path, dev=[str(tmp_path)])
    assert found == [("a dull film", "neg"), ("a fine film", "pos")]
    assert "the texts in unsup, which have no label" in caplog.text
    assert f"{tmp_path / 'test'} is read as" in caplog.text


def test_a_saved_data_set_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    columns = {"text": [text for text, _ in FILMS], "label": [int(label == "good") for _, label in FILMS]}
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(str(tmp_path / "set" / "train"))
    assert rows(tmp_path / "set" / "train") == FILMS
    assert rows(tmp_path / "set") == FILMS


def test_labels_that_differ_in_case_alone_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "x.csv"
    path.write_text("text,label\na,Yes\nb,yes \nc,no\n", encoding="utf-8")
    with caplog.at_level(logging.INFO):
        assert [label for _, label in rows(path)] == ["Yes", "yes", "no"]
    assert "guess   the labels 'Yes', 'yes' are different ones; if not: --labels FILE" in caplog.text
    (tmp_path / "map.yaml").write_text('"Yes": "yes"\n')
    assert [label for _, label in rows(path, labels=str(tmp_path / "map.yaml"))] == ["yes", "yes", "no"]


def test_texts_that_may_mean_nothing_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "x.csv"
    path.write_text("text,label\nNA,good\n,bad\nnan,good\na film,bad\n", encoding="utf-8")
    assert len(rows(path)) == 3
    assert "there is none are read as they are (2): 'NA'" in caplog.text


def test_numbers_with_commas_between_thousands_are_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("text;score\na;4,5\nb;1,250\n", encoding="utf-8")
    with pytest.raises(UserError, match="the label must be a number, got '1,250'"):
        rows(path, label_kind="number")
    with pytest.raises(UserError, match="or number for a decimal comma"):
        path.write_text("text;score\na;4,5\nb;1,2\nc;3,1\n", encoding="utf-8")
        rows(path)
