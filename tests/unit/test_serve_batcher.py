"""The batcher: every request answered once and with its own logits; hang-ups, overload and failures."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from debertav3.errors import UserError
from debertav3.inference.batching import Encoding
from debertav3.serve.batcher import FILL, Batcher, Closed, Overloaded, TooLarge
from debertav3.serve.queue import BatchCost

COST = BatchCost(budget=64, call=16.0, rate=1000.0)


class Model:
    """Logits are the sum of the ids; it notes its batches, and waits where a test holds it."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, encodings: Sequence[Encoding]) -> list[dict[str, Any]]:
        assert self.gate.wait(10)
        self.batches.append([len(one.input_ids) for one in encodings])
        if any(-1 in one.input_ids for one in encodings):
            raise UserError("the model's output is not finite")
        return [{"logits": np.array([sum(one.input_ids)], np.float32)} for one in encodings]


def texts(*rows: Sequence[int]) -> list[Encoding]:
    return [Encoding(list(row), [0] * len(row)) for row in rows]


def run(test: Callable[[Batcher, Model], Any], **options: Any) -> None:
    """Run a test on the event loop with a batcher that is closed at the end, and nothing left in it."""

    async def main() -> None:
        model = Model()
        batcher = Batcher(runners={"m": model}, costs={"m": COST}, **options)
        batcher.start()
        await asyncio.wait_for(test(batcher, model), 20)
        await batcher.close()
        assert batcher.waiting_tokens == 0 and batcher.num_waiting == 0

    asyncio.run(main())


def sums(computed: Any) -> list[float]:
    return [float(one["logits"][0]) for one in computed.outputs]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(1, 30), max_size=6), max_size=12))
def test_each_request_gets_its_own_answers_in_order(requests: list[list[int]]) -> None:
    async def ask(batcher: Batcher, model: Model) -> None:
        async def one(lengths: list[int]) -> None:
            rows = [[n + 1] * length for n, length in enumerate(lengths)]
            assert sums(await batcher.run("m", texts(*rows))) == [sum(row) for row in rows]

        await asyncio.gather(*(one(lengths) for lengths in requests))
        assert sorted(n for batch in model.batches for n in batch) == sorted(
            n for lengths in requests for n in lengths
        )
        assert all(len(batch) == 1 or len(batch) * max(batch) <= COST.budget for batch in model.batches)

    run(ask, queue_seconds=60)


def test_requests_share_batches_while_the_worker_is_busy() -> None:
    async def ask(batcher: Batcher, model: Model) -> None:
        model.gate.clear()
        asked = [asyncio.ensure_future(batcher.run("m", texts([1] * 8))) for _ in range(9)]
        await asyncio.sleep(0.05)
        model.gate.set()
        await asyncio.gather(*asked)
        assert len(model.batches) <= 3 and max(map(len, model.batches)) == 8  # 8 x 8 is the budget

    run(ask)


def test_a_cancelled_request_is_not_computed() -> None:
    async def ask(batcher: Batcher, model: Model) -> None:
        model.gate.clear()
        first = asyncio.ensure_future(batcher.run("m", texts([1] * 50)))
        await asyncio.sleep(0.05)
        leaving = [asyncio.ensure_future(batcher.run("m", texts([1] * 40, [1] * 5))) for _ in range(20)]
        await asyncio.sleep(0)
        assert batcher.num_waiting == 40
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
        assert batcher.num_waiting == 0
        model.gate.set()
        await first
        assert model.batches == [[50]]

    run(ask)


def test_a_full_queue_refuses_and_says_when_there_is_room() -> None:
    async def ask(batcher: Batcher, model: Model) -> None:
        assert batcher.bound == 500  # tokens in half a second at the rate that was measured
        model.gate.clear()
        accepted = [asyncio.ensure_future(batcher.run("m", texts([1] * 50))) for _ in range(10)]
        await asyncio.sleep(0.05)
        with pytest.raises(Overloaded) as refused:
            await batcher.run("m", texts([1] * 50))
        assert refused.value.retry_after == pytest.approx(0.05)
        with pytest.raises(Overloaded), batcher.reserve(50):
            pass
        model.gate.set()
        await asyncio.gather(*accepted)
        await batcher.run("m", texts([1] * 50))

    run(ask, queue_seconds=0.5001 / FILL)


