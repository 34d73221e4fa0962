"""Edits of a sentence by which one can tell whether the result follows from it: keep, contradict, or add.

Every edit takes and gives a sentence as a list of words with their punctuation, or gives None where it does
not apply. The meaning of the result is a guess that is right more often than not.
"""

import random
import re
from collections.abc import Mapping, Sequence
from functools import cache

from wordnet import Inflected, WordNet, words_of

Words = list[str]

AUXILIARIES = words_of(
    """is are was were be been being am can could will would should has had have may might must do does did
    done"""
)
FUNCTION_WORDS = AUXILIARIES | words_of(
    """the a an of in on at to for with by from and or but not no it its this that these those he she they his
    her their them him we you i my your our us as than then there here who which what when where while if all
    some any so very more most one two up out off over into about other such many much few own same also just
    only"""
)
PHRASE_STARTS = words_of(
    """in on at for with of to by from during after before near under over through while which that who when
    because as and"""
)
REVERSING = words_of("no not never every all without few none nobody nothing any least most only if")
"""Words that turn "broader" around: no dog runs does not mean that no animal runs."""

OPPOSED = """man woman, men women, boy girl, boys girls, he she, his her, inside outside, up down, left right,
everyone nobody, everything nothing, indoors outdoors, child adult, children adults, dog cat, dogs
cats, red blue, green yellow, black white, morning evening, summer winter, sitting standing, walking
running, sleeping working, alone together, young old, two three, one two, three five, always never,
before after, with without, people animals, day night, water land, happy sad, many few, more less,
some no, mother father, brother sister"""
BROADER = """man person, woman person, boy child, girl child, men people, women people, boys children, girls
children, guy man, lady woman, kids children, dog animal, dogs animals, two some, three some, four
some, several some, many some, guitar instrument, car vehicle, bike vehicle, bicycle vehicle, truck
vehicle, running moving, walking moving, shirt clothes, street road, child person, children people,
kid child, toddler child, baby child"""
NARROWER = """man father, woman mother, people tourists, person man, child boy, children students, men
brothers, women sisters, dog puppy, some twenty, boy brother, girl sister, kids brothers"""


def _table(pairs: str, *, both_ways: bool = False) -> dict[str, list[str]]:
    table: dict[str, list[str]] = {}
    for pair in pairs.split(","):
        one, other = pair.split()
        table.setdefault(one, []).append(other)
        if both_ways:
            table.setdefault(other, []).append(one)
    return table


OPPOSED_TABLE = _table(OPPOSED, both_ways=True)
BROADER_TABLE = _table(BROADER)
NARROWER_TABLE = _table(NARROWER)


@cache
def bare(word: str) -> str:
    """A word without the punctuation around it."""
    return re.sub(r"^\W+|\W+$", "", word)


