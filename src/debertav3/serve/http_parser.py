"""A parser that stays with HTTP/1.1 where a client offers another protocol.

Java's HTTP client, and with it Spring, LangChain4j and others, sends ``Upgrade: h2c`` with its first request.
A server may ignore that, but the parser in C stops after such headers: the body would be lost, and so would
all later requests of the connection.
"""

from typing import Any

import httptools


class StayingParser:
    """Gives a protocol of uvicorn's what it receives, like ``httptools.HttpRequestParser``.

    Args:
        protocol: has the callbacks, and keeps what was read last in ``scope``, ``headers`` and ``cycle``.
    """

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._parser = httptools.HttpRequestParser(protocol)
        self._go_on_after_close()

    def feed_data(self, data: bytes) -> None:
        """Read what has arrived.

        Raises:
            httptools.HttpParserError: if that is not HTTP.
        """
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._parser = httptools.HttpRequestParser(_AfterHeaders(self._protocol))
            self._go_on_after_close()
            self._protocol.cycle.more_body = True  # the parser took the headers for the whole
            self._parser.feed_data(self._head_without_offer())
            self.feed_data(data[offer.args[0] :])

    def should_upgrade(self) -> bool:
        """Never."""
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    def _go_on_after_close(self) -> None:
        """As uvicorn has it: a first request is answered, whatever follows it."""
        if hasattr(self._parser, "set_dangerous_leniencies"):
            self._parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def _head_without_offer(self) -> bytes:
        """Of the last request, what says how long its body is and whether the connection stays."""
        scope, cycle = self._protocol.scope, self._protocol.cycle
        head = b"%b / HTTP/%b\r\n" % (scope["method"].encode(), scope["http_version"].encode())
        for name, value in self._protocol.headers:
            if name in (b"content-length", b"transfer-encoding"):
                head += b"%b: %b\r\n" % (name, value)
        return head + (b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")


class _AfterHeaders:
    """Callbacks of a protocol that has read the headers of the first message already."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._is_first = True

    def on_message_begin(self) -> None:
        if not self._is_first:
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._is_first:
            self._protocol.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_first:
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        if not self._is_first:
            self._protocol.on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._protocol.on_body(body)

    def on_message_complete(self) -> None:
        self._is_first = False
        self._protocol.on_message_complete()
