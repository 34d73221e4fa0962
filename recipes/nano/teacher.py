"""A teacher that small data can train: words and overlaps, alignment by WordNet, and trees over both.

A logistic regression over words (``benchmarks/linear_baseline.py``'s features and those of ``alignment.py``)
gives three probabilities; gradient-boosted trees join them with the numbers of the alignment. Training pairs
are labelled by models that have not seen their premise; other pairs by the models that have not seen the
premise from which they were made. Labels are written as distributions, on which ``debertav3 finetune``
trains.

Run: python recipes/nano/teacher.py --train F... --dev F... --wordnet /usr/share/wordnet \
         --label transfer.jsonl --out FOLDER
"""

import argparse
import hashlib
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from alignment import Alignment, Features
from scipy import sparse
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from wordnet import WordNet

from debertav3.files import replacing_text
from debertav3.tasks.tables import read_table

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from linear_baseline import words_and_overlaps

Array = npt.NDArray[np.float64]
LABELS = ("contradiction", "entailment", "neutral")
NUM_FOLDS = 5
WEIGHT_OF_WORDS = 0.3
"""Of the logistic regression beside the trees, in logarithms."""


@dataclass(frozen=True)
class Pair:
    """A pair, and the premise that decides which models may label it."""

    premise: str
    hypothesis: str
    origin: str
    label: int
    """-1 where there is none."""
    weight: float = 1.0
    """In training the teacher."""

    @property
    def fold(self) -> int:
        """The part of the training pairs to which its origin belongs."""
        return int(hashlib.sha256(self.origin.encode()).hexdigest(), 16) % NUM_FOLDS


def read_pairs(path: Path, weight: float = 1.0) -> list[Pair]:
    """Pairs of a file, of which ``label`` and ``origin`` may be missing."""
    rows = [row.fields for row in read_table(path)]
    return [
        Pair(
            row["premise"],
            row["hypothesis"],
            row.get("origin", row["premise"]),
            LABELS.index(row["label"]) if row.get("label") else -1,
            weight,
        )
        for row in rows
    ]


def draw(pairs: list[Pair], most: int | None) -> list[Pair]:
    """At most so many of them."""
    return pairs if most is None or len(pairs) <= most else random.Random(0).sample(pairs, most)


class Teacher:
    """One regression and one set of trees for each fold left out, and one of all pairs.

    Args:
        pairs: for training.
        alignment: compares their texts.
    """

    def __init__(self, pairs: Sequence[Pair], alignment: Alignment) -> None:
        self.alignment = alignment
        self.columns = DictVectorizer(dtype=np.float32)
        named, numbers = self._features(pairs)
        names = self.columns.fit_transform(named)
        self.kept = np.flatnonzero(np.asarray((names != 0).sum(0)).ravel() >= 2)
        names = names[:, self.kept]
        labels, folds, weights = (
            np.array([getattr(pair, key) for pair in pairs]) for key in ("label", "fold", "weight")
        )
        learnt = [folds != fold for fold in range(NUM_FOLDS + 1)]
        self.regressions = [_regression(names[rows], labels[rows], weights[rows]) for rows in learnt]
        unseen = _by_fold(folds, lambda k, rows: self.regressions[k].predict_proba(names[rows]))
        joined = np.hstack([numbers, _log(unseen)])
        self.trees = [_trees(joined[rows], labels[rows], weights[rows]) for rows in learnt]

    def _features(self, pairs: Sequence[Pair]) -> tuple[list[Features], Array]:
        """What words there are in each pair, and the numbers of its alignment, ``(N, numbers)``."""
        texts = [(pair.premise, pair.hypothesis) for pair in pairs]
        numbers = [self.alignment.numbers(*both) for both in texts]
        names = [
            words_and_overlaps(*both) | self.alignment.names(*both, numbers=one)
            for both, one in zip(texts, numbers, strict=True)
        ]
        return names, np.array([list(one.values()) for one in numbers])

    def probabilities(self, pairs: Sequence[Pair], *, is_new: bool) -> Array:
        """Of each label, ``(N, 3)``.

        Args:
            pairs: to be labelled.
            is_new: whether no training pair has to do with them; otherwise the models of their fold answer.
        """
        folds = np.array([NUM_FOLDS if is_new else pair.fold for pair in pairs])
        named, numbers = self._features(pairs)
        names = self.columns.transform(named)[:, self.kept]
        by_words = _by_fold(folds, lambda k, rows: self.regressions[k].predict_proba(names[rows]))
        joined = np.hstack([numbers, _log(by_words)])
        by_trees = _by_fold(folds, lambda k, rows: self.trees[k].predict_proba(joined[rows]))
        scores = np.exp(_log(by_trees) + WEIGHT_OF_WORDS * _log(by_words))
        return np.asarray(scores / scores.sum(1, keepdims=True))


