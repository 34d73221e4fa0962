"""What a linear classifier over words and overlaps reaches on NLI: the bar for a small model.

Run: python benchmarks/linear_baseline.py --train F... --dev F...
"""

import argparse
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from debertav3.tasks.tables import read_table

Features = dict[str, float]


def words(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", text.lower())


def hypothesis_words(premise: str, hypothesis: str) -> Features:
    """Words and neighbouring words of the second text alone."""
    tokens = words(hypothesis)
    return {f"h:{token}": 1.0 for token in [*tokens, *map(" ".join, pairwise(tokens))]}


def words_and_overlaps(premise: str, hypothesis: str) -> Features:
    """Words of both texts, pairs of a word lost and a word new, and the share of the second in the first."""
    first, second = words(premise), words(hypothesis)
    features = hypothesis_words(premise, hypothesis) | {f"p:{token}": 1.0 for token in first}
    new = [token for token in second if token not in set(first)]
    features |= {f"new:{token}": 1.0 for token in new}
    features |= {f"gone:{token}": 1.0 for token in set(first) - set(second)}
    features |= {f"{a}>{b}": 1.0 for a in set(first) - set(second) for b in new}
    features["overlap"] = 1 - len(new) / max(len(second), 1)
    features["length"] = len(second) / max(len(first), 1)
    return features


def read(paths: list[Path]) -> Iterator[tuple[str, str, str]]:
    for path in paths:
        for row in read_table(path):
            yield row.fields["premise"], row.fields["hypothesis"], row.fields["label"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path, nargs="+", required=True)
    parser.add_argument("--dev", type=Path, nargs="+", required=True)
    arguments = parser.parse_args()
    train = list(read(arguments.train))
    labels = [label for *_, label in train]
    ways: dict[str, Callable[[str, str], Features]] = {
        "hypothesis alone": hypothesis_words,
        "words and overlaps": words_and_overlaps,
    }
    results: dict[str, dict[str, float]] = {}
    for name, features in ways.items():
        model = make_pipeline(DictVectorizer(), LogisticRegression(C=0.1, max_iter=300))
        model.fit([features(premise, hypothesis) for premise, hypothesis, _ in train], labels)
        for path in arguments.dev:
            dev = list(read([path]))
            score = model.score([features(p, h) for p, h, _ in dev], [label for *_, label in dev])
            results.setdefault(path.name, {})[name] = round(float(score), 4)
            most = Counter(label for *_, label in dev).most_common(1)[0][1]
            results[path.name]["majority"] = round(most / len(dev), 4)
            print(f"{path.name:<36} {name:<20} {score:.1%}", flush=True)
    print(json.dumps({"benchmark": "linear_baseline", "train": len(train), "dev": results}))


if __name__ == "__main__":
    main()
