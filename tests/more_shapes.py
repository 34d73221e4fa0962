"""Files as Kaggle, the Hub and other programs leave them: the right reading beside each, or the refusal."""

import json
from collections.abc import Callable

from shapes import BIG, FILMS, MET, NLI, SQUAD, TOPICS, Shape, lines

QUESTION = [(("Who sings?", "Ann", "Bob", "Eve"), "1")]
ABOUT = [(("Ann went out.", "Where? home", "Where? out"), "1")]
ROWS = [{"text": texts[0], "label": label} for texts, label in FILMS]
RUSSIAN = [(("хороший фильм был вчера",), "да"), (("плохой фильм",), "нет"), (("добрый фильм",), "да")]
JAPANESE = [(("この映画はとても面白かったです",), "良い"), (("この映画はつまらない",), "悪い")]
PARAGRAPH = {
    "context": "Ann lives here.",
    "qas": [{"id": 1, "question": "Who?", "answers": [{"text": "Ann", "answer_start": "0"}]}],
}


def csv_of(*rows: str, head: str = "text,label") -> str:
    return "\n".join((head, *rows)) + "\n"


def table(rows: list[tuple[tuple[str, ...], str]]) -> str:
    return csv_of(*(f"{texts[0]},{label}" for texts, label in rows))


def tagged(*sentences: tuple[tuple[str, ...], tuple[str, ...]], order: int = 1) -> str:
    return "\n".join(
        "".join("\t".join((word, tag)[::order]) + "\n" for word, tag in zip(*one, strict=True))
        for one in sentences
    )


def respelled(spell: Callable[[str], str]) -> str:
    return tagged(*((words, tuple(map(spell, tags))) for words, tags in (MET, BIG)))


