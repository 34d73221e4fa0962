"""Files of annotation tools are read as their makers mean them, the same for training and for prediction."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from debertav3.inference.files.file_task import AnswerOptions
from debertav3.inference.files.row_answers_inside import NERTask
from debertav3.tasks.annotations.marks import Mark, tag_text
from debertav3.tasks.custom import custom_task
from debertav3.tasks.metrics import tag_entities
from debertav3.tasks.names import TASKS
from debertav3.tasks.tables import read_table
from debertav3.tasks.tagging import TaggingTask
from debertav3.tasks.words import split_words

Sentence = list[tuple[str, str]]

CITY = "Mia left Oslo, then Bergen."
RAIN = "It rained."
FIRST: Sentence = [
    ("Mia", "B-PER"),
    ("left", "O"),
    ("Oslo", "B-LOC"),
    (",", "O"),
    ("then", "O"),
    ("Bergen", "B-LOC"),
    (".", "O"),
]
SECOND: Sentence = [("It", "O"), ("rained", "O"), (".", "O")]
BOTH = [FIRST, SECOND]
SPANS: list[tuple[int, int, str]] = [(0, 3, "PER"), (9, 13, "LOC"), (20, 26, "LOC")]


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def region(start: int, end: int, label: str, text: str = CITY, **more: Any) -> dict[str, Any]:
    value = {"start": start, "end": end, "text": text[start:end], "labels": [label]}
    return {"from_name": "ent", "to_name": "doc", "type": "labels", "id": f"r{start}", "value": value, **more}


def studio(text: str, results: list[Any], **more: Any) -> dict[str, Any]:
    return {
        "id": len(text),
        "data": {"text": text, "source": "x"},
        "annotations": [{"result": results}],
        **more,
    }


def short(number: int, text: str, **more: Any) -> dict[str, Any]:
    return {"id": number, "text": text, "annotator": 1, "annotation_id": number, "lead_time": 3.5, **more}


def table(rows: list[dict[str, Any]], delimiter: str = ",") -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


REGIONS = [region(*span) for span in SPANS]
CELLS = [
    {"start": start, "end": end, "text": CITY[start:end], "labels": [label]} for start, end, label in SPANS
]
OBJECTS = [{"start": start, "end": end, "label": label} for start, end, label in SPANS]
TOKENS = [
    {"text": RAIN[start:end], "start": start, "end": end, "id": number}
    for number, (start, end) in enumerate(split_words(RAIN))
]


def words(sentences: list[Sentence], line: Callable[[int, str, str], str], *, before: str = "") -> str:
    """CoNLL's shape: lines of (number, word, tag), blank lines after sentences."""
    return "".join(
        before + "".join(line(number, *pair) + "\n" for number, pair in enumerate(rows, start=1)) + "\n"
        for rows in sentences
    )


def conllu(number: int, word: str, tag: str) -> str:
    return f"{number}\t{word}\t_\tX\t_\t_\t0\tdep\t_\tname={tag}|SpaceAfter=No"


