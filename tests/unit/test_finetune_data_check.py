"""What the data doctor keeps of a set is small, and says the same as the whole set would."""

import json
import logging
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from debertav3.errors import UserError
from debertav3.finetuning import data_check
from debertav3.finetuning.data_check import check_data
from debertav3.finetuning.doctor import examine
from debertav3.finetuning.preparation import read_data, resolve
from debertav3.finetuning.repetitions import Repetitions
from debertav3.finetuning.set_facts import percentile
from debertav3.finetuning.word_baseline import BalancedSample, WordModel
from debertav3.tasks.example import Example
from debertav3.tasks.summary import Summary
from debertav3.tokenization import DebertaV3Tokenizer


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3)), max_size=200), block=st.integers(2, 9))
def test_repetitions_are_those_of_a_plain_count(rows: list[tuple[int, int]], block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("debertav3.finetuning.repetitions._BLOCK", block)
        found = Repetitions()
        for text, label in rows:
            found.add((f"text {text}",), str(label))
        labels: dict[int, set[int]] = {}
        for text, label in rows:
            labels.setdefault(text, set()).add(label)
        contradictory = sum(len(one) > 1 for one in labels.values())
        assert found.counts() == (len(rows) - len(labels), contradictory)
        others = Repetitions()
        for text in range(20, 60):
            others.add((f"text {text}",), "x")
        assert found.num_known(others) == len(labels.keys() & set(range(20, 60)))


def test_repetitions_of_very_many_are_estimated_from_a_part() -> None:
    found, others = Repetitions(most=2000), Repetitions(most=2000)
    for number in range(40_000):
        found.add((f"text {number % 30_000}",), str(number // 30_000 if number % 2 else 0))
        others.add((f"text {number + 15_000}",), "0")
    assert not found.is_exact
    duplicates, contradictory = found.counts()
    assert duplicates == pytest.approx(10_000, rel=0.15)
    assert contradictory == pytest.approx(5_000, rel=0.2)
    assert found.num_known(others) == pytest.approx(15_000, rel=0.15)


@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.integers(1, 600), min_size=1, max_size=300))
def test_percentiles_are_those_of_numpy(values: list[int]) -> None:
    for share in (50, 90, 99, 100):
        assert percentile(Counter(values), share) == pytest.approx(float(np.percentile(values, share)))


def examples(labels: list[str], text: str = "text") -> list[Example]:
    return [Example(texts=(f"{text} {number}",), label=label) for number, label in enumerate(labels)]


def test_a_sample_is_everything_where_there_is_room() -> None:
    sample = BalancedSample(0, most_rows=30)
    rows = examples(["a", "b", "b"] * 10)
    for row in rows:
        sample.add(row)
    assert sample.rows() == rows


def test_a_sample_is_balanced_and_drawn_from_everywhere() -> None:
    sample = BalancedSample(0, most_rows=100)
    rows = examples(["rare"] * 20 + ["often"] * 5000 + ["too"] * 5000)
    random.Random(1).shuffle(rows)
    for row in rows:
        sample.add(row)
    kept = sample.rows()
    assert Counter(row.label for row in kept) == {"rare": 20, "often": 40, "too": 40}
    places = [rows.index(row) for row in kept]
    assert places == sorted(places)
    assert places[10] < 2500 and places[-10] > 7500


def test_a_sample_of_long_texts_is_bounded() -> None:
    sample = BalancedSample(0, most_rows=1000, most_characters=100_000)
    for row in examples(["a", "b"] * 500, text="x" * 1000):
        sample.add(row)
    assert 70 <= len(sample.rows()) <= 100


@pytest.mark.parametrize("num_labels", [2, 4])
def test_a_linear_model_over_words_is_that_of_scikit_learn(num_labels: int) -> None:
    pytest.importorskip("sklearn")
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    chance = random.Random(0)
    texts, labels = [], []
    for number in range(400):
        label = number % num_labels
        words = [f"w{chance.randrange(30) + 6 * label}" for _ in range(8)]
        texts.append(" ".join(words))
        labels.append(f"label {label}")
    model = WordModel()
    assert model.fit(texts[:300], labels[:300])
    other = make_pipeline(
        CountVectorizer(ngram_range=(1, 2), binary=True, min_df=2, token_pattern=r"\S+"),
        LogisticRegression(max_iter=200, C=0.1),
    ).fit(texts[:300], labels[:300])
    answers = model.predict(texts[300:])
    same = sum(a == b for a, b in zip(answers, other.predict(texts[300:]), strict=True))
    assert same >= 99
    assert sum(a == b for a, b in zip(answers, labels[300:], strict=True)) > 60


def test_words_that_are_in_one_text_only_teach_nothing() -> None:
    assert not WordModel().fit(["one two", "three four"], ["a", "b"])


def test_more_labels_than_a_head_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("debertav3.tasks.summary._MOST_NAMES", 5)
    with pytest.raises(UserError, match=r"more than 5 different labels.*--label-column"):
        Summary.of(examples([str(number) for number in range(7)]))


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("task", ["custom", "nli", "ner", "choice", "squad2", "stsb"])
def test_files_are_examined_in_passing_as_their_examples_are(
    tmp_path: Path, nano: Path, task: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: dict[str, list[dict[str, Any]]] = {
        "custom": [{"text": f"a film {n % 9} of note", "label": "ab"[n % 2]} for n in range(40)],
        "nli": [
            {"premise": f"a {n % 9}", "hypothesis": f"b {n}", "label": ("entailment", "neutral")[n % 2]}
            for n in range(40)
        ],
        "ner": [{"tokens": ["Anna", f"w{n}"], "ner_tags": ["B-PER", "O"]} for n in range(20)],
        "choice": [
            {"context": f"c {n}", "choices": ["a", "b"] + ["c"] * (n == 7), "label": n % 2} for n in range(20)
        ],
        "squad2": [
            {"question": f"q {n}", "context": "Ann is", "answers": {"text": ["Ann"], "answer_start": [0]}}
            for n in range(20)
        ],
        "stsb": [{"sentence1": f"s {n}", "sentence2": f"t {n % 3}", "label": n / 7} for n in range(30)],
    }
    given = {
        "train": [write(tmp_path / "a.jsonl", rows[task]), write(tmp_path / "b.jsonl", rows[task][:9])],
        "dev": [write(tmp_path / "c.jsonl", rows[task][5:15])],
    }
    config = resolve(task, model=str(nano), given=given)
    tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
    monkeypatch.setattr(data_check, "_SECONDS", -1.0)
    with caplog.at_level(logging.INFO):
        in_passing = check_data(config, lambda *_: tokenizer)
    assert in_passing == examine(read_data(config), config, tokenizer=tokenizer)
    assert any("a.jsonl: " in line and "rows read, 100% of the file" in line for line in caplog.messages)
    assert any(line.endswith("a.jsonl is read as") for line in caplog.messages)


@pytest.mark.parametrize(
    "settings",
    [
        {"dev_split": 0.2},
        {"dev_split": 0.3, "group_column": "author"},
        {"folds": 3},
        {"folds": 3, "fold": 2},
        {"train_limit": 8},
        {"dev_split": 0.2, "train_limit": 10},
    ],
)
def test_parts_are_examined_in_passing_as_training_has_them(
    tmp_path: Path, nano: Path, settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        {"text": f"a film {n % 9} of note", "label": "aab"[n % 3], "author": f"{n % 11}"} for n in range(40)
    ]
    given = {"train": [write(tmp_path / "a.jsonl", rows), write(tmp_path / "b.jsonl", rows[:9])], **settings}
    config = resolve("custom", model=str(nano), given=given)
    tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
    with caplog.at_level(logging.INFO):
        in_passing = check_data(config, lambda *_: tokenizer)
        blocks = [line for line in caplog.messages if line.startswith("  ")]
        data = read_data(config)
    assert in_passing == examine(data, config, tokenizer=tokenizer)
    assert [line for line in caplog.messages if line.startswith("  ")] == [*blocks, *blocks]


def test_dev_rows_may_be_in_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "data_full.json"
    sets = {"train": [["a b", "x"], ["c d", "y"]], "oos_train": [["e f", "oos"]], "val": [["g h", "x"]]}
    path.write_text(json.dumps(sets), encoding="utf-8")
    given = {"train": [str(path)], "records": "train,oos_train", "dev": [str(path)], "dev_records": "val"} | {
        "text_column": "1",
        "label_column": "2",
    }
    data = read_data(resolve("custom", model="nano", given=given))
    assert [example.label for example in data.train] == ["x", "y", "oos"]
    ((name, dev),) = data.dev.items()
    assert name == f"{path} val" and [example.texts for example in dev] == [("g h",)]
    assert set(data.rows) == {str(path), name} and set(data.row_sums) == {name}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_memory_does_not_grow_with_the_file(tmp_path: Path, nano: Path) -> None:
    """Twenty times the rows take at most some megabytes more: their keys, and a sample of bounded size."""
    script = (
        "import sys\nfrom pathlib import Path\nfrom debertav3.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert 'torch' not in sys.modules\n"
        "status = Path('/proc/self/status').read_text()\n"
        "print(status.split('VmHWM:')[1].split()[0])\n"
    )
    sizes = []
    for count in (2000, 40_000):
        path = write(
            tmp_path / f"{count}.jsonl",
            [{"text": f"{n} and {n * 7} make a film of note " * 4, "label": n % 2} for n in range(count)],
        )
        command = [sys.executable, "-c", script, "data", "check", "custom", path, "--tokenizer", str(nano)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        sizes.append(int(done.stdout.splitlines()[-1]) // 1024)
    assert sizes[1] < sizes[0] + 40, sizes
