"""Alarms ring once, in order, and not after they were cancelled."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from debertav3.serve.alarms import Alarms


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(["set", "cancel"]), max_size=30))
def test_each_alarm_rings_once_unless_it_was_cancelled(steps: list[str]) -> None:
    async def work() -> None:
        rung: list[int] = []
        alarms: Alarms[int] = Alarms(0.003, rung.append)
        waiting: list[int] = []
        for number, step in enumerate(steps):
            if step == "set":
                alarms.set(number)
                waiting.append(number)
            elif waiting:
                alarms.cancel(waiting.pop(number % len(waiting)))
        assert len(alarms) == len(waiting) and not rung
        for _ in range(200):
            await asyncio.sleep(0.001)
            if len(rung) >= len(waiting):
                break
        await asyncio.sleep(0.005)
        assert rung == waiting and len(alarms) == 0

    asyncio.run(work())


def test_an_alarm_set_while_others_ring_rings_too() -> None:
    async def work() -> None:
        rung: list[str] = []
        over = asyncio.Event()

        def ring(owner: str) -> None:
            rung.append(owner)
            if owner == "first":
                alarms.set("second")
            else:
                over.set()

        alarms: Alarms[str] = Alarms(0.002, ring)
        alarms.set("first")
        await asyncio.wait_for(over.wait(), 10)
        assert rung == ["first", "second"]

    asyncio.run(work())
