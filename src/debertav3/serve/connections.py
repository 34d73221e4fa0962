"""Connections to clients: uvicorn's protocol, and what it lacks."""

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from .alarms import Alarms
from .endpoint import refused
from .exchange import CLOSE, CONNECTION, EXCHANGE, Exchange
from .refusals import Refusal, tei_error

KEEP_ALIVE_SECONDS = 75
SPARE_FILES = 256
"""Allowance for open files that are not connections; half of it is for those that get 429."""


def protocol(header_seconds: float, most_connections: int) -> type[asyncio.Protocol]:
    """What speaks HTTP on a connection, with the parser in C if it is installed.

    Args:
        header_seconds: within which the request line and headers must arrive.
        most_connections: above it a connection gets 429; many more are dropped.
    """
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    except ImportError:
        return _guarded(H11Protocol, header_seconds, most_connections)
    return _quick(_guarded(HttpToolsProtocol, header_seconds, most_connections))


async def too_many_connections(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a surplus connection with 429 and closes it."""
    refusal = Refusal("overloaded", "too many connections are open. Try again in a second.", retry_after=1.0)
    answer = refused(refusal, tei_error)
    answer.headers.append(CLOSE)
    await answer.send(send)


def _guarded(base: type[Any], header_seconds: float, most_connections: int) -> type[Any]:
    """Limits on connections and on slow headers, and a request learns at once that its client has hung up."""

    class Guarded(base):
        """Times the request line and headers from their first byte, or from the connection."""

        timer: asyncio.TimerHandle | None = None
        on_hang_up: Callable[[], None] | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            excess = len(self.connections) - most_connections
            if excess > SPARE_FILES // 2:
                transport.abort()
            elif excess > 0:
                self.app = too_many_connections
            self._start()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is None or self.cycle.response_complete:
                self._start()
            elif self.timer is not None:  # headers are complete
                self._cancel()

        def connection_lost(self, exc: Exception | None) -> None:
            self._cancel()
            super().connection_lost(exc)
            if self.on_hang_up is not None:
                self.on_hang_up()

        def _start(self) -> None:
            if self.timer is None:
                self.timer = self.loop.call_later(header_seconds, self._expired)

        def _cancel(self) -> None:
            if self.timer is not None:
                self.timer.cancel()
                self.timer = None

        def _expired(self) -> None:
            self.timer = None
            self.transport.close()

    return Guarded


def _quick(base: type[Any]) -> type[Any]:
    """A shorter way for small requests over httptools: see `Exchange`."""
    idle: Alarms[Any] = Alarms(KEEP_ALIVE_SECONDS, lambda connection: connection.timeout_keep_alive_handler())

    class Quick(base):
        """Makes an exchange of each request, and keeps no timer of its own while it is idle."""

        def on_headers_complete(self) -> None:
            super().on_headers_complete()
            self.scope["extensions"] = {CONNECTION: self, EXCHANGE: Exchange(self.cycle)}

        def data_received(self, data: bytes) -> None:
            idle.cancel(self)
            super().data_received(data)

        def connection_lost(self, exc: Exception | None) -> None:
            idle.cancel(self)
            super().connection_lost(exc)

        def on_response_complete(self) -> None:
            if self.pipeline:  # the next request is here already
                super().on_response_complete()
                return
            self.server_state.total_requests += 1
            if not self.transport.is_closing():
                self.flow.resume_reading()
                idle.set(self)

    return Quick
