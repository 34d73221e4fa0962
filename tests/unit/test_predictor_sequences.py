"""``Predictor`` takes any sequence as a batch, and refuses tables, dicts and sets; it can be copied."""

import copy
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from debertav3 import Predictor, UserError
from tiny_models import ModelFolders, assert_same

TEXTS = ["A man sleeps in the park.", "It rains.", "Two dogs run on the beach."]
NLI = {"id2label": {0: "entailment", 1: "neutral", 2: "contradiction"}}


@pytest.fixture(scope="module")
def folders(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelFolders:
    return ModelFolders(nano, tmp_path_factory)


def opened(folders: ModelFolders, kind: str, **config: Any) -> Predictor:
    return Predictor.from_pretrained(folders(f"DebertaV2For{kind}", **config), backend="torch", device="cpu")


def series(items: list[Any]) -> Any:
    return pytest.importorskip("pandas").Series(items, index=range(5, 5 + len(items)))


def column(items: list[Any]) -> Any:
    return pytest.importorskip("datasets").Dataset.from_dict({"text": items})["text"]


def arrow(items: list[Any]) -> Any:
    return pytest.importorskip("pyarrow").chunked_array([items[:1], items[1:]])


KINDS: dict[str, Callable[[list[Any]], Any]] = {
    "tuple": tuple,
    "generator": lambda items: (item for item in items),
    "dict values": lambda items: dict(enumerate(items)).values(),
    "numpy array": np.array,
    "numpy objects": lambda items: np.array([*items, None], dtype=object)[:-1],
    "pandas Series": series,
    "datasets column": column,
    "Arrow array": arrow,
}


@pytest.mark.parametrize("kind", KINDS)
def test_texts(folders: ModelFolders, kind: str) -> None:
    make = KINDS[kind]
    classifier = opened(folders, "SequenceClassification", **NLI)
    assert_same(classifier.classify(make(TEXTS)), classifier.classify(TEXTS))
    assert_same(classifier.zero_shot(make(TEXTS), ["a", "b"]), classifier.zero_shot(TEXTS, ["a", "b"]))
    assert_same(classifier.rerank("dogs", make(TEXTS)), classifier.rerank("dogs", TEXTS))
    labels = ["animals", "weather", "sleep"]
    assert_same(classifier.zero_shot(TEXTS[0], make(labels)), classifier.zero_shot(TEXTS[0], labels))


def test_a_word_without_characters_is_no_entity(folders: ModelFolders) -> None:
    tagger = opened(folders, "TokenClassification", id2label={0: "B-PER", 1: "I-PER"})
    full, gap = tagger.tag([["EU", "rejects"], ["EU", "", "rejects"]])
    assert [one["entity"] for one in gap] == [full[0]["entity"], "O", full[1]["entity"]]
    with pytest.raises(UserError, match="a word must be a text, got int"):
        tagger.tag([["EU", 3]])


def test_a_long_question_is_cut_aloud(folders: ModelFolders, caplog: pytest.LogCaptureFixture) -> None:
    reader = opened(folders, "QuestionAnswering", num_labels=2)
    reader.qa("Who is it?", TEXTS[0])
    assert not caplog.text
    reader.qa("Who is it? " * 200, TEXTS[0])
    assert "1 of 1 inputs did not fit into" in caplog.text
    with pytest.raises(UserError, match="null_threshold must be a number of logits, or None; got nan"):
        reader.qa("Who?", TEXTS[0], null_threshold=float("nan"))


@pytest.mark.parametrize("kind", KINDS)
def test_heads_over_tokens(folders: ModelFolders, kind: str) -> None:
    make = KINDS[kind]
    tagger = opened(folders, "TokenClassification", id2label={0: "O", 1: "B-PER", 2: "I-PER"})
    assert_same(tagger.ner(make(TEXTS)), tagger.ner(TEXTS))
    words = [text.split() for text in TEXTS]
    assert_same(tagger.tag([make(one) for one in words]), tagger.tag(words))
    reader = opened(folders, "QuestionAnswering", num_labels=2)
    assert_same(reader.qa(make(TEXTS), make(TEXTS)), reader.qa(TEXTS, TEXTS))
    assert_same(reader.qa(make(TEXTS), TEXTS[0]), reader.qa(TEXTS, TEXTS[0]))


@pytest.mark.parametrize("kind", KINDS)
def test_the_other_heads(folders: ModelFolders, kind: str) -> None:
    make = KINDS[kind]
    masked = [text.replace(".", " [MASK].") for text in TEXTS]
    filler = opened(folders, "MaskedLM")
    assert_same(filler.fill_mask(make(masked)), filler.fill_mask(masked))
    detector = opened(folders, "ReplacedTokenDetection")
    assert_same(detector.rtd(make(TEXTS)), detector.rtd(TEXTS))
    chooser = opened(folders, "MultipleChoice")
    assert_same(chooser.choose(TEXTS[0], make(TEXTS)), chooser.choose(TEXTS[0], TEXTS))
    assert_same(
        chooser.choose(make(TEXTS), [make(TEXTS) for _ in TEXTS]),
        chooser.choose(TEXTS, [TEXTS, TEXTS, TEXTS]),
    )


def test_pairs(folders: ModelFolders) -> None:
    classifier = opened(folders, "SequenceClassification", **NLI)
    pairs = [("It rains.", "The street is wet."), ("A man sleeps.", "He is awake.")]
    want = classifier.nli(pairs)
    for given in (tuple(pairs), zip(*zip(*pairs, strict=True), strict=True), np.array(pairs), column(pairs)):
        assert_same(classifier.nli(given), want)
    assert_same(classifier.nli(pairs[0]), want[0])
    assert_same(classifier.classify(tuple(pairs)), classifier.classify(pairs))
    assert isinstance(classifier.classify(pairs[0]), dict)  # one pair, not two texts


def test_one_text_of_numpy_is_one_text(folders: ModelFolders) -> None:
    classifier = opened(folders, "SequenceClassification", **NLI)
    assert_same(classifier.classify(np.array(TEXTS)[1]), classifier.classify(TEXTS[1]))


def test_what_has_no_order_or_meaning_is_refused(folders: ModelFolders) -> None:
    classifier = opened(folders, "SequenceClassification", **NLI)
    pandas = pytest.importorskip("pandas")
    for given in (set(TEXTS), {"text": TEXTS}, pandas.DataFrame({"text": TEXTS}), b"text"):
        with pytest.raises(UserError, match=r"need a text or a sequence of them.*one column"):
            classifier.classify(given)
    with pytest.raises(UserError, match="text 1 must be a text, got float"):
        classifier.classify(pandas.Series(["a", float("nan")], dtype=object))
    with pytest.raises(UserError, match="labels must be a list of texts"):
        classifier.zero_shot(TEXTS[0], "abc")  # not the labels a, b and c
    with pytest.raises(UserError, match="must be a text, got int"):
        classifier.classify(7)
    tagger = opened(folders, "TokenClassification", id2label={0: "O", 1: "B-PER"})
    with pytest.raises(UserError, match="one list of words for each"):
        tagger.tag(TEXTS)
    with pytest.raises(UserError, match="lists of words"):
        tagger.tag(TEXTS[0])


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
@pytest.mark.parametrize("kind", ["SequenceClassification", "MaskedLM", "TokenClassification"])
def test_copies_of_predictors_answer_the_same(folders: ModelFolders, kind: str, how: str) -> None:
    predictor = opened(folders, kind)
    answer = {
        "SequenceClassification": lambda one: one.classify(TEXTS),
        "MaskedLM": lambda one: one.fill_mask("It [MASK]."),
        "TokenClassification": lambda one: one.ner(TEXTS),
    }[kind]
    want = answer(predictor)
    other = copy.deepcopy(predictor) if how == "deepcopy" else pickle.loads(pickle.dumps(predictor))
    assert_same(answer(other), want)
    del predictor
    assert_same(answer(other), want)


def test_a_tokenizer_that_cuts_at_the_left_keeps_the_end(folders: ModelFolders, tmp_path: Path) -> None:
    shutil.copytree(folders("DebertaV2ForSequenceClassification", **NLI), tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**config, "truncation_side": "left"}))
    left = Predictor.from_pretrained(tmp_path, backend="torch", device="cpu", max_length=8)
    assert_same(left.classify("It rains. " * 9 + TEXTS[2]), left.classify(TEXTS[0] * 9 + TEXTS[2]))
    right = Predictor.from_pretrained(tmp_path, backend="torch", device="cpu", max_length=8)
    right.engine.inputs.packer.truncation_side = "right"
    assert right.classify(TEXTS[0] + TEXTS[2]) != left.classify(TEXTS[0] + TEXTS[2])
