"""Logits become the right answers under the right names, whatever the order of the head."""

import itertools

import numpy as np
import pytest

from debertav3.errors import UserError
from debertav3.inference import answers
from debertav3.inference.entities import TaggedText, find_entities, tag_words
from debertav3.inference.output_labels import (
    given_labels,
    is_nli,
    label_names,
    nli_columns,
)
from debertav3.tasks.labels import NLI_LABELS, find_label
from debertav3.tasks.spans import Span, SpanDecoding
from debertav3.tasks.words import join_words, split_words, words_of_tokens

BY_NAME = {"entailment": 2.0, "neutral": 0.5, "contradiction": -1.0}
SHARES = {name: np.exp(logit) / sum(map(np.exp, BY_NAME.values())) for name, logit in BY_NAME.items()}


@pytest.mark.parametrize("order", list(itertools.permutations(NLI_LABELS)), ids="-".join)
def test_nli_is_read_by_name_in_every_order(order: tuple[str, ...]) -> None:
    logits = np.array([BY_NAME[name] for name in order])
    found = answers.nli_probabilities(logits, nli_columns([name.upper() for name in order], place="x"))
    assert list(found) == list(NLI_LABELS)
    assert found == pytest.approx(SHARES)


@pytest.mark.parametrize("labels", [("entailment", "not_entailment"), ("Not-Entailment", "Entailment")])
def test_two_way_heads_are_read_by_name(labels: tuple[str, ...]) -> None:
    logits = np.array([1.0 if label.lower() == "entailment" else 0.0 for label in labels])
    found = answers.nli_probabilities(logits, nli_columns(labels, place="x"))
    assert list(found) == ["entailment", "not_entailment"]
    assert found["entailment"] == pytest.approx(1 / (1 + np.exp(-1)))


@pytest.mark.parametrize(
    "labels",
    [
        ("LABEL_0", "LABEL_1", "LABEL_2"),
        ("LABEL_0",),
        ("negative", "positive"),
        ("entailment", "neutral"),
        ("entailment", "neutral", "contradiction", "other"),
    ],
)
def test_heads_of_unknown_labels_are_refused(labels: tuple[str, ...]) -> None:
    assert not is_nli(labels)
    with pytest.raises(UserError, match="--labels entailment,neutral,contradiction"):
        nli_columns(labels, place="folder")


def test_label_names_come_from_the_config_or_count_up() -> None:
    assert label_names({"id2label": {"1": "b", "0": "a"}}) == ["a", "b"]
    assert label_names({"id2label": {0: "a", 1: "b"}, "num_labels": 2}) == ["a", "b"]
    assert label_names({}) == ["LABEL_0", "LABEL_1"]
    assert given_labels([" a", "b "], have=["LABEL_0", "LABEL_1"]) == ["a", "b"]
    for wrong in (["a"], ["a", "a"], ["a", ""]):
        with pytest.raises(UserError, match="labels"):
            given_labels(wrong, have=["LABEL_0", "LABEL_1"])


@pytest.mark.parametrize(
    ("label", "names", "found"),
    [
        ("Positive", ["negative", "positive"], 1),
        (1, ["negative", "positive"], 1),
        (1, ["1", "0"], 0),
        (1.0, ["negative", "positive"], 1),
        (True, ["no", "yes"], 1),
        (False, ["True", "False"], 1),
        ("not entailment", ["entailment", "not_entailment"], 1),
    ],
)
def test_true_labels_are_found_by_name_then_by_number(label: object, names: list[str], found: int) -> None:
    assert find_label(label, names) == found


@pytest.mark.parametrize("label", ["other", 2, -1, None, 1.5, ["a"]])
def test_unknown_labels_are_named(label: object) -> None:
    with pytest.raises(UserError, match=r"unknown label .* knows: a, b\."):
        find_label(label, ["a", "b"])


def test_classification_by_kind_of_head() -> None:
    logits = np.array([1.0, 3.0])
    single = answers.classification(logits, ["a", "b"], is_multi_label=False)
    assert single["label"] == "b"
    assert single["score"] == single["scores"]["b"] == pytest.approx(1 / (1 + np.exp(-2)))
    several = answers.classification(logits, ["a", "b"], is_multi_label=True)
    assert several["scores"] == pytest.approx({"a": 1 / (1 + np.exp(-1)), "b": 1 / (1 + np.exp(-3))})
    number = answers.classification(np.array([3.5]), ["similarity"], is_multi_label=False)
    assert number == {"label": None, "score": 3.5, "scores": {"similarity": 3.5}}


