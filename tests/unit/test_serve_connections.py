"""Our server's connections, without a network: whole answers, pipelines, slow and leaving clients."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http import httptools_impl
from uvicorn.server import ServerState

from debertav3.serve import connections
from debertav3.serve.exchange import CONNECTION, exchange_of

POST = b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b"


class Transport(asyncio.Transport):
    """Notes what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.is_closed = False

    def write(self, data: Any) -> None:
        assert not self.is_closed
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def request(body: bytes) -> bytes:
    return POST % (len(body), body)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the body, whole where it can."""
    exchange = exchange_of(scope)
    assert exchange is not None
    body, is_whole = exchange.whole_body(), True
    while body is None or not is_whole:
        message = await receive()
        body, is_whole = (body or b"") + message["body"], not message["more_body"]
    await asyncio.sleep(0)
    assert exchange.answer(200, [(b"content-length", b"%d" % len(body))], body)
    assert not exchange.answer(200, [], b"again")


def run(test: Callable[[Any, Transport], Awaitable[None]], app: Any = echo, seconds: float = 20) -> None:
    async def main() -> None:
        config = uvicorn.Config(app, http=connections.protocol(seconds, 100), log_config=None, lifespan="off")
        made: Any = connections.protocol(seconds, 100)(config, ServerState(), {})  # type: ignore[call-arg]
        transport = Transport()
        made.connection_made(transport)
        await asyncio.wait_for(test(made, transport), 20)

    asyncio.run(main())


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_an_answer_is_one_write_and_the_connection_stays() -> None:
    async def ask(made: Any, transport: Transport) -> None:
        for body in (b"one", b"two"):
            transport.writes.clear()
            made.data_received(request(body))
            await settled()
            (answer,) = transport.writes
            head, _, rest = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n") and b"content-length: 3" in head and rest == body
        assert not transport.is_closed

    run(ask)


def test_a_body_in_pieces() -> None:
    async def ask(made: Any, transport: Transport) -> None:
        for byte in request(b"abc"):
            made.data_received(bytes([byte]))
            await settled()
        assert transport.writes[0].endswith(b"\r\n\r\nabc")

    run(ask)


def test_a_client_that_asks_first_gets_100_and_then_its_answer() -> None:
    async def ask(made: Any, transport: Transport) -> None:
        made.data_received(request(b"abc").replace(b"host: x", b"expect: 100-continue")[:-3])
        await settled()
        assert transport.writes == [b"HTTP/1.1 100 Continue\r\n\r\n"]
        made.data_received(b"abc")
        await settled()
        assert len(transport.writes) == 2 and transport.writes[1].endswith(b"\r\n\r\nabc")

    run(ask)


def test_requests_that_do_not_wait_for_answers_get_them_in_order() -> None:
    async def ask(made: Any, transport: Transport) -> None:
        made.data_received(b"".join(map(request, (b"one", b"two", b"three"))))
        await settled()
        await settled()
        assert [answer.rpartition(b"\n")[2] for answer in transport.writes] == [b"one", b"two", b"three"]

    run(ask)


H2C = b"host: x\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk"
CHUNKED = POST.replace(b"content-length: %d", b"transfer-encoding: chunked").replace(b"%b", b"")


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize(
    ("offer", "body"),
    [
        (request(b"abc"), b"abc"),
        (CHUNKED + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", b"abc"),
        (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b""),
    ],
    ids=["length", "chunks", "none"],
)
def test_a_client_that_offers_http_2_is_answered_in_http_1(offer: bytes, body: bytes, size: int) -> None:
    """Java's client does so with its first request."""

    async def ask(made: Any, transport: Transport) -> None:
        sent = offer.replace(b"host: x", H2C) + request(b"two")
        for at in range(0, len(sent), size):
            made.data_received(sent[at : at + size])
            await settled()
        made.data_received(request(b"three"))
        await settled()
        assert [answer.rpartition(b"\n")[2] for answer in transport.writes] == [body, b"two", b"three"]
        assert not transport.is_closed
        made.data_received(b"GET /x HTTP/1.1\r\n\r\n" + b"nothing\r\n\r\n")
        await settled()
        assert transport.writes[-1].startswith(b"HTTP/1.1 400 ")

    run(ask)


