"""Files in the shapes that practitioners hold, with made-up contents, and the right reading beside each."""

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Shape:
    """A file, the task, what the user says, and the right reading of its rows."""

    task: str
    name: str
    content: str | bytes
    rows: list[tuple[tuple[str, ...], Any]]
    said: dict[str, Any] = field(default_factory=dict)


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


FILMS = [(("a fine film",), "good"), (("a dull film",), "bad"), (("so so",), "good")]
NLI = [
    (("Ann sings.", "She is loud."), "entailment"),
    (("Ann sings.", "She sleeps."), "contradiction"),
    (("Ann sings.", "It rains."), "neutral"),
]
TOPICS = [
    (("a house by the lake",), ("house", "lake")),
    (("a boat",), ("boat",)),
    (("a boat on the lake",), ("boat", "lake")),
]
CHOICES = [(("Ann went out.", "Where? home", "Where? out"), "1")]
SQUAD = [(("Who?", "Ann lives here."), "Ann")]
MET = (("Anna", "met", "Bob", "in", "Rome", "."), ("B-PER", "O", "B-PER", "O", "B-LOC", "O"))
BIG = (("Rome", "is", "big", "."), ("B-LOC", "O", "O", "O"))
PLACES = [[0, 4, "PER"], [9, 12, "PER"], [16, 20, "LOC"]]


def region(start: int, end: int, label: str) -> dict[str, Any]:
    """An entity as Label Studio exports it."""
    value = {"start": start, "end": end, "labels": [label]}
    return {"from_name": "label", "to_name": "text", "type": "labels", "value": value}


def squad(text: str, start: int) -> str:
    question = {"id": "1", "question": "Who?", "answers": [{"text": text, "answer_start": start}]}
    return json.dumps(
        {"data": [{"title": "t", "paragraphs": [{"context": "Ann lives here.", "qas": [question]}]}]}
    )


