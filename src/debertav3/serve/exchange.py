"""A whole request and its answer, without ASGI's messages: those cost as much as a small answer.

An application that is mounted elsewhere, or wrapped, finds no exchange, and uses the messages.
"""

from collections.abc import Sequence
from typing import Any
from weakref import ref

from starlette.types import Scope

CONNECTION = "debertav3.connection"
"""The ASGI extension by which our server says which connection a request came over."""
EXCHANGE = "debertav3.exchange"
"""The ASGI extension that holds an `Exchange`."""

Headers = Sequence[tuple[bytes, bytes]]
CLOSE = (b"connection", b"close")


class Exchange:
    """One request and its answer, whole, over a connection of uvicorn's with httptools.

    Args:
        cycle: uvicorn's state of the request.
    """

    __slots__ = ("_cycle",)

    def __init__(self, cycle: Any) -> None:
        # Weak, since the state holds this exchange: its memory must not wait for the garbage collector.
        self._cycle = ref(cycle)

    def whole_body(self) -> bytes | None:
        """The body if all of it has arrived; otherwise it must be received."""
        cycle = self._cycle()
        if cycle is None or cycle.more_body or cycle.waiting_for_100_continue or cycle.disconnected:
            return None
        cycle.flow.resume_reading()
        body, cycle.body = bytes(cycle.body), bytearray()
        return body

    def answer(self, status: int, headers: Headers, body: bytes) -> bool:
        """Send an answer in one write, unless something is in its way; then the messages can say so.

        Args:
            status: of the answer.
            headers: names in lower case and without anything that a client has written unchecked;
                ``content-length`` is among them.
            body: the whole.
        """
        from uvicorn.protocols.http.httptools_impl import STATUS_LINE

        cycle = self._cycle()
        if cycle is None or cycle.response_started or cycle.disconnected or cycle.flow.write_paused:
            return False
        if CLOSE in headers:
            cycle.keep_alive = False
        elif not cycle.keep_alive:
            headers = [*headers, CLOSE]
        lines = [b"%b: %b\r\n" % line for line in (*cycle.default_headers, *headers)]
        cycle.response_started = cycle.response_complete = True
        cycle.transport.write(b"".join((STATUS_LINE[status], *lines, b"\r\n", body)))
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()
        return True


def exchange_of(scope: Scope) -> Exchange | None:
    """The exchange of a request, where our server made one."""
    extensions = scope.get("extensions")
    found: Exchange | None = extensions.get(EXCHANGE) if extensions else None
    return found