CASES: dict[str, tuple[str, str, list[Sentence]]] = {
    # Name: file name, content, right reading.
    "doccano": (
        "a.jsonl",
        lines({"id": 7, "text": CITY, "label": SPANS}, {"id": 8, "text": RAIN, "label": [], "Comments": []}),
        BOTH,
    ),
    "doccano, first row without entities": (
        "a.jsonl",
        lines({"text": RAIN, "label": []}, {"text": CITY, "label": SPANS}),
        [SECOND, FIRST],
    ),
    "doccano, other names": ("a.json", json.dumps([{"data": CITY, "labels": SPANS}]), [FIRST]),
    "doccano with relations": (
        "a.jsonl",
        lines(
            {
                "text": CITY,
                "entities": [
                    {"id": n, "label": label, "start_offset": start, "end_offset": end}
                    for n, (start, end, label) in enumerate(SPANS)
                ],
                "relations": [{"id": 1, "from_id": 0, "to_id": 1, "type": "left"}],
            },
            {"text": RAIN, "entities": [], "relations": []},
        ),
        BOTH,
    ),
    "Label Studio": ("a.json", json.dumps([studio(CITY, REGIONS), studio(RAIN, [])]), BOTH),
    "Label Studio, lines": ("a.jsonl", lines(studio(CITY, REGIONS), studio(RAIN, [])), BOTH),
    "Label Studio, another field": (
        "a.json",
        json.dumps(
            [
                {
                    "id": 1,
                    "data": {"note": "read it all, every single word of it", "body": CITY},
                    "completions": [{"result": REGIONS}],
                }
            ]
        ),
        [FIRST],
    ),
    "Label Studio, skipped and open tasks": (
        "a.json",
        json.dumps(
            [
                studio(CITY, REGIONS),
                {"id": 2, "data": {"text": "Nobody looked."}, "annotations": []},
                {
                    "id": 3,
                    "data": {"text": "Skipped."},
                    "annotations": [{"result": [], "was_cancelled": True}],
                },
            ]
        ),
        [FIRST],
    ),
    "Label Studio's short JSON": (
        "a.json",
        json.dumps([short(1, RAIN), short(2, CITY, ent=CELLS)]),
        [SECOND, FIRST],
    ),
    "Label Studio's CSV": (
        "a.csv",
        table([{**short(1, CITY), "ent": json.dumps(CELLS)}, {**short(2, RAIN), "ent": ""}]),
        BOTH,
    ),
    "Prodigy": (
        "a.jsonl",
        lines(
            {"text": RAIN, "tokens": TOKENS, "answer": "accept", "_task_hash": 1},
            {"text": CITY, "spans": OBJECTS, "answer": "accept"},
            {"text": "No.", "spans": [], "answer": "reject"},
        ),
        [SECOND, FIRST],
    ),
    "a table with Python's lists": (
        "a.csv",
        table([{"text": CITY, "label": str(SPANS)}, {"text": RAIN, "label": "[]"}]),
        BOTH,
    ),
    "words and tags in Python's lists": (
        "a.csv",
        table(
            [{"tokens": str([w for w, _ in rows]), "ner_tags": str([t for _, t in rows])} for rows in BOTH]
        ),
        BOTH,
    ),
    "Rasa's examples": (
        "a.jsonl",
        lines(
            {
                "text": CITY,
                "intent": "move",
                "entities": [{"start": a, "end": b, "value": CITY[a:b], "entity": c} for a, b, c in SPANS],
            },
            {"text": RAIN, "intent": "weather", "entities": []},
        ),
        BOTH,
    ),
    "spaCy's pairs": ("a.json", json.dumps([[CITY, {"entities": SPANS}], [RAIN, {"entities": []}]]), BOTH),
    "spaCy's pairs, a line each": (
        "a.jsonl",
        lines([CITY, {"entities": SPANS}], [RAIN, {"entities": []}]),
        BOTH,
    ),
    "spaCy's web annotator": (
        "a.json",
        json.dumps({"classes": ["PER", "LOC"], "annotations": [[CITY, {"entities": SPANS}], None]}),
        [FIRST],
    ),
    "spaCy's Doc.to_json": (
        "a.jsonl",
        lines(
            {"text": CITY, "ents": OBJECTS, "tokens": TOKENS}, {"text": RAIN, "ents": [], "tokens": TOKENS}
        ),
        BOTH,
    ),
    "spaCy's JSON of version 2": (
        "a.json",
        json.dumps(
            [
                {
                    "id": 0,
                    "paragraphs": [
                        {
                            "sentences": [
                                {"tokens": [{"orth": word, "ner": tag} for word, tag in rows]}
                                for rows in BOTH
                            ]
                        }
                    ],
                }
            ]
        ),
        BOTH,
    ),
    "our own answers as gold": (
        "a.jsonl",
        lines(
            {"text": CITY, "label": [{**one, "entity_group": one["label"], "score": 0.9} for one in OBJECTS]}
        ),
        [FIRST],
    ),
    "CoNLL": ("a.conll", words(BOTH, lambda _, word, tag: f"{word}\t{tag}"), BOTH),
    "CoNLL, blank first line and documents": (
        "a.txt",
        "\n-DOCSTART- -X- O O\n\n" + words(BOTH, lambda _, word, tag: f"{word} NN I-NP {tag}"),
        BOTH,
    ),
    "CoNLL, counted, nested, comments": (
        "a.tsv",
        words(BOTH, lambda n, word, tag: f"{n}\t{word}\t{tag}\tO", before="#\thttp://x.org\t[2020]\n"),
        BOTH,
    ),
    "UNER": (
        "a.iob2",
        words(
            BOTH,
            lambda n, word, tag: f"{n}\t{word}\t{tag}\t-\tmia",
            before="# sent_id = a-1\n# text = It O\n",
        ),
        BOTH,
    ),
    "CoNLL-U": (
        "a.conllu",
        words(BOTH, conllu, before="# sent_id = 1\n1-2\tcontracted\t_\t_\t_\t_\t_\t_\t_\t_\n"),
        BOTH,
    ),
    "CoNLL with # as a word": ("a.conll", "#\tO\nOslo\tB-LOC\n\n", [[("#", "O"), ("Oslo", "B-LOC")]]),
    "one word a row": (
        "a.csv",
        table(
            [
                {"Sentence #": f"Sentence: {n}" if m == 0 else "", "Word": word, "POS": "X", "Tag": tag}
                for n, rows in enumerate(BOTH, start=1)
                for m, (word, tag) in enumerate(rows)
            ]
        ),
        BOTH,
    ),
    "one word a row, ids in all": (
        "a.tsv",
        table(
            [
                {"sentence_id": n, "token": word, "ner": tag}
                for n, rows in enumerate(BOTH)
                for word, tag in rows
            ],
            "\t",
        ),
        BOTH,
    ),
    "features of Hugging Face": (
        "a.jsonl",
        lines(*({"tokens": [w for w, _ in rows], "ner_tags": [t for _, t in rows]} for rows in BOTH)),
        BOTH,
    ),
}


