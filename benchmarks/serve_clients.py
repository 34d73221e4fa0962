"""The clients of ``serve_load.py``, in a process of their own: bare HTTP/1.1, as little work as possible.

Reads ``{"port", "bodies", "kind", ...}`` from stdin, prints what the clients saw in one JSON line.

kind ``closed``: ``connections`` ask again as soon as they are answered, for ``seconds``.
kind ``open``: requests come at a ``rate`` for ``seconds``, whether or not earlier ones are answered; times
count from the moment each was due. A request takes an idle connection, else a new one.
kind ``hang up``: so many ``connections`` ask and close without an answer.
"""

import asyncio
import contextlib
import json
import selectors
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

BROKEN = 0
"""Instead of a status: the connection broke, or could not be made."""
GRACE_SECONDS = 60.0
"""How long to wait for the last answers."""

Finished = Callable[["Client", int], None]


class Client(asyncio.Protocol):
    """One connection, kept alive.

    Args:
        finished: called with each answer's status.
    """

    def __init__(self, finished: Finished) -> None:
        self.finished = finished
        self.due = 0.0
        self.is_asking = False
        self.received = b""

    def connection_made(self, transport: Any) -> None:
        """Keep what to write to."""
        self.transport = transport

    def ask(self, request: bytes, due: float) -> None:
        """Send a request."""
        self.due, self.is_asking, self.received = due, True, b""
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Read an answer, in however many pieces."""
        self.received += data
        answer = whole_answer(self.received)
        if answer is None:
            return
        status, is_last = answer
        if is_last:
            self.transport.close()
        self._finish(status)

    def connection_lost(self, error: Exception | None) -> None:
        """Note it, if an answer is missing."""
        if self.is_asking:
            self._finish(BROKEN)

    @property
    def is_open(self) -> bool:
        """Whether it can ask again."""
        return not self.transport.is_closing()

    def _finish(self, status: int) -> None:
        self.is_asking = False
        self.finished(self, status)


class Load:
    """What is asked, and what came back.

    Args:
        port: of the server on this machine.
        bodies: of ``POST /predict``, in turn.
    """

    def __init__(self, port: int, bodies: list[str]) -> None:
        self.port = port
        head = "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{}"
        self.requests = [head.format(len(body.encode()), body).encode() for body in bodies]
        self.milliseconds: dict[int, list[float]] = {}
        self.asked = self.connections = 0

    def next_request(self) -> bytes:
        """The next one."""
        self.asked += 1
        return self.requests[self.asked % len(self.requests)]

    def note(self, status: int, since: float) -> None:
        """An answer came."""
        self.milliseconds.setdefault(status, []).append(1000 * (time.perf_counter() - since))

    @property
    def answered(self) -> int:
        """Answers of any kind."""
        return sum(map(len, self.milliseconds.values()))

    async def connect(self, finished: Finished) -> Client | None:
        """A new connection; None if it cannot be made."""
        loop = asyncio.get_running_loop()
        try:
            _, client = await loop.create_connection(lambda: Client(finished), "127.0.0.1", self.port)
        except OSError:
            return None
        self.connections += 1
        return client

    async def closed(self, *, connections: int, seconds: float) -> None:
        """Every connection asks again as soon as it is answered."""
        Closed(self).run(connections, seconds)

    async def open(self, *, rate: float, seconds: float) -> None:
        """Requests come at a rate."""
        idle: list[Client] = []
        starting: set[asyncio.Task[None]] = set()

        def finished(client: Client, status: int) -> None:
            self.note(status, client.due)
            if status != BROKEN and client.is_open:
                idle.append(client)

        async def start(due: float) -> None:
            client = await self.connect(finished)
            if client is None:
                self.note(BROKEN, due)
            else:
                client.ask(self.next_request(), due)

        started = time.perf_counter()
        for number in range(int(rate * seconds)):
            due = started + number / rate
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            while idle and not idle[-1].is_open:
                idle.pop()
            if idle:
                idle.pop().ask(self.next_request(), due)
            else:
                task = asyncio.ensure_future(start(due))
                starting.add(task)
                task.add_done_callback(starting.discard)
        last = time.perf_counter() + GRACE_SECONDS
        while self.answered < int(rate * seconds) and time.perf_counter() < last:
            await asyncio.sleep(0.05)
        for client in idle:
            client.transport.close()

    async def hang_up(self, *, connections: int) -> None:
        """Ask over so many connections, and close them without an answer."""
        clients = await asyncio.gather(*(self.connect(self._ignore) for _ in range(connections)))
        for client in clients:
            if client is not None:
                client.ask(self.next_request(), time.perf_counter())
        await asyncio.sleep(0.05)
        for client in clients:
            if client is not None:
                client.transport.close()
        await asyncio.sleep(0.05)

    def _ignore(self, client: Client, status: int) -> None:
        if status != BROKEN:
            self.note(status, client.due)


class Closed:
    """Connections that ask again as soon as they are answered, over plain sockets.

    It takes a quarter of the processor that an event loop takes, which would be taken from the server.

    Args:
        load: what is asked, and where answers are noted.
    """

    def __init__(self, load: Load) -> None:
        self.load = load
        self.ready = selectors.DefaultSelector()

    def run(self, connections: int, seconds: float) -> None:
        """Ask for so many seconds, and wait for the last answers."""
        self.end = time.perf_counter() + seconds
        for _ in range(connections):
            self._connect()
        while self.ready.get_map():
            if time.perf_counter() > self.end + GRACE_SECONDS:
                raise TimeoutError(f"{len(self.ready.get_map())} requests were not answered")
            for key, _ in self.ready.select(1.0):
                self._read(key.data)

    def _connect(self) -> None:
        try:
            made = socket.create_connection(("127.0.0.1", self.load.port))
        except OSError:
            self.load.note(BROKEN, time.perf_counter())
            return
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.load.connections += 1
        asking = Asking(made)
        self.ready.register(made, selectors.EVENT_READ, asking)
        self._ask(asking)

    def _ask(self, asking: "Asking") -> None:
        asking.due, asking.received = time.perf_counter(), b""
        with contextlib.suppress(OSError):  # reading says so
            asking.socket.sendall(self.load.next_request())

    def _read(self, asking: "Asking") -> None:
        try:
            data = asking.socket.recv(1 << 16)
        except OSError:
            data = b""
        asking.received += data
        answer = whole_answer(asking.received) if data else (BROKEN, True)
        if answer is None:
            return
        status, is_last = answer
        self.load.note(status, asking.due)
        is_over = time.perf_counter() >= self.end
        if is_over or is_last:
            self.ready.unregister(asking.socket)
            asking.socket.close()
            if not is_over:
                self._connect()
        else:
            self._ask(asking)


@dataclass
class Asking:
    """One connection of `Closed`."""

    socket: socket.socket
    due: float = 0.0
    received: bytes = b""


def whole_answer(received: bytes) -> tuple[int, bool] | None:
    """An answer's status and whether the server closes the connection; None while bytes are missing."""
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return None
    lower = head.lower()
    if len(body) < int(lower.partition(b"content-length:")[2].partition(b"\r\n")[0]):
        return None
    return int(head[9:12]), b"connection: close" in lower


def percentile(found: list[float], share: int) -> float:
    """Within so many milliseconds so many percent were answered."""
    return round(sorted(found)[min(len(found) - 1, len(found) * share // 100)], 1)


def main() -> None:
    asked = json.loads(sys.stdin.readline())
    load = Load(asked.pop("port"), asked.pop("bodies"))
    kinds: dict[str, Callable[..., Coroutine[None, None, None]]] = {
        "closed": load.closed,
        "open": load.open,
        "hang up": load.hang_up,
    }
    kind = kinds[asked.pop("kind")]
    started, began = time.perf_counter(), time.process_time()
    asyncio.run(kind(**asked))
    seconds = time.perf_counter() - started
    seen = {
        "seconds": seconds,
        "asked": load.asked,
        "answers": {status: len(found) for status, found in sorted(load.milliseconds.items())},
        "p50": {status: percentile(found, 50) for status, found in load.milliseconds.items()},
        "p99": {status: percentile(found, 99) for status, found in load.milliseconds.items()},
        "connections": load.connections,
        "client_cpu": time.process_time() - began,
    }
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
