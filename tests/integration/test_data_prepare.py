"""Contract: `data prepare` loses only what it reports, goes on where it stopped, and repeats exactly."""

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

pytest.importorskip("datatrove")

from debertav3.data.prepare import ExecutorConfig, PrepareConfig, prepare
from debertav3.data.shards import SPLITS, TokenShards
from debertav3.errors import UserError
from debertav3.tokenization import DebertaV3Tokenizer

WORDS = ["river", "stone", "market", "letter", "window", "garden", "winter", "music", "doctor", "paper"]


def sentence(seed: int, length: int = 30) -> str:
    random = np.random.default_rng(seed)
    return " ".join(random.choice(WORDS, length)) + f" number {seed}."


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five files, 90 documents; one line of ``b.jsonl`` is broken, some documents are equal or nearly so."""
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(3):
        texts = [sentence(100 * number + i) for i in range(20)]
        (folder / f"a{number}.txt").write_text("\n\n".join(texts) + "\n")
    rows = [json.dumps({"text": sentence(i)}) for i in range(500, 520)]
    rows[7] = rows[7][:-3]
    (folder / "b.jsonl").write_text("\n".join(rows) + "\n")
    repeated = [
        sentence(0),
        "  " + sentence(0).replace(" ", "  "),
        sentence(0, 30).replace("number", "Number"),
    ]
    repeated += [sentence(i, 200) for i in range(700, 707)]
    packed = "\n".join(json.dumps({"text": text}) for text in repeated)
    (folder / "c.jsonl.gz").write_bytes(gzip.compress(packed.encode()))
    return folder


def run(corpus: Path, nano: Path, out: Path, *, workers: int = 1, **changes: object) -> dict[str, object]:
    config = PrepareConfig(inputs=(str(corpus),), tokenizer=str(nano), **{"heldout_share": 0.2, **changes})  # type: ignore[arg-type]
    index = prepare(config, out, ExecutorConfig(workers=workers))
    assert index is not None
    return index


def texts_of(out: Path, nano: Path, split: str) -> list[str]:
    tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
    texts = []
    for shard in TokenShards(out, split).shards:
        tokens, begin = shard.tokens(), 0
        for end in shard.ends().tolist():
            texts.append(tokenizer.decode(tokens[begin:end].tolist()))
            begin = end
    return texts


def test_documents_become_tokens_and_the_broken_line_is_named(
    corpus: Path, nano: Path, tmp_path: Path
) -> None:
    index = run(corpus, nano, tmp_path / "out")
    found = [text for split in SPLITS for text in texts_of(tmp_path / "out", nano, split)]
    wanted = [sentence(100 * n + i) for n in range(3) for i in range(20)]
    wanted += [sentence(i) for i in range(500, 520) if i != 507]
    assert set(wanted) <= set(found) and len(found) == 60 + 19 + 10
    problems = [json.loads(line) for line in (tmp_path / "out" / "problems.jsonl").read_text().splitlines()]
    assert [row["place"] for row in problems] == [f"{corpus / 'b.jsonl'}:8"]
    statistics = index["statistics"]
    assert statistics["problems"] == 1 and statistics["unknown_tokens"] == 0  # type: ignore[index]
    shards = TokenShards(tmp_path / "out")
    assert shards.dtype == np.dtype("<u2") and shards.num_tokens == statistics["train_num_tokens"]  # type: ignore[index]


def test_held_out_documents_are_chosen_by_their_text(corpus: Path, nano: Path, tmp_path: Path) -> None:
    run(corpus, nano, tmp_path / "out")
    train, heldout = (set(texts_of(tmp_path / "out", nano, split)) for split in SPLITS)
    assert 5 < len(heldout) < 35 and not train & heldout
    (tmp_path / "one.txt").write_text("\n\n".join(sorted(train | heldout)))
    run(tmp_path / "one.txt", nano, tmp_path / "again")
    assert set(texts_of(tmp_path / "again", nano, "heldout")) == heldout


@pytest.mark.parametrize(("dedup", "left"), [("exact", 88), ("minhash", 87)])
def test_duplicates_go(corpus: Path, nano: Path, tmp_path: Path, dedup: str, left: int) -> None:
    run(corpus, nano, tmp_path / "out", dedup=dedup)
    found = [text for split in SPLITS for text in texts_of(tmp_path / "out", nano, split)]
    # Of 89 readable documents one differs from another only in spaces, and one more only in a capital letter.
    assert len(found) == left - 1 if dedup == "exact" else len(found) <= left
    assert sum(text.endswith("number 0.") for text in found) == 1


def digest(out: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(p for split in SPLITS for p in (out / split).glob("*.*")):
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()


def test_units_and_workers_change_nothing_but_the_names_of_shards(
    corpus: Path, nano: Path, tmp_path: Path
) -> None:
    one = run(corpus, nano, tmp_path / "one")
    two = run(corpus, nano, tmp_path / "two", workers=2)
    assert one["fingerprint"] == two["fingerprint"] and digest(tmp_path / "one") == digest(tmp_path / "two")


def test_a_relaunch_does_only_what_is_unfinished(corpus: Path, nano: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    wanted = run(corpus, nano, out)
    whole = digest(out)
    times = {path: path.stat().st_mtime_ns for path in (out / "train").iterdir()}
    # As after a crash in task 2: no mark, no shard, no index.
    (out / "index.json").unlink()
    for mark in ("tokenize/completions/00002", "index/completions/00000"):
        (out / "stages" / "tasks" / mark).unlink()
    for path in (out / "train").glob("00002.*"):
        path.unlink()
    assert run(corpus, nano, out)["fingerprint"] == wanted["fingerprint"]
    assert digest(out) == whole
    changed = {path.name for path, before in times.items() if path.stat().st_mtime_ns != before}
    assert changed == {"00002.tokens", "00002.ends"}


def test_a_folder_begun_otherwise_is_refused(corpus: Path, nano: Path, tmp_path: Path) -> None:
    run(corpus, nano, tmp_path / "out")
    with pytest.raises(UserError, match="other inputs or settings"):
        run(corpus, nano, tmp_path / "out", clean="light")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "note.txt").write_text("x")
    with pytest.raises(UserError, match="not started by data prepare"):
        run(corpus, nano, tmp_path / "foreign")


def test_a_tokenizer_retrained_in_place_is_noticed_and_the_shards_keep_theirs(
    corpus: Path, nano: Path, tmp_path: Path
) -> None:
    mine, out = tmp_path / "tokenizer", tmp_path / "out"
    shutil.copytree(nano, mine)
    run(corpus, mine, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    retrain(mine)
    with pytest.raises(UserError, match="the tokenizer differ"):
        run(corpus, mine, out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_what_a_folder_depends_on_is_known_by_content_and_not_by_path(
    corpus: Path, nano: Path, tmp_path: Path
) -> None:
    wanted = run(corpus, nano, tmp_path / "out")
    moved, tokenizer = tmp_path / "moved", tmp_path / "moved-tokenizer"
    shutil.copytree(corpus, moved)
    shutil.copytree(nano, tokenizer)
    assert run(moved, tokenizer, tmp_path / "out")["fingerprint"] == wanted["fingerprint"]
    victim = next(path for path in sorted(moved.iterdir()) if path.suffix == ".jsonl")
    times = victim.stat()
    victim.write_bytes(victim.read_bytes().replace(b"a", b"e", 1))
    os.utime(victim, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(UserError, match="the data differ"):
        run(moved, tokenizer, tmp_path / "out")


def test_shards_of_two_vocabularies_get_no_index(
    corpus: Path, nano: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    run(corpus, nano, out)
    for path in (out / "index.json", out / "stages/tasks/index/completions/00000"):
        path.unlink()
    facts = out / "stages" / "facts" / "00001.json"
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"tokenizer": "0" * 64}))
    with pytest.raises(UserError, match="stage 'index'"):
        run(corpus, nano, out)
    assert "different vocabularies" in caplog.text
    assert not (out / "index.json").exists()


def test_a_finished_folder_that_was_damaged_is_not_complete(corpus: Path, nano: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(corpus, nano, out)
    path = next(path for path in sorted((out / "train").glob("*.tokens")) if path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        run(corpus, nano, out)


def retrain(folder: Path) -> None:
    """Another vocabulary of the same size in the same folder."""
    from debertav3.tokenization.unigram_training import VocabularyConfig, train_vocabulary

    words = [f"word{number} {number}" for number in range(2000)]
    train_vocabulary(words, folder, VocabularyConfig(vocab_size=400))


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
@pytest.mark.parametrize("dedup", ["none", "exact", "minhash"])
def test_inputs_without_a_document_are_refused_and_the_corrected_command_runs(
    nano: Path, tmp_path: Path, ending: str, dedup: str
) -> None:
    source, out = tmp_path / f"a.{ending}", tmp_path / "out"
    rows = [{"body": sentence(i), "id": i} for i in range(3)]
    if ending == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), source)
    else:
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=r"no text under 'text': got .*'body', 'id'.*--text-column") as raised:
        run(source, nano, out, dedup=dedup)
    assert "\n" not in str(raised.value) and not list(out.iterdir())
    statistics = run(source, nano, out, dedup=dedup, text_column="body")["statistics"]
    assert statistics["train_num_documents"] + statistics["heldout_num_documents"] == 3  # type: ignore[index]


def test_no_index_without_a_document_wherever_the_tasks_ran(
    nano: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Slurm and Ray run the stages in a chain, without the look between them."""
    monkeypatch.setattr("debertav3.data.prepare._require_documents", lambda out: None)
    (tmp_path / "a.txt").write_text("\n\n")
    with pytest.raises(UserError, match="stage 'index': 1 of 1 tasks failed"):
        run(tmp_path / "a.txt", nano, tmp_path / "out")
    assert not (tmp_path / "out" / "index.json").exists()
    assert "no document to prepare" in caplog.text


LIMITED = """
import resource, sys
from debertav3.cli import main
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
main()
"""


def test_a_full_disk_is_reported_and_a_relaunch_finishes(corpus: Path, nano: Path, tmp_path: Path) -> None:
    out, big = tmp_path / "out", tmp_path / "big.txt"
    big.write_text("\n\n".join(sentence(i, 400) for i in range(1500)))
    limit = 800_000  # bytes in one file: enough for the tokenizer and the small shards, not for the big one
    arguments = ["data", "prepare", "--input", str(corpus), "--input", str(big), "--tokenizer", str(nano)]
    command = [sys.executable, "-c", LIMITED, str(limit), *arguments, "--out", str(out)]
    failed = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert failed.returncode == 2, failed.stderr
    assert "1 of 6 tasks failed" in failed.stderr and "too large" in failed.stderr
    assert (out / "train" / "00000.tokens").exists() and not (out / "index.json").exists()
    assert not list(out.rglob("*.tmp"))
    command[3] = str(2**40)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["train_num_documents"] > 1400
    assert f"{corpus / 'b.jsonl'}:8" in done.stderr
