"""Public data sets that are more than one file: articles in folders, labels in a file of their own."""

import gzip
import json
from pathlib import Path

import pytest

from debertav3.errors import UserError
from debertav3.finetuning.preparation import Data, read_data, resolve
from debertav3.finetuning.records import data_facts
from debertav3.tasks.read_options import ReadOptions
from debertav3.tasks.sources import format_of, is_folder_of_rows
from debertav3.tasks.tables import read_table


def read(task: str, *paths: Path, dev: Path | None = None) -> Data:
    given = {"train": list(map(str, paths))} | ({"dev": [str(dev)]} if dev else {})
    return read_data(resolve(task, model="nano", given=given))


def article(answer: str) -> str:
    parts = {"questions": ["Where _ it?"], "options": [["is", "was"]], "answers": [answer]}
    return json.dumps({"article": "It was here.", "id": f"high{answer}.txt", **parts})


def test_folders_of_race_are_read_whole(tmp_path: Path) -> None:
    for split, answers in (("train", "AB"), ("dev", "B")):
        for answer in answers:
            path = tmp_path / split / ("high" if answer == "A" else "middle") / f"{answer}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(article(answer), encoding="utf-8")
    data = read("race", tmp_path, dev=tmp_path)
    assert [example.label for example in data.train] == ["0", "1"]
    assert data.train[0].texts == ("It was here.", "Where is it?", "Where was it?")
    assert list(data.dev) == [str(tmp_path / "dev")]
    assert [example.label for example in read("race", tmp_path / "dev").train] == ["1"]
    assert is_folder_of_rows(tmp_path / "dev") and format_of(tmp_path / "dev").name == "race"
    (tmp_path / "dev" / "note.txt").write_text("hello", encoding="utf-8")
    with pytest.raises(UserError, match=r"note.txt"):
        list(read_table(tmp_path / "dev", ReadOptions()))


@pytest.mark.parametrize("is_compressed", [False, True])
def test_labels_beside_the_rows_are_read(tmp_path: Path, is_compressed: bool) -> None:
    rows = "".join(json.dumps({"goal": f"g {n}", "sol1": "a", "sol2": "b"}) + "\n" for n in range(3))
    path = tmp_path / ("train.jsonl.gz" if is_compressed else "train.jsonl")
    path.write_bytes(gzip.compress(rows.encode()) if is_compressed else rows.encode())
    labels = tmp_path / "train-labels.lst"
    labels.write_bytes(b"1\r\n0\r\n1\r\n")
    assert [example.label for example in read("piqa", path).train] == ["1", "0", "1"]
    for wrong, word in (("1\n0\n", "more"), ("1\n0\n1\n1\n", "fewer")):
        labels.write_text(wrong)
        with pytest.raises(UserError, match=f"has {word} rows than .*train-labels.lst has lines"):
            read("piqa", path)


def test_labels_within_rows_count_before_those_beside(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"goal": "g", "sol1": "a", "sol2": "b", "label": 0}) + "\n")
    (tmp_path / "x-labels.lst").write_text("1\n1\n")
    assert [example.label for example in read("piqa", path).train] == ["0"]


@pytest.mark.parametrize("kind", ["plain", "mark", "windows", "gzip"])
def test_folders_of_brat_with_marks_line_ends_and_compression(tmp_path: Path, kind: str) -> None:
    ending = ".gz" if kind == "gzip" else ""
    for name, text in (
        ("a.txt", "Anna met\nBob.\n"),
        ("a.ann", "T1\tPER 0 4\tAnna\nT2\tPER 9 12\tBob\nR1\tknows Arg1:T1 Arg2:T2\n"),
        ("b.txt", "Nobody has looked at it.\n"),
    ):
        content = text.encode()
        if kind == "mark":
            content = b"\xef\xbb\xbf" + content
        elif kind == "windows":
            content = content.replace(b"\n", b"\r\n")
        elif kind == "gzip":
            content = gzip.compress(content)
        (tmp_path / f"{name}{ending}").write_bytes(content)
    (example,) = read("ner", tmp_path).train
    assert (example.texts, example.label) == (("Anna", "met", "Bob", "."), ("B-PER", "O", "B-PER", "O"))
    alone = read("ner", tmp_path / f"a.ann{ending}").train
    assert alone == [example]
    (tmp_path / f"a.txt{ending}").unlink()
    with pytest.raises(UserError, match=r"a\.ann.* has no a\.txt next to it"):
        read("ner", tmp_path)


def test_a_compressed_docbin_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "x.spacy.gz"
    path.write_bytes(gzip.compress(b"x"))
    with pytest.raises(UserError, match=r"is already compressed\. Give a name without \.gz"):
        read_table(path)


def test_a_run_knows_what_is_beside_its_files(tmp_path: Path) -> None:
    """What is noted of the data changes with labels, passages and names of classes in files of their own."""

    def facts(task: str, path: Path) -> list[object]:
        return [one["sha256"] for one in data_facts(read(task, path)).values()]

    path = tmp_path / "train.jsonl"
    path.write_text(
        "".join(json.dumps({"goal": f"g {n}", "sol1": "a", "sol2": "b"}) + "\n" for n in range(2))
    )
    labels = tmp_path / "train-labels.lst"
    labels.write_text("1\n0\n")
    before = facts("piqa", path)
    labels.write_text("0\n1\n")
    assert facts("piqa", path) != before

    (tmp_path / "beir" / "qrels").mkdir(parents=True)
    (tmp_path / "beir" / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq\ta\t1\nq\tb\t0\n")
    (tmp_path / "beir" / "queries.jsonl").write_text('{"_id": "q", "text": "who?"}\n')
    corpus = tmp_path / "beir" / "corpus.jsonl"
    corpus.write_text('{"_id": "a", "text": "Ann"}\n{"_id": "b", "text": "rain"}\n')
    before = facts("rerank", tmp_path / "beir")
    corpus.write_text('{"_id": "a", "text": "Bob"}\n{"_id": "b", "text": "rain"}\n')
    assert facts("rerank", tmp_path / "beir") != before

    table = tmp_path / "other" / "x.jsonl"
    table.parent.mkdir()
    table.write_text('{"text": "a b", "label": 0}\n{"text": "c d", "label": 1}\n')
    info = table.parent / "dataset_info.json"
    info.write_text('{"features": {"label": {"names": ["x", "y"], "_type": "ClassLabel"}}}')
    before = facts("custom", table)
    info.write_text('{"features": {"label": {"names": ["y", "x"], "_type": "ClassLabel"}}}')
    assert facts("custom", table) != before
