"""What ends a request's work early: its deadline, and a client that hangs up."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from starlette.types import Receive, Scope

from .refusals import Refusal

CONNECTION = "debertav3.connection"
"""The ASGI extension by which our server says which connection a request came over."""


class Connection(Protocol):
    """A connection that says when its client hangs up."""

    on_hang_up: Callable[[], None] | None
    """What to call then."""


class Interruption:
    """While it is entered, cancels the task that entered it at a deadline or a hang-up.

    Args:
        scope: the request. Other servers than ours do not name its connection; then a task of its own waits
            for the hang-up.
        receive: the request's messages, once its body is read.
        seconds: until the deadline.

    Raises:
        Refusal: on leaving, if the work was cancelled for one of the two.
    """

    def __init__(self, scope: Scope, receive: Receive, *, seconds: float) -> None:
        self._connection: Connection | None = scope.get("extensions", {}).get(CONNECTION)
        self._receive = receive
        self._seconds = seconds
        self._leaving: asyncio.Task[None] | None = None
        self._refusal: Refusal | None = None

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancellations = task.cancelling()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._seconds, self._expired)
        if self._connection is not None:
            self._connection.on_hang_up = self._left
        else:
            self._leaving = loop.create_task(self._wait_for_hang_up())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._connection is not None:
            self._connection.on_hang_up = None
        if self._leaving is not None:
            self._leaving.cancel()
        if self._refusal is None:
            return
        is_ours = self._task.uncancel() <= self._cancellations
        if is_ours and kind is asyncio.CancelledError:
            raise self._refusal from None

    def _expired(self) -> None:
        self._stop(Refusal("deadline", f"no answer within {self._seconds:g} s. Send less at a time."))

    def _left(self) -> None:
        self._stop(Refusal("disconnected", "the client left before the answer."))

    def _stop(self, refusal: Refusal) -> None:
        if self._refusal is None:
            self._refusal = refusal
            self._task.cancel()

    async def _wait_for_hang_up(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left()
