"""Batches hold every input once within the token budget, and padding and order change nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from debertav3 import DebertaV3Tokenizer
from debertav3.errors import UserError
from debertav3.heads import MASKED_LM, SEQUENCE, TOKENS
from debertav3.inference.backends.protocol import Batch, Logits, head_for
from debertav3.inference.batching import Encoding, Packer, pad_batch, plan_batches, run_batches
from debertav3.inference.inputs import InputEncoder
from debertav3.tokenization.padding import Side


class SumBackend:
    """A real backend in numpy: the logit of a token is its id, that of a text the sum of its ids."""

    name = "sum"
    config: Mapping[str, Any] = {}
    batch_tokens = 12

    def __init__(self, head: str) -> None:
        self.head = head
        self.shapes: list[tuple[int, ...]] = []

    def run(self, batch: Batch) -> Logits:
        self.shapes.append(batch["input_ids"].shape)
        ids = (batch["input_ids"] * batch["attention_mask"]).astype(np.float32)
        if self.head == SEQUENCE:
            return {"logits": ids.sum(axis=1, keepdims=True)}
        if self.head == MASKED_LM:
            return {"logits": np.take_along_axis(ids, batch["masked_positions"], axis=1)[..., None]}
        return {"logits": ids[..., None]}


@pytest.fixture(scope="module")
def tokenizer(nano: Path) -> DebertaV3Tokenizer:
    return DebertaV3Tokenizer.from_pretrained(nano)


def encodings_of(lengths: list[int]) -> list[Encoding]:
    generator = np.random.default_rng(len(lengths))
    return [Encoding(generator.integers(1, 99, length).tolist(), [0] * length) for length in lengths]


@given(lengths=st.lists(st.integers(1, 40), max_size=60), batch_tokens=st.integers(1, 100))
def test_every_input_is_in_one_batch_within_the_budget(lengths: list[int], batch_tokens: int) -> None:
    batches = plan_batches(lengths, batch_tokens=batch_tokens)
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = len(batch) * max(lengths[place] for place in batch)
        assert padded <= batch_tokens or len(batch) == 1
    longest = [max(lengths[place] for place in batch) for batch in batches]
    assert longest == sorted(longest, reverse=True)


def test_a_batch_is_padded_at_the_right() -> None:
    batch = pad_batch([Encoding([1, 7, 2], [0, 0, 1], (1,)), Encoding([1, 2], [0, 0], (0, 1))], pad_id=9)
    assert {name: array.tolist() for name, array in batch.items()} == {
        "input_ids": [[1, 7, 2], [1, 2, 9]],
        "attention_mask": [[1, 1, 1], [1, 1, 0]],
        "token_type_ids": [[0, 0, 1], [0, 0, 0]],
        "masked_positions": [[1, 0], [0, 1]],
    }
    assert all(array.dtype == np.int64 for array in batch.values())


@pytest.mark.parametrize("batch_tokens", [None, 1, 1000], ids=["own", "one-by-one", "all-at-once"])
def test_logits_belong_to_their_inputs(batch_tokens: int | None) -> None:
    encodings = encodings_of([3, 11, 1, 5, 5, 2, 30])
    backend = SumBackend(SEQUENCE)
    outputs = dict(run_batches(backend, encodings, pad_id=0, batch_tokens=batch_tokens))
    assert [outputs[place]["logits"].tolist() for place in range(7)] == [
        [sum(one.input_ids)] for one in encodings
    ]
    allowed = batch_tokens or backend.batch_tokens
    assert all(rows * length <= allowed or rows == 1 for rows, length in backend.shapes)


def test_token_logits_are_cut_to_the_input() -> None:
    encodings = encodings_of([4, 2, 3])
    for place, outputs in run_batches(SumBackend(TOKENS), encodings, pad_id=0):
        assert outputs["logits"][:, 0].tolist() == encodings[place].input_ids


def test_mask_logits_are_those_of_the_masks() -> None:
    encodings = [
        one._replace(masked_positions=places)
        for one, places in zip(encodings_of([4, 3]), [(2,), (0, 1)], strict=True)
    ]
    for place, outputs in run_batches(SumBackend(MASKED_LM), encodings, pad_id=0):
        ids, places = encodings[place].input_ids, encodings[place].masked_positions
        assert outputs["logits"][:, 0].tolist() == [ids[masked] for masked in places]


def test_no_inputs_are_no_batches() -> None:
    assert list(run_batches(SumBackend(SEQUENCE), [], pad_id=0)) == []


def test_numbers_that_are_none_are_an_error() -> None:
    class Broken(SumBackend):
        def run(self, batch: Batch) -> Logits:
            return {"logits": np.full((1, 1), np.nan, np.float32)}

    with pytest.raises(UserError, match="not finite"):
        list(run_batches(Broken(SEQUENCE), encodings_of([3]), pad_id=0))


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("max_length", [8, 9, 20, 64])
def test_inputs_are_laid_out_and_cut_as_the_tokenizer_does(nano: Path, max_length: int, side: Side) -> None:
    tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
    tokenizer.truncation_side = side
    texts = ["", "One.", "A man is asleep on a bench in the park.", "word " * 40 + "end"]
    packer = InputEncoder(tokenizer, max_length=max_length).packer
    for first in texts:
        ids = tokenizer.encode(first)
        own = packer.single(ids)
        theirs = tokenizer(first, truncation=True, max_length=max_length)
        assert (own.input_ids, own.token_type_ids) == (theirs["input_ids"], theirs["token_type_ids"])
        assert own.is_truncated == (len(ids) + 2 > max_length)
        for second in texts:
            second_ids = tokenizer.encode(second)
            own = packer.pair(ids, second_ids)
            theirs = tokenizer(first, second, truncation=True, max_length=max_length)
            assert (own.input_ids, own.token_type_ids) == (theirs["input_ids"], theirs["token_type_ids"])
            assert own.is_truncated == (len(ids) + len(second_ids) + 3 > max_length)


def test_a_length_without_room_is_refused() -> None:
    with pytest.raises(UserError, match="at least 8"):
        Packer(cls_id=1, sep_id=2, max_length=7)


@pytest.mark.parametrize(
    ("architecture", "task", "head"),
    [
        ("DebertaV2ForSequenceClassification", None, "sequence-classification"),
        ("DebertaV2ForSequenceClassification", "zero-shot", "sequence-classification"),
        ("DebertaV2ForTokenClassification", "ner", "token-classification"),
        (None, "fill-mask", "masked-lm"),
        (None, "rtd", "replaced-token-detection"),
        ("DebertaV2ForMaskedLM", "rtd", "replaced-token-detection"),
    ],
)
def test_the_head_is_the_checkpoints_own_or_the_tasks(
    architecture: str | None, task: str | None, head: str
) -> None:
    config = {"architectures": [architecture]} if architecture else {}
    assert head_for(config, task=task, place="x") == head


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("DebertaV2ForSequenceClassification", "ner"),
        ("DebertaV2ForTokenClassification", "rtd"),
        (None, "nli"),
        ("DebertaV2Model", None),
        ("DebertaV2ForSequenceClassification", "translate"),
    ],
)
def test_a_head_that_is_not_there_is_refused(architecture: str | None, task: str | None) -> None:
    with pytest.raises(UserError):
        head_for({"architectures": [architecture]} if architecture else {}, task=task, place="x")