SHAPES = {
    "table without header in .txt": Shape(
        "custom",
        "x.txt",
        "Wie nett ist das denn\tOTHER\tOTHER\nDu bist dumm\tOFFENSE\tINSULT\nBis dann\tOTHER\tOTHER\n",
        [
            (("Wie nett ist das denn",), "OTHER"),
            (("Du bist dumm",), "OFFENSE"),
            (("Bis dann",), "OTHER"),
        ],
        {"label_column": "2"},
    ),
    "columns in .txt are named": Shape(
        "custom",
        "x.txt",
        "id,note,mood\n1,a fine film,good\n2,a dull film,bad\n3,so so,good\n",
        FILMS,
        {"text_column": "note", "label_column": "mood"},
    ),
    "SICK": Shape(
        "nli",
        "SICK_train.txt",
        "pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment\n"
        + "".join(f"{n}\t{a}\t{b}\t4\t{label.upper()}\n" for n, ((a, b), label) in enumerate(NLI)),
        NLI,
    ),
    "SICK's scores": Shape(
        "custom",
        "x.txt",
        "pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment\n1\ta b\tc d\t4.5\tX\n"
        "2\te f\tg h\t1.5\tY\n",
        [(("a b", "c d"), 4.5), (("e f", "g h"), 1.5)],
        {"label_column": "relatedness_score", "label_kind": "number"},
    ),
    "index column": Shape(
        "custom",
        "x.csv",
        ",text,label\n0,a fine film,1\n1,dull,0\n",
        [(("a fine film",), "1"), (("dull",), "0")],
    ),
    "pandas' own index name": Shape(
        "custom",
        "x.csv",
        "Unnamed: 0,review,mood_class\n0,a fine film,good\n1,a dull film,bad\n2,so so,good\n",
        FILMS,
    ),
    "one-hot columns": Shape(
        "custom",
        "x.csv",
        '"id","comment_text","rude","threat"\n"1","You","1","1"\n'
        '"2","Thanks, all","0","0"\n"3","I come","0","1"\n',
        [(("You",), ("rude", "threat")), (("Thanks, all",), ()), (("I come",), ("threat",))],
    ),
    "one-hot columns, some of them named": Shape(
        "custom",
        "x.csv",
        "comment_text,a,b,c\nYou,1,1,0\nThanks,0,0,1\nMe,1,0,0\n",
        [(("You",), ("a",)), (("Thanks",), ("c",)), (("Me",), ("a",))],
        {"label_column": "a,c"},
    ),
    "lists as Python writes them": Shape(
        "custom",
        "x.csv",
        "text,labels\na house by the lake,\"['house', 'lake']\"\n"
        "a boat,\"['boat']\"\na boat on the lake,\"['lake', 'boat']\"\n",
        TOPICS,
    ),
    "lists as numpy writes them": Shape(
        "custom",
        "x.csv",
        "text,labels\na house by the lake,\"['house' 'lake']\"\n"
        "a boat,\"['boat']\"\na boat on the lake,\"['lake' 'boat']\"\n",
        TOPICS,
    ),
    "labels with commas": Shape(
        "custom",
        "x.csv",
        'text,labels\na house by the lake,"house, lake"\na boat,boat\na boat on the lake,"lake,boat"\n',
        TOPICS,
    ),
    "labels with semicolons": Shape(
        "custom",
        "x.tsv",
        "labels\ttext\nhouse;lake\ta house by the lake\nboat\ta boat\nlake; boat\ta boat on the lake\n",
        TOPICS,
    ),
    "commas within names of labels": Shape(
        "custom",
        "x.csv",
        'text,label\na b,"Rome, Italy"\nc d,"Paris, France"\ne f,"Rome, Italy"\n',
        [(("a b",), "Rome, Italy"), (("c d",), "Paris, France"), (("e f",), "Rome, Italy")],
    ),
    "cats": Shape(
        "custom",
        "x.jsonl",
        lines(
            {"text": "a house by the lake", "cats": {"boat": 0.0, "house": 1.0, "lake": 1.0}},
            {"text": "a boat", "cats": {"boat": 1.0, "house": 0.0, "lake": 0.0}},
            {"text": "a boat on the lake", "cats": {"boat": 1.0, "house": 0.0, "lake": 1.0}},
        ),
        TOPICS,
    ),
    "a template that is longer than the text": Shape(
        "custom",
        "x.csv",
        "kind,case_text,gold_mood,templ\na,I like you.,good,I like [A_WHOLE_GROUP].\n"
        "a,I like her.,good,I like [A_WHOLE_GROUP].\nb,I hate you.,bad,I hate [A_WHOLE_GROUP].\n",
        [(("I like you.",), "good"), (("I like her.",), "good"), (("I hate you.",), "bad")],
    ),
    "text beats the longest": Shape(
        "custom",
        "x.csv",
        "note,text,label\na very long remark on it,short,1\nanother very long remark,brief,0\n",
        [(("short",), "1"), (("brief",), "0")],
    ),
    "text and text_b": Shape(
        "custom",
        "x.tsv",
        "text\ttext_b\tlabel\nwho?\tThe team won it.\t1\nwhere?\tIt was here.\t0\n",
        [(("who?", "The team won it."), "1"), (("where?", "It was here."), "0")],
    ),
    "SQuAD": Shape("squad1", "x.json", squad("Ann", 0), SQUAD),
    "an answer one character late": Shape("squad2", "x.json", squad("Ann ", 1), SQUAD),
    "SQuAD as pandas writes it": Shape(
        "squad1",
        "x.csv",
        "id,question,context,answers\n1,Who?,Ann lives here.,\"{'text': array(['Ann'], dtype=object), "
        "'answer_start': array([0], dtype=int32)}\"\n",
        SQUAD,
    ),
    "ANLI": Shape(
        "nli",
        "x.jsonl",
        lines(
            *(
                {"uid": "a", "context": a, "hypothesis": b, "label": label[0], "reason": "x"}
                for (a, b), label in NLI
            )
        ),
        NLI,
    ),
    "WANLI": Shape(
        "nli",
        "x.jsonl",
        lines(*({"id": 1, "premise": a, "hypothesis": b, "gold": label} for (a, b), label in NLI)),
        NLI,
    ),
    "FEVER-NLI": Shape(
        "nli",
        "x.jsonl",
        lines(
            *(
                {"cid": 1, "context": a, "query": b, "label": label}
                for ((a, b), _), label in zip(NLI, ("SUPPORTS", "REFUTES", "NOT ENOUGH INFO"), strict=True)
            )
        ),
        NLI,
    ),
    "SciTail in TSV": Shape(
        "nli",
        "x.tsv",
        "Ann sings.\tShe is loud.\tentails\nAnn sings.\tIt rains.\tneutral\n"
        "Ann sings.\tShe sings.\tentails\n",
        [NLI[0], NLI[2], (("Ann sings.", "She sings."), "entailment")],
    ),
    "SciTail in the form of DGEM": Shape(
        "nli",
        "x.tsv",
        "Ann sings.\tShe is loud.\tentails\tShe<>is<>loud\nAnn sings.\tIt rains.\tneutral\tIt<>rains\n"
        "Ann sings.\tShe sings.\tentails\tx<>y\n",
        [NLI[0], NLI[2], (("Ann sings.", "She sings."), "entailment")],
    ),
    "SciTail in the form of SNLI": Shape(
        "nli",
        "x.txt",
        lines(
            *({"gold_label": label, "sentence1": a, "sentence2": b, "answer": "x"} for (a, b), label in NLI)
        ),
        NLI,
    ),
    "HANS": Shape(
        "nli",
        "x.txt",
        "gold_label\tsentence1_binary_parse\tsentence1\tsentence2\tpairID\n"
        "non-entailment\t( a )\tA saw B .\tB saw A .\t0\n"
        "entailment\t( a )\tA saw B .\tA saw B .\t1\n",
        [(("A saw B .", "B saw A ."), "not_entailment"), (("A saw B .", "A saw B ."), "entailment")],
    ),
    "RTE": Shape(
        "rte",
        "x.xml",
        '<?xml version="1.0" encoding="UTF-8"?>\n<entailment-corpus>\n'
        '<pair id="1" entailment="YES" task="IE"><t>Ann sings.</t><h>She\nis loud.</h></pair>\n'
        '<pair id="2" entailment="NO" task="IE"><t>Ann sings.</t><h>She sleeps.</h></pair>\n'
        "</entailment-corpus>\n",
        [NLI[0], (NLI[1][0], "not_entailment")],
    ),
    "RTE with three labels": Shape(
        "nli",
        "x.xml",
        "<corpus>\n"
        + "".join(
            f'<pair id="{n}" entailment="{name}"><t>{a}</t><h>{b}</h></pair>'
            for n, (((a, b), _), name) in enumerate(
                zip(NLI, ("ENTAILMENT", "CONTRADICTION", "UNKNOWN"), strict=True)
            )
        )
        + "</corpus>",
        NLI,
    ),
    "STS-B": Shape(
        "stsb",
        "sts-train.csv",
        'main\tcap\t2012\t0001\t2.5\tA man walks.\tA "tall man walks.\tsource\n'
        'main\tcap\t2012\t0002\t1.0\t"A dog\tRain.\nmain\tnews\t2013\t0004\t5\tSun.\tSun.\n',
        [(("A man walks.", 'A "tall man walks.'), 2.5), (('"A dog', "Rain."), 1.0), (("Sun.", "Sun."), 5.0)],
    ),
    "CoLA": Shape(
        "cola",
        "in_domain_train.tsv",
        "gj04\t1\t\tWe went out.\ngj04\t0\t*\tWent we out.\nks08\t1\t\tThey did.\n",
        [(("We went out.",), "1"), (("Went we out.",), "0"), (("They did.",), "1")],
    ),
    "MRPC": Shape(
        "mrpc",
        "msr_paraphrase_train.txt",
        'Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\tHe said "no.\tHe refused.\n'
        "0\t7\t9\tIt rains.\tNo.\n",
        [(('He said "no.', "He refused."), "1"), (("It rains.", "No."), "0")],
    ),
    "columns by name, of pandas": Shape(
        "custom",
        "x.json",
        json.dumps(
            {
                "text": {str(n): texts[0] for n, (texts, _) in enumerate(FILMS)},
                "label": {str(n): label for n, (_, label) in enumerate(FILMS)},
            }
        ),
        FILMS,
    ),
    "rows under a key": Shape(
        "custom",
        "x.json",
        json.dumps(
            {"version": "1", "examples": [{"text": texts[0], "label": label} for texts, label in FILMS]}
        ),
        FILMS,
    ),
    "one of several keys": Shape(
        "custom",
        "x.json",
        json.dumps({"train": [[texts[0], label] for texts, label in FILMS], "test": [["x", "good"]]}),
        FILMS,
        {"records": "train"},
    ),
    "objects on several lines": Shape(
        "custom",
        "x.jsonl",
        "\n".join(json.dumps({"text": texts[0], "label": label}, indent=2) for texts, label in FILMS),
        FILMS,
    ),
    "no header, several labels": Shape(
        "custom",
        "x.tsv",
        "I like it\t2,3\tab1\nNo way\t0\tab2\nOh well\t2,18,27\tab3\n",
        [(("I like it",), ("2", "3")), (("No way",), ("0",)), (("Oh well",), ("18", "2", "27"))],
        {"text_column": "1", "label_column": "2"},
    ),
    "no header, as the user says": Shape(
        "custom",
        "x.csv",
        "one fine film,good\ntwo,bad\nthree,good\n",
        [(("one fine film",), "good"), (("two",), "bad"), (("three",), "good")],
        {"header": False},
    ),
    "RACE": Shape(
        "race",
        "1.txt",
        json.dumps(
            {
                "article": "Ann went out.",
                "questions": ["Where?"],
                "options": [["home", "out"]],
                "answers": ["B"],
                "id": "high1.txt",
            }
        ),
        CHOICES,
    ),
    "ARC": Shape(
        "arc",
        "x.jsonl",
        lines(
            {
                "id": "a",
                "question": {
                    "stem": "Who?",
                    "choices": [{"text": "Ann", "label": "A"}, {"text": "Bob", "label": "B"}],
                },
                "answerKey": "B",
            }
        ),
        [(("Who?", "Ann", "Bob"), "1")],
    ),
    "CommonsenseQA": Shape(
        "commonsenseqa",
        "x.jsonl",
        lines(
            {
                "answerKey": "A",
                "id": "a",
                "question": {
                    "question_concept": "x",
                    "choices": [{"label": "A", "text": "Ann"}, {"label": "B", "text": "Bob"}],
                    "stem": "Who?",
                },
            }
        ),
        [(("Who?", "Ann", "Bob"), "0")],
    ),
    "CosmosQA": Shape(
        "cosmosqa",
        "x.jsonl",
        lines(
            {
                "context": "Ann went out.",
                "question": "Where?",
                **{f"answer{n}": text for n, text in enumerate(("home", "out", "up", "down"))},
                "label": "3",
            }
        ),
        [(("Ann went out.", "Where? home", "Where? out", "Where? up", "Where? down"), "3")],
    ),
    "PIQA": Shape(
        "piqa",
        "x.jsonl",
        lines({"goal": "Go.", "sol1": "Walk.", "sol2": "Sit.", "label": 1}),
        [(("Go.", "Walk.", "Sit."), "1")],
    ),
    "DREAM": Shape(
        "dream",
        "x.json",
        json.dumps(
            [
                [
                    ["A: Hi.", "B: Out."],
                    [{"question": "Where?", "choice": ["home", "out"], "answer": "out"}],
                    "1-1",
                ]
            ]
        ),
        [(("A: Hi.\nB: Out.", "Where? home", "Where? out"), "1")],
    ),
    "Winogrande": Shape(
        "winogrande",
        "x.jsonl",
        lines({"sentence": "Ann saw Eve when _ sang.", "option1": "Ann", "option2": "Eve", "answer": "2"}),
        [(("Ann saw Eve when", "Ann sang.", "Eve sang."), "1")],
    ),
    "empty columns": Shape(
        "custom", "x.csv", "v1,v2,,,\ngood,a fine film,,,\nbad,a dull film,,,\ngood,so so,,,\n", FILMS
    ),
    "fastText": Shape(
        "custom", "x.txt", "__label__good a fine film\n__label__bad a dull film\n__label__good so so\n", FILMS
    ),
    "fastText with several labels": Shape(
        "custom",
        "x.train",
        "__label__house __label__lake a house by the lake\n__label__boat a boat\n"
        "__label__lake __label__boat a boat on the lake\n",
        TOPICS,
    ),
    "Latin-1": Shape(
        "custom",
        "x.csv",
        "text;label\nGrüße aus Köln und Straßburg;gut\nSchlecht;übel\nGut;gut\n".encode("latin-1"),
        [(("Grüße aus Köln und Straßburg",), "gut"), (("Schlecht",), "übel"), (("Gut",), "gut")],
    ),
    "an encoding that is said": Shape(
        "custom",
        "x.csv",
        "text,label\nδλψ,μη\nφψς,ωξ\n".encode("iso8859-7"),
        [(("δλψ",), "μη"), (("φψς",), "ωξ")],
        {"encoding": "iso8859-7"},
    ),
    "doccano": Shape(
        "ner",
        "x.jsonl",
        lines(
            {"id": 1, "text": "Anna met Bob in Rome.", "label": PLACES},
            {"id": 2, "text": "Rome is big.", "label": [[0, 4, "LOC"]]},
        ),
        [MET, BIG],
    ),
    "Label Studio": Shape(
        "ner",
        "x.json",
        json.dumps(
            [
                {
                    "id": 1,
                    "data": {"text": "Anna met Bob in Rome."},
                    "annotations": [{"id": 1, "result": [region(*place) for place in PLACES]}],
                },
                {
                    "id": 2,
                    "data": {"text": "Rome is big."},
                    "annotations": [{"id": 2, "result": [region(0, 4, "LOC")]}],
                },
            ]
        ),
        [MET, BIG],
    ),
    "Prodigy": Shape(
        "ner",
        "x.jsonl",
        lines(
            {
                "text": "Rome is big.",
                "tokens": [
                    {"text": "Rome", "start": 0, "end": 4, "id": 0},
                    {"text": "is", "start": 5, "end": 7, "id": 1},
                    {"text": "big", "start": 8, "end": 11, "id": 2},
                    {"text": ".", "start": 11, "end": 12, "id": 3},
                ],
                "spans": [{"start": 0, "end": 4, "token_start": 0, "token_end": 0, "label": "LOC"}],
                "answer": "accept",
            }
        ),
        [BIG],
    ),
    "GermEval": Shape(
        "ner",
        "x.tsv",
        "#\thttp://example.org/1\t[2020-01-01]\n"
        + "".join(f"{n}\t{word}\t{tag}\tO\n" for n, (word, tag) in enumerate(zip(*MET, strict=True), 1))
        + "\n"
        + "".join(f"{n}\t{word}\t{tag}\tO\n" for n, (word, tag) in enumerate(zip(*BIG, strict=True), 1))
        + "\n",
        [MET, BIG],
    ),
    "a word in each row": Shape(
        "ner",
        "x.csv",
        "Sentence #,Word,POS,Tag\n"
        + "".join(
            f"{'' if place else f'Sentence: {number}'},{word},X,{tag}\n"
            for number, rows in enumerate((MET, BIG), 1)
            for place, (word, tag) in enumerate(zip(*rows, strict=True))
        ),
        [MET, BIG],
    ),
    "spaCy": Shape(
        "ner",
        "x.json",
        json.dumps(
            [
                ["Anna met Bob in Rome.", {"entities": PLACES}],
                ["Rome is big.", {"entities": [[0, 4, "LOC"]]}],
            ]
        ),
        [MET, BIG],
    ),
    "features of datasets": Shape(
        "ner",
        "x.jsonl",
        lines(
            {"id": "0", "tokens": MET[0], "ner_tags": [1, 0, 1, 0, 3, 0]},
            {"id": "1", "tokens": BIG[0], "ner_tags": [3, 0, 0, 0]},
        ),
        [MET, BIG],
        {"tag_names": ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")},
    ),
    "a BEIR-like row": Shape(
        "rerank",
        "x.jsonl",
        lines(
            {"query": "who sings?", "passage": "Ann sings.", "relevance": 1},
            {"query": "who sings?", "passage": "It rains.", "relevance": 0},
        ),
        [(("who sings?", "Ann sings."), 1.0), (("who sings?", "It rains."), 0.0)],
    ),
    "SNIPS as classes": Shape(
        "custom",
        "x.json",
        json.dumps(
            {
                "Play": [{"data": [{"text": "play "}, {"text": "Rome", "entity": "song"}]}],
                "Stop": [{"data": [{"text": "be "}, {"text": "quiet"}]}],
            }
        ),
        [(("play Rome",), "Play"), (("be quiet",), "Stop")],
        {"label_column": "intent"},
    ),
    "SNIPS as entities": Shape(
        "ner",
        "x.json",
        json.dumps(
            {
                "Play": [
                    {"data": [{"text": "play "}, {"text": "new Rome", "entity": "song"}, {"text": " now"}]},
                    {"data": [{"text": "play it"}]},
                ],
            }
        ),
        [(("play", "new", "Rome", "now"), ("O", "B-song", "I-song", "O")), (("play", "it"), ("O", "O"))],
    ),
    "CLINC": Shape(
        "custom",
        "data_full.json",
        json.dumps(
            {
                "oos_val": [["set a wormhole", "oos"]],
                "val": [["move money", "transfer"]],
                "train": [["what have I got", "balance"], ["pay Bob", "transfer"], ["how much", "balance"]],
                "oos_train": [["how fat is fat", "oos"]],
            }
        ),
        [(("what have I got",), "balance"), (("pay Bob",), "transfer"), (("how much",), "balance")],
        {"records": "train"},
    ),
    "Banking77": Shape(
        "custom",
        "train.csv",
        'text,category\n"I am still waiting, why?",card_arrival\nWhat can I do?,card_linking\n'
        "Where is it?,card_arrival\n",
        [
            (("I am still waiting, why?",), "card_arrival"),
            (("What can I do?",), "card_linking"),
            (("Where is it?",), "card_arrival"),
        ],
    ),
    "XQuAD": Shape(
        "squad1",
        "xquad.de.json",
        json.dumps(
            {
                "data": [
                    {
                        "paragraphs": [
                            {
                                "context": "Köln liegt am Rhein.",
                                "qas": [
                                    {
                                        "answers": [{"answer_start": 14, "text": "Rhein"}],
                                        "id": "a",
                                        "question": "Wo liegt Köln?",
                                    }
                                ],
                            }
                        ],
                        "title": "Köln",
                    }
                ],
                "version": "1.1",
            },
            ensure_ascii=False,
        ),
        [(("Wo liegt Köln?", "Köln liegt am Rhein."), "Rhein")],
    ),
    "SWAG": Shape(
        "swag",
        "train.csv",
        ",video-id,fold-ind,startphrase,sent1,sent2,gold-source,ending0,ending1,ending2,ending3,label\n"
        "0,an,1,It rains. He,It rains.,He,gold,runs,sits,sings,reads,2\n",
        [(("It rains.", "He runs", "He sits", "He sings", "He reads"), "2")],
    ),
    "XNLI": Shape(
        "nli",
        "xnli.dev.tsv",
        "language\tgold_label\tsentence1_binary_parse\tsentence1\tsentence2\tpromptID\tpairID\tgenre\tlabel1\n"
        'de\tneutral\t\tUnd er\tEr "rief\t1\t1\tfacetoface\tcontradiction\n'
        "de\tentailment\t\tUnd er\tEr\t1\t1\tfacetoface\tneutral\n",
        [(("Und er", 'Er "rief'), "neutral"), (("Und er", "Er"), "entailment")],
    ),
    "tags by number": Shape(
        "ner",
        "x.csv",
        "id,w,t\n1,Anna met Bob,B-PER O B-PER\n2,So it is,O O O\n",
        [(("Anna", "met", "Bob"), ("B-PER", "O", "B-PER")), (("So", "it", "is"), ("O", "O", "O"))],
        {"text_column": "2", "label_column": "3"},
    ),
    "a title above the table": Shape(
        "custom",
        "x.csv",
        "Reviews of the year 2024\n\ntext,label\na fine film,good\na dull film,bad\nso so,good\n",
        FILMS,
    ),
    "a title as a spreadsheet writes it": Shape(
        "custom",
        "x.csv",
        "Reviews;;\nof 2024;;\nid;text;label\n1;a fine film;good\n2;a dull film;bad\n3;so so;good\n",
        FILMS,
    ),
    "comments above the table": Shape(
        "custom",
        "x.csv",
        "# made by a program\ntext,label\na fine film,good\na dull film,bad\nso so,good\n",
        FILMS,
    ),
    "what separates, said in the first line": Shape(
        "custom", "x.csv", "sep=;\ntext;label\na fine film;good\na dull film;bad\nso so;good\n", FILMS
    ),
    "two lines of names": Shape(
        "custom",
        "x.csv",
        "review,review,meta\ntext,label,date\na fine film,good,2024\na dull film,bad,2024\nso so,good,2023\n",
        FILMS,
    ),
    "pandas' columns of two levels": Shape(
        "custom",
        "x.csv",
        ",x,x\n,text,label\n0,a fine film,good\n1,a dull film,bad\n2,so so,good\n",
        FILMS,
    ),
    "pandas' index of two levels": Shape(
        "custom",
        "x.csv",
        ",,text,label\nx,0,a fine film,good\nx,1,a dull film,bad\ny,0,so so,good\n",
        FILMS,
    ),
    "empty columns before": Shape(
        "custom", "x.csv", ",,text,label\n,,a fine film,good\n,,a dull film,bad\n,,so so,good\n", FILMS
    ),
    "a row of totals": Shape(
        "custom",
        "x.csv",
        "text,label,votes\na fine film,good,3\na dull film,bad,4\nso so,good,5\n\nTotal,,12\n",
        FILMS,
    ),
    "a decimal comma": Shape(
        "custom",
        "x.csv",
        "text;score\na fine film;4,5\na dull film;1,25\nso so;3\n",
        [(("a fine film",), 4.5), (("a dull film",), 1.25), (("so so",), 3.0)],
        {"label_kind": "number"},
    ),
    "quotes of Windows": Shape(
        "custom",
        "x.csv",
        "text,label\n\u201ca fine film\u201d \u2013 really,good\nit\u2019s dull,bad\nso so,good\n".encode(
            "cp1252"
        ),
        [
            (("\u201ca fine film\u201d \u2013 really",), "good"),
            (("it\u2019s dull",), "bad"),
            (("so so",), "good"),
        ],
    ),
    "no header, a label that is the number of a column": Shape(
        "custom",
        "train.csv",
        '"3","Wall St. (Reuters)","Short-sellers are seen"\n"4","Science","A new thing is found"\n'
        '"3","Oil","Oil prices go up"\n',
        [
            (("Short-sellers are seen",), "3"),
            (("A new thing is found",), "4"),
            (("Oil prices go up",), "3"),
        ],
    ),
    "prompts and completions": Shape(
        "custom",
        "x.jsonl",
        lines(
            {"prompt": "a fine film", "completion": "good"},
            {"prompt": "a dull film", "completion": "bad"},
            {"prompt": "so so", "completion": "good"},
        ),
        FILMS,
    ),
    "Label Studio with cancelled annotations and several annotators": Shape(
        "ner",
        "x.json",
        json.dumps(
            [
                {
                    "id": 1,
                    "data": {"text": "Anna met Bob in Rome."},
                    "annotations": [
                        {"was_cancelled": True, "result": [region(0, 4, "LOC")]},
                        {"was_cancelled": False, "result": [region(*place) for place in PLACES]},
                    ],
                },
                {
                    "id": 2,
                    "data": {"text": "Rome is big."},
                    "annotations": [
                        {"result": [region(0, 4, "PER")]},
                        {"result": [region(0, 4, "LOC")], "ground_truth": True},
                    ],
                },
            ]
        ),
        [MET, BIG],
    ),
    "doccano with relations": Shape(
        "ner",
        "x.jsonl",
        lines(
            {
                "id": 1,
                "text": "Anna met Bob in Rome.",
                "entities": [
                    {"id": number, "label": label, "start_offset": start, "end_offset": end}
                    for number, (start, end, label) in enumerate(PLACES)
                ],
                "relations": [{"id": 1, "from_id": 0, "to_id": 1, "type": "met"}],
            }
        ),
        [MET],
    ),
    "nested entities": Shape(
        "ner",
        "x.jsonl",
        lines({"text": "Bank of Rome opened.", "label": [[8, 12, "LOC"], [0, 12, "ORG"]]}),
        [(("Bank", "of", "Rome", "opened", "."), ("B-ORG", "I-ORG", "I-ORG", "O", "O"))],
    ),
    "version 2 of spaCy": Shape(
        "ner",
        "x.json",
        json.dumps(
            [
                {
                    "id": 0,
                    "paragraphs": [
                        {
                            "raw": "Rome is big.",
                            "sentences": [
                                {
                                    "tokens": [
                                        {"id": place, "orth": word, "ner": tag}
                                        for place, (word, tag) in enumerate(zip(*BIG, strict=True))
                                    ],
                                    "brackets": [],
                                }
                            ],
                        }
                    ],
                }
            ]
        ),
        [BIG],
    ),
}
