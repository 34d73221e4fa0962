"""The recipe of models/nano makes pairs that say what the data say, and none of the sets kept out."""

import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

sys.path.append(str(Path(__file__).resolve().parents[2] / "recipes" / "nano"))

import card
import documents
import ensemble
import evaluate
import mix
import opinions
import questions
import recast
import topics
from pairs import (
    CARD_HYPOTHESIS,
    CARD_PREMISE,
    CONTRADICTED,
    ENTAILED,
    NEUTRAL,
    WRONG_NAME,
    Pair,
    write_pairs,
)

from debertav3.errors import UserError


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_sets_kept_out_are_not_recast() -> None:
    sets, two_way = recast.read_settings()
    out = recast.kept_out()
    assert not set(out) & (set(sets) | set(two_way))
    kinds = ("topic", "sentiment", "intent", "emotion")
    assert (
        all(any(kind in name for name in out) for kind in kinds[:3])
        and "classification/goemotions_ekman" in out
    )


def test_a_set_that_is_kept_out_and_recast_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recast.yaml"
    path.write_text(
        "{kept_out: {a: {}}, templates: {t: ['{}']}, names: {}, two_way: {}, sets: {a: {templates: [t]}}}"
    )
    with pytest.raises(UserError, match="a is kept out and recast"):
        recast.read_settings(path)


def test_the_right_label_is_entailed_and_no_other() -> None:
    settings = recast.LabelledSet(templates=("It is {}.",), names={"good": ("fine",)}, excludes="sentiment")
    rows = [
        {"text": f"{label} {i}", "label": label} for i in range(20) for label in ("good", "bad", "neutral")
    ]
    pairs = list(recast.recast(rows, settings, random.Random(0)))
    assert len(pairs) == 120
    for pair in pairs:
        label = pair.premise.split()[0]
        says = next(one for one in ("fine", "bad", "neutral") if one in pair.hypothesis)
        if says == {"good": "fine"}.get(label, label):
            assert pair.label == ENTAILED
        else:
            assert pair.label == (NEUTRAL if "neutral" in (label, says) else CONTRADICTED)


def test_opinions_ask_for_one_label_more_often() -> None:
    draw, words = random.Random(0), {"positive": ["good"], "negative": ["bad"]}
    pairs = [
        opinions.asked("It works.", label, ("{}.",), words, draw)
        for label in ("positive", "negative", "neutral") * 400
    ]
    asks_positive = ["good" in pair.hypothesis.lower() for pair in pairs]
    assert 0.75 < sum(asks_positive) / len(pairs) < 0.85
    for place, (pair, is_positive) in enumerate(zip(pairs, asks_positive, strict=True)):
        right = (ENTAILED, CONTRADICTED) if is_positive else (CONTRADICTED, ENTAILED)
        assert pair.label == (*right, NEUTRAL)[place % 3]
    texts = {
        "positive": ["one", "two", "three", "four", "five", "six"],
        "negative": ["-1", "-2", "-3", "-4", "-5", "-6"],
    }
    for text, label in opinions.joined(texts, 50, draw):
        parts = text.split()
        assert 2 <= len(parts) == len(set(parts)) <= 6 and set(parts) <= set(texts[label])
    assert not list(opinions.joined({"positive": ["one"], "negative": []}, 5, draw))
    assert {
        label for _, label in opinions.joined({"positive": ["one"], "negative": ["a", "b"]}, 5, draw)
    } == {"negative"}
    read = yaml.safe_load(opinions.SETTINGS.read_text())["sets"]
    assert not set(read) & set(recast.kept_out())


def test_two_labels_become_distributions() -> None:
    rows = [{"premise": "a", "hypothesis": "b", "label": "not_entailment"}]
    found = recast.widen(rows, {"not_entailment": WRONG_NAME}, 9, random.Random(0))
    assert list(found) == [Pair("a", "b", WRONG_NAME)]


def test_nothing_like_the_cards_example_is_written(tmp_path: Path) -> None:
    pairs = [
        Pair(CARD_PREMISE, "It is bad.", ENTAILED),
        Pair("well, " + CARD_PREMISE.upper(), "It is bad.", ENTAILED),
        Pair("a text", CARD_HYPOTHESIS, ENTAILED),
        Pair("a text", "The film is not good.", ENTAILED),
        Pair("a text", "It is good.", ENTAILED),
        Pair("a text", "It is good.", ENTAILED),
    ]
    assert write_pairs(tmp_path / "a.jsonl", pairs, source="test") == 1
    assert rows_of(tmp_path / "a.jsonl")[0]["hypothesis"] == "It is good."


def test_a_topic_is_right_for_its_own_text_alone() -> None:
    texts = [
        topics.Text("the bishop moves diagonally", ("chess",), "fields"),
        topics.Text("rain is expected", ("weather",), "fields"),
        topics.Text("a forecast of weather", ("rain",), "fields"),
    ]
    pairs = list(topics.pairs_of(texts * 10, random.Random(0), wrong=2))
    for pair in pairs:
        names = next(text.names for text in texts if text.text == pair.premise)
        assert (pair.label == ENTAILED) == any(name.lower() in pair.hypothesis.lower() for name in names)
    wrong = [pair for pair in pairs if pair.premise == "a forecast of weather" and pair.label != ENTAILED]
    assert wrong and not any("weather" in pair.hypothesis for pair in wrong)  # its own word


