"""A checkpoint's head is kept for the labels that it has, in its own order, and replaced for any others."""

from pathlib import Path

import pytest
import torch

from debertav3 import DebertaV2ForSequenceClassification, DebertaV3Tokenizer
from debertav3.finetuning.config import FinetuneConfig
from debertav3.finetuning.starting_model import label_order, open_model
from debertav3.sizes import config_for
from debertav3.tasks.names import TASKS

SHAPE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


@pytest.mark.parametrize(
    ("stored", "labels", "order", "is_kept"),
    [
        ("neutral,entailment", "entailment,neutral", "neutral,entailment", True),
        ("NEUTRAL,Entailment", "entailment,neutral", "neutral,entailment", True),
        ("spam,ham,Spam", "Spam,ham,spam", "spam,ham,Spam", True),
        ("SPAM,ham,spam", "Spam,ham,spam", "Spam,ham,spam", False),
        ("spam,ham", "Spam,ham,spam", "Spam,ham,spam", False),
        ("yes,no", "entailment,neutral", "entailment,neutral", False),
    ],
    ids=["order", "case", "case-matters", "case-unclear", "fewer", "others"],
)
def test_labels_stand_in_the_order_of_the_head(
    nano: Path, tmp_path: Path, stored: str, labels: str, order: str, is_kept: bool
) -> None:
    torch.manual_seed(0)
    tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
    names = dict(enumerate(stored.split(",")))
    config = config_for("nano", vocab_size=len(tokenizer), id2label=names, **SHAPE)
    model = DebertaV2ForSequenceClassification(config)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    task, run = TASKS["nli"], FinetuneConfig.of(task="nli", model=str(tmp_path))
    wanted = labels.split(",")
    opened = open_model(run, tokenizer, task, wanted)
    assert label_order(opened, wanted) == tuple(order.split(","))
    assert torch.equal(opened.get_parameter("classifier.weight"), model.classifier.weight) == is_kept
