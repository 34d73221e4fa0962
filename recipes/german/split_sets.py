"""Two German tasks: the emotion of a subtitle line, and whether a sentence answers a question.

Lines and articles are held out by hash. ``--collect`` gathers the tables of ``debertav3 compare``.

Run: python recipes/german/split_sets.py --data DATA --out sets
"""

import argparse
import hashlib
import json
import random
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from debertav3.files import read_json, replacing_text, write_json
from debertav3.tasks.tables import read_table

SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-ZÄÖÜ„\"])")


def is_held_out(text: str) -> bool:
    """One text in five."""
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % 5 == 0


def write_parts(out: Path, name: str, rows: Iterable[tuple[str, Mapping[str, str]]]) -> None:
    """Write rows to ``NAME_train.jsonl`` or ``NAME_dev.jsonl`` by their group."""
    found = list(rows)
    for part, held_out in (("train", False), ("dev", True)):
        with replacing_text(out / f"{name}_{part}.jsonl") as file:
            for group, row in found:
                if is_held_out(group) == held_out:
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")


def emotions(path: Path) -> list[tuple[str, Mapping[str, str]]]:
    """Lines with their emotion, each its own group."""
    rows = [row.fields for row in read_table(path)]
    return [(row["text"], {"text": row["text"], "label": row["label"]}) for row in rows]


def answers(path: Path, *, seed: int = 0) -> list[tuple[str, Mapping[str, str]]]:
    """Questions with the sentence of their answer and with another one, grouped by article."""
    draws, found = random.Random(seed), []
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            sentences = SENTENCE_END.split(paragraph["context"])
            for question in paragraph["qas"]:
                answer = question["answers"][0]["text"]
                right = [one for one in sentences if answer in one]
                others = [one for one in sentences if answer not in one]
                for label, ones in (("entailment", right), ("not_entailment", others)):
                    if right and others:
                        row = {
                            "question": question["question"],
                            "sentence": draws.choice(ones),
                            "label": label,
                        }
                        found.append((article["title"], row))
    return found


def collect(folders: Iterable[Path], out: Path) -> None:
    """One JSON of figures for each folder of ``debertav3 compare``."""
    for folder in folders:
        found = {path.stem: read_json(path) for path in sorted(folder.glob("*.json"))}
        write_json(out / f"{folder.name}.json", found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of the public data")
    parser.add_argument("--collect", type=Path, nargs="*", default=[])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.data:
        write_parts(
            arguments.out, "emotion", emotions(arguments.data / "lang-de" / "xed_emotion_de.jsonl.gz")
        )
        write_parts(arguments.out, "answers", answers(arguments.data / "lang-de" / "xquad_de.json"))
    collect(arguments.collect, arguments.out)


if __name__ == "__main__":
    main()
