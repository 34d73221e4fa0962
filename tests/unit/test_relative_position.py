"""Rows of the relative table: buckets equal transformers', are odd, monotonic, and survive tracing."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

from debertav3.layers.relative_position import RelativePositions
from debertav3.models import DebertaV2Model
from helpers import random_batch, tiny_config

CPU = torch.device("cpu")


def positions(
    num_buckets: int = 256, max_distance: int = 512, long_inputs: Any = "clamp"
) -> RelativePositions:
    span = num_buckets or max_distance
    return RelativePositions(
        num_buckets=num_buckets, max_distance=max_distance, span=span, long_inputs=long_inputs
    )


@pytest.mark.parametrize(
    ("num_buckets", "max_distance"),
    [(256, 512), (8, 32), (9, 33), (2, 16), (3, 17), (32, 129), (100, 514), (512, 1024), (50, 2048)],
)
def test_rows_equal_transformers(num_buckets: int, max_distance: int) -> None:
    """(32, 129) has offsets whose logarithm is a whole number: there rounding decides."""
    length = 3 * max_distance
    offsets = torch.arange(1 - length, length)
    bucket = make_log_bucket_position(offsets, num_buckets, max_distance).long()
    want = (bucket + num_buckets).clamp(0, 2 * num_buckets - 1)
    table = positions(num_buckets, max_distance, "transformers")
    assert torch.equal(table.rows(length, CPU), want)
    assert [table.row(int(offset)) for offset in offsets] == want.tolist()


def test_rows_of_the_released_models() -> None:
    """512 different rows but 0, which training never reached (official clamp, ``deberta/da_utils.py``)."""
    rows = positions().rows(512, CPU)
    assert rows.unique().tolist() == list(range(1, 512))
    assert rows[511] == 256  # distance 0
    assert (rows.diff() >= 0).all()


@settings(deadline=None)
@given(
    num_buckets=st.integers(2, 64),
    max_distance=st.integers(4, 200),
    offset=st.integers(0, 1000),
    long_inputs=st.sampled_from(["clamp", "transformers"]),
)
def test_rows_are_odd_and_monotonic(
    num_buckets: int, max_distance: int, offset: int, long_inputs: str
) -> None:
    if long_inputs == "transformers" and max_distance - 1 <= num_buckets // 2:
        return  # refused by the config
    table = positions(num_buckets, max_distance, long_inputs)
    middle, last = table.span, 2 * table.span - 1
    forward, backward = table.row(offset), table.row(-offset)
    assert forward == min(2 * middle - backward, last)
    assert middle <= forward <= table.row(offset + 1) <= last
    if offset < table.identity_length:
        assert forward == middle + offset


@settings(deadline=None)
@given(
    num_buckets=st.sampled_from([0, 2, 3, 4, 5, 8, 9, 31, 64]),
    max_distance=st.integers(3, 80),
    length=st.integers(1, 300),
    long_inputs=st.sampled_from(["clamp", "transformers"]),
)
def test_expanding_picks_the_row_of_every_offset(
    num_buckets: int, max_distance: int, length: int, long_inputs: str
) -> None:
    if long_inputs == "transformers" and max_distance - 1 <= num_buckets // 2:
        return
    table = positions(num_buckets, max_distance, long_inputs)
    rows = [table.row(offset) for offset in range(1 - length, length)]
    assert table.rows(length, CPU).tolist() == rows
    numbered = torch.arange(2 * table.span)[None, :, None]
    assert table.expand(numbered, length).flatten().tolist() == rows


@pytest.mark.parametrize("long_inputs", ["clamp", "transformers"])
def test_beyond_the_farthest_offset_nothing_changes(long_inputs: str) -> None:
    for num_buckets in (0, 2, 5, 7, 8, 256):
        table = positions(num_buckets, 300, long_inputs)
        for far in (table.farthest + 1, 10 * table.farthest, 10**6):
            if not (long_inputs == "transformers" and num_buckets == 2):
                assert table.row(far) == table.row(table.farthest)
                assert table.row(-far) == table.row(-table.farthest)


def test_long_inputs_are_held_or_run_on() -> None:
    """The official code never reads row 0; transformers does, for keys more than 511 tokens to the right."""
    held, run_on = positions(), positions(long_inputs="transformers")
    assert held.row(-5000) == held.row(-511) == 1
    assert held.row(5000) == held.row(511) == 511
    assert run_on.row(-512) == 0
    assert run_on.row(511) == run_on.row(512) == 511
    assert torch.equal(held.rows(512, CPU), run_on.rows(512, CPU))


def test_without_buckets_rows_are_offsets() -> None:
    table = positions(0, 20)
    assert [table.row(offset) for offset in (-50, -20, -19, 0, 19, 20, 50)] == [0, 0, 1, 20, 39, 39, 39]


def test_buckets_wider_than_the_distance_are_held() -> None:
    """256 buckets with 64 positions: every offset within reach keeps its own row."""
    table = positions(256, 64)
    assert [table.row(offset) for offset in (-100, -63, 0, 63, 64, 100)] == [193, 193, 256, 319, 319, 319]
    assert math.isclose(table.identity_length, 64)


def test_a_traced_length_can_be_used_again_outside_the_trace() -> None:
    """A tensor that is made while tracing is not a real one; it must not be kept."""
    model = DebertaV2Model(tiny_config()).eval()
    model.set_attention_backend("eager")  # reads rows of the very length
    batch = random_batch((19, 7))
    program = torch.export.export(model, (), batch, strict=False)
    want = model(**batch)[0]
    assert type(want) is torch.Tensor and type(positions(8, 32).rows(19, CPU)) is torch.Tensor
    torch.testing.assert_close(program.module()(**batch)[0], want)
