"""Where one text meets many labels or documents it is tokenized once, and the answers are the same."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from debertav3 import Predictor
from tiny_models import ModelFolders, assert_same

PREMISE = "A man is asleep on a bench in the park by the old station."
LABELS = ["sport", "sleep", "trains", "parks"]


@pytest.fixture(scope="module")
def folders(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelFolders:
    return ModelFolders(nano, tmp_path_factory)


@pytest.fixture
def read_texts(monkeypatch: pytest.MonkeyPatch) -> Callable[[Predictor], Counter[str]]:
    """Counts how often each text goes through the tokenizer's engine, which still does its work."""

    def count(predictor: Predictor) -> Counter[str]:
        engine, seen = predictor.engine.tokenizer.engine, Counter[str]()
        for name in ("encode_batch", "encode_batch_with_offsets"):
            encode = getattr(engine, name)

            def counted(texts: Sequence[str], encode: Any = encode) -> Any:
                seen.update(texts)
                return encode(texts)

            monkeypatch.setattr(engine, name, counted)
        return seen

    return count


def test_each_text_of_an_nli_head_is_read_once(
    folders: ModelFolders, read_texts: Callable[[Predictor], Counter[str]]
) -> None:
    names = {0: "contradiction", 1: "entailment", 2: "neutral"}
    predictor = Predictor.from_pretrained(folders("DebertaV2ForSequenceClassification", id2label=names))
    alone = [predictor.nli((PREMISE, label)) for label in LABELS]
    ranked = predictor.rerank("Who sleeps?", [PREMISE, "Two dogs run."])
    seen = read_texts(predictor)
    assert_same(predictor.nli([(PREMISE, label) for label in LABELS]), alone)
    assert seen == Counter([PREMISE, *LABELS])
    seen.clear()
    predictor.zero_shot([PREMISE, "Shares fell."], LABELS)
    assert seen == Counter([PREMISE, "Shares fell.", *(f"This example is {label}." for label in LABELS)])
    seen.clear()
    assert_same(predictor.rerank("Who sleeps?", [PREMISE, "Two dogs run."]), ranked)
    assert seen == Counter(["Who sleeps?", PREMISE, "Two dogs run."])


def test_each_question_and_context_is_read_once(
    folders: ModelFolders, read_texts: Callable[[Predictor], Counter[str]]
) -> None:
    predictor = Predictor.from_pretrained(folders("DebertaV2ForQuestionAnswering"))
    questions, contexts = ["Who?", "Where?", "Who?"], [PREMISE, PREMISE, "Ann sleeps."]
    alone = [predictor.qa(*pair) for pair in zip(questions, contexts, strict=True)]
    seen = read_texts(predictor)
    assert_same(predictor.qa(questions, contexts), alone)
    assert seen == Counter(["Who?", "Where?", PREMISE, "Ann sleeps."])
