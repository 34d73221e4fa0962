"""Pairs with the mean of several models as label, beside the label that they have.

A row's own label excludes what it gives no share at all: of "not entailment" the models only say which of the
two others it is.

Run: python recipes/nano/ensemble.py --models pupil-1 pupil-2 --pairs pairs.jsonl --out taught.jsonl
"""

import argparse
import json
from pathlib import Path

import numpy as np
from pairs import LABELS

from debertav3 import Predictor
from debertav3.files import replacing_text
from debertav3.tasks.tables import read_table


def answers(models: list[Path], texts: list[tuple[str, str]]) -> np.ndarray:
    """Mean of the models' probabilities, ``(N, 3)``."""
    found = []
    for model in models:
        predictor = Predictor.from_pretrained(str(model))
        found.append([[answer[label] for label in LABELS] for answer in predictor.nli(texts)])
    return np.asarray(found).mean(0)


def taught(own: np.ndarray, models: np.ndarray, *, share: float) -> np.ndarray:
    """Distributions between the rows' own and the models', ``(N, 3)``.

    Args:
        own: the rows' labels.
        models: the models' answers.
        share: of the models.
    """
    allowed = models * (own > 0)
    total = allowed.sum(1, keepdims=True)
    narrowed = np.divide(allowed, total, out=own.copy(), where=total > 1e-6)
    return (1 - share) * own + share * narrowed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, nargs="+", required=True)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.5, help="of the models in a label")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    rows = [row.fields for row in read_table(arguments.pairs)]
    own = np.array([[row["label"].get(label, 0.0) for label in LABELS] for row in rows])
    found = answers(arguments.models, [(row["premise"], row["hypothesis"]) for row in rows])
    shares = taught(own, found, share=arguments.share)
    with replacing_text(arguments.out) as file:
        for row, one in zip(rows, shares, strict=True):
            label = {name: round(float(share), 4) for name, share in zip(LABELS, one, strict=True)}
            file.write(json.dumps(dict(row) | {"label": label}, ensure_ascii=False) + "\n")
    print(f"{len(rows):,} pairs; the models agree with {np.mean(found.argmax(1) == own.argmax(1)):.1%}")


if __name__ == "__main__":
    main()