class Editor:
    """The edits.

    Args:
        wordnet: for related words.
        random: of all choices.
        known: words that may be put in.
        names: words with a capital letter, for another name.
    """

    def __init__(
        self, wordnet: WordNet, random: random.Random, *, known: Sequence[str], names: Sequence[str]
    ) -> None:
        self.wordnet = wordnet
        self.random = random
        self.known = [word for word in known if len(word) > 3]
        self.known_adjectives = [word for word in self.known if (word, "a") in wordnet.senses]
        self.names = names
        self._may_be_put = frozenset(known) - FUNCTION_WORDS

    def shorten(self, words: Words) -> Words:
        """Leave out phrases, clauses before or after a comma, and adjectives."""
        words = list(words)
        for _ in range(self.random.choice([1, 1, 2, 3])):
            if len(words) < 6:
                break
            self._leave_out(words)
        return words

    def _leave_out(self, words: Words) -> None:
        starts = [i for i, word in enumerate(words) if i > 1 and bare(word).lower() in PHRASE_STARTS]
        commas = [i for i, word in enumerate(words) if word.endswith((",", ";")) and 2 < i < len(words) - 3]
        chance = self.random.random()
        if chance < 0.5 and starts:
            start = self.random.choice(starts)
            later = [other for other in starts if other > start]
            stop = len(words) if self.random.random() < 0.6 or not later else later[0]
            if len(words) - (stop - start) >= 3:
                del words[start:stop]
        elif chance < 0.7 and commas:
            comma = self.random.choice(commas)
            if self.random.random() < 0.5:
                del words[comma + 1 :]
            else:
                del words[: comma + 1]
        elif adjectives := self._adjectives(words):
            del words[self.random.choice(adjectives)]

    def _adjectives(self, words: Words) -> list[int]:
        """Places of adjectives before a noun."""
        return [
            i
            for i in range(1, len(words) - 1)
            if words[i].isalpha()
            and words[i].lower() not in FUNCTION_WORDS
            and (words[i].lower(), "a") in self.wordnet.senses
            and bare(words[i + 1]).lower() not in FUNCTION_WORDS
        ]

    def weaken(self, words: Words) -> Words:
        """Say it in other or broader words, perhaps."""
        may_broaden = not any(bare(word).lower() in REVERSING or word.endswith("n't") for word in words)
        for _ in range(self.random.choice([0, 1, 1, 2])):
            way = self.random.randrange(3)
            if way == 0:
                words = self.related(words, "synonyms") or words
            elif may_broaden and way == 1:
                words = self.related(words, "broader") or words
            elif may_broaden:
                words = self.from_table(words, BROADER_TABLE) or words
        return words

    def related(self, words: Words, relation: str) -> Words | None:
        """Replace one word by a related one."""
        for place, word in self._replaceable(words):
            if word.part == "a" and relation in ("broader", "narrower"):
                continue
            choices = [
                lemma
                for lemma in self.wordnet.related(word, relation)
                if lemma in self._may_be_put and len(lemma) > 2
            ]
            if choices:
                chosen = self.random.choice(choices)
                return put(words, place, self.wordnet.inflect(chosen, word.ending))
        return None

    def from_table(self, words: Words, table: Mapping[str, Sequence[str]]) -> Words | None:
        """Replace one word by a table."""
        places = [i for i, word in enumerate(words) if bare(word).lower() in table]
        if not places:
            return None
        place = self.random.choice(places)
        return put(words, place, self.random.choice(table[bare(words[place]).lower()]))

    def negate(self, words: Words) -> Words | None:
        """Put a "not" in, or take one out."""
        words = list(words)
        if negations := [i for i, word in enumerate(words) if bare(word).lower() in ("not", "never")]:
            del words[negations[0]]
            return words
        if verbs := [i for i, word in enumerate(words) if i and word.lower() in AUXILIARIES]:
            words.insert(self.random.choice(verbs[:2]) + 1, self.random.choice(["not", "not", "never"]))
            return words
        first = words[0].lower()
        if first in ("a", "an", "the", "some", "two", "people"):
            return ["No", *words[first != "people" :]]
        return None

    def renumber(self, words: Words) -> Words | None:
        """Another number in digits."""
        places = [i for i, word in enumerate(words) if re.fullmatch(r"[\d,.]*\d[.,]?", word)]
        if not places:
            return None
        words, place = list(words), self.random.choice(places)
        number = int(re.sub(r"\D", "", words[place])[:9]) + self.random.choice([-7, -3, -1, 1, 2, 5, 10, 50])
        words[place] = str(abs(number) or 4)
        return words

    def rename(self, words: Words) -> Words | None:
        """Another name in the place of one."""
        places = [i for i, word in enumerate(words) if i and word[:1].isupper() and word != "I"]
        if not places:
            return None
        words = list(words)
        words[self.random.choice(places)] = self.random.choice(self.names)
        return words

    def replace_at_random(self, words: Words) -> Words | None:
        """Any word in the place of one."""
        places = self._replaceable(words)
        return put(words, places[0][0], self.random.choice(self.known)) if places else None

    def add_adjective(self, words: Words) -> Words | None:
        """Any adjective before a noun."""
        nouns = [place for place, word in self._replaceable(words) if word.part == "n"]
        if not nouns:
            return None
        words = list(words)
        words.insert(nouns[0], self.random.choice(self.known_adjectives))
        return words

    def add_phrase(self, words: Words, other: Words) -> Words | None:
        """A phrase of another sentence at the end."""
        starts = [i for i, word in enumerate(other) if i > 1 and bare(word).lower() in PHRASE_STARTS]
        if not starts:
            return None
        start = self.random.choice(starts)
        phrase = other[start : start + self.random.randint(3, 7)]
        return [*words[:-1], words[-1].rstrip(".!?"), *phrase]

    def _replaceable(self, words: Words) -> list[tuple[int, Inflected]]:
        """Places of content words, in random order, with what they are taken for."""
        found = []
        for place, word in enumerate(words):
            core = bare(word)
            lower = core.lower()
            is_name = place > 0 and core[:1].isupper()
            if not core.isalpha() or lower in FUNCTION_WORDS or is_name or "'" in word:
                continue
            for part in self._likely_parts(words, place):
                if analysed := self.wordnet.analyse(lower, part):
                    found.append((place, analysed))
                    break
        self.random.shuffle(found)
        return found

    def _likely_parts(self, words: Words, place: int) -> str:
        """Parts of speech to try: by the ending and the neighbours."""
        word = bare(words[place]).lower()
        before = bare(words[place - 1]).lower() if place else ""
        after = bare(words[place + 1]).lower() if place + 1 < len(words) else ""
        pronouns = ("to", "he", "she", "they", "who", "we", "i", "you")
        if word.endswith(("ing", "ed")) or before in AUXILIARIES or before in pronouns:
            return "van"
        stands_before_noun = words[place].isalpha() and (after, "n") in self.wordnet.senses
        return "an" if stands_before_noun and (word, "a") in self.wordnet.senses else "nav"


def put(words: Words, place: int, new: str) -> Words:
    """Another word in a place, with its capital, its punctuation and the right article before it."""
    words = list(words)
    old = bare(words[place])
    words[place] = words[place].replace(old, new.capitalize() if old[:1].isupper() else new, 1)
    before = bare(words[place - 1]) if place else ""
    if before.lower() in ("a", "an"):
        article = "an" if new[0] in "aeiou" else "a"
        words[place - 1] = words[place - 1].replace(
            before, article.capitalize() if before[0].isupper() else article
        )
    return words
