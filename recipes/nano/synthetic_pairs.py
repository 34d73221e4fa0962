"""Pairs with NLI labels made from plain sentences, for a first lesson before real pairs.

A hypothesis is its premise shortened and put in other words (entailment), then also contradicted by one edit,
or given something that the premise does not say (neutral): see ``edits.py``.

Run: python recipes/nano/synthetic_pairs.py --texts corpus/*.jsonl.gz --pairs train.jsonl \
         --wordnet /usr/share/wordnet --count 160000 --out synthetic.jsonl
"""

import argparse
import json
import random
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from edits import FUNCTION_WORDS, NARROWER_TABLE, OPPOSED_TABLE, Editor, Words, bare
from wordnet import WordNet

from debertav3.files import replacing_text
from debertav3.tasks.tables import read_table

LABELS = ("entailment", "neutral", "contradiction")
MIN_FREQUENCY = 12
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"“])")


@dataclass(frozen=True)
class Sentences:
    """Sentences of documents in their order, and single ones, such as premises."""

    documents: list[list[str]]
    single: list[str]

    def words(self) -> Counter[str]:
        """How often each word stands in them."""
        everything = [*self.single, *(one for document in self.documents for one in document)]
        return Counter(re.sub(r"\W", "", word).lower() for one in everything for word in one.split())


def read_sentences(texts: list[Path], pairs: list[Path]) -> Sentences:
    """Sentences of a fit length."""
    documents = []
    for path in texts:
        for row in read_table(path):
            split = [SENTENCE_END.split(line.strip()) for line in row.fields["text"].split("\n")]
            fit = [one for line in split for one in line if 6 <= len(one.split()) <= 30]
            if len(fit) > 5:
                documents.append(fit)
    single = [
        row.fields[name] for path in pairs for row in read_table(path) for name in ("premise", "hypothesis")
    ]
    return Sentences(documents, [one for one in dict.fromkeys(single) if 5 <= len(one.split()) <= 40])


class PairMaker:
    """Makes pairs."""

    def __init__(self, sentences: Sentences, editor: Editor, usual: frozenset[str]) -> None:
        self.sentences = sentences
        self.editor = editor
        self.usual = usual
        self.random = editor.random

    def make(self, label: str) -> dict[str, str] | None:
        """A pair with that label, or None where the drawn edit does not apply."""
        premise, base, later = self._draw()
        words = self.editor.shorten(base) if self.random.random() < 0.8 else base
        if label == "entailment":
            edited: Words | None = self.editor.weaken(words)
            if edited == base and self.random.random() < 0.85:
                return None
        elif label == "contradiction":
            edited = self._contradict(self.editor.weaken(words) if self.random.random() < 0.5 else words)
        else:
            edited = self._add(self.editor.weaken(words) if self.random.random() < 0.4 else words, later)
        if edited is None or len(edited) < 3:
            return None
        hypothesis = self._finish(edited)
        if label != "entailment" and _letters(hypothesis) == _letters(" ".join(base)):
            return None
        return {"premise": premise[:1].upper() + premise[1:], "hypothesis": hypothesis, "label": label}

    def _draw(self) -> tuple[str, Words, Words | None]:
        """A premise, the sentence of it to edit, and one that comes later in the same document."""
        if self.random.random() < 0.64:
            single = self.random.choice(self.sentences.single)
            return single, single.split(), None
        document = self.random.choice(self.sentences.documents)
        place = self.random.randrange(len(document))
        base = document[place]
        takes_next = place + 1 < len(document) and self.random.random() < 0.3
        later = document[(place + self.random.choice([2, 3, 4])) % len(document)]
        return base + " " + document[place + 1] if takes_next else base, base.split(), later.split()

    def _contradict(self, words: Words) -> Words | None:
        ways = {"negate": 3, "opposites": 3, "table": 4, "neighbours": 3, "number": 1, "name": 0.6}
        way = self.random.choices(list(ways), list(ways.values()))[0]
        match way:
            case "negate":
                return self.editor.negate(words)
            case "table":
                return self.editor.from_table(words, OPPOSED_TABLE)
            case "number":
                return self.editor.renumber(words)
            case "name":
                return self.editor.rename(words)
        return self.editor.related(words, way)

    def _add(self, words: Words, later: Words | None) -> Words | None:
        chance = self.random.random()
        if chance < 0.2 and later:
            return self.editor.shorten(later)
        if chance < 0.35:
            return self.editor.related(words, "narrower") or self.editor.from_table(words, NARROWER_TABLE)
        if chance < 0.5:
            return self.editor.replace_at_random(words)
        if chance < 0.7:
            return self.editor.add_adjective(words)
        return self.editor.add_phrase(words, self.random.choice(self.sentences.single).split())

    def _finish(self, words: Words) -> str:
        """A sentence with a capital and a full stop."""
        words = [word for word in words if word]
        if words[0] != "I" and bare(words[0]).lower() in self.usual:
            words[0] = words[0].lower()
        words[-1] = re.sub(r"[,;:.!?\"”]+$", "", words[-1]) + "."
        text = " ".join(words)
        return text[:1].upper() + text[1:]


def _letters(text: str) -> str:
    return re.sub(r"\W", "", text.lower())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=Path, nargs="+", required=True, help="JSONL with a text a row")
    parser.add_argument(
        "--pairs", type=Path, nargs="+", required=True, help="JSONL whose texts are used, too"
    )
    parser.add_argument("--wordnet", type=Path, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    sentences = read_sentences(arguments.texts, arguments.pairs)
    frequency = sentences.words()
    known = sorted(word for word, count in frequency.items() if count >= MIN_FREQUENCY and word.isalpha())
    firsts = [one.split()[1:] for document in sentences.documents for one in document[:3]]
    names = [word.strip(".,;:!?\"'()") for words in firsts for word in words if word[:1].isupper()]
    editor = Editor(WordNet(arguments.wordnet), random.Random(arguments.seed), known=known, names=names)
    maker = PairMaker(sentences, editor, FUNCTION_WORDS | frozenset(known))
    with replacing_text(arguments.out) as file:
        for number in range(arguments.count):
            pair = None
            while pair is None:
                pair = maker.make(LABELS[number % len(LABELS)])
            file.write(json.dumps(pair, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
