"""Entities equal those of transformers' token-classification pipeline, on one model and the same tokens."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import transformers

from debertav3 import DebertaV2ForTokenClassification, DebertaV3Tokenizer, Predictor
from debertav3.tasks.spans import trim
from tiny_models import save, tiny_model

TAGS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}
PLAIN_TAGS = {0: "O", 1: "PER", 2: "LOC"}
TEXTS = [
    "Anna Bell went to Constantinople with her uncharacteristically quiet brother",
    "The town of Bergen had 340 mills and two shipyards in 1860",
    "naïve cafés in Kraków",
]


@pytest.mark.parametrize("labels", [TAGS, PLAIN_TAGS], ids=["bio", "io"])
@pytest.mark.parametrize("aggregation", ["simple", "first", "average", "max"])
def test_entities_equal_the_pipelines(
    nano: Path, tmp_path: Path, labels: dict[int, str], aggregation: str
) -> None:
    tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
    model = tiny_model(DebertaV2ForTokenClassification, tokenizer, id2label=labels, seed=3)
    ours = Predictor.from_pretrained(save(model, tokenizer, tmp_path), device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # it says that words are guessed from white space, which is what we compare
        pipeline: Any = transformers.pipeline(
            "token-classification",
            model=model,
            tokenizer=tokenizer.to_transformers(),
            aggregation_strategy=aggregation,
            device="cpu",
        )
        theirs = pipeline(TEXTS)
    found = ours.ner(TEXTS, aggregation=aggregation)
    assert sum(map(len, found)) > 5
    for text, own, other in zip(TEXTS, found, theirs, strict=True):
        want = [(one["entity_group"], *trim(text, one["start"], one["end"])) for one in other]
        assert [(one["entity_group"], one["start"], one["end"]) for one in own] == want
        assert [one["score"] for one in own] == pytest.approx(
            [float(one["score"]) for one in other], abs=1e-5
        )