def test_an_offer_with_a_false_length_is_refused() -> None:
    async def ask(made: Any, transport: Transport) -> None:
        sent = CHUNKED.replace(b"host: x", H2C) + b"no chunk\r\n"
        made.data_received(sent)
        await settled()
        assert transport.writes[0].startswith(b"HTTP/1.1 400 ") and transport.is_closed

    run(ask)


def test_a_connection_that_is_to_close_closes_and_says_so_once() -> None:
    async def ask(made: Any, transport: Transport) -> None:
        made.data_received(request(b"abc").replace(b"host: x", b"connection: close"))
        await settled()
        (answer,) = transport.writes
        assert answer.count(b"connection: close\r\n") == 1 and transport.is_closed

    run(ask)


def test_a_client_that_leaves_is_noticed_and_gets_no_answer() -> None:
    left: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        exchange = exchange_of(scope)
        assert exchange is not None and exchange.whole_body() == b"abc"
        scope["extensions"][CONNECTION].on_hang_up = lambda: left.append(True)
        await asyncio.sleep(0.01)
        assert not exchange.answer(200, [(b"content-length", b"0")], b"")

    async def leave(made: Any, transport: Transport) -> None:
        made.data_received(request(b"abc"))
        await settled()
        made.connection_lost(None)
        await asyncio.sleep(0.03)
        assert left == [True] and transport.writes == []

    run(leave, app)


def test_requests_and_connections_leave_nothing_for_the_garbage_collector() -> None:
    made_objects: list[weakref.ref[Any]] = []

    async def ask(made: Any, transport: Transport) -> None:
        made_objects.append(weakref.ref(made))
        for number in range(3):
            made.data_received(request(b"%d" % number))
            made_objects.append(weakref.ref(made.cycle))
            await settled()
        made.connection_lost(None)

    gc.collect()
    gc.disable()
    try:
        run(ask)
        assert [made() for made in made_objects] == [None] * 4
    finally:
        gc.enable()


async def slow(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(0.2)
    await echo(scope, receive, send)


async def closed(transport: Transport) -> None:
    while not transport.is_closed:
        await asyncio.sleep(0.01)


def test_headers_must_arrive_in_time_and_an_answer_may_take_longer() -> None:
    async def ask(made: Any, transport: Transport) -> None:
        made.data_received(request(b"abc"))
        while not transport.writes:
            await asyncio.sleep(0.01)
        assert not transport.is_closed
        made.data_received(b"POST /ec")
        await closed(transport)

    run(ask, slow, seconds=0.1)


def test_an_idle_connection_is_closed_and_a_busy_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "KEEP_ALIVE_SECONDS", 0.1)

    async def ask(made: Any, transport: Transport) -> None:
        for _ in range(2):
            made.data_received(request(b"abc"))
            transport.writes.clear()
            while not transport.writes:
                await asyncio.sleep(0)
            assert not transport.is_closed
        await closed(transport)

    run(ask, slow)


def test_an_unknown_uvicorn_takes_the_longer_way(monkeypatch: pytest.MonkeyPatch) -> None:
    known = connections.protocol(1, 1)
    assert connections.knows(httptools_impl) and known.__name__ == "Quick"

    class Cycle:
        """Of a version that keeps the body elsewhere."""

        def __init__(self) -> None:
            self.transport = self.flow = self.keep_alive = None

    monkeypatch.setattr(httptools_impl, "RequestResponseCycle", Cycle)
    assert not connections.knows(httptools_impl)
    assert connections.protocol(1, 1).__name__ == "Staying"