MORE_SHAPES = {
    "COPA's XML": Shape(
        "copa",
        "copa-dev.xml",
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE copa-corpus SYSTEM "copa.dtd">\n<copa-corpus>\n'
        '<item id="1" asks-for="cause" most-plausible-alternative="1">\n<p>Ann slept.</p>\n'
        "<a1>She was tired.</a1>\n<a2>She ran.</a2>\n</item>\n</copa-corpus>\n",
        [(("Ann slept. What was the cause of this?", "She was tired.", "She ran."), "0")],
    ),
    "ARC's CSV": Shape(
        "arc",
        "ARC-Easy-Dev.csv",
        csv_of(
            '1,C,"Who sings? (A) Ann (B) Bob (C) Eve",Dev',
            '2,1,"Who runs? (1) Ann (2) Bob (3) Eve",Dev',
            head="questionID,AnswerKey,question,category",
        ),
        [(("Who sings?", "Ann", "Bob", "Eve"), "2"), (("Who runs?", "Ann", "Bob", "Eve"), "0")],
    ),
    "OpenBookQA on the Hub": Shape(
        "arc",
        "x.jsonl",
        lines(
            {
                "id": "7",
                "question_stem": "Who sings?",
                "choices": {"text": ["Ann", "Bob", "Eve"], "label": ["A", "B", "C"]},
                "answerKey": "B",
            }
        ),
        QUESTION,
    ),
    "a column for each choice": Shape(
        "choice", "x.csv", csv_of("Who sings?,Ann,Bob,Eve,B", head="prompt,A,B,C,answer"), QUESTION
    ),
    "the right choice by its text": Shape(
        "choice", "x.csv", csv_of("Who sings?,Ann,Bob,Eve,Bob", head="question,opa,opb,opc,answer"), QUESTION
    ),
    "the right choice by its column": Shape(
        "choice",
        "x.csv",
        csv_of("Who sings?,Ann,Bob,Eve,option2", head="question,option1,option2,option3,answer"),
        QUESTION,
    ),
    "choices under names of the user": Shape(
        "choice",
        "x.csv",
        csv_of("Ann went out.;Where?;home;out;1", head="Text;Frage;eins;zwei;richtig"),
        ABOUT,
        {
            "text_column": "Text",
            "pair_column": "Frage",
            "choice_columns": ("eins", "zwei"),
            "label_column": "richtig",
        },
    ),
    "choices without header": Shape(
        "choice",
        "x.csv",
        "Who sings?,Ann,Bob,Eve,B\n",
        QUESTION,
        {"header": False, "text_column": "1", "choice_columns": ("2", "3", "4"), "label_column": "5"},
    ),
    "choices by letter": Shape(
        "race",
        "x.jsonl",
        lines(
            {
                "context": "Ann went out.",
                "query": "Where?",
                "options": {"A": "home", "B": "out"},
                "answer": "B",
            }
        ).encode(),
        ABOUT,
    ),
    "a right answer among wrong ones": Shape(
        "choice",
        "x.jsonl",
        lines({"question": "Who sings?", "no1": "Ann", "correct_answer": "Bob", "no2": "Eve"}),
        QUESTION,
        {"choice_columns": ("no1", "correct_answer", "no2")},
    ),
    "messages": Shape(
        "custom",
        "x.jsonl",
        lines(
            *(
                {
                    "messages": [
                        {"role": "system", "content": "Say what it is."},
                        {"role": "user", "content": texts[0]},
                        {"role": "assistant", "content": label},
                    ]
                }
                for texts, label in FILMS
            )
        ),
        FILMS,
    ),
    "conversations with a label": Shape(
        "custom",
        "x.jsonl",
        lines(
            *(
                {
                    "messages": [
                        {"role": "user", "content": texts[0]},
                        {"role": "assistant", "content": "Thanks."},
                    ],
                    "label": label,
                }
                for texts, label in FILMS
            )
        ),
        [((f"{texts[0]}\nThanks.",), label) for texts, label in FILMS],
    ),
    "conversations": Shape(
        "custom",
        "x.json",
        json.dumps(
            [
                {"conversations": [{"from": "human", "value": texts[0]}, {"from": "gpt", "value": label}]}
                for texts, label in FILMS
            ]
        ),
        FILMS,
    ),
    "sets in cells": Shape(
        "custom",
        "x.csv",
        csv_of(
            "a house by the lake,\"{'house', 'lake'}\"",
            "a boat,{'boat'}",
            "a boat on the lake,\"('lake', 'boat')\"",
        ),
        TOPICS,
    ),
    "lists without quotes in cells": Shape(
        "custom",
        "x.csv",
        csv_of('a house by the lake,"[house, lake]"', "a boat,[boat]", 'a boat on the lake,"{lake,boat}"'),
        TOPICS,
    ),
    "tags in angle brackets": Shape(
        "custom",
        "x.csv",
        csv_of("a house by the lake,<house><lake>", "a boat,<boat>", "a boat on the lake,<lake><boat>"),
        TOPICS,
    ),
    "labels on lines of a cell": Shape(
        "custom",
        "x.csv",
        csv_of('a house by the lake,"house\nlake"', "a boat,boat", 'a boat on the lake,"lake\nboat"'),
        TOPICS,
    ),
    "labels between slashes, as the user says": Shape(
        "custom",
        "x.csv",
        csv_of("a house by the lake,house/lake", "a boat,boat", "a boat on the lake,lake/boat"),
        TOPICS,
        {"label_kind": "several-labels"},
    ),
    "labels called nan": Shape(
        "custom", "x.csv", table([*FILMS, (("what",), "nan"), (("x",), "<NA>")]), FILMS
    ),
    "labels with a fraction": Shape(
        "custom",
        "x.csv",
        csv_of("a b,1.0", "c d,0.0", "e f,1"),
        [(("a b",), "1"), (("c d",), "0"), (("e f",), "1")],
    ),
    "True and False": Shape(
        "custom",
        "x.csv",
        csv_of("a b,True", "c d,FALSE", "e f,true"),
        [(("a b",), "true"), (("c d",), "false"), (("e f",), "true")],
    ),
    "names with spaces and capitals": Shape(
        "sst2",
        "x.csv",
        csv_of("a fine film,1", "a dull film,0", head=" Sentence , LABEL "),
        [(("a fine film",), "positive"), (("a dull film",), "negative")],
    ),
    "a label column in French": Shape(
        "custom", "x.csv", table(FILMS).replace("text,label", "commentaire,étiquette"), FILMS
    ),
    "a text that is a number": Shape(
        "custom",
        "x.jsonl",
        lines({"text": 2012, "label": "bad"}, {"text": "a fine film", "label": "good"}),
        [(("2012",), "bad"), (("a fine film",), "good")],
    ),
    "three kinds of line ends": Shape(
        "custom", "x.csv", b"text,label\r\na fine film,good\na dull film,bad\rso so,good\n", FILMS
    ),
    "UTF-16 without its mark": Shape("custom", "x.csv", table(FILMS).encode("utf-16-le"), FILMS),
    "UTF-32": Shape("custom", "x.csv", table(FILMS).encode("utf-32"), FILMS),
    "JSON lines in UTF-16": Shape("custom", "x.jsonl", lines(*ROWS).encode("utf-16"), FILMS),
    "Cyrillic of Windows": Shape("custom", "x.csv", table(RUSSIAN).encode("cp1251"), RUSSIAN),
    "Shift-JIS": Shape("custom", "x.csv", table(JAPANESE).encode("cp932"), JAPANESE),
    "quotes in texts between commas": Shape(
        "custom",
        "x.csv",
        csv_of('a "fine" film,good', '"a" dull film,bad', "so so,good").encode(),
        [(('a "fine" film',), "good"), (('"a" dull film',), "bad"), (("so so",), "good")],
    ),
    "rows deep within": Shape(
        "custom", "x.json", json.dumps({"meta": {"v": 1}, "payload": {"items": ROWS}}), FILMS
    ),
    "a path to the rows": Shape(
        "custom",
        "x.json",
        json.dumps({"a": {"items": ROWS}, "b": {"items": ROWS[:1]}}),
        FILMS,
        {"records": "a.items"},
    ),
    "two lists as one": Shape(
        "custom",
        "x.json",
        json.dumps({"train": ROWS[:2], "more": ROWS[2:]}),
        FILMS,
        {"records": "train,more"},
    ),
    "columns for each split": Shape(
        "custom",
        "x.json",
        json.dumps(
            {
                "train": {name: [row[name] for row in ROWS] for name in ("text", "label")},
                "test": {"text": ["x"], "label": ["good"]},
            }
        ),
        FILMS,
        {"records": "train"},
    ),
    "rows by name": Shape(
        "custom", "x.json", json.dumps({f"r{n}": row for n, row in enumerate(ROWS)}).encode(), FILMS
    ),
    "fields within fields": Shape(
        "custom",
        "x.jsonl",
        lines(*({"data": {"text": row["text"]}, "gold": {"label": row["label"]}} for row in ROWS)),
        FILMS,
        {"text_column": "data.text", "label_column": "gold.label"},
    ),
    "lists on lines": Shape(
        "custom", "x.jsonl", lines(*([row["text"], row["label"]] for row in ROWS)), FILMS
    ),
    "commas after objects": Shape("custom", "x.jsonl", lines(*ROWS).replace("}\n", "},\n").encode(), FILMS),
    "objects as Python prints them": Shape(
        "custom", "x.jsonl", "".join(f"{row}\n" for row in ROWS).encode(), FILMS
    ),
    "IOB1": Shape(
        "ner",
        "x.conll",
        "Anna I-PER\nmet O\nBob I-PER\n\nRome I-LOC\nParis B-LOC\n",
        [(("Anna", "met", "Bob"), ("I-PER", "O", "I-PER")), (("Rome", "Paris"), ("I-LOC", "B-LOC"))],
    ),
    "BMES": Shape(
        "ner",
        "x.conll",
        "罗 B-LOC\n马 M-LOC\n城 E-LOC\n好 S-PER\n",
        [(("罗", "马", "城", "好"), ("B-LOC", "I-LOC", "E-LOC", "S-PER"))],
    ),
    "the kind before the prefix": Shape(
        "ner",
        "x.conll",
        tagged(
            *(
                (words, tuple(tag if tag == "O" else f"{tag[2:]}-{tag[0]}" for tag in tags))
                for words, tags in (MET, BIG)
            )
        ),
        [MET, BIG],
    ),
    "an underscore after the prefix": Shape(
        "ner",
        "x.conll",
        respelled(lambda tag: tag.replace("-", "_")),
        [MET, BIG],
    ),
    "a dash for no entity": Shape(
        "ner",
        "x.conll",
        respelled(lambda tag: "-" if tag == "O" else tag),
        [MET, BIG],
    ),
    "tags before words": Shape("ner", "x.txt", tagged(MET, BIG, order=-1), [MET, BIG]),
    "a text and its tags": Shape(
        "ner",
        "x.csv",
        csv_of('Anna met Bob,"B-PER,O,B-PER"', 'So it is,"O,O,O"', head="sentence,word_labels"),
        [(("Anna", "met", "Bob"), ("B-PER", "O", "B-PER")), (("So", "it", "is"), ("O", "O", "O"))],
    ),
    "a text and a list of tags": Shape(
        "ner",
        "x.csv",
        csv_of("1,Anna met Bob,\"['B-PER', 'O', 'B-PER']\"", head="Sentence #,Sentence,Tag"),
        [(("Anna", "met", "Bob"), ("B-PER", "O", "B-PER"))],
    ),
    "SQuAD's paragraphs": Shape("squad1", "x.json", json.dumps([PARAGRAPH]), SQUAD),
    "an answer in columns": Shape(
        "squad1",
        "x.csv",
        csv_of("Ann lives here.,Who?,0,Ann", head="context,question,answer_start,text"),
        SQUAD,
    ),
    "an answer without its place": Shape(
        "squad1",
        "x.csv",
        csv_of("Ann lives here.,Who?,Ann", head="passage,q,a"),
        SQUAD,
        {"text_column": "q", "pair_column": "passage", "label_column": "a"},
    ),
    "numbers of NLI": Shape(
        "nli",
        "x.csv",
        csv_of(
            *(f"{b},{n},{a}" for ((a, b), _), n in zip(NLI, (0, 2, 1), strict=True)),
            head="hypothesis,label,premise",
        ),
        NLI,
    ),
}
_TAGS = [f"{first}/{second}" for first in "abcde" for second in "fghij"]
REFUSED = {
    "columns of one name": (
        "custom",
        "x.csv",
        csv_of("a b,x,y", head="text,label,label"),
        {},
        "two are called 'label'",
    ),
    "choices that may count from 1": (
        "choice",
        "x.csv",
        csv_of("Who?,Ann,Bob,2", head="question,option1,option2,answer"),
        {},
        "count from 0 or from 1",
    ),
    "a choice that is a number or a text": (
        "choice",
        "x.jsonl",
        lines({"question": "How many?", "choices": ["1", "0", "2"], "answer": "1"}),
        {},
        "or its text",
    ),
    "percentages": (
        "custom",
        "x.csv",
        csv_of("a b,45%", "c d,5%", "e f,7%", head="text,score"),
        {},
        "without %",
    ),
    "points between thousands": (
        "custom",
        "x.csv",
        csv_of('a b;"1.234,50"', "c d;3,0", head="text;price"),
        {"label_column": "price", "label_kind": "number"},
        "such as 1234.5",
    ),
    "several splits": ("custom", "x.json", json.dumps({"train": ROWS, "test": ROWS}), {}, "--records train"),
    "texts as keys": (
        "custom",
        "x.json",
        json.dumps({texts[0]: label for texts, label in FILMS}),
        {},
        r"rows are a list: \[",
    ),
    "fields within fields": (
        "custom",
        "x.jsonl",
        lines({"data": {"text": "a b"}, "gold": {"label": "x"}}),
        {},
        "data.text, gold.label",
    ),
    "an answer that is there twice": (
        "squad1",
        "x.csv",
        csv_of("Ann met Ann.,Who?,Ann", head="context,question,answer"),
        {},
        "2 times; say which with answer_start",
    ),
    "words without tags": ("ner", "x.csv", csv_of("a b,x", head="id,note"), {}, "--text-column, and that of"),
    "slashes between labels": (
        "custom",
        "x.csv",
        csv_of(*(f"text {number},{cell}" for number, cell in enumerate(_TAGS))),
        {},
        "--label-kind several-labels",
    ),
}
"""Files that may mean two things, and what the refusal says."""
