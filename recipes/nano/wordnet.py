"""WordNet 3.0 as words that replace words: synonyms, broader, narrower, opposite and neighbouring ones.

Reads the plain files of Princeton's distribution (``man 5 wndb`` describes them), for example those of the
Debian package ``wordnet-base``. Only senses that WordNet's tagged texts contain are read, the commonest
first.
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path


def words_of(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


Sense = tuple[str, str]  # part of speech ("n", "v" or "a") and offset
FILES = {"n": "noun", "v": "verb", "a": "adj"}
VAGUE = words_of(
    """entity object whole unit abstraction act be make matter artifact causal agent organism move change get
    have group thing physical"""
)
"""Broader words that say nothing."""
ENDINGS = {
    "n": {"ies": "s", "es": "s", "s": "s"},
    "v": {"ing": "ing", "ied": "ed", "ed": "ed", "es": "s", "s": "s"},
}
"""Suffixes by part of speech, longest first, and what they mean."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """From a sense, or from one of its words, to another sense or one of its words; words count from 1."""

    kind: str
    target: Sense
    from_word: int
    to_word: int


@dataclass(frozen=True, slots=True)
class Inflected:
    """A word as its lemma, its ending ("", "s", "ed" or "ing") and its part of speech."""

    lemma: str
    ending: str
    part: str


class WordNet:
    """The database in a folder."""

    def __init__(self, folder: Path) -> None:
        self.words: dict[Sense, list[str]] = {}
        self.pointers: dict[Sense, list[Pointer]] = {}
        self.senses: dict[tuple[str, str], list[Sense]] = {}
        self._lemma_of: dict[tuple[str, str], str] = {}
        self._irregular: dict[str, dict[str, str]] = defaultdict(dict)
        for part, name in FILES.items():
            for line in _lines(folder / f"data.{name}"):
                self._read_sense(part, line.split("|")[0].split())
            for line in _lines(folder / f"index.{name}"):
                self._read_word(part, line.split())
        for part in ("n", "v"):
            for line in _lines(folder / f"{FILES[part]}.exc"):
                self._read_exception(part, *line.split()[:2])

    def _read_sense(self, part: str, fields: list[str]) -> None:
        sense, num_words = (part, fields[0]), int(fields[3], 16)
        self.words[sense] = [fields[4 + 2 * i].split("(")[0].lower() for i in range(num_words)]
        first = 5 + 2 * num_words
        self.pointers[sense] = [
            Pointer(kind, ("a" if to in "as" else to, offset), int(ends[:2], 16), int(ends[2:], 16))
            for kind, offset, to, ends in (
                fields[first + 4 * i : first + 4 * i + 4] for i in range(int(fields[first - 1]))
            )
        ]

    def _read_word(self, part: str, fields: list[str]) -> None:
        num_kinds = int(fields[3])
        num_tagged, offsets = int(fields[5 + num_kinds]), fields[6 + num_kinds :]
        if num_tagged and "_" not in fields[0]:
            self.senses[fields[0], part] = [(part, offset) for offset in offsets[:num_tagged]]

    def _read_exception(self, part: str, form: str, lemma: str) -> None:
        self._lemma_of[form, part] = lemma
        if "_" in form:
            return
        if part == "n":
            self._irregular[lemma]["s"] = form
        elif form.endswith("ing"):
            self._irregular[lemma]["ing"] = form
        elif not form.endswith("s"):
            self._irregular[lemma].setdefault("ed", form)

    def analyse(self, word: str, part: str) -> Inflected | None:
        """The lemma of a lower-case word as that part of speech, if it has one."""
        if (word, part) in self._lemma_of:
            last = "ing" if word.endswith("ing") else "s" if part == "n" or word.endswith("s") else "ed"
            return self._known(self._lemma_of[word, part], last, part)
        if part == "a":
            return self._known(word, "", part)
        endings = {
            "n": {"ies": "s", "es": "s", "s": "s"},
            "v": {"ing": "ing", "ied": "ed", "ed": "ed", "es": "s", "s": "s"},
        }
        for suffix, ending in endings[part].items():
            stem = word.removesuffix(suffix)
            if stem == word or len(stem) < 2:
                continue
            doubled = stem[:-1] if stem[-1] == stem[-2] else stem
            guesses = (stem + "y",) if suffix in ("ies", "ied") else (stem, stem + "e", doubled)
            for guess in guesses:
                if found := self._known(guess, ending, part):
                    return found
        return self._known(word, "", part)

    def _known(self, lemma: str, ending: str, part: str) -> Inflected | None:
        return Inflected(lemma, ending, part) if (lemma, part) in self.senses else None

    def inflect(self, lemma: str, ending: str) -> str:
        """The form of a lemma with that ending."""
        if not ending:
            return lemma
        if ending in self._irregular.get(lemma, {}):
            return self._irregular[lemma][ending]
        has_y = re.search(r"[^aeiou]y$", lemma)
        if ending == "s":
            hisses = re.search(r"(s|x|z|ch|sh)$", lemma)
            return lemma[:-1] + "ies" if has_y else lemma + ("es" if hisses else "s")
        if ending == "ed":
            return lemma[:-1] + "ied" if has_y else lemma + ("d" if lemma.endswith("e") else "ed")
        is_silent = lemma.endswith("e") and not lemma.endswith("ee")
        return (lemma[:-1] if is_silent else lemma) + "ing"

    def related(self, word: Inflected, relation: str) -> list[str]:
        """Lemmas in a relation to the commonest sense of a word: see the methods below."""
        senses = self.senses[word.lemma, word.part]
        found: list[str] = getattr(self, f"_{relation}")(senses, word)
        return [lemma for lemma in found if lemma != word.lemma and "_" not in lemma]

    def _synonyms(self, senses: list[Sense], word: Inflected) -> list[str]:
        return self.words[senses[0]]

    def _broader(self, senses: list[Sense], word: Inflected) -> list[str]:
        """One step up, for nouns also two."""
        above = self._targets(senses[0], "@")
        if word.part == "n":
            above += [further for one in above for further in self._targets(one, "@")]
        return [lemma for one in above for lemma in self.words[one][:2] if lemma not in VAGUE]

    def _narrower(self, senses: list[Sense], word: Inflected) -> list[str]:
        return [self.words[one][0] for one in self._targets(senses[0], "~")]

    def _neighbours(self, senses: list[Sense], word: Inflected) -> list[str]:
        """Other nouns under the same broader one."""
        if word.part != "n":
            return []
        above = self._targets(senses[0], "@")[:1]
        return [self.words[one][0] for up in above for one in self._targets(up, "~") if one != senses[0]]

    def _opposites(self, senses: list[Sense], word: Inflected) -> list[str]:
        """Antonyms of one of two senses; for adjectives without any, those of similar ones."""
        found = [
            self.words[pointer.target][pointer.to_word - 1]
            for sense in senses[:2]
            for pointer in self.pointers[sense]
            if pointer.kind == "!" and self.words[sense][pointer.from_word - 1] == word.lemma
        ]
        if found or word.part != "a":
            return found
        similar = self._targets(senses[0], "&")
        return [
            self.words[pointer.target][0]
            for one in similar
            for pointer in self.pointers[one]
            if pointer.kind == "!"
        ]

    def _targets(self, sense: Sense, kind: str) -> list[Sense]:
        return [p.target for p in self.pointers[sense] if p.kind == kind and p.from_word == 0]


def _lines(path: Path) -> list[str]:
    """Without the licence, whose lines begin with two blanks."""
    lines = path.read_text(encoding="latin-1").splitlines()
    return [line for line in lines if line and not line.startswith("  ")]
