"""Pairs that are entailed as documents to pre-train on: each text with what is right to say of it.

A masked word is then often a label ("This example is positive."), and a replaced one often a wrong label.

Run: python recipes/nano/documents.py --pairs sets/*.jsonl topics.jsonl --out told.jsonl
"""

import argparse
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from debertav3.files import replacing_text
from debertav3.tasks.tables import read_table

PAIRS_OF_A_DOCUMENT = 20


def told(rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Premise and hypothesis of each row that is certainly entailed."""
    for row in rows:
        label = row["label"]
        assert isinstance(label, dict), "pairs of the recipe have distributions"
        if label["entailment"] == 1:
            yield f"{row['premise']} {row['hypothesis']}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, nargs="+", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    found = [text for path in arguments.pairs for text in told([row.fields for row in read_table(path)])]
    random.Random(arguments.seed).shuffle(found)
    with replacing_text(arguments.out) as file:
        for start in range(0, len(found), PAIRS_OF_A_DOCUMENT):
            row = {"id": start, "text": "\n".join(found[start : start + PAIRS_OF_A_DOCUMENT])}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(f"{len(found):,} texts with what holds of them")


if __name__ == "__main__":
    main()
