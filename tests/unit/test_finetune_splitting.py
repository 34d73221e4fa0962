"""Contract: held-out parts have every label's share, never split a group, and depend on the seed alone."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from debertav3.errors import UserError
from debertav3.finetuning.config import FinetuneConfig
from debertav3.finetuning.preparation import Data, read_data, resolve
from debertav3.finetuning.splitting import SplitKeys, assign
from debertav3.tasks.example import Example


def keys_of(labels: Sequence[object], groups: Sequence[int]) -> SplitKeys:
    keys = SplitKeys()
    for number, (label, group) in enumerate(zip(labels, groups, strict=True)):
        keys.add(Example(texts=(f"text {number}",), label=label), str(group))
    return keys


@given(
    st.lists(st.sampled_from("aaaab"), min_size=10, max_size=60),
    st.integers(2, 5),
    st.integers(1, 4),
    st.integers(0, 99),
)
def test_folds_are_even_and_groups_whole(labels: list[str], folds: int, per_group: int, seed: int) -> None:
    groups = [number // per_group for number in range(len(labels))]
    parts = assign(keys_of(labels, groups), [1.0] * folds, seed=seed).tolist()
    assert all(
        len({part for part, one in zip(parts, groups, strict=True) if one == group}) == 1 for group in groups
    )
    sizes = Counter(parts)
    if per_group == 1:
        for label in set(labels):
            counts = Counter(part for part, one in zip(parts, labels, strict=True) if one == label)
            assert max(counts.values()) - min(counts.get(part, 0) for part in range(folds)) <= 1
    assert max(sizes.values()) - min(sizes.get(part, 0) for part in range(folds)) <= 2 * per_group * len(
        set(labels)
    )


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """100 texts with two labels, 4 to 1, of 20 authors; every tenth text is there twice."""
    file = tmp_path / "rows.jsonl"
    lines = [
        {
            "text": f"text number {n - n % 10 // 9}",
            "label": "no" if n % 5 else "yes",
            "author": f"author {n // 5}",
        }
        for n in range(100)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


def read(rows: Path, **settings: object) -> Data:
    return read_data(resolve("custom", model="nano", given={"train": [str(rows)], **settings}))


def test_a_dev_split_has_its_share_of_every_label(rows: Path) -> None:
    data = read(rows, dev_split=0.2, label_column="label")
    ((name, dev),) = data.dev.items()
    assert name == "dev_split=0.2"
    assert len(dev) + len(data.train) == 100
    assert Counter(example.label for example in dev) == {"no": 16, "yes": 4}
    assert not {example.texts for example in dev} & {example.texts for example in data.train}
    again, other = (
        read(rows, dev_split=0.2, label_column="label"),
        read(rows, dev_split=0.2, label_column="label", seed=2),
    )
    assert again.dev == data.dev != other.dev


def test_groups_stay_together(rows: Path) -> None:
    data = read(rows, dev_split=0.2, group_column="author", text_column="text", label_column="label")
    author_of = {
        line["text"]: line["author"]
        for line in map(json.loads, rows.read_text(encoding="utf-8").splitlines())
    }
    (dev,) = data.dev.values()
    sides = [{author_of[example.texts[0]] for example in side} for side in (dev, data.train)]
    assert not sides[0] & sides[1]
    assert 10 <= len(dev) <= 30


def test_folds_cover_the_data_once(rows: Path) -> None:
    held = [example for fold in (1, 2, 3) for example in one_fold(rows, fold)]
    assert Counter(held) == Counter(read(rows, label_column="label").train)


def one_fold(rows: Path, fold: int) -> list[Example]:
    (dev,) = read(rows, folds=3, fold=fold, label_column="label").dev.values()
    return dev


def test_numbers_are_spread_by_size(tmp_path: Path) -> None:
    keys = keys_of([float(n) for n in range(100)], range(100))
    parts = assign(keys, [0.9, 0.1], seed=0).tolist()
    assert {n // 10 for n, part in enumerate(parts) if part} == set(range(10))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dev_split": 0.1, "folds": 3}, "dev_split and folds are two sources of a dev set"),
        ({"dev_split": 0.1, "dev": "rows.jsonl"}, "--dev and dev_split are two sources of a dev set"),
        ({"group_column": "author"}, "group_column needs --dev-split or --folds"),
        (
            {"dev_split": 0.1, "group_column": "autor"},
            "has no column 'autor', which --group-column names. It has",
        ),
        ({"folds": 3, "fold": 4}, "fold=4 is not one of folds=3"),
        ({"dev_split": 0.001}, "leaves nothing to score on"),
    ],
)
def test_a_split_that_cannot_be_is_refused(rows: Path, settings: dict[str, object], message: str) -> None:
    if "dev" in settings:
        settings = settings | {"dev": [str(rows)]}
    with pytest.raises(UserError, match=message):
        read(rows, label_column="label", **settings)


def test_public_data_give_way_to_a_split() -> None:
    config = resolve("mnli", model="xsmall", given={"dev_split": 0.1})
    assert isinstance(config, FinetuneConfig)
    assert (config.data.train, config.data.dev) == (("datasets:nyu-mll/glue:mnli",), ())


def test_many_labels_with_few_examples_each_make_no_part_small() -> None:
    labels = [f"label {number % 75}" for number in range(400)]
    parts = assign(keys_of(labels, range(400)), [0.9, 0.1], seed=1).tolist()
    assert parts.count(1) == 40
    held = Counter(label for label, part in zip(labels, parts, strict=True) if part)
    assert max(held.values()) == 1  # five or six examples: a tenth is none or one


def test_more_folds_than_examples_are_refused_before_the_first_training(rows: Path) -> None:
    with pytest.raises(UserError, match=r"folds=200 of 100 examples leaves a part .* fewer --folds"):
        read(rows, folds=200, label_column="label")
