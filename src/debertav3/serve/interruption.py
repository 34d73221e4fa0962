"""What ends a request's work early: its deadline, and a client that hangs up."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from starlette.types import Receive, Scope

from .alarms import Alarms
from .exchange import CONNECTION
from .refusals import Refusal


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
        deadlines: when it is over: see `deadlines`.

    Raises:
        Refusal: on leaving, if the work was cancelled for one of the two.
    """

    def __init__(self, scope: Scope, receive: Receive, *, deadlines: "Alarms[Interruption]") -> None:
        extensions = scope.get("extensions")
        self._connection: Connection | None = extensions.get(CONNECTION) if extensions else None
        self._receive = receive
        self._deadlines = deadlines
        self._leaving: asyncio.Task[None] | None = None
        self._refusal: Refusal | None = None

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancellations = task.cancelling()
        self._deadlines.set(self)
        if self._connection is not None:
            self._connection.on_hang_up = self._left
        else:
            self._leaving = asyncio.create_task(self._wait_for_hang_up())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadlines.cancel(self)
        if self._connection is not None:
            self._connection.on_hang_up = None
        if self._leaving is not None:
            self._leaving.cancel()
        if self._refusal is None:
            return
        is_ours = self._task.uncancel() <= self._cancellations
        if is_ours and kind is asyncio.CancelledError:
            raise self._refusal from None

    def expire(self) -> None:
        """The deadline has come."""
        seconds = self._deadlines.seconds
        self._stop(Refusal("deadline", f"no answer within {seconds:g} s. Send less at a time."))

    def _left(self) -> None:
        self._stop(Refusal("disconnected", "the client disconnected before the answer."))

    def _stop(self, refusal: Refusal) -> None:
        if self._refusal is None:
            self._refusal = refusal
            self._task.cancel()

    async def _wait_for_hang_up(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left()


def deadlines(seconds: float) -> Alarms[Interruption]:
    """One deadline for all requests of a server, from the moment their work begins."""
    return Alarms(seconds, Interruption.expire)
