"""Contract: a mixture gives every source its share in every block, each of its samples once and in order."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from debertav3.data.mixture import BLOCK, Mixture
from debertav3.errors import UserError


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.05, 10), min_size=1, max_size=6), st.integers(0, 3))
def test_shares_are_exact_over_a_block_and_no_sample_is_lost(weights: list[float], seed: int) -> None:
    mixture = Mixture(weights, seed=seed)
    assert sum(mixture.counts) == BLOCK
    shares = np.array(weights) / sum(weights) * BLOCK
    assert np.abs(np.array(mixture.counts) - shares).max() < 1
    found = [mixture.find(position) for position in range(2 * BLOCK)]
    for source, count in enumerate(mixture.counts):
        assert sorted(number for own, number in found if own == source) == list(range(2 * count))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 3 * BLOCK))
def test_nothing_beyond_what_is_said_to_be_used_was_used(positions: int) -> None:
    mixture = Mixture([3, 1, 0.2], seed=1)
    ends = mixture.used(positions)
    assert all(number < ends[source] for source, number in map(mixture.find, range(positions)))


def test_the_order_depends_on_seed_and_block() -> None:
    orders = [
        tuple(Mixture([1, 1], seed=seed).find(BLOCK * block + i)[0] for i in range(BLOCK))
        for seed, block in ((0, 0), (0, 1), (1, 0))
    ]
    assert len(set(orders)) == 3


def test_a_mixture_reaches_a_worker_that_is_not_forked() -> None:
    mixture = Mixture([2, 1], seed=3)
    mixture.find(0)
    copied = pickle.loads(pickle.dumps(mixture))
    assert [copied.find(i) for i in range(50)] == [mixture.find(i) for i in range(50)]


@pytest.mark.parametrize("weights", [[], [1, 0], [1, -1], [1, float("nan")], [1, float("inf")], [1, 1e-5]])
def test_weights_that_cannot_be_are_refused(weights: list[float]) -> None:
    with pytest.raises(UserError, match="weight"):
        Mixture(weights, seed=0)
