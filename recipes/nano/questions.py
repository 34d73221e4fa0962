"""Questions with their answers as pairs: the text of the answer entails what both say together.

A question about the subject becomes a statement ("Who wrote it?" and "Ann" become "Ann wrote it."), as does
one with "what is the"; any other stays a question, followed by its answer. Another answer of the same kind
from the paragraph mostly contradicts; a passage without the answer is neutral.

Run: python recipes/nano/questions.py --data DATA --out questions.jsonl
"""

import argparse
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pairs import CONTRADICTED, ENTAILED, NEUTRAL, Pair, Shares, cut, write_pairs

from debertav3.tasks.tables import read_table

SQUAD = ("train-v2.0-slice", "train-from-dev-v2.0", "train-new-wiki-v1.1", "covid_qa")
WRONG_ANSWER = Shares(0, 0.25, 0.75)
NOT_IN_SENTENCE = Shares(0, 0.9, 0.1)
MOST_ANSWER_WORDS = 12
LEAST_WORDS = 5
"""Of a premise."""
AUXILIARIES = "is|are|was|were|can|could|will|would|should|has|have|had|may|might|must"
WHO = re.compile(r"^who\s+(\S+?(?:ed|s)|led|won|wrote|built|made|gave|held|found)\s+(.+)$", re.IGNORECASE)
WHICH = re.compile(r"^(?:what|which)((?: [a-z]+){1,2}?)\s+(is|are|was|were)\s+(.+)$", re.IGNORECASE)
NOT_SUBJECT = re.compile(
    r"\b(year|years|day|date|month|time|century)\b|\b(in|on|at|of|for|to|by|with|from)$|(ed|en)$"
    r"| (it|he|she|they|there|you|we|i)\b",
    re.IGNORECASE,
)
"""In "which year was it sold" or "which city is it in" another word is the subject."""
COPULA = re.compile(r"^(?:what|who)\s+(is|are|was|were)\s+(.+)$", re.IGNORECASE)


class Asked(NamedTuple):
    """A question about a paragraph; without answer, the paragraph does not say."""

    question: str
    answer: str | None
    start: int


def statement(question: str, answer: str) -> str:
    """Question and answer as a statement where a rule applies, else one after the other."""
    bare, short = question.strip().rstrip("?").strip(), answer.strip().rstrip(".")
    if not 1 <= len(short.split()) <= MOST_ANSWER_WORDS:
        return _both(question, answer)
    if (found := COPULA.match(bare)) and found[2].split()[0].lower() in ("the", "a", "an"):
        return _sentence(f"{found[2]} {found[1]} {short}")
    if (found := WHO.match(bare)) and not re.fullmatch(AUXILIARIES, found[1].lower()):
        return _sentence(f"{short} {found[1]} {found[2]}")
    if (found := WHICH.match(bare)) and not NOT_SUBJECT.search(f"{found[1]} {found[3]}"):
        return _sentence(f"{short} {found[2]} {found[3]}")
    return _both(question, answer)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _both(question: str, answer: str) -> str:
    text = question.strip()
    return f"{text[:1].upper()}{text[1:].rstrip('?')}? {answer[:1].upper()}{answer[1:].rstrip('.')}."


def _sentences(context: str) -> list[tuple[int, str]]:
    """Sentences of a paragraph with where they start."""
    starts = [0, *(match.end() for match in re.finditer(r"[.!?][\"”)]?\s+(?=[A-Z\"“(])", context))]
    return [
        (start, context[start:stop].strip())
        for start, stop in zip(starts, [*starts[1:], len(context)], strict=True)
    ]


def _kind(answer: str) -> str:
    """Numbers, names or other words."""
    return "number" if re.search(r"\d", answer) else "name" if answer[:1].isupper() else "words"


def paragraph_pairs(context: str, asked: list[Asked], random: random.Random) -> Iterator[Pair]:
    """Pairs of one paragraph."""
    sentences = _sentences(context)
    answers = {one.answer for one in asked if one.answer}
    for one in asked:
        if one.answer is None:
            if answers:
                guess = random.choice(sorted(answers))
                premise = random.choice(sentences)[1]
                yield Pair(cut(premise), statement(one.question, guess), NOT_IN_SENTENCE)
            continue
        place = max(i for i, (start, _) in enumerate(sentences) if start <= one.start)
        first = max(0, place - random.choice([0, 0, 1]))
        premise = cut(" ".join(text for _, text in sentences[first : place + 1]))
        if one.answer.split()[0] not in premise:
            continue
        yield Pair(premise, statement(one.question, one.answer), ENTAILED)
        others = sorted(
            other for other in answers if other != one.answer and _kind(other) == _kind(one.answer)
        )
        if others and random.random() < 0.7:
            yield Pair(premise, statement(one.question, random.choice(others)), WRONG_ANSWER)
        far = [
            text
            for i, (_, text) in enumerate(sentences)
            if not first <= i <= place and one.answer not in text and len(text.split()) >= LEAST_WORDS
        ]
        if far and random.random() < 0.5:
            yield Pair(cut(random.choice(far)), statement(one.question, one.answer), NOT_IN_SENTENCE)


def squad_pairs(path: Path, random: random.Random) -> Iterator[Pair]:
    """Pairs of a file in SQuAD's form."""
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            asked = [
                Asked(row["question"], None, -1)
                if row["is_impossible"] or not row["answers"]
                else Asked(row["question"], row["answers"][0]["text"], row["answers"][0]["answer_start"])
                for row in paragraph["qas"]
            ]
            asked = random.sample(asked, min(len(asked), 6))
            short = [
                one for one in asked if one.answer is None or len(one.answer.split()) <= MOST_ANSWER_WORDS
            ]
            yield from paragraph_pairs(paragraph["context"], short, random)


def boolq_pairs(path: Path) -> Iterator[Pair]:
    """Yes-or-no questions with either answer."""
    for row in read_table(path):
        holds = str(row.fields["label"]).lower() == "true"
        passage = cut(str(row.fields["passage"]).split(" -- ", 1)[-1])
        for answer, right in (("Yes", True), ("No", False)):
            shares = ENTAILED if right == holds else CONTRADICTED
            yield Pair(passage, _both(row.fields["question"], answer), shares)


def qnli_pairs(path: Path) -> Iterator[Pair]:
    """Whether a sentence answers a question, said as a statement about it."""
    for row in read_table(path):
        shares = ENTAILED if row.fields["label"] == "entailment" else NEUTRAL
        question = row.fields["question"].strip().rstrip("?")
        yield Pair(cut(row.fields["sentence"]), f"This answers the question: {question}?", shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public data")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    draws = random.Random(arguments.seed)
    pairs = [pair for name in SQUAD for pair in squad_pairs(arguments.data / "squad" / f"{name}.json", draws)]
    pairs += boolq_pairs(arguments.data / "glue" / "boolq_train.jsonl.gz")
    pairs += qnli_pairs(arguments.data / "glue" / "qnli_train.jsonl.gz")
    print(f"{write_pairs(arguments.out, pairs, source='questions', seed=arguments.seed):,} pairs")


if __name__ == "__main__":
    main()
