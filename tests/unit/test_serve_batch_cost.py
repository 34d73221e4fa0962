"""What the measurements at the start say, also on a machine that is busy with something else."""

import pytest

from debertav3.serve.batch_cost import LEAST_CALL, SHORT, Seconds, cost_of

ONE = Seconds(wall=0.002, cpu=0.002)


def test_a_call_costs_what_a_single_text_takes_beyond_its_tokens() -> None:
    cost = cost_of(ONE, Seconds(0.128, 0.128), texts=128, budget=4096)
    assert cost.call == pytest.approx(SHORT) and cost.rate == pytest.approx(32_000) and cost.budget == 4096


def test_where_batches_are_slower_texts_are_computed_one_by_one() -> None:
    assert cost_of(ONE, Seconds(0.3, 0.3), texts=128, budget=4096).call == 0


def test_a_batch_that_was_interrupted_is_no_slow_batch() -> None:
    """A server that started on a busy machine made no batches for all its life."""
    assert cost_of(ONE, Seconds(0.9, 0.130), texts=128, budget=4096).call == LEAST_CALL
