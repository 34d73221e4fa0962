"""The queue: no batch above its budget, the oldest text always served, every text served once or dropped."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from debertav3.inference.batching import Encoding
from debertav3.serve.queue import PADDED, WINDOW, BatchCost, TextQueue, Waiting, next_batch

COST = BatchCost(budget=64, call=10.0)
LENGTHS = st.lists(st.integers(1, 100), min_size=1, max_size=WINDOW)


def padded(lengths: list[int]) -> int:
    return len(lengths) * max(lengths)


@given(LENGTHS, st.integers(1, 400), st.floats(0, 50))
def test_a_batch_has_the_oldest_text_and_keeps_its_budget(
    lengths: list[int], budget: int, call: float
) -> None:
    chosen = next_batch(lengths, BatchCost(budget=budget, call=call))
    assert chosen[0] == 0 and len(set(chosen)) == len(chosen)
    assert len(chosen) == 1 or padded([lengths[place] for place in chosen]) <= budget


@given(LENGTHS, st.floats(1, 50))
def test_padding_costs_a_part_of_the_calls_that_it_saves_at_most(lengths: list[int], call: float) -> None:
    chosen = [lengths[place] for place in next_batch(lengths, BatchCost(budget=10_000, call=call))]
    assert padded(chosen) - sum(chosen) <= PADDED * call * (len(chosen) - 1) + 1e-9


def test_texts_of_one_length_fill_the_budget_and_where_batches_do_not_pay_each_is_alone() -> None:
    assert len(next_batch([8] * 20, BatchCost(budget=64, call=1.0))) == 8
    assert next_batch([8] * 20, BatchCost(budget=64, call=0.0)) == [0]


def test_a_short_text_does_not_join_a_long_one() -> None:
    assert next_batch([60, 4, 58, 5], BatchCost(budget=1000, call=10.0)) == [0, 2]


def test_on_a_slow_machine_only_texts_of_the_next_half_second_of_work_are_looked_at() -> None:
    lengths = [10, *[90] * 9, 10, *[90] * 9, 10]  # texts of 10 tokens at 0, 10 and 20

    def first_batch(rate: float) -> list[int]:
        queue = TextQueue({"m": BatchCost(budget=1000, call=10.0)})
        queue.push("m", [Waiting(None, n, Encoding([1] * length, [])) for n, length in enumerate(lengths)])
        return [text.position for text in queue.take(rate)[1]]

    assert first_batch(rate=10_000.0) == [0, 10, 20]
    assert first_batch(rate=2 * 900.0) == [0, 10]
    assert first_batch(rate=2 * 500.0) == [0]


class QueueMachine(RuleBasedStateMachine):
    """Requests of several models come, are dropped, and are served in batches."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = TextQueue({"a": COST, "b": BatchCost(budget=200, call=40.0)})
        self.waiting: dict[tuple[int, int], tuple[str, int]] = {}
        """Text to its model and its length, oldest first."""
        self.requests = 0

    @rule(model=st.sampled_from("ab"), lengths=st.lists(st.integers(1, 90), min_size=1, max_size=9))
    def arrive(self, model: str, lengths: list[int]) -> None:
        self.requests += 1
        texts = [
            Waiting(self.requests, number, Encoding([1] * length, [0] * length))
            for number, length in enumerate(lengths)
        ]
        self.queue.push(model, texts)
        self.waiting |= {(self.requests, number): (model, length) for number, length in enumerate(lengths)}

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def hang_up(self, data: Any) -> None:
        owner = data.draw(st.sampled_from(sorted({owner for owner, _ in self.waiting})))
        own = [text for text in self.waiting if text[0] == owner]
        assert self.queue.drop(owner) == len(own)
        for text in own:
            del self.waiting[text]

    @precondition(lambda self: self.waiting)
    @rule()
    def serve(self) -> None:
        oldest = next(iter(self.waiting))
        model, batch = self.queue.take(rate=400.0)
        served = [(text.owner, text.position) for text in batch]
        assert oldest in served
        assert {self.waiting[text][0] for text in served} == {model}
        lengths = [self.waiting.pop(text)[1] for text in served]
        assert len(batch) == 1 or padded(lengths) <= self.queue.costs[model].budget

    @invariant()
    def counts_agree(self) -> None:
        assert len(self.queue) == len(self.waiting)
        assert self.queue.num_tokens == sum(length for _, length in self.waiting.values())

    def teardown(self) -> None:
        """What is left is served in as many batches as there are texts at most."""
        for _ in range(len(self.waiting)):
            if self.waiting:
                self.serve()
        assert not self.waiting and not len(self.queue) and not self.queue.num_tokens


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=20, stateful_step_count=40, deadline=None)


@pytest.mark.slow
def test_ten_thousand_steps() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        QueueMachine,
        settings=settings(
            max_examples=100,
            stateful_step_count=100,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