def _regression(features: sparse.csr_matrix, labels: npt.NDArray[Any], weights: Array) -> LogisticRegression:
    return LogisticRegression(C=0.06, max_iter=200).fit(features, labels, sample_weight=weights)


def _trees(features: Array, labels: npt.NDArray[Any], weights: Array) -> HistGradientBoostingClassifier:
    trees = HistGradientBoostingClassifier(
        max_iter=300,
        learning_rate=0.05,
        max_leaf_nodes=15,
        l2_regularization=5,
        min_samples_leaf=40,
        max_features=0.5,
        random_state=0,
    )
    return trees.fit(features, labels, sample_weight=weights)


def _by_fold(folds: npt.NDArray[Any], answer: Any) -> Array:
    result = np.zeros((len(folds), len(LABELS)))
    for fold in np.unique(folds):
        rows = np.flatnonzero(folds == fold)
        result[rows] = answer(fold, rows)
    return result


def _log(probabilities: Array) -> Array:
    return np.asarray(np.log(probabilities + 1e-5))


def write(path: Path, pairs: Sequence[Pair], shares: Array) -> None:
    """Write pairs with a distribution as label."""
    with replacing_text(path) as file:
        for pair, row in zip(pairs, shares, strict=True):
            label = {name: round(float(share), 4) for name, share in zip(LABELS, row, strict=True)}
            fields = {"premise": pair.premise, "hypothesis": pair.hypothesis, "label": label}
            file.write(json.dumps(fields, ensure_ascii=False) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path, nargs="+", required=True)
    parser.add_argument("--most", type=int, help="pairs of each file, drawn at random")
    parser.add_argument("--weights", type=float, nargs="+", help="of the pairs of each training file")
    parser.add_argument("--dev", type=Path, nargs="*", default=[])
    parser.add_argument("--label", type=Path, nargs="*", default=[], help="files of pairs to be labelled")
    parser.add_argument("--wordnet", type=Path, required=True)
    parser.add_argument("--weight-of-gold", type=float, default=0.5, help="of a row's own label beside ours")
    parser.add_argument("--out", type=Path, required=True, help="folder for the labelled files")
    arguments = parser.parse_args()
    weights = arguments.weights or [1.0] * len(arguments.train)
    files = zip(arguments.train, weights, strict=True)
    train = [pair for path, weight in files for pair in draw(read_pairs(path, weight), arguments.most)]
    texts = (text for pair in train for text in (pair.premise, pair.hypothesis))
    teacher = Teacher(train, Alignment(WordNet(arguments.wordnet), texts))
    for path in arguments.dev:
        dev = read_pairs(path)
        found = teacher.probabilities(dev, is_new=True).argmax(1)
        print(f"{path.name:<36} {np.mean(found == [pair.label for pair in dev]):.1%}", flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for path in [*arguments.train, *arguments.label]:
        pairs = draw(read_pairs(path), arguments.most)
        shares = teacher.probabilities(pairs, is_new=False)
        gold = np.array([pair.label for pair in pairs])
        trust = np.where(gold < 0, 0.0, arguments.weight_of_gold)[:, None]
        shares = trust * np.eye(len(LABELS))[gold] + (1 - trust) * shares
        write(arguments.out / path.name.replace(".gz", ""), pairs, shares)


if __name__ == "__main__":
    main()
