"""Pairs with a distribution as label, as ``debertav3 finetune nli`` reads them, and how they are written.

A label is a distribution because many rows know only half of it: "not entailment" is neutral or a
contradiction.
"""

import json
import random
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from debertav3.files import replacing_text
from debertav3.inference.task_steps import TEMPLATE

LABELS = ("entailment", "neutral", "contradiction")
MOST_WORDS = 90
"""Of a premise; longer ones are cut."""

CARD_PREMISE = (
    "I first thought that I liked the movie, but upon second thought it was actually disappointing."
)
CARD_HYPOTHESIS = "The movie was good."
"""The example of the models' cards, which the model must not have seen."""


class Shares(NamedTuple):
    """How likely each label is."""

    entailment: float
    neutral: float
    contradiction: float


ENTAILED = Shares(1, 0, 0)
NEUTRAL = Shares(0, 1, 0)
CONTRADICTED = Shares(0, 0, 1)
WRONG_NAME = Shares(0, 0.35, 0.65)
"""Another topic or intent than the text's: not said, and mostly excluded."""


class Pair(NamedTuple):
    """A premise, a hypothesis and what holds between them."""

    premise: str
    hypothesis: str
    label: Shares


def sentence(template: str, name: str) -> str:
    """A template with a name in it, with a capital at its start."""
    text = template.replace("{}", name)
    return text[:1].upper() + text[1:]


def cut(text: str, most: int = MOST_WORDS) -> str:
    """The first words of a text, with its white space as single blanks."""
    return " ".join(text.split()[:most])


def letters(text: str) -> str:
    """A text without case, spaces and punctuation, by which equal texts are found."""
    return re.sub(r"\W", "", text.lower())


def is_of_the_card(pair: Pair) -> bool:
    """Whether a pair has a text of the card's example, or says of the movie whether it is good."""
    if letters(CARD_PREMISE) in letters(pair.premise) or letters(pair.hypothesis) == letters(CARD_HYPOTHESIS):
        return True
    return bool(re.search(r"\b(movie|film)s? (was|is) (not |very )?(good|bad)\b", pair.hypothesis.lower()))


def write_pairs(path: Path, pairs: Iterable[Pair], *, source: str, seed: int = 0) -> int:
    """Write pairs in random order, each once and none of the card's example; return how many."""
    kept = {
        (pair.premise, pair.hypothesis): pair
        for pair in pairs
        if pair.premise.strip() and pair.hypothesis.strip() and not is_of_the_card(pair)
    }
    chosen = list(kept.values())
    random.Random(seed).shuffle(chosen)
    with replacing_text(path) as file:
        for pair in chosen:
            label = dict(zip(LABELS, pair.label, strict=True))
            row = {"premise": pair.premise, "hypothesis": pair.hypothesis, "label": label, "source": source}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return len(chosen)


def draw_template(random: random.Random, templates: Sequence[str]) -> str:
    """The commands' own template in six draws of ten, else one of the others."""
    return TEMPLATE if random.random() < 0.6 else random.choice(templates)
