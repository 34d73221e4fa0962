"""What WordNet says of the words that its tagged texts contain, as plain sentences to pre-train on.

Run: python recipes/nano/wordnet_texts.py --wordnet /usr/share/wordnet --out wordnet-text.jsonl
"""

import argparse
import json
import random
from pathlib import Path

from wordnet import FILES, Sense, WordNet

from debertav3.files import replacing_text

WORDS_PER_DOCUMENT = 40


def read_glosses(folder: Path) -> dict[Sense, str]:
    """The definition of each sense, without its examples in quotes, and the examples behind it."""
    glosses = {}
    for part, name in FILES.items():
        for line in (folder / f"data.{name}").read_text(encoding="utf-8").splitlines():
            if not line.startswith("  "):
                data, _, gloss = line.partition(" | ")
                glosses[part, data.split()[0]] = gloss.strip()
    return glosses


def sentences(wordnet: WordNet, glosses: dict[Sense, str], word: str, part: str) -> list[str]:
    """Definitions and examples of a word, and the words that it is related to."""
    analysed = wordnet.analyse(word, part)
    found = []
    for sense in wordnet.senses[word, part][:3]:
        definition, *examples = glosses[sense].split('; "')
        others = [other.replace("_", " ") for other in wordnet.words[sense] if other != word][:3]
        also = f", also {' or '.join(others)}" if others else ""
        start = {"n": "", "v": "to ", "a": ""}[part]
        found.append(f"{start}{word}{also}: {definition}.")
        found += [example.strip(' "') + "." for example in examples[:2]]
    if analysed is None:
        return found
    broader, opposites = (wordnet.related(analysed, kind)[:2] for kind in ("broader", "opposites"))
    if broader and part == "n":
        found.append(f"Every {word} is a kind of {' or '.join(broader)}, but not every {broader[0]} is one.")
    if broader and part == "v":
        found.append(f"To {word} is to {broader[0]} in some way.")
    if opposites:
        found.append(f"The opposite of {word} is {opposites[0]}: what is {word} is not {opposites[0]}.")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wordnet", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    wordnet, glosses = WordNet(arguments.wordnet), read_glosses(arguments.wordnet)
    entries = [sentences(wordnet, glosses, word, part) for word, part in sorted(wordnet.senses)]
    random.Random(arguments.seed).shuffle(entries)
    with replacing_text(arguments.out) as file:
        for start in range(0, len(entries), WORDS_PER_DOCUMENT):
            paragraphs = [" ".join(entry) for entry in entries[start : start + WORDS_PER_DOCUMENT]]
            row = {"id": start, "text": "\n".join(paragraphs)}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
