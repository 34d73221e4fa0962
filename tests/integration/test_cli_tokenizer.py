"""``debertav3 tokenizer``: encodes line by line, trains, checks; bad input ends in one line and code 2."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import sentencepiece
from click.testing import CliRunner

from debertav3.cli import app
from debertav3.cli import tokenizer as commands
from debertav3.errors import UserError
from debertav3.tokenization import DebertaV3Tokenizer


def run(*arguments: object):
    """Run in this process; what a command raises comes through."""
    return CliRunner().invoke(app, ["tokenizer", *map(str, arguments)], catch_exceptions=False)


def test_encode_gives_one_list_per_line(nano: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(commands, "CHUNK_LINES", 3)
    lines = ["A man eats.", "", "\ufb01ne\u00a0\u00bd", "[MASK] [SEP]", " tab\there ", "caf\u00e9", "last"]
    (tmp_path / "in.txt").write_bytes("\n".join(lines).encode())
    result = run(
        "encode", "--model", nano, "--input", tmp_path / "in.txt", "--output", tmp_path / "sub/out.jsonl"
    )
    assert result.exit_code == 0 and result.stdout == ""
    rows = (tmp_path / "sub/out.jsonl").read_text().splitlines()
    model = sentencepiece.SentencePieceProcessor(model_file=str(nano / "spm.model"))
    assert [json.loads(row) for row in rows] == model.encode(lines)
    assert rows[1] == "[]"


def test_encode_reads_a_column_and_recognizes_specials_on_request(nano: Path, tmp_path: Path) -> None:
    with gzip.open(tmp_path / "in.jsonl.gz", "wt") as stream:
        stream.write('{"premise": "a [MASK] b", "text": "no"}\n{"premise": "c"}\n')
    files = ("--input", tmp_path / "in.jsonl.gz", "--output", tmp_path / "out.jsonl")
    run("encode", "--model", nano, *files, "--column", "premise", "--parse-special-tokens")
    tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
    want = tokenizer.encode_batch(["a [MASK] b", "c"], parse_special_tokens=True)
    assert [json.loads(row) for row in (tmp_path / "out.jsonl").read_text().splitlines()] == want
    assert tokenizer.mask_token_id in want[0]


def test_encode_in_hf5_mode(nano: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("a\u00a0b\n", encoding="utf-8")
    run(
        "encode",
        "--model",
        nano,
        "--input",
        tmp_path / "in.txt",
        "--output",
        tmp_path / "out",
        "--compat",
        "hf5",
    )
    want = DebertaV3Tokenizer.from_pretrained(nano, compat="hf5").encode("a\u00a0b")
    assert json.loads((tmp_path / "out").read_text()) == want


def test_a_bad_line_leaves_nothing_behind(nano: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n' * 5000 + "{oops\n")
    with pytest.raises(UserError, match="line 5001 is not JSON"):
        run(
            "encode",
            "--model",
            nano,
            "--input",
            tmp_path / "in.jsonl",
            "--output",
            tmp_path / "out.jsonl",
        )
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_train_writes_a_folder_that_encodes(tmp_path: Path) -> None:
    text = "the cat sat on a mat while seven dogs were running after another small grey mouse"
    words = text.split()
    rows = [
        {"premise": " ".join(words[i % 9 :]), "hypothesis": " ".join(words[: 5 + i % 9])} for i in range(300)
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    inputs = ("--input", tmp_path / "in.jsonl") * 2
    columns = ("--column", "premise", "--column", "hypothesis")
    result = run("train", *inputs, *columns, "--vocab-size", 370, "--out", tmp_path / "out")
    report = json.loads(result.stdout)
    assert report["vocab_size"] == 370 and report["lines_read"] == 1200
    assert json.loads((tmp_path / "out/vocabulary.json").read_text())["measured"] == report
    assert len(DebertaV3Tokenizer.from_pretrained(tmp_path / "out")) == 371


def test_check_compares_what_readers_get(nano: Path, nano_mask: int, tmp_path: Path) -> None:
    result = run("check", "--model", nano)
    report = json.loads(result.stdout)
    assert result.exit_code == 0 and report["verdict"] == "OK" and report["stock_differs"] == 0
    assert report["transformers5_differs"] > 0
    assert report["special_ids"]["mask_token"] == nano_mask

    DebertaV3Tokenizer.from_pretrained(nano, compat="hf5").save_pretrained(tmp_path)
    (tmp_path / "lines.txt").write_text("plain\na\u00a0b\n", encoding="utf-8")
    result = run("check", "--model", tmp_path, "--input", tmp_path / "lines.txt")
    report = json.loads(result.stdout)
    assert result.exit_code == 1 and "differs from spm.model on 50.00%" in report["verdict"]
    assert report["examples"] == ["a\u00a0b"]

    (tmp_path / "tokenizer.json").unlink()
    assert "no tokenizer.json" in run("check", "--model", tmp_path).stdout


def test_check_says_that_stock_libraries_cannot_read_the_json(nano: Path, tmp_path: Path) -> None:
    DebertaV3Tokenizer.from_pretrained(nano).save_pretrained(tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    content["normalizer"] = {"type": "Unheard"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    result = run("check", "--model", tmp_path)
    report = json.loads(result.stdout)
    assert result.exit_code == 1 and report["has_tokenizer_json"]
    assert report["verdict"].startswith("stock libraries cannot read tokenizer.json (")
    assert "\n" not in report["verdict"]


def test_bad_input_ends_in_one_line_and_code_2(nano: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "debertav3",
        "tokenizer",
        "encode",
        "--model",
        str(nano),
        "--output",
        "out",
    ]
    done = subprocess.run([*command, "--input", "absent.txt"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.strip().splitlines() == [
        "debertav3: error: no such file: absent.txt. "
        "Give an existing .txt or .jsonl file (also .gz and .zst)."
    ]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["encode", "train", "check"])
def test_help_has_an_example(command: str) -> None:
    assert f"debertav3 tokenizer {command}" in run(command, "--help").stdout


def test_a_hub_name_is_read_from_the_cache_without_a_network(nano: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "cache/models--owner--name/snapshots/0123456789abcdef0123456789abcdef01234567"
    (tmp_path / "cache/models--owner--name/refs").mkdir(parents=True)
    (tmp_path / "cache/models--owner--name/refs/main").write_text(snapshot.name)
    shutil.copytree(nano, snapshot)
    (tmp_path / "in.txt").write_text("A man eats.\n")
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    command = [
        sys.executable,
        "-m",
        "debertav3",
        "tokenizer",
        "encode",
        "--input",
        "in.txt",
        "--output",
        "out.jsonl",
    ]
    subprocess.run([*command, "--model", "owner/name"], check=True, cwd=tmp_path, env=environment)
    want = DebertaV3Tokenizer.from_pretrained(nano).encode("A man eats.")
    assert json.loads((tmp_path / "out.jsonl").read_text()) == want

    done = subprocess.run(
        [*command, "--overwrite", "--model", "owner/other"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("debertav3: error: no local folder is named owner/other, and")
    assert len(done.stderr.strip().splitlines()) == 1
