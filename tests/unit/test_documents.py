"""Contract: each document is read once however a corpus is split; what is unreadable is reported by place."""

import gzip
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from debertav3.data.cleaning import clean_text
from debertav3.data.documents import Problem, plan_units, read_documents, split_long
from debertav3.errors import UserError


def read_all(
    inputs: list[str], *, unit_bytes: int = 1 << 20, block: bool = True
) -> tuple[list[str], list[Problem]]:
    problems: list[Problem] = []
    texts = []
    for unit in plan_units(inputs, unit_bytes=unit_bytes):
        texts += read_documents(
            unit, text_column="text", blank_line_ends_document=block, report=problems.append
        )
    return texts, problems


lines = st.lists(st.sampled_from(["", "a", "bb b", "ünïcode", "  ", "long " * 9]), max_size=40)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(lines=lines, unit_bytes=st.integers(1, 60), ending=st.sampled_from(["", "\n"]))
def test_any_split_of_text_yields_the_same_documents(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], unit_bytes: int, ending: str
) -> None:
    path = tmp_path_factory.mktemp("split") / "a.txt"
    path.write_text("\n".join(lines) + ending, encoding="utf-8")
    for block in (True, False):
        whole, _ = read_all([str(path)], block=block)
        parts, _ = read_all([str(path)], unit_bytes=unit_bytes, block=block)
        assert parts == whole
    assert [text.split() for text in whole] == [line.split() for line in lines if line.strip()]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    texts=st.lists(st.text(min_size=1, max_size=12).filter(str.strip), max_size=20),
    unit_bytes=st.integers(1, 90),
)
def test_any_split_of_jsonl_yields_the_same_documents(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], unit_bytes: int
) -> None:
    path = tmp_path_factory.mktemp("split") / "a.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    parts, problems = read_all([str(path)], unit_bytes=unit_bytes)
    assert parts == texts and not problems


def test_formats_give_the_same_documents(tmp_path: Path) -> None:
    texts = ["first document", "second\nwith two lines", "third"]
    rows = "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()
    (tmp_path / "a.jsonl").write_bytes(rows)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(rows))
    (tmp_path / "c.jsonl.zst").write_bytes(zstandard.compress(rows))
    pyarrow.parquet.write_table(pyarrow.table({"text": texts}), tmp_path / "d.parquet", row_group_size=2)
    assert read_all([str(tmp_path)]) == (texts * 4, [])
    units = plan_units([str(tmp_path / "d.parquet")], unit_bytes=1)
    assert [(unit.start, unit.stop) for unit in units] == [(0, 1), (1, 2)]


def test_a_local_data_set_is_read_by_name(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    texts, problems = read_all([f"datasets:{tmp_path}"])
    assert (texts, problems) == (["one", "two"], [])


def test_corrupt_lines_are_reported_with_their_line_and_lose_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    good = b'{"text": "good"}\n'
    path.write_bytes(
        good + b"{oops\n" + good + b'\xff{"text": 1}\n' + good + b'{"title": "x"}\n' + b"[1]\n" + good
    )
    for unit_bytes in (1 << 20, 20):
        texts, problems = read_all([str(path)], unit_bytes=unit_bytes)
        assert texts == ["good"] * 4
        assert [problem.place for problem in problems] == [f"{path}:{line}" for line in (2, 4, 6, 7)]
    assert "not JSON" in problems[0].reason and "UTF-8" in problems[1].reason
    assert "--text-column" in problems[2].reason


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_file_cut_short_yields_what_is_whole(tmp_path: Path, suffix: str) -> None:
    rows = b"".join(b'{"text": "%d"}\n' % number for number in range(50_000))
    packed = gzip.compress(rows) if suffix == ".gz" else zstandard.compress(rows)
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(packed[: len(packed) // 2])
    texts, problems = read_all([str(path)])
    # A .zst frame cut short ends like a file; what had been decompressed must be there in order.
    assert texts and texts == [str(number) for number in range(len(texts))]
    assert problems and str(path) in problems[-1].place


def test_a_file_that_is_no_parquet_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"not a table")
    texts, problems = read_all([str(tmp_path / "a.parquet")])
    assert not texts and len(problems) == 1 and "a.parquet" in problems[0].place


@pytest.mark.parametrize(
    ("name", "message"), [("gone.txt", "no such file"), ("a.pdf", "need a file ending in")]
)
def test_unusable_inputs_are_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "a.pdf").write_bytes(b"x")
    with pytest.raises(UserError, match=message):
        plan_units([str(tmp_path / name)], unit_bytes=100)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=200), st.integers(1, 50))
def test_long_texts_are_cut_without_loss(text: str, limit: int) -> None:
    parts = list(split_long(text, limit))
    assert all(0 < len(part) <= limit for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split())


def test_cleaning() -> None:
    sentence = "This is an ordinary sentence with enough letters in it to be kept, and not too short for it. "
    assert clean_text("too short") is None
    assert clean_text("| 1 | 2 |\n" * 40) is None
    cleaned = clean_text(f"  {sentence}\x00\x07 \n\n{sentence}\n{sentence}\n\u00a0 end\t here\u200b ")
    # The empty line goes, and then the two equal lines follow each other.
    assert cleaned == f"{sentence.strip()}\nend here"
