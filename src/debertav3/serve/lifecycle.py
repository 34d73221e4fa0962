"""Runs the application: binds the socket before models load, copes with slow clients, stops cleanly.

SIGTERM or Ctrl-C finishes accepted requests and refuses others with 503; a second signal ends at once.
"""

import asyncio
import contextlib
import gc
import ipaddress
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from ..errors import UserError
from .endpoint import CLOSE, refused
from .interruption import CONNECTION
from .limits import Limits
from .refusals import Refusal, tei_error
from .service import Service

DRAIN_SECONDS = 25.0
"""Seconds that accepted requests may take to finish; Kubernetes kills after 30."""
KEEP_ALIVE_SECONDS = 75
SWITCH_SECONDS = 0.0002
BACKLOG = 4096
"""Connections that the system queues while the server is busy."""
_SPARE_FILES = 256
"""Allowance for open files that are not connections."""
_QUIET_TICKS = 3
"""A stopping server ends after this many tenths of a second without a request."""


def bind(host: str, port: int) -> socket.socket:
    """Bind the address without listening yet: connections are refused until the server is ready.

    Raises:
        UserError: if it cannot be bound.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )[0]
        # With the protocol, since asyncio switches off delays (Nagle) only where a socket names TCP.
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"cannot serve on {host} port {port}: {reason}. Choose another --host or --port."
        ) from None
    return bound


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Server(uvicorn.Server):
    """Serves until a signal, then ends once accepted requests are answered.

    ``Server(...).run(sockets=[bind(host, port)])`` serves.

    Args:
        app: what `create_app` made.
        limits: limits on connections and slow clients.
        on_ready: called once requests can be answered.
    """

    def __init__(self, app: FastAPI, *, limits: Limits, on_ready: Callable[[], None] = lambda: None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=_guarded(_protocol(), limits.header_seconds, _most_connections(limits.connections)),
                ws="none",
                lifespan="on",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=int(DRAIN_SECONDS),
            )
        )
        self.service: Service = app.state.service
        self.on_ready = on_ready
        self._stop_at: float | None = None
        self._quiet_ticks = 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, once models are warm."""
        # A computing thread needs Python's lock many times per batch; by default, a busy event loop
        # makes it wait 5 ms each time.
        sys.setswitchinterval(SWITCH_SECONDS)
        await super().startup(sockets)
        gc.freeze()  # the libraries' million objects: a full collection of them stops everybody for a while
        self.on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; the second time, or before the server is ready, end at once."""
        if self._stop_at is not None or not self.started:
            self.force_exit = self.should_exit = True
            return
        self._stop_at = time.monotonic() + DRAIN_SECONDS
        self.service.is_stopping = True

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second: whether to end."""
        if self._stop_at is not None:
            self._quiet_ticks = 0 if self.service.num_active else self._quiet_ticks + 1
            if self._quiet_ticks >= _QUIET_TICKS or time.monotonic() > self._stop_at:
                self.should_exit = True
        return await super().on_tick(counter)


def _protocol() -> type[object]:
    """Uvicorn's HTTP parser: the one in C if it is installed."""
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    except ImportError:
        from uvicorn.protocols.http.h11_impl import H11Protocol

        return H11Protocol
    return HttpToolsProtocol


def _most_connections(wanted: int) -> int:
    """The requested number of connections, limited by the open files that this process may have."""
    try:
        import resource
    except ImportError:  # Windows
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _SPARE_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    raised = needed if hard == resource.RLIM_INFINITY else min(hard, needed)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        soft = raised
    return max(1, soft - _SPARE_FILES)


async def too_many_connections(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a surplus connection with 429 and closes it."""
    refusal = Refusal("overloaded", "too many connections are open. Try again in a second.", retry_after=1.0)
    answer = refused(refusal, tei_error)
    answer.headers.append(CLOSE)
    await answer.send(send)


def _guarded(protocol: type[Any], header_seconds: float, most_connections: int) -> type[asyncio.Protocol]:
    """Uvicorn's protocol with what it lacks.

    Connections whose request line and headers do not arrive in time are closed, those above a number get
    429 (many more are dropped), and a request learns at once that its client has hung up.
    """

    class Guarded(protocol):
        """Starts the clock with the connection, and with the first byte of each further request."""

        timer: asyncio.TimerHandle | None = None
        on_hang_up: Callable[[], None] | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            excess = len(self.connections) - most_connections
            if excess > _SPARE_FILES // 2:
                transport.abort()
            elif excess > 0:
                self.app = too_many_connections
            self._start()

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self.scope["extensions"] = {CONNECTION: self}

        def data_received(self, data: bytes) -> None:
            if self._is_between_requests():
                self._start()
            super().data_received(data)

        def on_response_complete(self) -> None:
            self._cancel()
            super().on_response_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._cancel()
            super().connection_lost(exc)
            if self.on_hang_up is not None:
                self.on_hang_up()

        def _is_between_requests(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

        def _start(self) -> None:
            if self.timer is None:
                self.timer = self.loop.call_later(header_seconds, self._expired)

        def _cancel(self) -> None:
            if self.timer is not None:
                self.timer.cancel()
                self.timer = None

        def _expired(self) -> None:
            self.timer = None
            if self._is_between_requests():
                self.transport.close()

    return Guarded
