"""The data doctor counts what is in the data and warns of what spoils scores; clean data draw no warning."""

import json
from pathlib import Path
from typing import Any

import pytest
import transformers
from click.testing import CliRunner

from debertav3 import DebertaV3Tokenizer
from debertav3.cli import app
from debertav3.finetuning.config import FinetuneConfig
from debertav3.finetuning.doctor import examine
from debertav3.finetuning.preparation import can_balance, read_data
from debertav3.tasks.names import TASKS

pytest.importorskip("scipy")
WORDS = ("sleeps", "sings", "runs", "reads", "waits", "works", "walks", "laughs")


@pytest.fixture(scope="module")
def tokenizer(nano: Path) -> DebertaV3Tokenizer:
    return DebertaV3Tokenizer.from_pretrained(nano)


def pair(number: int, label: str, hypothesis: str | None = None) -> dict[str, str]:
    verb = WORDS[number % 8]
    return {
        "premise": f"Person {number} {verb}.",
        "hypothesis": hypothesis or f"They {verb}.",
        "label": label,
    }


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def facts_of(
    folder: Path, train: list[Any], dev: list[Any], tokenizer: DebertaV3Tokenizer, **settings: Any
) -> dict[str, Any]:
    config = FinetuneConfig.of(
        task="nli",
        model="nano",
        train=(write(folder / "train.jsonl", train),),
        dev=(write(folder / "dev.jsonl", dev),),
        **settings,
    )
    return examine(read_data(config), config, tokenizer=tokenizer)


LABELS = ("entailment", "neutral", "contradiction")
CLEAN = [pair(number, LABELS[number % 3]) for number in range(48)]
CLEAN_DEV = [pair(number, LABELS[number % 3]) for number in range(100, 124)]


def test_a_distribution_counts_as_its_commonest_label(tmp_path: Path, tokenizer: DebertaV3Tokenizer) -> None:
    soft = [{**row, "label": {row["label"]: 0.6, "neutral": 0.4}} for row in CLEAN]
    soft = [row if len(row["label"]) == 2 else {**row, "label": {"neutral": 1}} for row in soft]
    counted, plain = (facts_of(tmp_path, rows, CLEAN_DEV, tokenizer) for rows in (soft, CLEAN))
    assert counted == plain


def test_tags_of_entities_in_texts_are_counted(tmp_path: Path, tokenizer: DebertaV3Tokenizer) -> None:
    path = write(
        tmp_path / "x.jsonl", [{"text": f"Anna {word}.", "label": [[0, 4, "PER"]]} for word in WORDS]
    )
    config = FinetuneConfig.of(task="ner", model="nano", train=(path,))
    facts = examine(read_data(config), config, tokenizer=tokenizer)
    assert facts["train"]["labels"] == {"O": 16, "B-PER": 8}


def test_clean_data_draw_no_warning(tmp_path: Path, tokenizer: DebertaV3Tokenizer) -> None:
    facts = facts_of(tmp_path, CLEAN, CLEAN_DEV, tokenizer)
    assert facts["warnings"] == []
    assert facts["train"]["labels"] == dict.fromkeys(LABELS, 16)
    (dev,) = facts["dev"].values()
    assert dev["baselines"]["majority"] == pytest.approx(1 / 3)
    longest = max(len(tokenizer(row["premise"], row["hypothesis"])["input_ids"]) for row in CLEAN)
    assert facts["train"]["tokens"]["p100"] == longest


