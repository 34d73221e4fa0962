"""A deadline and a hang-up end a request's work, under our server and under others."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from debertav3.serve.exchange import CONNECTION
from debertav3.serve.interruption import Interruption, deadlines
from debertav3.serve.refusals import Refusal


class Connection:
    """What our server gives."""

    on_hang_up: Callable[[], None] | None = None


async def never() -> Any:
    await asyncio.Event().wait()


async def refused(scope: Any, receive: Any, *, seconds: float = 20.0) -> str:
    """Why work that never ends was ended."""
    before = asyncio.all_tasks()
    with pytest.raises(Refusal) as refusal, Interruption(scope, receive, deadlines=deadlines(seconds)):
        await never()
    task = asyncio.current_task()
    assert task is not None and not task.cancelling()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before  # nothing waits any more
    return refusal.value.kind


def scopes() -> list[dict[str, Any]]:
    return [{}, {"extensions": {CONNECTION: Connection()}}]


@pytest.mark.parametrize("scope", scopes())
def test_a_deadline(scope: dict[str, Any]) -> None:
    assert asyncio.run(refused(scope, never, seconds=0.01)) == "deadline"


def test_a_hang_up_under_our_server() -> None:
    async def work() -> None:
        connection = Connection()
        task = asyncio.create_task(refused({"extensions": {CONNECTION: connection}}, never))
        await asyncio.sleep(0)
        assert connection.on_hang_up is not None
        connection.on_hang_up()
        connection.on_hang_up()  # a second call changes nothing
        assert await task == "disconnected"
        assert connection.on_hang_up is None

    asyncio.run(work())


def test_a_hang_up_under_another_server() -> None:
    messages = iter([{"type": "http.request"}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(messages)

    assert asyncio.run(refused({}, receive)) == "disconnected"


@pytest.mark.parametrize("scope", scopes())
def test_work_that_ends_by_itself(scope: dict[str, Any]) -> None:
    async def work() -> None:
        with Interruption(scope, never, deadlines=deadlines(20)):
            await asyncio.sleep(0)
        with pytest.raises(KeyError), Interruption(scope, never, deadlines=deadlines(20)):
            raise KeyError
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(work())


@pytest.mark.parametrize("scope", scopes())
def test_a_cancellation_from_outside_stays_one(scope: dict[str, Any]) -> None:
    async def work() -> None:
        task = asyncio.create_task(refused(scope, never))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())


def test_requests_that_end_leave_no_deadline_behind_and_one_that_does_not_meets_its_own() -> None:
    async def work() -> None:
        shared = deadlines(0.05)
        for _ in range(1000):
            with Interruption({}, never, deadlines=shared):
                pass
        assert len(shared) == 0

        async def late() -> str:
            with pytest.raises(Refusal) as refusal, Interruption({}, never, deadlines=shared):
                await never()
            return refusal.value.kind

        async def quick() -> None:
            with Interruption({}, never, deadlines=shared):
                await asyncio.sleep(0.02)

        kinds = await asyncio.wait_for(asyncio.gather(late(), quick(), late()), 10)
        assert kinds == ["deadline", None, "deadline"] and len(shared) == 0

    asyncio.run(work())