def test_probabilities_survive_extreme_logits() -> None:
    np.testing.assert_allclose(answers.softmax(np.array([1e4, -1e4], np.float32)), [1, 0])
    np.testing.assert_allclose(answers.sigmoid(np.array([1e4, 0, -1e4], np.float32)), [1, 0.5, 0])


@pytest.mark.parametrize("order", list(itertools.permutations(NLI_LABELS)), ids="-".join)
def test_zero_shot_equals_the_formula(order: tuple[str, ...]) -> None:
    entailed, against = np.array([0.2, 1.5, -0.3]), np.array([0.1, 0.4, -2.0])
    columns = {"entailment": entailed, "neutral": np.full(3, 9.0), "contradiction": against}
    logits = np.stack([columns[name] for name in order], axis=1)
    labels = ["x", "y", "z"]
    one = answers.zero_shot(logits, nli_columns(order, place=""), text="t", labels=labels, multi_label=False)
    shares = np.exp(entailed) / np.exp(entailed).sum()
    assert one["labels"] == ["y", "x", "z"]
    assert one["scores"] == pytest.approx(shares[[1, 0, 2]].tolist())
    many = answers.zero_shot(logits, nli_columns(order, place=""), text="t", labels=labels, multi_label=True)
    apart = np.exp(entailed) / (np.exp(entailed) + np.exp(against))
    assert dict(zip(many["labels"], many["scores"], strict=True)) == pytest.approx(
        dict(zip(labels, apart, strict=True))
    )
    alone = answers.zero_shot(
        logits[:1], nli_columns(order, place=""), text="t", labels=["x"], multi_label=False
    )
    assert alone["scores"] == pytest.approx([apart[0]])


def test_rankings_keep_the_order_of_equals() -> None:
    ranked = answers.ranking(np.array([0.5, 0.9, 0.5]), ["a", "b", "c"])
    assert [(one["index"], one["text"]) for one in ranked] == [(1, "b"), (0, "a"), (2, "c")]


def test_answers_are_cut_from_the_context_or_empty() -> None:
    decoding = SpanDecoding(
        [Span(3, 8, 2.0, 0.6), Span(0, 2, 1.0, 0.2)], null_logit=2.5, null_probability=0.1
    )
    found = answers.answer(decoding, "In Paris.", null_threshold=1.0)
    assert (found["answer"], found["start"], found["end"], found["score"]) == ("Paris", 3, 8, 0.6)
    assert [one["answer"] for one in found["candidates"]] == ["Paris", "In"]
    nothing = answers.answer(decoding, "In Paris.", null_threshold=0.0)
    assert (nothing["answer"], nothing["start"], nothing["end"], nothing["score"]) == ("", 0, 0, 0.1)
    assert nothing["candidates"][0]["answer"] == "Paris"


def test_masks_are_filled_with_the_spaces_of_the_pieces() -> None:
    vocabulary = answers.FillableVocabulary(["[PAD]", "▁dog", "ing", "[MASK]"], [0, 3])
    logits = np.array([9.0, 2.0, 1.0, 9.0, 99.0])  # special tokens and spare rows never win
    first, second = answers.fill(logits, vocabulary, top_k=2, before="A walk ", after=" here")
    assert (first["token_str"], first["sequence"]) == ("dog", "A walk dog here")
    assert (second["token_str"], second["sequence"]) == ("ing", "A walking here")
    assert first["score"] == pytest.approx(1 / (1 + np.exp(-1)))
    assert answers.fill(logits, vocabulary, top_k=1, before="", after="!")[0]["sequence"] == "dog!"
    for top_k in (0, 3):
        with pytest.raises(UserError, match="top_k"):
            answers.fill(logits, vocabulary, top_k=top_k, before="", after="")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Paris, France.", ["Paris", ",", "France", "."]),
        (
            "\"Don't!\" said O'Neil's U.S. aide...",
            ['"', "Don't", '!"', "said", "O'Neil", "'s", "U.S", ".", "aide", "..."],
        ),
        ("@user likes #tags -- :)", ["@user", "likes", "#tags", "--", ":)"]),
        ("  ", []),
        ("«Æsir»\u00a0no", ["«", "Æsir", "»", "no"]),
    ],
)
def test_words_have_no_punctuation_around_them(text: str, words: list[str]) -> None:
    assert [text[start:end] for start, end in split_words(text)] == words