@pytest.mark.parametrize(
    ("train", "dev", "settings", "warning"),
    [
        ([*CLEAN, CLEAN[0], CLEAN[1]], CLEAN_DEV, {}, "training data: 2 of 50 examples repeat"),
        ([*CLEAN, pair(0, "neutral")], CLEAN_DEV, {}, "training data: 1 texts occur with different labels"),
        (CLEAN, [*CLEAN_DEV, CLEAN[0]], {}, "1 of 25 examples are also in the training data"),
        (CLEAN, CLEAN_DEV, {"max_length": 8}, "training data: 48 of 48 examples have more than 8 tokens"),
        (
            [pair(number, LABELS[number % 3], f"It is {LABELS[number % 3]}.") for number in range(48)],
            [pair(number, LABELS[number % 3], f"It is {LABELS[number % 3]}.") for number in range(90, 120)],
            {},
            "the second text alone gives 100.0% accuracy (always the most common label: 33.3%)",
        ),
        ([*(CLEAN[:2] * 60), CLEAN[2]], CLEAN_DEV, {}, "rare labels: contradiction (1)"),
    ],
    ids=["repeated", "contradictory", "overlap", "truncated", "given-away", "rare"],
)
def test_what_spoils_a_training_is_told(
    tmp_path: Path,
    tokenizer: DebertaV3Tokenizer,
    train: list[Any],
    dev: list[Any],
    settings: dict[str, Any],
    warning: str,
) -> None:
    warnings = facts_of(tmp_path, train, dev, tokenizer, **settings)["warnings"]
    assert any(warning in line for line in warnings), warnings


def test_advice_can_be_followed(tmp_path: Path, tokenizer: DebertaV3Tokenizer) -> None:
    rare = [*(CLEAN[:2] * 60), CLEAN[2]]
    (line,) = [one for one in facts_of(tmp_path, rare, rare, tokenizer)["warnings"] if "rare" in one]
    assert line.startswith("training data: ") and line.endswith("consider --set balance_classes=true")
    warnings = facts_of(tmp_path, rare, rare, tokenizer, balance_classes=True)["warnings"]
    assert not any("balance_classes" in one for one in warnings)
    assert [can_balance(TASKS[name]) for name in ("nli", "ner", "stsb", "copa", "squad1")] == [
        True, True, False, False, False,
    ]  # fmt: skip


def test_numbers_far_from_0_are_told(tmp_path: Path, tokenizer: DebertaV3Tokenizer) -> None:
    rows = [{"sentence1": f"one {n}", "sentence2": f"two {n}", "label": n} for n in range(40)]
    config = FinetuneConfig.of(task="stsb", model="nano", train=(write(tmp_path / "a.jsonl", rows),))
    (line,) = examine(read_data(config), config, tokenizer=tokenizer)["warnings"]
    assert "labels have the mean 19.5 and the standard deviation 11.54; a model starts near 0" in line


def test_lengths_by_the_tokenizer_of_another_family(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "barks", "."]
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "vocab.txt").write_text("\n".join(words))
    transformers.BertConfig(vocab_size=len(words)).save_pretrained(tmp_path / "bert")
    transformers.BertTokenizer(str(tmp_path / "bert" / "vocab.txt")).save_pretrained(tmp_path / "bert")
    rows = write(tmp_path / "a.jsonl", [{"sentence": "A dog barks.", "label": n % 2} for n in range(4)])
    result = CliRunner().invoke(
        app,
        [
            "data",
            "check",
            "sst2",
            rows,
            "--tokenizer",
            str(tmp_path / "bert"),
            "--json",
            str(tmp_path / "x.json"),
        ],
    )
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "x.json").read_text())["train"]["tokens"]["p50"] == 6


@pytest.mark.parametrize(
    ("task", "source", "expected"),
    [
        ("ner", "ner/wnut17_dev.conll", {"examples": 1008}),
        ("squad2", "squad/dev-v2.0-slice.json", {"labels": {"answered": 702, "unanswered": 684}}),
        ("arc", "glue/arc_train.jsonl.gz", {"examples": 3230, "truncated": 0}),
        ("boolq", "glue/boolq_train.jsonl.gz", {"labels": {"true": 1350, "false": 831}}),
    ],
)
def test_every_kind_of_task_is_examined(
    data_folder: Path, nano: Path, tmp_path: Path, task: str, source: str, expected: dict[str, Any]
) -> None:
    arguments = [
        "data",
        "check",
        task,
        str(data_folder / source),
        "--tokenizer",
        str(nano),
        "--json",
        str(tmp_path / "x.json"),
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    facts = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))["train"]
    assert {key: facts[key] for key in expected} == expected
    assert "training data\n  examples: " in result.stdout
