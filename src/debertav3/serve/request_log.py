"""One JSON line a request on stderr, without the user's texts unless they are asked for."""

import asyncio
import itertools
import json
import re
import secrets
import sys
from dataclasses import dataclass, field
from typing import TextIO

FLUSH_SECONDS = 0.1
"""Lines are written together, so late at the most."""

_PREFIX, _numbers = secrets.token_hex(12), itertools.count()
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_encode = json.JSONEncoder().encode


def request_id(given: str | None) -> str:
    """The client's own id if it is a plain word, else a new one: random by process, counted within it."""
    return given if given and _ID.fullmatch(given) else f"{_PREFIX}{next(_numbers):08x}"


@dataclass
class RequestLog:
    """Writes the lines. Used on the event loop.

    Args:
        stream: where to; None writes nothing.
        with_texts: whether bodies are written too.
    """

    stream: TextIO | None = field(default_factory=lambda: sys.stderr)
    with_texts: bool = False
    lines: list[str] = field(default_factory=list, init=False)
    """Not written yet."""

    def write(self, *, body: object = None, **fields: object) -> None:
        """Note one request; a text in ``body`` cannot break out of its line, for JSON escapes line ends."""
        if self.stream is None:
            return
        if self.with_texts and body is not None:
            fields["body"] = body
        if not self.lines:
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)
        self.lines.append(_encode(fields) + "\n")

    def flush(self) -> None:
        """Write what was noted."""
        if self.stream is not None and self.lines:
            text, self.lines = "".join(self.lines), []
            self.stream.write(text)
            self.stream.flush()
