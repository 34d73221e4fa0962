"""How the words of a hypothesis stand in its premise: features for a linear or tree model.

A word is met in its own form, as a lemma, or by a relation of WordNet; what is left over, negations,
quantities and order say much about entailment, and more than a small pre-trained encoder finds out from few
pairs.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Set
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

from edits import FUNCTION_WORDS
from wordnet import WordNet, words_of

Features = dict[str, float]

PARTS = "nva"
RELATIONS = ("synonyms", "broader", "narrower", "opposites", "neighbours")
NEGATIONS = words_of("no not never nobody nothing none neither nor n't without cannot nowhere hardly few")
GROUPS = {
    "every": words_of("all every always only must everyone everything each most any both"),
    "some": words_of(
        "some many several few maybe probably sometimes often may might could someone something"
    ),
    "number": words_of("one two three four five six seven eight nine ten"),
    "purpose": words_of("because for after before to"),
    "he": words_of("he his man boy men boys"),
    "she": words_of("she her woman girl women girls"),
    "pause": words_of("sleeping asleep sitting alone eating dead"),
}
MANY = 4
"""Words left over; larger numbers are treated alike."""


class Analysed(NamedTuple):
    """A text as lower-case words and, word for word, their lemmas."""

    words: tuple[str, ...]
    lemmas: tuple[str, ...]

    @property
    def content(self) -> list[tuple[str, str]]:
        """Words that are no function words, with their lemmas."""
        both = zip(self.words, self.lemmas, strict=True)
        return [(word, lemma) for word, lemma in both if word[0].isalnum() and word not in FUNCTION_WORDS]


class Alignment:
    """Compares texts.

    Args:
        wordnet: the database.
        texts: from which the rareness of words is counted.
    """

    def __init__(self, wordnet: WordNet, texts: Iterable[str]) -> None:
        self.wordnet = wordnet
        self.lemma = lru_cache(None)(self._lemma)
        self.related = lru_cache(None)(self._related)
        self.analyse = lru_cache(None)(self._analyse)
        found = [set(self.analyse(text).lemmas) for text in texts]
        self.num_texts = len(found)
        self.counts = Counter(lemma for lemmas in found for lemma in lemmas)

    def _lemma(self, word: str) -> str:
        analyses = (self.wordnet.analyse(word, part) for part in PARTS)
        return next((found.lemma for found in analyses if found), word)

    def _related(self, word: str, relation: str) -> frozenset[str]:
        analyses = (self.wordnet.analyse(word, part) for part in PARTS)
        return frozenset(one for found in analyses if found for one in self.wordnet.related(found, relation))

    def _analyse(self, text: str) -> Analysed:
        words = re.findall(r"n't|\w+(?=n't)|\w+|[^\w\s]", text.lower().replace("\u2019", "'"))
        return Analysed(tuple(words), tuple(map(self.lemma, words)))

    def rareness(self, lemma: str) -> float:
        """Inverse document frequency."""
        return math.log((self.num_texts + 1) / (self.counts[lemma] + 0.5))

    def numbers(self, premise: str, hypothesis: str) -> Features:
        """Counts and shares, always the same keys."""
        first, second = self.analyse(premise), self.analyse(hypothesis)
        words, lemmas = set(first.words), set(first.lemmas)
        content, known = second.content, first.content
        new = [(word, lemma) for word, lemma in content if lemma not in lemmas]
        met = {name: self._met(new, known, lemmas, name) for name in RELATIONS}
        left = [one for one in new if one not in met["synonyms"] and one not in met["broader"]]
        weight = sum(self.rareness(lemma) for _, lemma in content) or 1.0
        lost = [lemma for _, lemma in known if lemma not in set(second.lemmas)]
        negated, negated_before = (sum(word in NEGATIONS for word in one.words) for one in (second, first))
        common = _common_subsequence(second.lemmas, first.lemmas)
        size, num_content = max(len(second.words), 1), max(len(content), 1)
        features: Features = {
            "words": len(second.words),
            "premise words": len(first.words),
            "length": len(second.words) / max(len(first.words), 1),
            "content": len(content),
            "same form": sum(word in words for word, _ in content) / num_content,
            "same lemma": 1 - len(new) / num_content,
            "same word": sum(word in words for word in second.words) / size,
            "new": len(new),
            "left": len(left),
            "share left": len(left) / num_content,
            "rareness of new": sum(self.rareness(lemma) for _, lemma in new) / weight,
            "rareness of left": sum(self.rareness(lemma) for _, lemma in left) / weight,
            "rarest new": max((self.rareness(lemma) for _, lemma in new), default=0.0),
            "rarest left": max((self.rareness(lemma) for _, lemma in left), default=0.0),
            "lost": len(lost),
            "share lost": len(lost) / max(len(known), 1),
            "negations": negated,
            "premise negations": negated_before,
            "negated": (negated > 0) - (negated_before > 0),
            "negated left": (negated > 0) * len(left) / num_content,
            "new digits": len({word for word in second.words if word.isdigit()} - words),
            "pairs": _share(set(pairwise(second.lemmas)), set(pairwise(first.lemmas))),
            "letters": _share(_trigrams(hypothesis), _trigrams(premise)),
            "common": common / size,
            "premise common": common / max(len(first.lemmas), 1),
            "begins alike": float(second.words[:1] == first.words[:1]),
            "first met": float(bool(content) and content[0][1] in lemmas),
            "last met": float(bool(content) and content[-1][1] in lemmas),
            "new doing": float(any(word.endswith("ing") and word not in words for word in second.words)),
        }
        features |= {name: len(found) for name, found in met.items()}
        for name, group in GROUPS.items():
            mine, before = (sum(word in group for word in one.words) for one in (second, first))
            features |= {f"{name} here": mine, f"{name} there": before}
            features[f"new {name}"] = sum(word in group and word not in words for word in second.words)
        return features

    def _met(
        self, new: list[tuple[str, str]], known: list[tuple[str, str]], lemmas: set[str], relation: str
    ) -> set[tuple[str, str]]:
        """New words that stand in a relation to a word of the premise; opposites in either direction."""
        around = {one for word, _ in known for one in self.related(word, relation)}
        both_ways = relation == "opposites"
        return {
            (word, lemma)
            for word, lemma in new
            if lemma in around or (both_ways and self.related(word, relation) & lemmas)
        }

    def names(self, premise: str, hypothesis: str, numbers: Features) -> Features:
        """Which words are new, kept and gone, and what else is new beside them.

        Args:
            premise: the first text.
            hypothesis: the second.
            numbers: of the two.
        """
        first, second = self.analyse(premise), self.analyse(hypothesis)
        lemmas = set(first.lemmas)
        new = [lemma for lemma in second.lemmas if lemma not in lemmas]
        left = min(int(numbers["left"]), MANY)
        features = dict.fromkeys((f"new lemma:{lemma}" for lemma in new), 1.0)
        features |= dict.fromkeys((f"lemma:{lemma}" for lemma in second.lemmas), 1.0)
        features |= dict.fromkeys((f"kept:{lemma}" for lemma in second.lemmas if lemma in lemmas), 1.0)
        gone = lemmas - set(second.lemmas)
        features |= dict.fromkeys((f"lemma {a}>{b}" for a in gone for b in new), 1.0)
        features |= dict.fromkeys((f"left {min(left, 2)}:{lemma}" for lemma in second.lemmas), 1.0)
        negations = (min(numbers["negations"], 1), min(numbers["premise negations"], 1))
        features |= {f"left {left}": 1.0, f"left {left} negated {negations}": 1.0}
        return features | {name: numbers[name] for name in ("same lemma", "share left", "pairs")}


def _share(some: Set[Any], others: Set[Any]) -> float:
    """How many of some are among the others."""
    return len(some & others) / max(len(some), 1)


def _trigrams(text: str) -> set[str]:
    return {text[start : start + 3].lower() for start in range(len(text) - 2)}


def _common_subsequence(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """Length of the longest sequence of words that both have in the same order."""
    before = [0] * (len(other) + 1)
    for word in one:
        row = [0]
        for place, candidate in enumerate(other):
            row.append(before[place] + 1 if word == candidate else max(before[place + 1], row[place]))
        before = row
    return before[-1]
