"""How good predictions are: small pure functions over numpy arrays and strings.

Names and scales of the metrics are the same in ``metrics.json``, model cards, reports, ``evaluate`` and the
int8 gate. All shares lie between 0 and 1 and correlations between -1 and 1, with one exception that the field
has: SQuAD's exact match and F1 run from 0 to 100, as its official script prints them. ``rmse`` and ``mae``
have the unit of the labels.

Labels are integer ids; a confusion matrix has one row per gold label and one column per predicted label, so
matrices of parts of a data set add up to the matrix of the whole.
"""

import re
import string
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
Numbers = Sequence[float] | npt.NDArray[np.floating]

MetricName = Literal[
    "accuracy",
    "f1",
    "macro_f1",
    "micro_f1",
    "precision",
    "recall",
    "matthews_corrcoef",
    "exact_match",
    "HasAns_exact",
    "HasAns_f1",
    "NoAns_exact",
    "NoAns_f1",
    "best_exact",
    "best_f1",
    "mrr",
    "ndcg",
    "pearson",
    "spearman",
    "rmse",
    "mae",
]
"""Every metric by its one name."""

METRICS: tuple[MetricName, ...] = get_args(MetricName)
ERRORS: frozenset[MetricName] = frozenset({"rmse", "mae"})
"""Metrics of which less is better, in the unit of the labels; of all others more is better."""

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_DROP_PUNCTUATION = str.maketrans("", "", string.punctuation)


def confusion_matrix(gold: Sequence[int], predicted: Sequence[int], *, num_labels: int) -> IntArray:
    """Count pairs of gold and predicted label: ``(num_labels, num_labels)``, rows are the gold labels."""
    counts = np.zeros((num_labels, num_labels), dtype=np.int64)
    np.add.at(counts, (np.asarray(gold, dtype=np.int64), np.asarray(predicted, dtype=np.int64)), 1)
    return counts


def accuracy(confusion: IntArray) -> float:
    """Share of right predictions; 0 where there are none at all."""
    return float(np.trace(confusion) / max(int(confusion.sum()), 1))


def label_scores(confusion: IntArray) -> dict[str, npt.NDArray[np.float64]]:
    """Per label: ``precision``, ``recall``, ``f1`` and ``support`` (number of gold examples).

    A ratio with nothing below the line is 0, as in scikit-learn with ``zero_division=0``.
    """
    right = np.diag(confusion).astype(np.float64)
    predicted, support = confusion.sum(axis=0), confusion.sum(axis=1)
    return {
        "precision": right / np.maximum(predicted, 1),
        "recall": right / np.maximum(support, 1),
        "f1": 2 * right / np.maximum(predicted + support, 1),
        "support": support.astype(np.float64),
    }


def positive_f1(confusion: IntArray) -> float:
    """F1 of label 1 of two, as GLUE scores MRPC and QQP; 0 where it is neither predicted nor gold."""
    return float(label_scores(confusion)["f1"][1])


def macro_f1(confusion: IntArray) -> float:
    """Plain mean of the F1 of all labels that are gold or predicted at least once."""
    seen = (confusion.sum(axis=0) + confusion.sum(axis=1)) > 0
    return float(label_scores(confusion)["f1"][seen].mean()) if seen.any() else 0.0


def normalize_answer(text: str) -> str:
    """Lower case without punctuation, articles and repeated white space: SQuAD's official normal form."""
    text = _ARTICLES.sub(" ", text.lower().translate(_DROP_PUNCTUATION))
    return " ".join(text.split())


def exact_match(prediction: str, answers: Collection[str]) -> float:
    """1.0 if the prediction equals a gold answer in SQuAD's normal form, else 0.0.

    Args:
        prediction: the answer given; empty for "no answer".
        answers: the gold answers. A question without any is answered right only by "".
    """
    return float(any(normalize_answer(prediction) == normalize_answer(gold) for gold in _gold(answers)))


def answer_f1(prediction: str, answers: Collection[str]) -> float:
    """Word overlap with the best gold answer, 0 to 1, in SQuAD's normal form; arguments as `exact_match`."""
    words = normalize_answer(prediction).split()
    return max(_overlap_f1(words, normalize_answer(gold).split()) for gold in _gold(answers))


def _gold(answers: Collection[str]) -> list[str]:
    return [answer for answer in answers if normalize_answer(answer)] or [""]


