"""Texts with what they are about as pairs: titles of documents, kinds of documents, and fields of WordNet.

A title or a kind is right for its own text and wrong for another one. The OpenStax textbooks are left out:
zero-shot topics are measured on their subjects.

Run: python recipes/nano/topics.py --data DATA --wordnet /usr/share/wordnet --out topics.jsonl
"""

import argparse
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pairs import ENTAILED, WRONG_NAME, Pair, Shares, cut, draw_template, sentence, write_pairs
from wordnet import FILES, WordNet
from wordnet_texts import read_glosses

from debertav3.tasks.tables import read_table

TEMPLATES = (
    "This text is about {}.",
    "This is about {}.",
    "The topic is {}.",
    "The text talks about {}.",
    "The subject of this text is {}.",
    "{}.",
)
TITLED = (
    "wikipedia-2",
    "wikipedia",
    "world-factbook",
    "medquad",
    "recipes",
    "gov-web",
    "stackexchange",
    "docs-cc",
)
"""Corpora whose titles say what a text is about."""
KINDS: Mapping[str, tuple[str, ...]] = {
    "medquad": ("medicine", "health", "diseases"),
    "recipes": ("cooking", "food", "a recipe"),
    "world-factbook": ("a country", "geography", "countries of the world"),
    "gov-web": ("government", "public services", "government websites"),
    "tech-public-domain": ("computers", "programming", "software", "technology"),
    "space-radio": ("space flight", "space", "astronauts"),
    "us-speeches": ("politics", "a political speech", "government"),
    "novels-eltec": ("a story", "fiction", "a novel"),
    "children-stories": ("a story", "children", "a story for children"),
}
"""What all documents of a corpus are about."""
SERVICES: Mapping[str, tuple[str, ...]] = {
    "Flights": ("flights", "air travel", "travel"),
    "Events": ("events", "concerts and games", "tickets"),
    "Services": ("an appointment", "booking an appointment"),
    "Hotels": ("hotels", "travel", "a place to stay"),
    "Music": ("music", "songs"),
    "Restaurants": ("restaurants", "food", "eating out"),
    "Homes": ("renting a home", "apartments", "housing"),
    "Media": ("movies", "watching a movie", "entertainment"),
    "Movies": ("movies", "the cinema", "entertainment"),
    "Buses": ("bus trips", "buses", "travel"),
    "RentalCars": ("renting a car", "cars", "travel"),
    "Banks": ("banking", "money", "a bank account"),
    "Weather": ("weather", "the weather"),
    "Calendar": ("a calendar", "appointments"),
    "Travel": ("sights", "travel", "tourism"),
    "RideSharing": ("taxis", "a ride"),
}
"""What a dialogue with a service is about."""
FIELDS = {
    "05": ("animals", "an animal"),
    "08": ("the body", "parts of the body"),
    "12": ("feelings", "emotions"),
    "13": ("food", "food and drink"),
    "15": ("places", "geography"),
    "18": ("people", "a kind of person"),
    "20": ("plants", "a plant"),
    "21": ("money", "possessions"),
    "27": ("substances", "materials"),
    "28": ("time",),
    "22": ("processes in nature",),
    "06": ("things made by people", "objects"),
}
"""WordNet's files of nouns by number."""
FEELING = "12"


class Text(NamedTuple):
    """A text, what it is about in words of which any will do, and the group from which wrong ones come."""

    text: str
    names: tuple[str, ...]
    group: str


def _passage(text: str, random: random.Random) -> str:
    """Some sentences of one paragraph."""
    paragraphs = [one for one in text.split("\n") if len(one.split()) > 7]
    if not paragraphs:
        return ""
    sentences = re.split(r"(?<=[.!?])\s+", random.choice(paragraphs[:6]))
    start = random.randrange(len(sentences))
    return cut(" ".join(sentences[start : start + random.choice([1, 2, 3])]), 60)


def titled_texts(data: Path, random: random.Random) -> Iterator[Text]:
    """Passages with the title of their document, and with the kind of their corpus."""
    for corpus in (*TITLED, *(one for one in KINDS if one not in TITLED)):
        for row in read_table(data / "corpus" / f"{corpus}.jsonl.gz"):
            passage, title = _passage(row.fields["text"], random), row.fields["title"]
            if len(passage.split()) < 6:
                continue
            if corpus in TITLED and 1 <= len(title.split()) <= 8:
                yield Text(passage, (title,), f"titles of {corpus}")
            if corpus in KINDS and random.random() < 0.4:
                yield Text(passage, KINDS[corpus], "kinds")


