"""Batches: order from seed and epoch, whole batches only, similar lengths together, padded right."""

from pathlib import Path

import pytest
import torch

from debertav3.finetune.batches import EncodedDataset, LengthBucketSampler, PaddingCollator, encode_examples
from debertav3.finetune.examples import Example
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
    Example(("A man sleeps.", "Nobody is awake in the house tonight."), "neutral"),
    Example(("It rains.", "It is wet."), "entailment"),
]


def test_pairs_are_encoded_once_and_padded_to_the_longest(tokenizer: DebertaV3Tokenizer) -> None:
    dataset = encode_examples(
        PAIRS, tokenizer, labels=("entailment", "neutral"), max_length=64, description=""
    )
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
    dataset = encode_examples(
        PAIRS, tokenizer, labels=("entailment", "neutral"), max_length=8, description=""
    )
    assert dataset.lengths == [8, 8]
    assert dataset[0]["input_ids"].count(tokenizer.sep_token_id) == 2


def test_numbers_stay_numbers_for_regression(tokenizer: DebertaV3Tokenizer) -> None:
    dataset = encode_examples(
        [Example(("a",), 2.5), Example(("b c",), 0.0)], tokenizer, labels=(), max_length=8, description=""
    )
    batch = PaddingCollator(tokenizer)([dataset[0], dataset[1]])
    assert batch["labels"].dtype == torch.float32
    assert batch["labels"].tolist() == [2.5, 0.0]


def test_sorting_by_length_remembers_the_places() -> None:
    dataset = EncodedDataset([{"input_ids": [1] * length, "labels": length} for length in (2, 5, 3)])
    ordered, places = dataset.sorted_by_length()
    assert ordered.lengths == [5, 3, 2]
    assert places == [1, 2, 0]
