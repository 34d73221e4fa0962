"""gzip and zstd are read wherever plain files are, by their first bytes, and a file cut short is an error."""

import gzip
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import zstandard

from debertav3.data.documents import Problem, plan_units, read_documents
from debertav3.errors import UserError
from debertav3.files import replacing_text
from debertav3.files.compression import bare_name, is_compressed, read_lines
from debertav3.tokenization.text_files import read_texts

LINES = [f"line {number} ünd so weiter" for number in range(5000)]
TEXT = "".join(line + "\n" for line in LINES).encode()
Compress = Callable[[bytes], bytes]
KINDS = {"plain": bytes, "gzip": gzip.compress, "zstd": zstandard.compress}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.txt.zst"])
def test_the_first_bytes_decide_not_the_name(tmp_path: Path, kind: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(KINDS[kind](TEXT))
    assert is_compressed(path) == (kind != "plain")
    assert b"".join(read_lines(path)) == TEXT
    assert list(read_texts(path)) == LINES


@pytest.mark.parametrize("kind", KINDS)
def test_corpora_are_read_whole_whatever_their_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "corpus.txt"
    path.write_bytes(KINDS[kind](TEXT))
    problems: list[Problem] = []
    units = plan_units([str(path)], unit_bytes=4096)
    found = [
        text
        for unit in units
        for text in read_documents(
            unit, text_column="text", blank_line_ends_document=False, report=problems.append
        )
    ]
    assert (found, problems) == (LINES, [])
    assert (len(units) == 1) == (kind != "plain")


def test_frames_may_follow_each_other(tmp_path: Path) -> None:
    path = tmp_path / "a.zst"
    path.write_bytes(zstandard.compress(TEXT[:1000]) + zstandard.compress(TEXT[1000:]))
    assert b"".join(read_lines(path)) == TEXT


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_file_cut_short_is_an_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(KINDS[kind](TEXT)[:-7])
    with pytest.raises(UserError, match=f"damaged {kind} file"):
        list(read_lines(path))
    problems: list[Problem] = []
    (unit,) = plan_units([str(path)], unit_bytes=1 << 20)
    list(read_documents(unit, text_column="text", blank_line_ends_document=False, report=problems.append))
    assert len(problems) == 1 and "cannot be read further" in problems[0].reason


@pytest.mark.parametrize("name", ["out.txt", "out.txt.gz", "out.txt.zst"])
def test_what_is_written_is_compressed_as_the_name_says(tmp_path: Path, name: str) -> None:
    with replacing_text(tmp_path / name) as file:
        file.write(TEXT.decode())
    assert is_compressed(tmp_path / name) == (name != "out.txt")
    assert b"".join(read_lines(tmp_path / name)) == TEXT
    assert bare_name(tmp_path / name) == "out.txt"


def test_a_reader_may_end_while_zstandard_is_being_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python collects a reader that nobody needs any more at any moment, in an import too."""
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    lines = read_lines(tmp_path / "a.txt")
    next(lines)
    monkeypatch.setitem(sys.modules, "zstandard", ModuleType("zstandard"))
    lines.close()
