"""Pairs without labels, made from training pairs, for a teacher to label: see ``teacher.py``.

A premise meets a hypothesis of another premise with a word in common, or one of its two texts is edited
(``edits.py``), or a word of it gives way to one that follows the same word elsewhere.

Run: python recipes/nano/transfer_pairs.py --pairs TRAIN... --wordnet /usr/share/wordnet \
         --of-each 4 4 4 4 1 --out transfer.jsonl
"""

import argparse
import json
import random
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

from edits import BROADER_TABLE, FUNCTION_WORDS, NARROWER_TABLE, OPPOSED_TABLE, Editor, Words, bare, put
from synthetic_pairs import MIN_FREQUENCY, read_sentences
from wordnet import WordNet

from debertav3.files import replacing_text
from debertav3.tasks.tables import read_table

WAYS = {
    "another": 3,
    "related": 4,
    "in_context": 4,
    "table": 1.5,
    "negate": 1,
    "add_phrase": 1.5,
    "add_adjective": 0.7,
    "shorten": 0.7,
    "renumber": 0.3,
    "rename": 0.3,
}
"""How to make a pair, and how often."""
RELATIONS = ("synonyms", "broader", "narrower", "opposites", "neighbours")
SHARE_OF_PREMISES = 0.25
"""Of the edits, those of the premise; the others are of the hypothesis."""


class Recombiner:
    """Makes new pairs from those of one file.

    Args:
        pairs: premise and hypothesis of each row.
        editor: makes the edits.
    """

    def __init__(self, pairs: list[tuple[str, str]], editor: Editor) -> None:
        self.editor = editor
        self.random = editor.random
        self.hypotheses = list(dict.fromkeys(hypothesis for _, hypothesis in pairs))
        self.with_word: dict[str, list[str]] = defaultdict(list)
        self.after: dict[str, list[str]] = defaultdict(list)
        for hypothesis in self.hypotheses:
            words = [bare(word).lower() for word in hypothesis.split()]
            for word in set(words) - FUNCTION_WORDS:
                self.with_word[word].append(hypothesis)
            for one, other in pairwise(words):
                self.after[one].append(other)

    def make(self, premise: str, hypothesis: str) -> tuple[str, str] | None:
        """A new pair, or None where the drawn way does not apply."""
        way = self.random.choices(list(WAYS), list(WAYS.values()))[0]
        if way == "another":
            shared = [one for word in premise.split() if (one := bare(word).lower()) in self.with_word]
            return (
                (premise, self.random.choice(self.with_word[self.random.choice(shared)])) if shared else None
            )
        if self.random.random() < SHARE_OF_PREMISES:
            edited = self._edit(premise.split(), way)
            return (" ".join(edited), hypothesis) if edited else None
        edited = self._edit(hypothesis.split(), way)
        return (premise, " ".join(edited)) if edited else None

    def _edit(self, words: Words, way: str) -> Words | None:
        """One edit; a second one follows half of those that replace a word."""
        if len(words) < 3:
            return None
        match way:
            case "related":
                edited = self.editor.related(words, self.random.choice(RELATIONS))
            case "in_context":
                edited = self._in_context(words)
            case "table":
                tables = (OPPOSED_TABLE, BROADER_TABLE, NARROWER_TABLE)
                return self.editor.from_table(words, self.random.choice(tables))
            case "add_phrase":
                return self.editor.add_phrase(words, self.random.choice(self.hypotheses).split())
            case _:
                edited = getattr(self.editor, way)(words)
                return None if edited == words else edited
        if edited and self.random.random() < 0.5:
            return self._in_context(edited) or edited
        return edited

    def _in_context(self, words: Words) -> Words | None:
        """Another word after the same word."""
        places = [i for i in range(1, len(words)) if bare(words[i]).lower() not in FUNCTION_WORDS]
        if not places:
            return None
        place = self.random.choice(places)
        followers = self.after[bare(words[place - 1]).lower()]
        chosen = self.random.choice(followers) if followers else ""
        if not chosen or chosen in FUNCTION_WORDS or chosen == bare(words[place]).lower():
            return None
        return put(words, place, chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, nargs="+", required=True)
    parser.add_argument("--wordnet", type=Path, required=True)
    parser.add_argument(
        "--of-each", type=int, nargs="+", required=True, help="new pairs for each pair, by file or for all"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    sentences = read_sentences([], arguments.pairs)
    frequency = sentences.words()
    known = sorted(word for word, count in frequency.items() if count >= MIN_FREQUENCY and word.isalpha())
    inner = (word.strip(".,;:!?\"'()") for one in sentences.single for word in one.split()[1:])
    names = [word for word in inner if word[:1].isupper()]
    editor = Editor(WordNet(arguments.wordnet), random.Random(arguments.seed), known=known, names=names)
    made: dict[tuple[str, str], str] = {}
    counts = arguments.of_each if len(arguments.of_each) > 1 else arguments.of_each * len(arguments.pairs)
    for path, of_each in zip(arguments.pairs, counts, strict=True):
        pairs = [(row.fields["premise"], row.fields["hypothesis"]) for row in read_table(path)]
        recombiner = Recombiner(pairs, editor)
        for premise, hypothesis in pairs:
            for _ in range(of_each):
                pair = next(filter(None, (recombiner.make(premise, hypothesis) for _ in range(8))), None)
                if pair:
                    made.setdefault(pair, premise)
    with replacing_text(arguments.out) as file:
        for (premise, hypothesis), origin in made.items():
            row = {"premise": premise, "hypothesis": hypothesis, "origin": origin}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