def test_the_bound_follows_the_rate_and_counts_what_goes_on_between_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("debertav3.serve.batcher.RATE_SECONDS", 0.01)

    async def ask(batcher: Batcher, model: Model) -> None:
        take = batcher.queue.take

        def slow(rate: float) -> Any:
            time.sleep(0.1)  # in the computing thread, but not in a batch
            return take(rate)

        batcher.queue.take = slow  # type: ignore[method-assign]
        await asyncio.gather(*(batcher.run("m", texts([1] * 60)) for _ in range(3)))
        assert batcher.rate < 600 and batcher.bound < 300

    run(ask, queue_seconds=0.5001 / FILL)


def test_what_cannot_be_done_in_its_time_is_refused_at_once() -> None:
    async def ask(batcher: Batcher, model: Model) -> None:
        many = texts(*[[1] * 50] * 40)  # 2,000 tokens at 1,000 tokens a second
        with pytest.raises(TooLarge, match=r"2000 tokens, about 2 s of work; it may take 1 s\. Send fewer"):
            await batcher.run("m", many, seconds=1.0)
        assert batcher.waiting_tokens == 0 and not model.batches
        model.gate.clear()
        first = asyncio.ensure_future(batcher.run("m", texts(*[[1] * 50] * 5)))
        await asyncio.sleep(0.05)
        with pytest.raises(Overloaded) as refused:
            await batcher.run("m", many, seconds=2.1)
        assert refused.value.retry_after == pytest.approx(0.15)
        model.gate.set()
        await first

    run(ask, queue_seconds=60)


def test_a_rate_that_was_low_once_locks_nobody_out() -> None:
    async def ask(batcher: Batcher, model: Model) -> None:
        many = texts(*[[1] * 50] * 2)
        batcher._note_rate(1, 60.0)  # the machine stood still
        with pytest.raises(TooLarge):
            await batcher.run("m", many, seconds=0.2)
        assert len((await batcher.run("m", texts([1] * 50), seconds=0.2)).outputs) == 1  # one batch
        batcher.rate = 0.1
        await asyncio.sleep(0.25)
        assert len((await batcher.run("m", many, seconds=0.2)).outputs) == 2  # the rate is old

    run(ask, queue_seconds=60)


def test_a_request_larger_than_the_queue_is_split_and_not_refused() -> None:
    async def ask(batcher: Batcher, model: Model) -> None:
        assert len((await batcher.run("m", texts(*[[1] * 50] * 40))).outputs) == 40

    run(ask, queue_seconds=0.5001 / FILL)


def test_reserved_room_counts() -> None:
    async def ask(batcher: Batcher, model: Model) -> None:
        with batcher.reserve(480):
            assert batcher.waiting_tokens == 480
            with pytest.raises(Overloaded):
                await batcher.run("m", texts([1] * 50))
        assert batcher.waiting_tokens == 0

    run(ask, queue_seconds=0.5001 / FILL)


def test_only_the_text_that_fails_fails() -> None:
    async def ask(batcher: Batcher, model: Model) -> None:
        model.gate.clear()
        first = asyncio.ensure_future(batcher.run("m", texts([1] * 60)))
        await asyncio.sleep(0.05)
        good = asyncio.ensure_future(batcher.run("m", texts([1, 2, 3])))
        bad = asyncio.ensure_future(batcher.run("m", texts([1, -1, 3], [4, 5])))
        await asyncio.sleep(0)
        model.gate.set()
        await first
        assert sums(await good) == [6]
        with pytest.raises(UserError, match="not finite"):
            await bad

    run(ask)


def test_what_was_accepted_is_computed_before_it_closes() -> None:
    async def ask(batcher: Batcher, model: Model) -> None:
        asked = [asyncio.ensure_future(batcher.run("m", texts([n] * 30))) for n in range(1, 6)]
        await asyncio.sleep(0)
        await batcher.close()
        assert [sums(one) for one in await asyncio.gather(*asked)] == [[30 * n] for n in range(1, 6)]
        with pytest.raises(Closed):
            await batcher.run("m", texts([1]))

    run(ask)
