"""Batches: order from seed and epoch, whole batches only, similar lengths together, padded right."""

from pathlib import Path

import pytest
import torch

from debertav3.finetuning.batches import EncodedDataset, LengthBucketSampler, PaddingCollator
from debertav3.finetuning.config import FinetuneConfig
from debertav3.finetuning.objectives import objective_of
from debertav3.tasks.example import Example
from debertav3.tasks.names import TASKS
from debertav3.tasks.summary import Summary
from debertav3.tokenization import DebertaV3Tokenizer

LENGTHS = [3 + (7 * number) % 50 for number in range(103)]


def order(**changes: object) -> list[int]:
    settings = {"batch_size": 8, "seed": 1, **changes}
    epoch = settings.pop("epoch", 0)
    sampler = LengthBucketSampler(LENGTHS, **settings)  # type: ignore[arg-type]
    sampler.epoch = epoch  # type: ignore[assignment]
    return list(sampler)


@pytest.mark.parametrize("is_grouped", [True, False])
def test_whole_batches_without_repetition(is_grouped: bool) -> None:
    indices = order(is_grouped=is_grouped)
    assert len(indices) == 96 == len(set(indices))


def test_the_order_follows_from_seed_and_epoch() -> None:
    assert order() == order()
    assert order(epoch=1) != order()
    assert order(seed=2) != order()
    assert set(order(epoch=1)) != set(order())  # another remainder is left out


def test_a_batch_holds_similar_lengths() -> None:
    def padding(indices: list[int]) -> int:
        batches = [[LENGTHS[index] for index in indices[start : start + 8]] for start in range(0, 96, 8)]
        return sum(max(batch) * len(batch) - sum(batch) for batch in batches)

    assert padding(order()) < 0.2 * padding(order(is_grouped=False))


def test_fewer_examples_than_a_batch_make_one_batch() -> None:
    assert sorted(LengthBucketSampler([5, 6, 7], batch_size=32, seed=1)) == [0, 1, 2]


@pytest.fixture(scope="module")
def tokenizer(nano: Path) -> DebertaV3Tokenizer:
    return DebertaV3Tokenizer.from_pretrained(nano)


PAIRS = [
    Example(texts=("A man sleeps.", "Nobody is awake in the house tonight."), label="neutral"),
    Example(texts=("It rains.", "It is wet."), label="entailment"),
]


def encoded(
    task: str, examples: list[Example], tokenizer: DebertaV3Tokenizer, *, max_length: int = 64
) -> EncodedDataset:
    config = FinetuneConfig.of(task=task, model="nano", max_length=max_length)
    labels = TASKS[task].choose_labels(Summary.of(examples), source="")
    return objective_of(TASKS[task]).encode(examples, tokenizer, labels=labels, config=config)


def test_pairs_are_encoded_once_and_padded_to_the_longest(tokenizer: DebertaV3Tokenizer) -> None:
    dataset = encoded("nli", PAIRS, tokenizer)
    batch = PaddingCollator(tokenizer)([dataset[0], dataset[1]])
    assert batch["labels"].tolist() == [1, 0]
    for row, example in enumerate(PAIRS):
        alone = tokenizer(*example.texts)
        real = batch["attention_mask"][row].bool()
        assert batch["input_ids"][row][real].tolist() == alone["input_ids"]
        assert batch["token_type_ids"][row][real].tolist() == alone["token_type_ids"]
    assert batch["input_ids"].shape[1] == max(dataset.lengths)
    assert (batch["input_ids"][~batch["attention_mask"].bool()] == tokenizer.pad_token_id).all()


def test_long_examples_are_truncated(tokenizer: DebertaV3Tokenizer) -> None:
    dataset = encoded("nli", PAIRS, tokenizer, max_length=8)
    assert dataset.lengths == [8, 8]
    assert dataset[0]["input_ids"].count(tokenizer.sep_token_id) == 2


def test_numbers_stay_numbers_for_regression(tokenizer: DebertaV3Tokenizer) -> None:
    dataset = encoded(
        "stsb", [Example(texts=("a", "b"), label=2.5), Example(texts=("b", "c"), label=0.0)], tokenizer
    )
    batch = PaddingCollator(tokenizer)([dataset[0], dataset[1]])
    assert batch["labels"].dtype == torch.float32
    assert batch["labels"].tolist() == [2.5, 0.0]


def test_choices_are_rows_of_one_example(tokenizer: DebertaV3Tokenizer) -> None:
    examples = [
        Example(texts=("The lamp broke.", "It fell.", "It shone brightly for years."), label="0"),
        Example(texts=("He ran.", "He was late.", "Tea."), label="1"),
    ]
    dataset = encoded("copa", examples, tokenizer)
    batch = PaddingCollator(tokenizer)([dataset[0], dataset[1]])
    assert batch["input_ids"].shape == (2, 2, max(dataset.lengths))
    assert batch["labels"].tolist() == [0, 1]
    real = batch["attention_mask"][1, 1].bool()
    assert batch["input_ids"][1, 1][real].tolist() == tokenizer("He ran.", "Tea.")["input_ids"]


@pytest.mark.parametrize("side", ["right", "left"])
def test_labels_of_tokens_stand_under_their_tokens(tokenizer: DebertaV3Tokenizer, side: str) -> None:
    class Padder:
        padding_side = side

        def pad(self, rows: list[dict[str, list[int]]], **kwargs: object) -> dict[str, torch.Tensor]:
            longest = max(len(row["input_ids"]) for row in rows)
            blank = [[0] * (longest - len(row["input_ids"])) for row in rows]
            parts = [(row["input_ids"], gap) for row, gap in zip(rows, blank, strict=True)]
            return {"input_ids": torch.tensor([b + a if side == "left" else a + b for a, b in parts])}

    features = [{"input_ids": [5, 6, 7], "labels": [-100, 1, 2]}, {"input_ids": [8], "labels": [3]}]
    batch = PaddingCollator(Padder(), has_token_labels=True)(features)
    assert batch["labels"][batch["input_ids"] == 8].tolist() == [3]
    assert batch["labels"].tolist()[0] == [-100, 1, 2]


def test_sorting_by_length_keeps_features_with_their_origins() -> None:
    features = [{"input_ids": [1] * length, "labels": length} for length in (2, 5, 3)]
    ordered = EncodedDataset(features, origins=["a", "b", "c"], examples=[]).sorted_by_length()
    assert ordered.lengths == [5, 3, 2] == ordered.labels().tolist()
    assert ordered.origins == ["b", "c", "a"]
