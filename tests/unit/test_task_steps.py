"""Tasks as steps: what the server asks beyond `Predictor`: raw scores, cuts, two-label rankers, targets."""

from pathlib import Path

import numpy as np
import pytest

from debertav3 import Predictor, UserError
from debertav3.inference.batching import Cut
from debertav3.inference.output_labels import relevance_column
from tiny_models import ModelFolders, plain, softmax

LONG = " ".join(f"word{number}" for number in range(60))


@pytest.fixture(scope="module")
def folders(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelFolders:
    return ModelFolders(nano, tmp_path_factory)


@pytest.fixture(scope="module")
def ranker(folders: ModelFolders) -> Predictor:
    labels = {0: "Relevant", 1: "not relevant"}
    return Predictor.from_pretrained(
        folders("DebertaV2ForSequenceClassification", id2label=labels), device="cpu"
    )


def test_a_head_with_two_labels_ranks_by_the_positive_one(ranker: Predictor) -> None:
    texts = ["A dog barks.", "It rains.", "Cats sleep all day."]
    found = ranker.rerank("animals", texts)
    want = [softmax(plain(ranker, "animals", text))[0] for text in texts]
    assert [one["index"] for one in found] == np.argsort([-score for score in want]).tolist()
    assert [one["score"] for one in found] == pytest.approx(sorted(want, reverse=True), abs=1e-6)


@pytest.mark.parametrize(
    ("labels", "column"),
    [
        (["score"], 0),
        (["LABEL_0"], 0),
        (["no", "yes"], 1),
        (["duplicate", "not_duplicate"], 0),
        (["0", "1"], 1),
    ],
)
def test_the_relevant_output_is_found_by_name(labels: list[str], column: int) -> None:
    assert relevance_column(labels, place="m") == column


@pytest.mark.parametrize("labels", [["LABEL_0", "LABEL_1"], ["red", "green"], ["yes", "maybe"]])
def test_outputs_that_do_not_say_which_is_relevant_are_refused(labels: list[str]) -> None:
    with pytest.raises(UserError, match="m cannot rank: its labels are"):
        relevance_column(labels, place="m")


def test_raw_scores_are_logits(ranker: Predictor) -> None:
    (found,) = ranker.engine.run(ranker.steps.classify(["A dog barks."], raw=True))
    assert list(found["scores"].values()) == pytest.approx(plain(ranker, "A dog barks.").tolist(), abs=1e-5)
    ((best,),) = ranker.engine.run(ranker.steps.rerank(["animals"], [["A dog barks."]], raw=True))
    assert best["score"] == pytest.approx(plain(ranker, "animals", "A dog barks.")[0], abs=1e-5)


def test_texts_are_cut_at_the_end_asked_for(ranker: Predictor) -> None:
    inputs = ranker.engine.inputs
    ids = inputs.tokenizer.encode(LONG)
    first, last = (inputs.texts([LONG], cut=Cut(side=side, max_length=20))[0] for side in ("right", "left"))
    assert first.input_ids[1:-1] == ids[:18] and last.input_ids[1:-1] == ids[-18:]
    assert first.is_truncated and last.is_truncated
    (pair,) = inputs.texts([("A question.", LONG)], cut=Cut(side="left", max_length=30))
    assert len(pair.input_ids) == 30 and pair.input_ids[-5:-1] == ids[-4:]
    (whole,) = inputs.texts(["short"], cut=Cut(max_length=4000))
    assert not whole.is_truncated


def test_masks_are_filled_from_the_targets_with_their_share_of_all(folders: ModelFolders) -> None:
    mlm = Predictor.from_pretrained(folders("DebertaV2ForMaskedLM"), device="cpu")
    text, targets = "The man is a [MASK] .", ["man", "the"]
    ((found,),) = mlm.engine.run(mlm.steps.fill_mask([text], top_k=5, targets=targets))
    vocabulary = mlm.engine.inputs.vocabulary
    everything = mlm.fill_mask(text, top_k=len(vocabulary.pieces) - len(vocabulary.special_ids))[0]
    shares = {one["token"]: one["score"] for one in everything}
    assert {one["token_str"] for one in found} == set(targets)
    assert [one["score"] for one in found] == pytest.approx([shares[one["token"]] for one in found])
    with pytest.raises(UserError, match="not one piece"):
        mlm.engine.run(mlm.steps.fill_mask([text], targets=["antidisestablishment"]))