@pytest.mark.parametrize(
    ("question", "answer", "expected"),
    [
        ("Who invented the telephone?", "Bell", "Bell invented the telephone."),
        ("What is the capital of France?", "Paris", "The capital of France is Paris."),
        ("When did the war end?", "in 1945.", "When did the war end? In 1945."),
        ("Who was the king?", "George", "The king was George."),
        ("what city is it in?", "Rome", "What city is it in? Rome."),
        ("Which year was the house sold?", "1990", "Which year was the house sold? 1990."),
        ("Which city is the largest of all?", "Rome", "Rome is the largest of all."),
        ("Who did she see?", "Ben", "Who did she see? Ben."),
    ],
)
def test_question_and_answer_become_a_statement(question: str, answer: str, expected: str) -> None:
    assert questions.statement(question, answer) == expected


def test_an_answer_follows_from_its_own_sentence() -> None:
    context = (
        "Ann wrote it in the year 1990. Ben read it again in the year 2001. It was sold to others later."
    )
    asked = [
        questions.Asked("When did Ann write it?", "1990", context.index("1990")),
        questions.Asked("When did Ben read it?", "2001", context.index("2001")),
        questions.Asked("Who burnt it?", None, -1),
    ]
    found = [
        one for seed in range(20) for one in questions.paragraph_pairs(context, asked, random.Random(seed))
    ]
    for pair in found:
        if pair.label == ENTAILED:
            year = pair.hypothesis[-5:-1]
            assert year in pair.premise and (year == "1990") == ("Ann write" in pair.hypothesis)
        if "burnt" in pair.hypothesis:
            assert pair.label == questions.NOT_IN_SENTENCE
    assert {pair.label for pair in found} == {ENTAILED, questions.WRONG_ANSWER, questions.NOT_IN_SENTENCE}


def test_a_mix_draws_its_share_of_each_file(tmp_path: Path) -> None:
    for name in "ab":
        lines = [
            json.dumps({"premise": f"{name}{i}", "hypothesis": "h", "label": "neutral"}) for i in range(40)
        ]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    example = {"premise": "Well.", "hypothesis": CARD_HYPOTHESIS, "label": "neutral"}
    (tmp_path / "c.jsonl").write_text(json.dumps(example))
    assert not list(mix.draw([["1", str(tmp_path / "c.jsonl")]], most=30, seed=1))
    parts = [["1", str(tmp_path / "a.jsonl")], ["0.25", str(tmp_path / "b.jsonl")]]
    rows = list(mix.draw(parts, most=30, seed=1))
    assert [row["premise"][0] for row in rows] == ["a"] * 30 + ["b"] * 10
    assert len({row["premise"] for row in rows}) == 40


def test_models_share_out_only_what_a_label_leaves_open() -> None:
    own = np.array([[0, 0.65, 0.35], [1, 0, 0], [0.2, 0.3, 0.5]])
    models = np.array([[0.8, 0.05, 0.15], [0.1, 0.1, 0.8], [0.5, 0.5, 0.0]])
    found = ensemble.taught(own, models, share=0.5)
    assert np.allclose(found.sum(1), 1)
    assert np.allclose(found[0], [0, (0.65 + 0.25) / 2, (0.35 + 0.75) / 2])
    assert np.allclose(found[1], own[1]) and np.allclose(found[2], [0.35, 0.4, 0.25])


def test_groups_of_a_pair() -> None:
    row = {"premise": "A dog runs.", "hypothesis": "A dog doesn't run.", "label": "contradiction"}
    found = evaluate.groups_of(row)
    assert {"negation: in the hypothesis", "negated hypothesis, contradicted", "label: contradiction"} <= set(
        found
    )
    assert evaluate.overlap("A dog runs.", "a dog sleeps now") == 0.5


def test_calibration_of_sure_and_right_answers_is_perfect() -> None:
    sure = np.eye(3)
    assert evaluate.calibration(sure, np.arange(3))["expected_calibration_error"] == 0
    wrong = evaluate.calibration(sure, np.array([1, 2, 0]))
    assert wrong["expected_calibration_error"] == 1 and wrong["negative_log_likelihood"] > 20


def test_the_card_says_what_was_measured(tmp_path: Path, nano: Path) -> None:
    row = {
        "pairs": 10,
        "accuracy": 0.654,
        "commonest": 0.35,
        "calibration": {"expected_calibration_error": 0.041},
        "groups": {"length: 0 to 19 words": {"pairs": 4, "accuracy": 0.75}},
    }
    labels = {"texts": 9, "labels": 3, "accuracy": 0.5, "commonest": 0.4, "balanced_accuracy": 0.45}
    evaluation = {
        "example": {"entailment": 0.1, "neutral": 0.2, "contradiction": 0.7},
        "nli": {name: row for name in (*card.SHOWN, "SICK")},
        "zero_shot": {"a_topic": labels},
    }
    other = json.loads(json.dumps(evaluation))
    other["nli"]["SICK"]["accuracy"] = 0.6
    text = card.render([evaluation, other], {"mlm": 1.5, "final": 0.25}, nano)
    assert "| SICK | 10 | 65.4 | 65.4, 60.0 (± 2.7) | 35.0 | 4.1 |" in text
    assert "| mlm | 1.50 |" in text and "in 1.8 hours" in text and "contradiction 70 %" in text
    assert "| a topic | 9 | 3 | 50.0 |" in text and "75.0 (4)" in text


def test_only_what_is_certainly_entailed_is_told() -> None:
    rows = [
        {"premise": "A text.", "hypothesis": "It is right.", "label": {"entailment": 1}},
        {"premise": "A text.", "hypothesis": "It is wrong.", "label": {"entailment": 0}},
        {"premise": "A text.", "hypothesis": "Perhaps.", "label": {"entailment": 0.25}},
    ]
    assert list(documents.told(rows)) == ["A text. It is right."]