def test_tokens_belong_to_the_word_in_which_they_begin() -> None:
    words = [(1, 3), (3, 4), (6, 9)]
    offsets = [(0, 0), (1, 2), (2, 3), (3, 4), (6, 6), (6, 9)]
    assert words_of_tokens(offsets, words).tolist() == [-1, 0, 0, 1, 2, 2]
    assert join_words(["ab", "", "c"]) == ("ab  c", [(0, 2), (3, 3), (4, 5)])


BIO = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def tagged(text: str, pieces: list[tuple[str, str, float]]) -> TaggedText:
    """Tokens in order, each with its characters, its best tag and that tag's probability."""
    offsets, rows, place = [], [], 0
    for piece, tag, probability in pieces:
        place = text.index(piece, place)
        offsets.append((place, place + len(piece)))
        place += len(piece)
        row = np.full(len(BIO), (1 - probability) / (len(BIO) - 1))
        row[BIO.index(tag)] = probability
        rows.append(row)
    return TaggedText(text, split_words(text), offsets, np.array(rows).reshape(-1, len(BIO)))


def found(one: TaggedText, aggregation: str) -> list[tuple[str, str, float]]:
    entities = find_entities(one, BIO, aggregation=aggregation)
    assert all(one.text[entity["start"] : entity["end"]] == entity["word"] for entity in entities)
    return [(entity["entity_group"], entity["word"], round(entity["score"], 3)) for entity in entities]


MICROSOFT = [("mic", "B-PER", 0.8), ("ro", "I-LOC", 0.5), ("soft", "I-PER", 0.6), ("pays", "O", 0.9)]


def test_words_agree_by_the_chosen_rule() -> None:
    one = tagged("microsoft pays", MICROSOFT)
    assert found(one, "simple") == [("PER", "mic", 0.8), ("LOC", "ro", 0.5), ("PER", "soft", 0.6)]
    assert found(one, "first") == [("PER", "microsoft", 0.8)]
    assert found(one, "max") == [("PER", "microsoft", 0.8)]
    assert found(one, "average") == [("PER", "microsoft", round((0.8 + 0.125 + 0.1) / 3, 3))]


def test_a_begin_tag_starts_a_new_entity_and_inside_tags_go_on() -> None:
    one = tagged(
        "Ann Bob Lee Rome",
        [("Ann", "B-PER", 1), ("Bob", "B-PER", 1), ("Lee", "I-PER", 1), ("Rome", "I-LOC", 1)],
    )
    assert [word for _, word, _ in found(one, "first")] == ["Ann", "Bob Lee", "Rome"]


def test_tags_without_prefix_are_grouped_as_inside() -> None:
    one = tagged("New York is", [("New", "B-LOC", 1), ("York", "B-LOC", 1), ("is", "O", 1)])
    entities = find_entities(one, ["O", "PER", "-", "LOC", "+"], aggregation="simple")
    assert [(entity["entity_group"], entity["word"]) for entity in entities] == [("LOC", "New York")]


def test_entities_do_not_swallow_punctuation() -> None:
    one = tagged(
        "(Paris's, now)",
        [
            ("(", "O", 1),
            ("Paris", "B-LOC", 1),
            ("'", "O", 1),
            ("s", "O", 1),
            (",", "O", 1),
            ("now", "O", 1),
            (")", "O", 1),
        ],
    )
    assert found(one, "first") == [("LOC", "Paris", 1.0)]


def test_texts_without_tokens_have_no_entities() -> None:
    assert found(tagged("\u200b", []), "first") == found(tagged("\u200b", []), "simple") == []


def test_given_words_get_one_tag_each() -> None:
    text, spans = join_words(["micro", "", "soft."])
    one = tagged(text, [("mic", "B-PER", 0.8), ("ro", "O", 0.9), ("soft", "I-PER", 0.6), (".", "O", 0.9)])
    tags = tag_words(one._replace(words=spans), BIO, aggregation="first")
    assert [(tag["word"], tag["entity"], tag["score"]) for tag in tags] == [
        ("micro", "B-PER", 0.8),
        ("", "O", 1.0),
        ("soft.", "I-PER", 0.6),
    ]
    with pytest.raises(UserError, match="given words need"):
        tag_words(one, BIO, aggregation="simple")


def test_a_word_is_as_suspect_as_its_most_suspect_token() -> None:
    text = "the cat,"
    words = answers.suspect_words(
        np.array([0.1, 0.2, 0.7, 0.3]),
        offsets=[(0, 3), (4, 5), (5, 7), (7, 8)],
        words=split_words(text),
        text=text,
    )
    assert [(word["word"], word["score"]) for word in words] == [("the", 0.1), ("cat", 0.7), (",", 0.3)]
