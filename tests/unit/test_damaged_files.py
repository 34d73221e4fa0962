"""Damaged files, pipes and pointers of Git LFS: one line that names the file, whatever a library raises."""

import bz2
import gzip
import json
import lzma
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from debertav3.checkpoint.files import read_bin, read_header
from debertav3.data.documents import Problem, plan_units, read_documents
from debertav3.errors import UserError
from debertav3.files.model_folder import ModelFolder
from debertav3.tasks.tables import read_table
from debertav3.tokenization.text_files import read_texts

ROWS = [{"text": f"a fine film {number}", "label": "good"} for number in range(300)]
CSV = "text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in ROWS)
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 10244398\n"


def refusal(read: Callable[[], object]) -> str:
    with pytest.raises(UserError) as raised:
        read()
    assert "\n" not in str(raised.value)
    return str(raised.value)


def read(path: Path) -> list[object]:
    return [row.fields for row in read_table(path)]


def archive(path: Path, *, flags: int = 0, method: int = 0) -> Path:
    """A zip archive of a table whose headers claim a password or another method."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.csv", CSV)
    content = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.find(mark) + place
        content[start : start + 4] = struct.pack("<HH", flags, method)
    path.write_bytes(content)
    return path


def test_archives_that_cannot_be_unpacked(tmp_path: Path) -> None:
    assert "needs a password. Unpack it" in refusal(lambda: read(archive(tmp_path / "a.zip", flags=1)))
    assert "in a way that is not read" in refusal(lambda: read(archive(tmp_path / "b.zip", method=9)))


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("gzip", gzip.compress(CSV.encode())[:-20]),
        ("bzip2", bz2.compress(CSV.encode())[:-20]),
        ("bzip2", b"BZh91AY&SY" + b"\1" * 200),
        ("xz", lzma.compress(CSV.encode())[:-20]),
    ],
)
def test_the_kind_of_a_damaged_file_is_said(tmp_path: Path, kind: str, content: bytes) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    assert f"{path} is a damaged {kind} file" in refusal(lambda: read(path))


def broken_parquet(path: Path, how: str) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    if how == "text":
        offsets = pyarrow.py_buffer(struct.pack("<3i", 0, 3, 6))
        texts = pyarrow.StringArray.from_buffers(2, offsets, pyarrow.py_buffer(b"\xff\xfea\xff\xfea"))
        parquet.write_table(pyarrow.table({"text": texts, "label": ["x", "y"]}), path)
        return path
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), path, compression=how)
    content = bytearray(path.read_bytes())
    content[60:400] = bytes(one ^ 0x5A for one in content[60:400])
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("how", ["snappy", "gzip", "text"])
def test_damage_within_parquet(tmp_path: Path, how: str) -> None:
    path = broken_parquet(tmp_path / "x.parquet", how)
    assert "is damaged after row 0" in refusal(lambda: read(path))
    problems: list[Problem] = []
    (unit,) = plan_units([str(path)], unit_bytes=1 << 20)
    list(read_documents(unit, text_column="text", blank_line_ends_document=False, report=problems.append))
    assert len(problems) == 1 and "cannot be read further" in problems[0].reason


@pytest.mark.parametrize("how", ["cut sheet", "cut styles", "no sheet", "old kind", "another name"])
def test_workbooks(tmp_path: Path, how: str) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (["text", "label"], *([*row.values()] for row in ROWS)):
        book.active.append(row)
    whole, path = tmp_path / "whole.xlsx", tmp_path / "x.xlsx"
    book.save(whole)
    if how == "another name":  # people rename what they were asked to send as CSV
        assert read(whole.rename(tmp_path / "x.csv")) == ROWS
        return
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            is_cut = how.split()[1] in name and how.startswith("cut")
            if not (how == "no sheet" and name.endswith("sheet1.xml")):
                new.writestr(name, old.read(name)[:-200] if is_cut else old.read(name))
    if how == "old kind":
        path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
    wanted = {"old kind": "with a password, or of the old kind", "no sheet": "has no sheet with cells"}
    assert wanted.get(how, "cannot be read as an Excel workbook") in refusal(lambda: read(path))


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.csv.gz", "x.parquet", "x.xlsx", "x.txt"])
def test_pointers_in_the_place_of_data(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(POINTER)
    assert refusal(lambda: read(path)).endswith("Download it with: git lfs pull")
    if name in ("x.txt", "x.jsonl"):
        assert "git lfs pull" in refusal(lambda: list(read_texts(path)))
    if name in ("x.txt", "x.jsonl", "x.parquet"):
        assert "git lfs pull" in refusal(lambda: plan_units([str(tmp_path)], unit_bytes=1 << 20))


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "config.json"])
def test_pointers_in_the_place_of_a_model(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(POINTER)
    folder = ModelFolder(tmp_path)
    opens = {".safetensors": read_header, ".bin": read_bin, ".json": lambda file: folder.json(file.name)}
    assert f"{path} is a Git LFS pointer" in refusal(lambda: opens[path.suffix](path))


def test_a_pipe_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    """Nobody writes to it: opening it would never end."""
    for name in ("x.csv", "x.txt", "x.parquet", "x.xlsx", "config.json"):
        os.mkfifo(tmp_path / name)
    for name in ("x.csv", "x.parquet", "x.xlsx"):
        assert "is a pipe" in refusal(lambda name=name: read(tmp_path / name))
    assert "is a pipe" in refusal(lambda: list(read_texts(tmp_path / "x.txt")))
    assert "is a pipe" in refusal(lambda: plan_units([str(tmp_path / "x.txt")], unit_bytes=1 << 20))
    assert "is a pipe" in refusal(lambda: ModelFolder(tmp_path).json("config.json"))


@pytest.mark.parametrize(
    "line", ['{"text": ' + "[" * 5000 + "]" * 5000 + "}", '{"text": "a", "n": ' + "9" * 6000 + "}"]
)
def test_lines_beyond_python_s_limits(tmp_path: Path, line: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(line + "\n" + json.dumps({"text": "b"}) + "\n")
    assert f"{path} line 1 cannot be read" in refusal(lambda: list(read_texts(path)))
    problems: list[Problem] = []
    (unit,) = plan_units([str(path)], unit_bytes=1 << 20)
    found = read_documents(unit, text_column="text", blank_line_ends_document=False, report=problems.append)
    assert list(found) == ["b"]
    assert [problem.place for problem in problems] == [f"{path}:1"]


@pytest.mark.parametrize("name", ["x.txt", "x.jsonl"])
def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\xef\xbb\xbf" + (b"a\n" if name == "x.txt" else b'{"text": "a"}\n'))
    assert list(read_texts(path)) == ["a"]
