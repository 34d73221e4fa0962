"""A linear model over words: what single words give away, learned from a sample of bounded size."""

import heapq
import logging
import random
import zlib
from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import MissingExtraError
from ..tasks.example import Example

logger = logging.getLogger(__name__)

_MOST_ROWS = 20_000
"""A linear model over so many rows shows what words alone give away; more only take longer."""
_MOST_CHARACTERS = 10_000_000
_BUCKETS = 1 << 20
"""Into which words and pairs of words are hashed."""
_MOST_WEIGHTS = 600_000
_MOST_ANSWERS = 4_000_000
"""Rows times labels."""
_REGULARIZATION = 0.1
"""Scikit-learn's C: the weight of the data beside that of small weights."""
_STEPS = 200


class BalancedSample:
    """Examples of a stream: labels as balanced as the data allow, drawn at random within each.

    Args:
        seed: of the draw.
        most_rows: how many are kept.
        most_characters: how long they may be in all.
    """

    def __init__(
        self, seed: int, *, most_rows: int = _MOST_ROWS, most_characters: int = _MOST_CHARACTERS
    ) -> None:
        self._chance = random.Random(seed)
        self._most_rows = most_rows
        self._most_characters = most_characters
        self._groups: dict[str, list[tuple[float, int, Example]]] = defaultdict(list)
        """By label, what has the smallest random numbers; the largest of them comes first."""
        self._quota = most_rows
        self._num_rows = self._num_characters = 0
        self.num_seen = 0

    def add(self, example: Example) -> None:
        """Take in an example, in place of another one if there is no room."""
        self.num_seen += 1
        group = self._groups[str(example.label)]
        entry = (-self._chance.random(), self.num_seen, example)
        if len(group) < self._quota:
            heapq.heappush(group, entry)
            self._num_rows += 1
            self._num_characters += _length(example)
        else:
            out = heapq.heappushpop(group, entry)[2]
            self._num_characters += _length(example) - _length(out)
        while self._num_rows > self._most_rows + self._most_rows // 4 or (
            self._num_characters > self._most_characters and self._num_rows > 1
        ):
            self._shrink()

    @property
    def num_labels(self) -> int:
        """How many labels there are."""
        return len(self._groups)

    def rows(self, most: int = _MOST_ROWS) -> list[Example]:
        """What was drawn, at most so many, in the order of the stream."""
        turns = sorted(
            (turn, name, number, example)
            for name, group in self._groups.items()
            for turn, (_, number, example) in enumerate(sorted(group, key=lambda one: -one[0]))
        )
        kept = sorted(turns[: min(most, self._most_rows)], key=lambda one: one[2])
        return [example for *_, example in kept]

    def _shrink(self) -> None:
        """Lower what each label may have until an eighth of the rows is free again."""
        most = self._most_rows
        if self._num_characters > self._most_characters:
            most = self._num_rows - self._num_rows // 8 - 1
        self._quota = _share_of_each([len(group) for group in self._groups.values()], most)
        for group in self._groups.values():
            while len(group) > self._quota:
                out = heapq.heappop(group)[2]
                self._num_rows -= 1
                self._num_characters -= _length(out)


def _share_of_each(sizes: Sequence[int], most: int) -> int:
    """How many each group may have for there to be about ``most``, and never fewer than 1."""
    left = most
    for done, size in enumerate(sorted(sizes)):
        share = left // (len(sizes) - done)
        if size > share:
            return max(1, share)
        left -= size
    return max(sizes)


def _length(example: Example) -> int:
    return sum(map(len, example.texts))


