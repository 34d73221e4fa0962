"""Limits of a request, and reading its body within them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import Receive

from ..errors import UserError
from ..files import parse_json
from .refusals import Refusal

MAX_DEPTH = 32
"""Lists and objects within each other in a body; no route needs more than six."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one request."""

    body_bytes: int = 2_000_000
    """Maximum bytes in a body, however it is sent."""
    inputs: int = 1024
    """Maximum texts or pairs in a request, after labels and documents are paired with texts."""
    characters: int = 100_000
    """Maximum characters in one text."""
    masks: int = 16
    """Maximum masks in one text: each needs the logits of the whole vocabulary."""
    seconds: float = 30.0
    """Seconds from the request to its response."""
    body_seconds: float = 10.0
    """Seconds to send the body."""
    header_seconds: float = 10.0
    """Seconds to send the request line and headers."""
    connections: int = 8192
    """Maximum open connections."""
    queue_seconds: float = 2.0
    """Seconds that a request may wait in the queue; requests that would have to wait longer are refused."""
    truncate: bool = True
    """Whether texts that are too long are truncated by default; otherwise they are refused."""

    def check_inputs(self, count: int) -> None:
        """Refuse too many texts.

        Raises:
            Refusal: if there are more than `inputs`.
        """
        if count > self.inputs:
            raise Refusal(
                "invalid",
                f"got {count} inputs in one request; at most {self.inputs} are allowed. Send "
                "several requests.",
            )


def check_declared(headers: Mapping[bytes, bytes], limits: Limits) -> int:
    """Size of the body in bytes, as declared in its headers.

    Raises:
        Refusal: if it is too large.
    """
    declared = headers.get(b"content-length", b"0")
    size = int(declared) if declared.isdigit() else 0
    check_size(size, limits)
    return size


def check_size(size: int, limits: Limits) -> None:
    """Refuse a body that is too large.

    Raises:
        Refusal: if it is one.
    """
    if size > limits.body_bytes:
        raise Refusal(
            "too_large", f"the body has more than {limits.body_bytes} bytes. Send several requests."
        )


async def read_body(receive: Receive, limits: Limits) -> bytes:
    """Read a body that is not too large and not sent too slowly.

    Raises:
        Refusal: if it is.
    """
    chunks, size, is_complete = [], 0, False
    try:
        async with asyncio.timeout(limits.body_seconds):
            while not is_complete:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Refusal("disconnected", "the client disconnected before the body was complete.")
                chunk = message.get("body", b"")
                size += len(chunk)
                check_size(size, limits)
                chunks.append(chunk)
                is_complete = not message.get("more_body", False)
    except TimeoutError:
        raise Refusal("too_slow", f"the body took more than {limits.body_seconds:g} s to arrive.") from None
    return b"".join(chunks)


def parse_body(body: bytes, limits: Limits) -> tuple[dict[str, object], int]:
    """Parse a body and check its depth and its texts.

    Returns:
        Its content, and the number of characters in all its texts, without surrounding white space.

    Raises:
        Refusal: unless it is a JSON object in UTF-8, or if a text is too long or contains half
            a character.
    """
    try:
        content = parse_json(body, "the body")
    except UserError as error:
        raise Refusal("malformed", str(error)) from None
    if not isinstance(content, dict):
        raise Refusal("invalid", f"the body is a JSON {_name(content)}; need an object.")
    may_have_halves, characters = b"\\u" in body, 0
    for text in _texts(content):
        characters += len(text)
        if len(text) > limits.characters:
            raise Refusal(
                "invalid",
                f"a text has {len(text)} characters; at most {limits.characters} are allowed. Shorten it.",
            )
        if may_have_halves and any("\ud800" <= character <= "\udfff" for character in text):
            raise Refusal(
                "malformed", "a text contains half a character (a lone surrogate). Send complete characters."
            )
    return content, characters


def _texts(content: dict[str, object]) -> list[str]:
    """Every text in a JSON object, keys included, level by level."""
    texts: list[str] = []
    level: list[dict[str, object] | list[object]] = [content]
    depth = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise Refusal("malformed", f"the body is nested deeper than {MAX_DEPTH} levels.")
        below: list[dict[str, object] | list[object]] = []
        for value in level:
            if isinstance(value, dict):
                texts += value
            for item in value.values() if isinstance(value, dict) else value:
                if isinstance(item, str):
                    texts.append(item)
                elif isinstance(item, dict | list):
                    below.append(item)
        level = below
    return texts


def _name(value: object) -> str:
    names = {list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")
