"""Sentiment as pairs that ask for "positive" four times as often as for "negative".

If both are asked for equally often, what a text says tells nothing about the label until the hypothesis is
understood too. In a trial (6,000 sentences, four epochs, one seed) 68.6 % of other sentences were answered
right after unequal questions and 67.6 % after equal ones. Some texts are several of one label in a row, as
long as a review.

Run: python recipes/nano/opinions.py --data DATA --out opinions.jsonl
"""

import argparse
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from pairs import CONTRADICTED, ENTAILED, NEUTRAL, Pair, cut, draw_template, sentence, write_pairs

from debertav3.tasks.tables import read_table

SETTINGS = Path(__file__).with_name("opinions.yaml")
ASKED = ("positive", "negative")
POSITIVE_SHARE = 0.8
REVIEW_WORDS = 130


def asked(
    text: str, label: str, templates: Sequence[str], words: dict[str, list[str]], draw: random.Random
) -> Pair:
    """A pair that asks whether a text is positive, or negative."""
    about = ASKED[draw.random() >= POSITIVE_SHARE]
    shares = NEUTRAL if label not in ASKED else ENTAILED if label == about else CONTRADICTED
    return Pair(text, sentence(draw_template(draw, templates), draw.choice(words[about])), shares)


def joined(texts: dict[str, list[str]], count: int, draw: random.Random) -> Iterator[tuple[str, str]]:
    """Two to seven texts of one label after each other, with the label."""
    labels = [label for label in ASKED if len(texts[label]) > 1]
    for _ in range(count if labels else 0):
        label = draw.choice(labels)
        size = min(draw.randint(2, 7), len(texts[label]))
        yield cut(" ".join(draw.sample(texts[label], size)), REVIEW_WORDS), label


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public data")
    parser.add_argument("--most", type=int, default=1_000_000, help="texts of one set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    settings = yaml.safe_load(SETTINGS.read_text(encoding="utf-8"))
    pairs: list[Pair] = []
    for file, row in settings["sets"].items():
        draw = random.Random(f"{file} {arguments.seed}")
        rows = [one.fields for one in read_table(arguments.data / f"{file}.jsonl.gz")][: arguments.most]
        texts = [(cut(one["text"]), one["label"]) for one in rows]
        by_label = {label: [text for text, own in texts if own == label] for label in ASKED}
        texts = texts * row["copies"] + list(joined(by_label, min(row["joined"], arguments.most), draw))
        pairs += [asked(text, label, settings["templates"], settings["words"], draw) for text, label in texts]
    print(f"{write_pairs(arguments.out, pairs, source='opinions', seed=arguments.seed):,} pairs")


if __name__ == "__main__":
    main()
