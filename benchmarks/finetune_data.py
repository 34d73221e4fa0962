"""Training and dev files of the result table: splits where there is no dev file, stand-ins where no data set.

Every split is by a hash of a text, so it is the same everywhere, and rows that share that text stay together.
"""

import csv
import gzip
import hashlib
import json
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]
_WORDS = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")


def read(path: Path) -> Rows:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_table(path: Path, rows: Rows, *, encoding: str = "utf-8") -> None:
    with path.open("w", newline="", encoding=encoding) as file:
        table = csv.DictWriter(file, fieldnames=list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def split(rows: Rows, key: str | tuple[str, ...], *, dev_share: float) -> tuple[Rows, Rows]:
    """Training and dev rows; rows with the same text under ``key`` stay together."""
    keys = (key,) if isinstance(key, str) else key
    train: Rows = []
    dev: Rows = []
    for row in rows:
        text = "|".join(str(row[name]).strip().lower() for name in keys)
        share = int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 16**8
        (dev if share < dev_share else train).append(row)
    return train, dev


def paragraphs(data: Path, names: Iterable[str]) -> list[tuple[str, dict[str, Any]]]:
    """Paragraphs of SQuAD files with the titles of their articles."""
    found = []
    for name in names:
        content = json.loads((data / "squad" / name).read_text(encoding="utf-8"))
        found += [(article["title"], part) for article in content["data"] for part in article["paragraphs"]]
    return found


SQUAD_TRAIN = ("train-v2.0-slice.json", "train-new-wiki-v1.1.json", "train-from-dev-v2.0.json")


def same_answer_pairs(data: Path, draw: random.Random) -> Rows:
    """Stand-in for QQP: questions to one paragraph are duplicates if they have the same answer."""
    rows: Rows = []
    for title, part in paragraphs(data, SQUAD_TRAIN):
        by_answer: dict[str, list[str]] = defaultdict(list)
        for question in part["qas"]:
            if question["answers"]:
                by_answer[question["answers"][0]["text"].lower()].append(question["question"].strip())
        groups = [list(dict.fromkeys(group)) for group in by_answer.values()]
        for group in groups:
            others = [question for other in groups if other is not group for question in other]
            if len(group) < 2 or not others:
                continue
            for other, label in ((group[1], 1), (draw.choice(others), 0)):
                rows.append({"title": title, "question1": group[0], "question2": other, "label": label})
    return rows


def race_rows(data: Path, draw: random.Random) -> Rows:
    """Stand-in for RACE: SQuAD's questions, their answers among those of other questions."""
    rows: Rows = []
    for title, part in paragraphs(data, SQUAD_TRAIN):
        answers = {q["answers"][0]["text"]: q["question"] for q in part["qas"] if q["answers"]}
        if len(answers) < 4:
            continue
        for right in draw.sample(sorted(answers), min(2, len(answers))):
            options = [right, *draw.sample(sorted(set(answers) - {right}), 3)]
            draw.shuffle(options)
            rows.append(
                {
                    "title": title,
                    "article": part["context"],
                    "question": answers[right],
                    "options": options,
                    "answer": "ABCD"[options.index(right)],
                }
            )
    return rows


def swag_rows(data: Path, draw: random.Random) -> Rows:
    """Stand-in for SWAG: how a textbook sentence continues after its first two words, out of four endings."""
    sentences: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for document in read(data / "corpus" / "openstax.jsonl.gz"):
        for paragraph in document["text"].split("\n"):
            parts = _WORDS.split(paragraph)
            pairs = pairwise(parts)
            sentences[document["source"]] += [
                pair for pair in pairs if all(8 <= len(part.split()) <= 30 for part in pair)
            ]
    rows: Rows = []
    books = sorted(sentences)
    for book in books:
        for first, second in draw.sample(sentences[book], min(700, len(sentences[book]))):
            words = second.split()
            ends = [" ".join(words[2:])]
            for other in draw.sample([name for name in books if name != book], 3):
                ends.append(" ".join(draw.choice(sentences[other])[1].split()[2:]))
            order = draw.sample(range(4), 4)
            row = {"sent1": first, "sent2": " ".join(words[:2]), "label": order.index(0)}
            rows.append(row | {f"ending{place}": ends[number] for place, number in enumerate(order)})
    return rows


def ranking_rows(data: Path, draw: random.Random) -> Rows:
    """SQuAD's questions, each with all sentences of its paragraph; relevant is the one with the answer."""
    rows: Rows = []
    for title, part in paragraphs(data, SQUAD_TRAIN):
        sentences = _WORDS.split(part["context"])
        answered = [question for question in part["qas"] if question["answers"]]
        if not answered or not 3 <= len(sentences) <= 8:
            continue
        question = draw.choice(answered)
        end, answer_start = 0, question["answers"][0]["answer_start"]
        for sentence in sentences:
            start = part["context"].index(sentence, end)
            end = start + len(sentence)
            relevant = float(start <= answer_start < end)
            rows.append(
                {"title": title, "query": question["question"], "text": sentence, "relevant": relevant}
            )
    return rows


def tagged_sentences(path: Path) -> Rows:
    """Sentences of a CoNLL file as lists, and the types of entity in them with ``|`` between."""
    rows: Rows = []
    for block in path.read_text(encoding="utf-8").strip().split("\n\n"):
        pairs = [line.split("\t") for line in block.splitlines() if line.strip()]
        words, tags = [pair[0] for pair in pairs], [pair[-1] for pair in pairs]
        kinds = sorted({tag[2:] for tag in tags if tag != "O"})
        rows.append({"tweet": " ".join(words), "mentions": "|".join(kinds), "words": words, "tags": tags})
    return rows


def prepare(data: Path, folder: Path) -> None:
    """Write all derived files under ``folder``; done at once, so a folder that exists is complete."""
    if folder.exists():
        return
    partial = folder.with_name(folder.name + ".partial")
    glue = data / "glue"
    research = data / "research-only"
    splits: dict[str, tuple[Rows, str | tuple[str, ...], float]] = {
        "arc": (read(glue / "arc_train.jsonl.gz"), "question", 0.2),
        "boolq": (read(glue / "boolq_train.jsonl.gz"), "passage", 0.2),
        "copa": (read(glue / "copa_train.jsonl.gz"), "premise", 0.3),
        "qnli": (read(glue / "qnli_train.jsonl.gz"), "sentence", 0.15),
        "wnli": (read(glue / "wnli_train.jsonl.gz"), "sentence1", 0.25),
        "cola": (read(research / "glue" / "cola_train.jsonl.gz"), "sentence", 0.12),
        "sst2": (read(research / "glue" / "sst2_train.jsonl.gz"), "sentence", 0.1),
        "rte": (read(research / "nli" / "rte_train_2way.jsonl.gz"), "premise", 0.2),
        "scitail": (read(data / "nli" / "scitail_2way.jsonl.gz"), "hypothesis", 0.25),
    }
    derived: dict[str, tuple[Callable[[Path, random.Random], Rows], str, float]] = {
        "qqp": (same_answer_pairs, "title", 0.3),
        "race": (race_rows, "title", 0.2),
        "swag": (swag_rows, "sent1", 0.12),
        "ranking": (ranking_rows, "title", 0.2),
    }
    splits |= {
        name: (make(data, random.Random(1)), key, share) for name, (make, key, share) in derived.items()
    }
    for name, (rows, key, share) in splits.items():
        for part, chosen in zip(("train", "dev"), split(rows, key, dev_share=share), strict=True):
            write(partial / f"{name}_{part}.jsonl", chosen)
    _write_custom(data, partial)
    partial.rename(folder)


def _write_custom(data: Path, folder: Path) -> None:
    """Files as a user has them: other names, other kinds."""
    books = read(data / "corpus" / "openstax.jsonl.gz")
    pieces = [
        {"Extract": paragraph, "Taken from": book["source"].removeprefix("openstax-"), "title": book["title"]}
        for book in books
        for paragraph in book["text"].split("\n")[:3]
        if len(paragraph) > 80
    ]
    for part, chosen in zip(("train", "dev"), split(pieces, "title", dev_share=0.2), strict=True):
        columns = [{key: row[key] for key in ("Extract", "Taken from")} for row in chosen]
        write_table(folder / f"subjects_{part}.csv", columns, encoding="utf-8-sig")
    for part in ("train", "dev"):
        tweets = tagged_sentences(data / "ner" / f"wnut17_{part}.conll")
        write_table(
            folder / f"mentions_{part}.csv",
            [{key: row[key] for key in ("tweet", "mentions")} for row in tweets],
        )
        write(folder / f"tags_{part}.jsonl", [{key: row[key] for key in ("words", "tags")} for row in tweets])
        sick = read(data / "nli" / f"sick_{part}.jsonl.gz")
        write_table(
            folder / f"relatedness_{part}.csv",
            [
                {"first": row["premise"], "second": row["hypothesis"], "how alike": row["relatedness"]}
                for row in sick
            ],
        )
