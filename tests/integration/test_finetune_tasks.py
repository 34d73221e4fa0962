"""Each kind of head trains on real rows, opens in stock transformers, and has its scores written."""

import json
from pathlib import Path

import pytest
import torch
import transformers

from debertav3 import DebertaV3Tokenizer
from debertav3.finetuning.config import FinetuneConfig
from debertav3.finetuning.preparation import read_data
from debertav3.finetuning.run import run
from debertav3.finetuning.starting_model import open_model
from debertav3.tasks.names import TASKS

CASES = {
    "stsb": (
        "research-only/glue/stsb_dev.jsonl.gz",
        "AutoModelForSequenceClassification",
        {"pearson", "spearman"},
    ),
    "ner": (
        "ner/wnut17_dev.conll",
        "AutoModelForTokenClassification",
        {"precision", "recall", "f1", "accuracy"},
    ),
    "squad2": (
        "squad/dev-v2.0-slice.json",
        "AutoModelForQuestionAnswering",
        {"exact_match", "f1", "best_f1_thresh"},
    ),
    "arc": ("glue/arc_train.jsonl.gz", "AutoModelForMultipleChoice", {"accuracy"}),
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, nano: Path) -> Path:
    """A checkpoint with a head of three labels, which every task must replace."""
    from debertav3 import DebertaV2ForSequenceClassification
    from debertav3.sizes import config_for

    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = config_for("nano", vocab_size=len(tokenizer), num_labels=3, **shape)
    DebertaV2ForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def first_rows(source: Path, target: Path, *, count: int) -> str:
    """A small part of a data set, in its own format."""
    if source.name.endswith(".json"):
        content = json.loads(source.read_text(encoding="utf-8"))
        paragraph = content["data"][0]["paragraphs"][0]
        part = {"data": [{"paragraphs": [{**paragraph, "qas": paragraph["qas"][:count]}]}]}
        text = json.dumps(part)
    elif source.suffix == ".conll":
        text = "\n\n".join(source.read_text(encoding="utf-8").split("\n\n")[: 4 * count])
    else:
        import gzip

        with gzip.open(source, "rt", encoding="utf-8") as file:
            text = "".join(line for _, line in zip(range(count), file, strict=False))
    path = target / source.name.removesuffix(".gz")
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("sift", [False, True], ids=["plain", "sift"])
@pytest.mark.parametrize("task", CASES)
def test_a_task_trains_and_is_scored(
    data_folder: Path, tiny: Path, tmp_path: Path, task: str, sift: bool
) -> None:
    source, head, scores = CASES[task]
    rows = first_rows(data_folder / source, tmp_path, count=8)
    config = FinetuneConfig.of(
        task=task,
        model=str(tiny),
        train=(rows,),
        dev=(rows,),
        batch_size=4,
        max_steps=2,
        max_length=64,
        window_overlap=16,
        sift=sift,
    )
    report = run(config, read_data(config), tmp_path / "out")
    assert report is not None
    (dev,) = report["dev"].values()
    assert scores <= set(dev)
    assert set(dev["majority_baseline"]) & scores
    assert report[TASKS[task].best_metric] == dev[TASKS[task].best_metric]
    assert report["train"]["skipped_steps"] == 0

    stock = getattr(transformers, head).from_pretrained(tmp_path / "out")
    assert sum(parameter.numel() for parameter in stock.parameters()) > 0
    if task == "ner":
        assert set(stock.config.id2label.values()) >= {"O", "B-person", "I-person"}


def test_a_head_that_has_just_these_labels_is_kept(tiny: Path, tmp_path: Path) -> None:
    tokenizer = DebertaV3Tokenizer.from_pretrained(tiny)
    labels = ("entailment", "neutral", "contradiction")
    config = FinetuneConfig.of(task="nli", model=str(tiny))
    trained = open_model(config, tokenizer, TASKS["nli"], labels)
    trained.config.id2label = {0: "CONTRADICTION", 1: "NEUTRAL", 2: "ENTAILMENT"}
    trained.config.label2id = {"CONTRADICTION": 0, "NEUTRAL": 1, "ENTAILMENT": 2}
    trained.save_pretrained(tmp_path)
    again = open_model(FinetuneConfig.of(task="nli", model=str(tmp_path)), tokenizer, TASKS["nli"], labels)
    assert again.config.id2label == trained.config.id2label
    assert torch.equal(again.classifier.weight, trained.classifier.weight)
    other = open_model(
        FinetuneConfig.of(task="rte", model=str(tmp_path)), tokenizer, TASKS["rte"], labels[:2]
    )
    assert other.classifier.weight.shape == (2, 16)
    choice = open_model(FinetuneConfig.of(task="copa", model=str(tmp_path)), tokenizer, TASKS["copa"], ())
    assert choice.config.problem_type is None  # the kind of loss that NLI had left there
    assert choice.classifier.weight.shape == (1, 16)
