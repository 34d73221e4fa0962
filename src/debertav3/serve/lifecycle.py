"""Runs the application: binds the socket before models load, copes with slow clients, stops cleanly.

SIGTERM or Ctrl-C finishes accepted requests and refuses others with 503; a second signal ends at once.
"""

import contextlib
import gc
import ipaddress
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from ..errors import UserError
from .connections import KEEP_ALIVE_SECONDS, SPARE_FILES, protocol
from .limits import Limits
from .service import Service

DRAIN_SECONDS = 25.0
"""Seconds that accepted requests may take to finish; Kubernetes kills after 30."""
CLOSE_SECONDS = 1
"""Least seconds that uvicorn then waits for connections to close, before it cancels what still runs."""
SWITCH_SECONDS = 0.0002
COLLECT_AFTER = (20_000, 20, 20)
"""Thresholds of garbage collection: a hundred requests in progress are many objects, and no garbage."""
BACKLOG = 4096
"""Connections that the system queues while the server is busy."""
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
                http=protocol(limits.header_seconds, _most_connections(limits.connections)),
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
        gc.set_threshold(*COLLECT_AFTER)
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
            left = self._stop_at - time.monotonic()
            if self._quiet_ticks >= _QUIET_TICKS or left < 0:
                self.config.timeout_graceful_shutdown = max(CLOSE_SECONDS, int(left))
                self.should_exit = True
        return await super().on_tick(counter)


def _most_connections(wanted: int) -> int:
    """The requested number of connections, limited by the open files that this process may have."""
    try:
        import resource
    except ImportError:  # Windows
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + SPARE_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    raised = needed if hard == resource.RLIM_INFINITY else min(hard, needed)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        soft = raised
    return max(1, soft - SPARE_FILES)