def _overlap_f1(predicted: list[str], gold: list[str]) -> float:
    if not predicted or not gold:
        return float(predicted == gold)
    common = sum((Counter(predicted) & Counter(gold)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(predicted), common / len(gold)  # the official script's order of rounding
    return 2 * precision * recall / (precision + recall)


Entity = tuple[int, int, str]
"""First and end character (or word) and the type."""
_OUTSIDE = "O"
_PREFIXES = frozenset("BIESLU")
_BEGINS = frozenset("BSU")
_ENDS = frozenset("ESLU")
"""Begin, inside, end and single, or last and unit: where in an entity a word is."""


def count_entities(gold: Iterable[Entity], predicted: Iterable[Entity]) -> dict[str, IntArray]:
    """Per type ``[right, predicted, gold]``; an entity is right if both ends and the type are."""
    gold, predicted = set(gold), set(predicted)
    counts: dict[str, IntArray] = {}
    for column, entities in enumerate((gold & predicted, predicted, gold)):
        for _, _, kind in entities:
            counts.setdefault(kind, np.zeros(3, dtype=np.int64))[column] += 1
    return counts


def entity_scores(counts: Mapping[str, IntArray]) -> dict[str, float]:
    """``precision``, ``recall`` and ``f1`` over the entities of all types (CoNLL's micro average).

    Args:
        counts: sums of what `count_entities` returned.
    """
    right, predicted, gold = sum(counts.values(), start=np.zeros(3, dtype=np.int64)).tolist()
    return {
        "precision": right / max(predicted, 1),
        "recall": right / max(gold, 1),
        "f1": 2 * right / max(predicted + gold, 1),
    }


def reciprocal_rank(scores: Numbers, relevance: Numbers) -> float:
    """One over the rank of a query's first relevant text, best score first; 0 without a relevant one.

    Texts of equal score are in random order, and the mean over all orders counts: a model that scores all
    texts alike gains nothing by the order of the file.
    """
    values, is_relevant = np.asarray(scores, dtype=np.float64), np.asarray(relevance) > 0
    if not is_relevant.any():
        return 0.0
    best = values[is_relevant].max()
    above, tied = int(np.sum(values > best)), int(np.sum(values == best))
    right = int(np.sum(is_relevant & (values == best)))
    places = np.arange(1, tied - right + 2)
    # The share of orders in which the first relevant one of the tied is at each of these places.
    ratios = (tied - right + 2 - places[1:]) / (tied + 1 - places[1:])
    shares = right / tied * np.cumprod(np.concatenate([[1.0], ratios]))
    return float((shares / (above + places)).sum())


def ndcg(scores: Numbers, relevance: Numbers, *, depth: int = 10) -> float:
    """Normalized discounted cumulative gain of a query's best ``depth`` texts; 0 without a relevant one.

    Texts of equal score share their mean relevance (McSherry and Najork 2008), as in scikit-learn.
    """
    gains = np.asarray(relevance, dtype=np.float64)
    discounts = np.zeros(len(gains))
    discounts[:depth] = 1 / np.log2(np.arange(2, len(gains) + 2))[:depth]
    _, group = np.unique(-np.asarray(scores, dtype=np.float64), return_inverse=True)  # 0 has the best score
    shared = np.bincount(group, weights=gains) / np.bincount(group)
    gain = float(shared[np.sort(group)] @ discounts)
    best = float(np.sort(gains)[::-1] @ discounts)
    return gain / best if best > 0 else 0.0


def tag_entities(tags: Sequence[str]) -> list[Entity]:
    """Read the entities off tags, one per word; positions count words.

    BIO, IO, BIOES and BILOU tags are read as seqeval does by default (L as E, U as S): a stray ``I-X`` or
    ``E-X`` begins an entity, and a tag without prefix counts as ``I-``.
    """
    entities: list[Entity] = []
    start, before = 0, _OUTSIDE
    for place, tag in enumerate([*tags, _OUTSIDE]):
        if not continues_entity(before, tag):
            if before != _OUTSIDE:
                entities.append((start, place, split_tag(before)[1]))
            start = place
        before = tag
    return entities


def continues_entity(before: str, tag: str) -> bool:
    """Whether a tag continues the entity of the tag before it."""
    (last, last_kind), (prefix, kind) = split_tag(before), split_tag(tag)
    return kind == last_kind and kind != "" and prefix not in _BEGINS and last not in _ENDS


def split_tag(tag: str) -> tuple[str, str]:
    """The prefix of a tag, one of B, I, E, S, L, U, and its type.

    Both are empty for ``O``; a tag without prefix is inside (I), and a prefix alone has the type ``_``.
    """
    if tag == _OUTSIDE:
        return "", ""
    if tag in ("B", "I", "E", "S"):
        return tag, "_"
    if tag[:1] in _PREFIXES and tag[1:2] == "-":
        return tag[0], tag[2:]
    return "I", tag


def matthews_corrcoef(confusion: IntArray) -> float:
    """Correlation of true and predicted labels, -1 to 1, for two or more labels; 0 if one side is constant.

    Gorodkin's R_K, which for two labels is Matthews' coefficient (CoLA's metric).
    """
    total, right = float(confusion.sum()), float(np.trace(confusion))
    predicted = confusion.sum(axis=0).astype(np.float64)
    gold = confusion.sum(axis=1).astype(np.float64)
    norm = np.sqrt((total**2 - predicted @ predicted) * (total**2 - gold @ gold))
    return float((right * total - predicted @ gold) / norm) if norm > 0 else 0.0


def pearson(gold: Numbers, predicted: Numbers) -> float:
    """Linear correlation, -1 to 1; 0 where one side does not vary."""
    x, y = np.asarray(gold, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if len(x) == 0 or np.ptp(x) == 0 or np.ptp(y) == 0:  # centred, they would be 0 but for rounding
        return 0.0
    x, y = x - x.mean(), y - y.mean()
    norm = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum() / norm) if norm > 0 else 0.0


def spearman(gold: Numbers, predicted: Numbers) -> float:
    """Correlation of ranks, -1 to 1; equal values share the mean of their ranks."""
    return pearson(_ranks(gold), _ranks(predicted))


def rmse(gold: Numbers, predicted: Numbers) -> float:
    """Root of the mean squared error, in the labels' own unit; 0 is best."""
    return float(np.sqrt(np.mean((np.asarray(predicted) - np.asarray(gold)) ** 2)))


def mae(gold: Numbers, predicted: Numbers) -> float:
    """Mean absolute error, in the labels' own unit; 0 is best."""
    return float(np.mean(np.abs(np.asarray(predicted) - np.asarray(gold))))


def _ranks(values: Numbers) -> npt.NDArray[np.float64]:
    _, place, count = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2)[place]
