"""Answers about tokens, spans, masks and words are the plain model's, also in texts of many windows."""

from pathlib import Path

import numpy as np
import pytest
import torch

from debertav3 import Predictor, UserError
from tiny_models import ModelFolders, assert_same, model_of, plain, softmax

TAGS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}
TEXTS = ["A man is asleep on a bench.", "Rain.", "Two dogs run after a ball in the park by the old station."]
LONG = " ".join(
    f"In the year {1900 + n} the town of Bergen had {n} mills and {2 * n} ships." for n in range(30)
)


@pytest.fixture(scope="module")
def folders(nano: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelFolders:
    return ModelFolders(nano, tmp_path_factory)


@pytest.fixture(scope="module")
def ner(folders: ModelFolders) -> Predictor:
    return Predictor.from_pretrained(folders("DebertaV2ForTokenClassification", id2label=TAGS))


def test_tokens_of_short_texts_have_the_plain_models_logits(ner: Predictor) -> None:
    for text in TEXTS:
        (found,) = ner.engine.run(ner.engine.tokens([text]))
        np.testing.assert_allclose(found.logits, plain(ner, text)[1:-1], atol=1e-5)
        assert len(found.offsets) == len(found.logits)


def test_tokens_of_long_texts_come_from_the_window_that_sees_most(ner: Predictor) -> None:
    (found,) = ner.engine.run(ner.engine.tokens([LONG]))
    ids, offsets = ner.engine.tokenizer.encode_with_offsets(LONG)
    assert found.offsets == offsets
    assert len(found.logits) == len(ids) > 300
    size, step = 62, 31  # max_length without [CLS] and [SEP]; half of it is shared
    middle = [1, *ids[2 * step : 2 * step + size], 2]
    with torch.inference_mode():
        logits = model_of(ner)(input_ids=torch.tensor([middle])).logits[0, 1:-1].numpy()
    quarter = slice(step // 2 + 1, size - step // 2 - 1)
    np.testing.assert_allclose(found.logits[2 * step : 2 * step + size][quarter], logits[quarter], atol=1e-5)


def test_entities_stand_where_they_say(ner: Predictor) -> None:
    texts = [LONG, TEXTS[0], "Anna Bell went to Rome."]
    found = ner.ner(texts)
    assert sum(map(len, found)) > 0
    for text, entities in zip(texts, found, strict=True):
        assert all(text[entity["start"] : entity["end"]] == entity["word"] for entity in entities)
        assert [entity["start"] for entity in entities] == sorted(entity["start"] for entity in entities)
    assert_same([ner.ner(text) for text in texts], found)
    with pytest.raises(UserError, match="unknown aggregation"):
        ner.ner("a", aggregation="none")


def test_given_words_get_the_tag_of_their_first_token(ner: Predictor) -> None:
    words = ["Anna", "Bell", "went", "to", "Constantinople", "."]
    (tags,) = ner.tag([words])
    logits = plain(ner, " ".join(words))[1:-1]
    offsets = ner.engine.tokenizer.encode_with_offsets(" ".join(words))[1]
    for word, tag in zip(words, tags, strict=True):
        first = min(place for place, (start, _) in enumerate(offsets) if start == " ".join(words).index(word))
        assert (tag["word"], tag["entity"]) == (word, TAGS[int(logits[first].argmax())])


@pytest.fixture(scope="module")
def qa(folders: ModelFolders) -> Predictor:
    return Predictor.from_pretrained(folders("DebertaV2ForQuestionAnswering"))


def test_answers_of_a_short_context_equal_a_plain_search(qa: Predictor) -> None:
    question, context = "Who sleeps?", "A man sleeps on a bench. Two dogs run."
    starts, ends = (
        plain(qa, question, context, name="start_logits"),
        plain(qa, question, context, name="end_logits"),
    )
    prefix = len(qa.engine.tokenizer.encode(question)) + 2
    offsets = qa.engine.tokenizer.encode_with_offsets(context)[1]
    spans = {
        (left, right): float(starts[prefix + left] + ends[prefix + right])
        for left in range(len(offsets))
        for right in range(left, len(offsets))
    }
    (left, right), best = max(spans.items(), key=lambda item: item[1])
    null = float(starts[0] + ends[0])
    total = np.exp(null) + sum(map(np.exp, spans.values()))
    found = qa.qa(question, context, null_threshold=None)
    assert found["answer"] == context[offsets[left][0] : offsets[right][1]]
    assert (found["start"], found["end"]) == (offsets[left][0], offsets[right][1])
    assert found["score"] == pytest.approx(np.exp(best) / total, abs=1e-6)
    assert found["no_answer_score"] == pytest.approx(np.exp(null) / total, abs=1e-6)
    lead = null - best
    assert qa.qa(question, context, null_threshold=lead - 0.01)["answer"] == ""
    assert qa.qa(question, context, null_threshold=lead + 0.01)["answer"] == found["answer"]


def test_answers_of_long_contexts_are_found_beyond_the_first_window(qa: Predictor) -> None:
    questions = ["How many mills?", "Which town?", "When?"]
    found = qa.qa(questions, LONG, n_best=5, null_threshold=None, overlap=20)
    assert any(one["start"] > 500 for answer in found for one in answer["candidates"])
    for question, answer in zip(questions, found, strict=True):
        assert len(answer["candidates"]) == 5
        assert all(LONG[one["start"] : one["end"]] == one["answer"] for one in answer["candidates"])
        assert_same(qa.qa(question, LONG, n_best=5, null_threshold=None, overlap=20), answer)
    with pytest.raises(UserError, match="2 questions and 1 contexts"):
        qa.qa(["a", "b"], ["c"])
    with pytest.raises(UserError, match="n_best"):
        qa.qa("a", "b", n_best=0)


@pytest.fixture(scope="module")
def masked(folders: ModelFolders) -> Predictor:
    return Predictor.from_pretrained(folders("DebertaV2ForMaskedLM"), task="fill-mask")


def test_masks_are_filled_from_the_plain_models_logits(masked: Predictor) -> None:
    tokenizer = masked.engine.tokenizer
    text = "A man is [MASK] on a [MASK]."
    left, middle, right = (tokenizer.encode(part) for part in ("A man is", "on a", "."))
    assert tokenizer.convert_ids_to_tokens(right) == ["\u2581", "."]
    right = tokenizer.convert_tokens_to_ids(["."])  # no word mark: the mask is the word
    mask = tokenizer.mask_token_id
    ids = [1, *left, mask, *middle, mask, *right, 2]
    with torch.inference_mode():
        logits = model_of(masked)(input_ids=torch.tensor([ids])).logits[0].numpy()
    places = [place for place, number in enumerate(ids) if number == mask]
    found = masked.fill_mask(text, top_k=3)
    assert len(found) == 2
    for place, candidates in zip(places, found, strict=True):
        allowed = logits[place, : len(tokenizer)].copy()
        allowed[sorted(tokenizer.specials.ids.values())] = -np.inf
        shares = softmax(allowed)
        assert [one["token"] for one in candidates] == np.argsort(-shares)[:3].tolist()
        assert [one["score"] for one in candidates] == pytest.approx(
            np.sort(shares)[::-1][:3].tolist(), abs=1e-6
        )
    assert all("[MASK]" in one["sequence"] for one in found[0])
    others = masked.fill_mask(
        ["[MASK] a much longer text of many words, which is padded around", text], top_k=3
    )
    assert_same(others[1], found)


def test_texts_without_mask_or_too_long_are_refused(masked: Predictor) -> None:
    with pytest.raises(UserError, match=r"no \[MASK\] in 'plain'"):
        masked.fill_mask(["[MASK]", "plain"])
    with pytest.raises(UserError, match="tokens; need at most 62"):
        masked.fill_mask("[MASK] " + LONG)


def test_replaced_words_have_the_highest_probability_of_their_tokens(folders: ModelFolders) -> None:
    predictor = Predictor.from_pretrained(folders("DebertaV2ForReplacedTokenDetection"), task="rtd")
    text = "The uncharacteristically late committee ate."
    probabilities = 1 / (1 + np.exp(-plain(predictor, text)[1:-1]))
    offsets = predictor.engine.tokenizer.encode_with_offsets(text)[1]
    words = predictor.rtd(text)
    assert [word["word"] for word in words] == [
        "The",
        "uncharacteristically",
        "late",
        "committee",
        "ate",
        ".",
    ]
    for word in words:
        inside = [
            p
            for p, (start, _) in zip(probabilities, offsets, strict=True)
            if word["start"] <= start < word["end"]
        ]
        assert word["score"] == pytest.approx(max(inside), abs=1e-6)
    assert_same(predictor.rtd([LONG, text])[1], words)


def test_empty_lists_are_answered_with_empty_lists(ner: Predictor, qa: Predictor, masked: Predictor) -> None:
    assert ner.ner([]) == ner.tag([]) == qa.qa([], []) == masked.fill_mask([]) == []