def dialogues(data: Path, random: random.Random) -> Iterator[Text]:
    """Some turns of a dialogue with one service, from its beginning."""
    for row in read_table(data / "corpus" / "dialogue-sgd.jsonl.gz"):
        services = row.fields["title"].removesuffix(" dialogue").split(", ")
        if len(services) > 1 or services[0] not in SERVICES:
            continue
        turns = row.fields["text"].split("\n")
        yield Text(cut(" ".join(turns[: random.choice([1, 1, 3, 5])]), 60), SERVICES[services[0]], "services")


def defined_words(folder: Path, random: random.Random, most: int) -> Iterator[Text]:
    """Definitions and examples with the field of their word: medicine, sports, animals, a feeling."""
    wordnet, glosses, files = WordNet(folder), read_glosses(folder), _noun_files(folder)
    fields, feelings, kinds = [], [], []
    for sense, words in wordnet.words.items():
        gloss = glosses.get(sense, "").replace('"', "").strip()
        if not gloss or not words:
            continue
        text = f"{words[0].replace('_', ' ')}: {gloss}" if random.random() < 0.7 else gloss
        for pointer in wordnet.pointers[sense]:
            if pointer.kind == ";c" and (names := wordnet.words.get(pointer.target)):
                fields.append(Text(cut(text, 60), (names[0].replace("_", " "),), "fields"))
            if pointer.kind == "@" and files.get(sense) == FEELING:
                feelings.append(Text(cut(text, 60), (wordnet.words[pointer.target][0],), "feelings"))
        if names := FIELDS.get(files.get(sense, "")):
            kinds.append(Text(cut(text, 60), names, "kinds of things"))
    for found, share in ((fields, 0.5), (feelings, 0.1), (kinds, 0.4)):
        yield from random.sample(found, min(len(found), int(most * share)))


def _noun_files(folder: Path) -> dict[tuple[str, str], str]:
    """The number of the file in which WordNet keeps each sense of a noun."""
    lines = (folder / f"data.{FILES['n']}").read_text(encoding="utf-8").splitlines()
    return {("n", line.split()[0]): line.split()[1] for line in lines if not line.startswith("  ")}


def pairs_of(texts: Sequence[Text], random: random.Random, *, wrong: float) -> Iterator[Pair]:
    """Each text with a right name, and with names of other texts of its group."""
    names: dict[str, list[tuple[str, ...]]] = {}
    for text in texts:
        names.setdefault(text.group, []).append(text.names)
    for text in texts:
        yield _pair(text, random.choice(text.names), ENTAILED, random)
        for _ in range(int(wrong) + (random.random() < wrong % 1)):
            group = text.group if random.random() < 0.8 else random.choice(list(names))
            other = random.choice(random.choice(names[group]))
            if not _may_hold(other, text):
                yield _pair(text, other, WRONG_NAME, random)


def _may_hold(name: str, text: Text) -> bool:
    """Whether another name has a content word in common with the text or with its own names."""
    known = set(re.findall(r"\w{4,}", " ".join((text.text, *text.names)).lower()))
    words = set(re.findall(r"\w{4,}", name.lower()))
    return name in text.names or bool(words & known)


def _pair(text: Text, name: str, shares: Shares, random: random.Random) -> Pair:
    return Pair(text.text, sentence(draw_template(random, TEMPLATES), name), shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public data")
    parser.add_argument("--wordnet", type=Path, required=True)
    parser.add_argument("--most", type=int, default=9_000, help="definitions")
    parser.add_argument("--wrong", type=float, default=1.5, help="wrong names for each text")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    draws = random.Random(arguments.seed)
    texts = [
        *titled_texts(arguments.data, draws),
        *dialogues(arguments.data, draws),
        *defined_words(arguments.wordnet, draws, arguments.most),
    ]
    pairs = pairs_of(texts, draws, wrong=arguments.wrong)
    count = write_pairs(arguments.out, pairs, source="topics", seed=arguments.seed)
    print(f"{len(texts):,} texts, {count:,} pairs")


if __name__ == "__main__":
    main()