class WordModel:
    """Multinomial logistic regression over the words and pairs of words of a text.

    Words are what white space separates, in lower case; those of a single text are left aside. The loss is
    scikit-learn's (L2, intercept free); words are known by 20 bits of a checksum.
    """

    def __init__(self) -> None:
        self._columns: npt.NDArray[np.int32] = np.zeros(0, np.int32)
        self._weights: npt.NDArray[np.float64] = np.zeros((0, 0))
        self.names: list[str] = []

    def fit(self, texts: Iterable[str], labels: Sequence[str]) -> bool:
        """Learn; False where there is nothing to learn from.

        Raises:
            MissingExtraError: without scipy.
        """
        try:
            from scipy.optimize import minimize
        except ImportError as error:
            raise MissingExtraError(
                feature="the baselines of the data doctor", package="scipy", extra="train"
            ) from error
        self.names = sorted(set(labels))
        places = {name: index for index, name in enumerate(self.names)}
        targets = np.array([places[label] for label in labels])
        rows = _bags(texts)
        counts = np.bincount(rows.indices, minlength=_BUCKETS)
        width = 1 if len(self.names) == 2 else len(self.names)  # two labels need one score
        least = max(2, int(np.partition(counts, -_MOST_WEIGHTS // width)[-_MOST_WEIGHTS // width]))
        kept = np.flatnonzero(counts >= least)[: _MOST_WEIGHTS // width]
        if not len(kept) or len(self.names) < 2:
            return False
        self._columns = np.full(_BUCKETS, -1, np.int32)
        self._columns[kept] = np.arange(len(kept), dtype=np.int32)
        matrix = self._chosen(rows, len(kept))
        del rows, counts
        turned = matrix.T.tocsr()
        chosen = (np.arange(len(targets)), targets)
        strength = 1 / (_REGULARIZATION * len(targets))

        def loss(flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
            weights = flat.reshape(-1, width)
            scores = _scores(matrix @ weights[:-1] + weights[-1])
            scores -= scores.max(axis=1, keepdims=True)
            likelihoods = np.exp(scores)
            totals = likelihoods.sum(axis=1, keepdims=True)
            value = float(np.mean(np.log(totals[:, 0]) - scores[chosen]))
            likelihoods /= totals
            likelihoods[chosen] -= 1
            likelihoods /= len(targets)
            errors = likelihoods[:, -width:]
            gradient = np.vstack([turned @ errors + strength * weights[:-1], errors.sum(axis=0)])
            return value + 0.5 * strength * float(np.vdot(weights[:-1], weights[:-1])), gradient.ravel()

        start = np.zeros((len(kept) + 1) * width)
        found = minimize(
            loss,
            start,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _STEPS, "maxcor": 5, "gtol": 1e-4, "ftol": 64 * np.finfo(float).eps},
        )
        self._weights = found.x.reshape(-1, width)
        return True

    def predict(self, texts: Iterable[str]) -> list[str]:
        """The likeliest label of each text."""
        rows = self._chosen(_bags(texts), len(self._weights) - 1)
        scores = _scores(rows @ self._weights[:-1] + self._weights[-1])
        return [self.names[index] for index in scores.argmax(axis=1)]

    def _chosen(self, rows: Any, count: int) -> Any:
        """The columns that the model knows, of rows over all buckets."""
        from scipy.sparse import csr_array

        columns = self._columns[rows.indices]
        is_known = columns >= 0
        ends = np.concatenate([[0], np.cumsum(is_known)])[rows.indptr]
        values = np.ones(int(ends[-1]), np.float32)
        return csr_array((values, columns[is_known], ends), shape=(rows.shape[0], count))


def _scores(found: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Scores of all labels; of two labels the first has 0."""
    return np.hstack([np.zeros_like(found), found]) if found.shape[1] == 1 else found


def _bags(texts: Iterable[str]) -> Any:
    """Which of all buckets each text has: a sparse matrix of rows."""
    from scipy.sparse import csr_array

    columns, ends = array("i"), array("q", [0])
    for text in texts:
        words = text.lower().split()
        pairs = [f"{first} {second}" for first, second in pairwise(words)]
        found = {zlib.crc32(word.encode("utf-8", "surrogatepass")) % _BUCKETS for word in (*words, *pairs)}
        columns.extend(sorted(found))
        ends.append(len(columns))
    indices, ends_array = np.array(columns, np.int32), np.array(ends)
    return csr_array((np.ones(len(indices), np.bool_), indices, ends_array), shape=(len(ends) - 1, _BUCKETS))


class WordBaselines:
    """Accuracy of linear models over words, of both texts of a pair and of the second alone.

    Where the second text alone gives answers away (Gururangan et al. 2018, arXiv:1803.02324), a high score
    says little about entailment.

    Args:
        sample: of the training set.
    """

    def __init__(self, sample: BalancedSample) -> None:
        rows = sample.rows(_MOST_ANSWERS // max(1, sample.num_labels))
        self.num_rows = len(rows)
        self.is_bounded = len(rows) < sample.num_seen
        self._kinds = {"words": _marked}
        if rows and len(rows[0].texts) == 2:
            self._kinds["second_text_words"] = _second
        self._models: dict[str, WordModel] = {}
        for name, words in self._kinds.items():
            model = WordModel()
            if model.fit(map(words, rows), [example.label for example in rows]):
                self._models[name] = model
            else:
                logger.warning("no bag-of-words baseline: no word occurs in two texts")

    def num_right(self, examples: Sequence[Example]) -> dict[str, int]:
        """How many of some examples each model answers right."""
        found = {}
        for name, model in self._models.items():
            answers = model.predict(map(self._kinds[name], examples))
            found[name] = sum(
                answer == example.label for answer, example in zip(answers, examples, strict=True)
            )
        return found


def _marked(example: Example) -> str:
    """All words, each with the text that it is from."""
    return " ".join(
        f"{place}:{word}" for place, text in enumerate(example.texts) for word in text.lower().split()
    )


def _second(example: Example) -> str:
    return example.texts[1].lower()