def store_as_it_is(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_bytes(content.encode("utf-8"))
    return path


def store_with_crlf(folder: Path, name: str, content: str) -> Path:
    return store_as_it_is(folder, name, content.replace("\n", "\r\n"))


def store_with_mark(folder: Path, name: str, content: str) -> Path:
    return store_as_it_is(folder, name, "\ufeff" + content)


def store_compressed(folder: Path, name: str, content: str) -> Path:
    path = folder / f"{name}.gz"
    path.write_bytes(gzip.compress(content.encode("utf-8")))
    return path


def sentences_of(source: Path, task: TaggingTask | None = None) -> list[Sentence]:
    found = (task or TASKS["ner"]).read(str(source))
    return [list(zip(one.texts, one.label, strict=True)) for one in found]


def reader() -> NERTask:
    return NERTask(None, AnswerOptions())  # type: ignore[arg-type]  # nothing is answered


@pytest.mark.parametrize(
    "store",
    [store_as_it_is, store_with_crlf, store_with_mark, store_compressed],
    ids=["plain", "crlf", "bom", "gz"],
)
@pytest.mark.parametrize("name", CASES)
def test_a_file_is_read_as_its_makers_mean_it(
    tmp_path: Path, name: str, store: Callable[[Path, str, str], Path]
) -> None:
    file_name, content, wanted = CASES[name]
    assert sentences_of(store(tmp_path, file_name, content)) == wanted


@pytest.mark.parametrize("name", CASES)
def test_prediction_and_evaluation_read_the_same(tmp_path: Path, name: str) -> None:
    file_name, content, wanted = CASES[name]
    task, found = reader(), []
    for row in read_table(store_as_it_is(tmp_path, file_name, content)):
        example = task.read(row)
        if example.gold is None:
            continue
        if isinstance(example.inputs, str):
            spans, tags = tag_text(example.inputs, [Mark(*one) for one in example.gold])
            found.append([(example.inputs[a:b], tag) for (a, b), tag in zip(spans, tags, strict=True)])
        else:
            found.append(list(zip(example.inputs, example.gold, strict=True)))
    assert found == wanted


@pytest.mark.parametrize("name", CASES)
def test_task_custom_knows_entities(tmp_path: Path, name: str) -> None:
    file_name, content, wanted = CASES[name]
    path = store_as_it_is(tmp_path, file_name, content)
    task = custom_task(str(path))
    assert isinstance(task, TaggingTask)
    assert sentences_of(path, task) == wanted


SHARED = {
    "03-doccano.jsonl": [["Anna PER", "Bob PER", "Rome LOC"], ["Rome LOC"]],
    "04-labelstudio.json": [["Anna PER", "Rome LOC"], ["Rome LOC"]],
    "06-prodigy.jsonl": [["Rome LOC"], []],
    "11-germeval14.conll": [["Anna PER", "Rom LOC"]],
    "11-germeval14.tsv": [["Anna PER", "Rom LOC"]],
    "29-kaggle-ner.csv": [["Anna per", "Bob per"], ["Rome geo"]],
    "32-spacy-train.json": [["Anna PER", "Bob PER"], ["Rome LOC"]],
}


@pytest.mark.parametrize("name", SHARED)
def test_the_files_that_people_brought(data_folder: Path, name: str) -> None:
    path = data_folder.parent / "cases" / "files" / name
    if not path.exists():
        pytest.skip(f"no {path}")
    found = [
        [f"{' '.join(one.texts[start:end])} {kind}" for start, end, kind in tag_entities(one.label)]
        for one in TASKS["ner"].read(str(path))
    ]
    assert found == SHARED[name]
