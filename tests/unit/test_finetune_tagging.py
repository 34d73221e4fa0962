"""Tagging: entities are scored as seqeval does, every word is tagged once however long the sentence."""

from pathlib import Path

import numpy as np
import pytest

from debertav3 import DebertaV3Tokenizer
from debertav3.errors import UserError
from debertav3.finetuning.batches import EncodedDataset
from debertav3.finetuning.config import FinetuneConfig
from debertav3.finetuning.objectives import objective_of
from debertav3.tasks.names import TASKS
from debertav3.tasks.summary import Summary

TASK = TASKS["ner"]
OBJECTIVE = objective_of(TASK)
CONLL = """-DOCSTART- -X- -X- O

Anna NNP B-NP B-PER
Smith NNP I-NP I-PER
visits VBZ O O
Oslo NNP B-NP B-LOC


Rain NN O O
"""


def write(folder: Path, content: str, name: str = "x.conll") -> str:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return str(path)


def test_a_conll_file_is_read(tmp_path: Path) -> None:
    examples = TASK.read(write(tmp_path, CONLL))
    assert [example.texts for example in examples] == [("Anna", "Smith", "visits", "Oslo"), ("Rain",)]
    assert examples[0].label == ("B-PER", "I-PER", "O", "B-LOC")
    labels = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    assert TASK.choose_labels(Summary.of(examples), source="") == labels


def test_rows_with_lists_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, '{"tokens": ["Oslo", "shines"], "ner_tags": ["B-LOC", "O"]}\n', "x.jsonl")
    (example,) = TASK.read(path)
    assert example.label == ("B-LOC", "O")


@pytest.mark.parametrize(
    ("tags", "labels"),
    [
        ("B-PER E-PER O S-LOC", "O B-LOC I-LOC E-LOC S-LOC B-PER I-PER E-PER S-PER"),
        ("B-PER L-PER O U-LOC", "O B-LOC I-LOC L-LOC U-LOC B-PER I-PER L-PER U-PER"),
        ("B I O O", "O B I"),
        ("PER PER O LOC", "O LOC PER"),
    ],
    ids=["BIOES", "BILOU", "bare", "plain"],
)
def test_each_type_gets_all_tags_of_the_scheme(tmp_path: Path, tags: str, labels: str) -> None:
    lines = [f"word {tag}\n" for tag in tags.split()]
    examples = TASK.read(write(tmp_path, "".join(lines)))
    assert TASK.choose_labels(Summary.of(examples), source="") == tuple(labels.split())


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("Anna\n", "x.conll", "line 1 has a word and no tag: 'Anna'"),
        ('{"tokens": ["a"], "tags": []}\n', "x.jsonl", "1 words and 0 tags"),
        ("\n", "x.conll", "no labelled rows"),
        (
            '{"tokens": ["a", "b"], "tags": [0, 3]}\n',
            "x.jsonl",
            r"line 1: the tags are numbers \(0\)\. Say .* --tag-names",
        ),
        ("Anna 1\n", "x.conll", r"line 1: the tags are numbers \(1\)"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, content: str, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        TASK.read(write(tmp_path, content, name))


@pytest.fixture(scope="module")
def tokenizer(nano: Path) -> DebertaV3Tokenizer:
    return DebertaV3Tokenizer.from_pretrained(nano)


def perfect_logits(dataset: EncodedDataset, num_labels: int) -> np.ndarray:
    logits = np.zeros((len(dataset), max(dataset.lengths), num_labels))
    for row, feature in enumerate(dataset.features):
        for place, label in enumerate(feature["labels"]):
            logits[row, place, max(label, 0)] = 1.0
    return logits


@pytest.mark.parametrize("max_length", [8, 16, 128])
def test_labels_lead_back_to_the_tags(
    data_folder: Path, tokenizer: DebertaV3Tokenizer, max_length: int
) -> None:
    examples = TASK.read(str(data_folder / "ner" / "wnut17_dev.conll"))[:60]
    labels = TASK.choose_labels(Summary.of(examples), source="")
    config = FinetuneConfig.of(task="ner", model="nano", max_length=max_length)
    dataset = OBJECTIVE.encode(examples, tokenizer, labels=labels, config=config).sorted_by_length()
    assert max(dataset.lengths) <= max_length
    scores = OBJECTIVE.score(perfect_logits(dataset, len(labels)), dataset, labels=labels)
    assert scores["f1"] == scores["accuracy"] == 1.0
    assert TASK.baseline(examples, examples, labels=labels)["f1"] == 0.0


def test_a_partly_right_entity_does_not_count(tmp_path: Path, tokenizer: DebertaV3Tokenizer) -> None:
    examples = TASK.read(write(tmp_path, CONLL))
    labels = TASK.choose_labels(Summary.of(examples), source="")
    config = FinetuneConfig.of(task="ner", model="nano")
    dataset = OBJECTIVE.encode(examples, tokenizer, labels=labels, config=config)
    logits = perfect_logits(dataset, len(labels))
    smith = next(place for place, word in dataset.origins[0][1] if word == 1)
    logits[0, smith] = 0.0  # "Smith" becomes O, so Anna Smith is found as Anna only
    scores = OBJECTIVE.score(logits, dataset, labels=labels)
    assert (scores["precision"], scores["recall"], scores["f1"]) == (0.5, 0.5, 0.5)
    assert scores["accuracy"] == 0.8
    wrong, right = OBJECTIVE.outcomes(logits, dataset, labels=labels)
    assert (wrong.is_right, wrong.badness) == (False, 1)
    assert (wrong.gold, wrong.predicted) == ("Anna Smith (PER); Oslo (LOC)", "Anna (PER); Oslo (LOC)")
    assert (right.is_right, right.gold) == (True, "none")
