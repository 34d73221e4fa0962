"""Alarms of one delay: they ring in the order in which they were set, so one timer of the loop serves all."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Owner = TypeVar("Owner")


class Alarms(Generic[Owner]):
    """Calls a function for every owner whose alarm was not cancelled in time. Used on the event loop.

    Setting and cancelling one costs a tenth of a timer of the loop, and nothing is left of those cancelled.

    Args:
        seconds: from setting an alarm to its ringing.
        ring: what is called then.
    """

    def __init__(self, seconds: float, ring: Callable[[Owner], None]) -> None:
        self.seconds = seconds
        self._ring = ring
        self._due: OrderedDict[Owner, float] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._due)

    def set(self, owner: Owner) -> None:
        """Set the alarm of an owner that has none."""
        loop = asyncio.get_running_loop()
        self._due[owner] = due = loop.time() + self.seconds
        if self._timer is None:
            self._timer = loop.call_at(due, self._check)

    def cancel(self, owner: Owner) -> None:
        """Cancel an alarm, if there is one."""
        self._due.pop(owner, None)

    def _check(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._due:
            owner, due = next(iter(self._due.items()))
            if due > now:
                self._timer = loop.call_at(due, self._check)
                return
            del self._due[owner]
            self._ring(owner)
