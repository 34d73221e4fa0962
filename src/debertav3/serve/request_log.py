"""One JSON line a request on stderr, without the user's texts unless they are asked for."""

import itertools
import json
import re
import secrets
import sys
from dataclasses import dataclass, field
from typing import TextIO

_PREFIX, _numbers = secrets.token_hex(12), itertools.count()
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def request_id(given: str | None) -> str:
    """The client's own id if it is a plain word, else a new one: random by process, counted within it."""
    return given if given and _ID.fullmatch(given) else f"{_PREFIX}{next(_numbers):08x}"


@dataclass
class RequestLog:
    """Writes the lines.

    Args:
        stream: where to; None writes nothing.
        with_texts: whether bodies are written too.
    """

    stream: TextIO | None = field(default_factory=lambda: sys.stderr)
    with_texts: bool = False

    def write(self, *, body: object = None, **fields: object) -> None:
        """Write one line; a text in ``body`` cannot break out of it, for JSON escapes line ends."""
        if self.stream is None:
            return
        if self.with_texts and body is not None:
            fields["body"] = body
        print(json.dumps(fields), file=self.stream, flush=True)
