"""Connections to clients: uvicorn's protocol, and what it lacks."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from .alarms import Alarms
from .endpoint import refused
from .exchange import CLOSE, CONNECTION, EXCHANGE, Exchange
from .refusals import Refusal, tei_error

logger = logging.getLogger(__name__)

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
        from uvicorn.protocols.http import httptools_impl
    except ImportError:
        return _guarded(H11Protocol, header_seconds, most_connections)
    guarded = _staying(_guarded(httptools_impl.HttpToolsProtocol, header_seconds, most_connections))
    if not knows(httptools_impl):
        logger.info("this version of uvicorn is unknown: requests take the slower path")
        return guarded
    return _quick(guarded)


def knows(httptools_impl: ModuleType) -> bool:
    """Whether uvicorn has what the short way uses of it, which no version promises to the next."""
    used = {
        "RequestResponseCycle": "transport flow default_headers message_event on_response disconnected "
        "keep_alive waiting_for_100_continue body more_body response_started response_complete",
        "HttpToolsProtocol": "transport flow server_state scope pipeline cycle "
        "data_received connection_lost on_headers_complete on_response_complete timeout_keep_alive_handler",
    }
    for name, attributes in used.items():
        found = getattr(httptools_impl, name, None)
        if not {*attributes.split()} <= {*dir(found), *_set_by(found)}:
            return False
    return hasattr(httptools_impl, "STATUS_LINE")


def _set_by(kind: object) -> Sequence[str]:
    """Names that a class mentions where it makes an object."""
    code = getattr(getattr(kind, "__init__", None), "__code__", None)
    return code.co_names if code is not None else ()


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


def _staying(base: type[Any]) -> type[Any]:
    """Offers to switch the protocol are ignored: see `StayingParser`."""
    from .http_parser import StayingParser

    class Staying(base):
        """Parses HTTP/1.1 only."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.parser = StayingParser(self)

    return Staying


def _quick(base: type[Any]) -> type[Any]:
    """A shorter way for small requests over httptools: see `Exchange`."""
    idle: Alarms[Any] = Alarms(KEEP_ALIVE_SECONDS, lambda connection: connection.timeout_keep_alive_handler())

    class Quick(base):
        """Makes an exchange of each request, and keeps no timer of its own while it is idle."""

        cycle: Any
        scope: Any

        def on_headers_complete(self) -> None:
            super().on_headers_complete()
            self.scope["extensions"] = {CONNECTION: self, EXCHANGE: Exchange(self.cycle)}

        def data_received(self, data: bytes) -> None:
            idle.cancel(self)
            super().data_received(data)

        def connection_lost(self, exc: Exception | None) -> None:
            idle.cancel(self)
            super().connection_lost(exc)
            self.cycle = self.scope = None  # which hold this connection

        def on_response_complete(self) -> None:
            if self.pipeline:  # the next request is here already
                super().on_response_complete()
                return
            self.server_state.total_requests += 1
            if not self.transport.is_closing():
                self.flow.resume_reading()
                idle.set(self)

    return Quick
