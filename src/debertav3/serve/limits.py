"""What one request may ask for, and reading its body within that."""

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
    """Bounds of one request."""

    body_bytes: int = 2_000_000
    """Most bytes of a body, however it is sent."""
    inputs: int = 1024
    """Most texts or pairs of a request, after labels and documents are paired with texts."""
    characters: int = 100_000
    """Most characters of one text."""
    masks: int = 16
    """Most masks of one text: each takes the logits of the whole vocabulary."""
    seconds: float = 30.0
    """From the request to its answer."""
    body_seconds: float = 10.0
    """For sending the body."""
    header_seconds: float = 10.0
    """For sending the request line and headers."""
    connections: int = 8192
    """Most open connections."""
    queue_seconds: float = 2.0
    """How long a request may wait for others: what would have to wait longer is refused."""
    truncate: bool = True
    """Whether texts that are too long are cut where a request does not say; otherwise they are refused."""

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
    """Bytes that the body will have, as far as its headers say.

    Raises:
        Refusal: if these are too many.
    """
    declared = headers.get(b"content-length", b"0")
    size = int(declared) if declared.isdigit() else 0
    check_size(size, limits)
    return size


def check_size(size: int, limits: Limits) -> None:
    """Refuse a body of too many bytes.

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
        What it says, and the characters of all its texts; white space around them is none.

    Raises:
        Refusal: if it is not strict JSON in UTF-8 with an object outside, or a text is too long or holds half
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
