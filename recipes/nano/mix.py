"""Files of pairs as one training file in random order, each part with a share of its rows.

Run: python recipes/nano/mix.py --part 1 real.jsonl --part 0.2 topics.jsonl sets/*.jsonl --out train.jsonl
"""

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from pairs import NEUTRAL, Pair, is_of_the_card

from debertav3.files import replacing_text
from debertav3.tasks.tables import read_table

COLUMNS = ("premise", "hypothesis", "label")


def draw(parts: Sequence[Sequence[str]], *, most: int, seed: int) -> Iterator[dict[str, object]]:
    """Rows of each part: its first word is the share, the others are files; at most ``most`` of a file.

    Rows like the cards' example are left out, whatever set they come from.
    """
    draws = random.Random(seed)
    for share, *files in parts:
        for file in files:
            rows = [row.fields for row in read_table(Path(file))]
            for row in draws.sample(rows, min(round(len(rows) * float(share)), most)):
                if not is_of_the_card(Pair(row["premise"], row["hypothesis"], NEUTRAL)):
                    yield {name: row[name] for name in COLUMNS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", nargs="+", action="append", required=True, metavar="SHARE FILE")
    parser.add_argument("--most", type=int, default=10**9, help="rows of one file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    rows = list(draw(arguments.part, most=arguments.most, seed=arguments.seed))
    random.Random(arguments.seed).shuffle(rows)
    with replacing_text(arguments.out) as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    print(f"{len(rows):,} pairs")


if __name__ == "__main__":
    main()
