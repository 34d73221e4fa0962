"""Files out: what is written is whole or absent, and strict JSON."""

import json
import os
import resource
from pathlib import Path

import pytest

from debertav3.errors import UserError
from debertav3.files import replacing_text, write_json
from debertav3.tasks.table_writers import json_line
from debertav3.tasks.tables import read_table

ROWS = [{"text": "caf\u00e9"}, {"text": "b", "n": [1, None]}]


@pytest.mark.parametrize("name", ["out.jsonl", "new/folder/out.jsonl.gz"])
def test_what_is_written_reads_back(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with replacing_text(path) as file:
        file.writelines(map(json_line, ROWS))
        assert not path.exists()
    assert [row.fields for row in read_table(path)] == ROWS
    assert os.listdir(path.parent) == [path.name]


def test_half_a_surrogate_pair_is_written_as_an_escape() -> None:
    assert json_line({"a": "\u00e9"}) == '{"a": "\u00e9"}\n'
    assert json.loads(json_line({"a": "\ud800"})) == {"a": "\ud800"}
    json_line({"a": "\ud800"}).encode("utf-8")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_no_number_leaves_that_json_does_not_have(number: float) -> None:
    assert json_line({"a": number, "b": [number]}) == '{"a": null, "b": [null]}\n'


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    write_json(path, {"old": 1})
    with pytest.raises(RuntimeError), replacing_text(path) as file:
        file.write("half")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"old": 1}
    assert os.listdir(tmp_path) == ["out.json"]


def test_a_full_disk_is_one_clear_line_and_nothing_is_left(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))  # the kernel's own "file too large"
    try:
        with pytest.raises(UserError, match="cannot be written"), replacing_text(tmp_path / "out") as file:
            file.write("x" * (2 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []


def test_an_error_of_the_block_itself_is_not_called_a_write_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing_text(tmp_path / "out"):
        (tmp_path / "other").read_text()


def test_links_are_written_through_and_folders_refused(tmp_path: Path) -> None:
    (tmp_path / "real").touch()
    (tmp_path / "link").symlink_to("real")
    write_json(tmp_path / "link", {"a": 1})
    assert (tmp_path / "link").is_symlink()
    assert json.loads((tmp_path / "real").read_text()) == {"a": 1}
    with pytest.raises(UserError, match="not an ordinary file"), replacing_text(tmp_path):
        pass
    with pytest.raises(UserError, match="cannot be written"), replacing_text(tmp_path / "real" / "below"):
        pass
