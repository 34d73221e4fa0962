"""Who may ask: API keys from a file or the environment, compared in constant time."""

import hashlib
import hmac
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import UserError
from .refusals import Refusal

VARIABLE = "DEBERTAV3_API_KEYS"
"""Keys in the environment, separated by commas or spaces."""


class Keys:
    """The keys that a server takes; none lets everybody in.

    Only digests are kept, so that all comparisons are of one length and a memory dump holds no key.

    Args:
        keys: any number, or one.

    Raises:
        UserError: if one is empty.
    """

    def __init__(self, keys: Iterable[str] = ()) -> None:
        given = [key.strip() for key in ([keys] if isinstance(keys, str) else keys)]
        if not all(given):
            raise UserError("an API key is empty, which would let everybody in. Give none, or whole ones.")
        self._digests = [_digest(key.encode("utf-8", "surrogateescape")) for key in given]

    def __bool__(self) -> bool:
        return bool(self._digests)

    @classmethod
    def read(cls, path: str | Path | None = None) -> "Keys":
        """Keys of a file, one a line, and of the environment; empty lines and ``#`` comments are skipped.

        Raises:
            UserError: if the file cannot be read, or it or the variable is there and holds none.
        """
        given = os.environ.get(VARIABLE)
        found = (given or "").replace(",", " ").split()
        if given is not None and not found:
            raise UserError(
                f"{VARIABLE} is set and contains no key. Unset it, or give keys separated by commas."
            )
        if path is not None:
            try:
                lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
                raise UserError(
                    f"--keys {path} cannot be read: {reason}. Give a file with one key per line."
                ) from None
            own = [key for line in lines if (key := line.strip()) and not key.startswith("#")]
            if not own:
                raise UserError(f"--keys {path} contains no key. Write one per line.")
            found += own
        return cls(found)

    def check(self, headers: Mapping[bytes, bytes]) -> None:
        """Refuse a request without a right ``Authorization: Bearer`` or ``x-api-key`` header.

        Args:
            headers: by lower-case name.

        Raises:
            Refusal: if it has none.
        """
        if not self._digests:
            return
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        given = token.strip() if scheme.lower() == b"bearer" else headers.get(b"x-api-key", b"")
        digest = _digest(given)
        # Every key is compared, so that the time says nothing about which one is near.
        if not sum(hmac.compare_digest(digest, own) for own in self._digests):
            raise Refusal("unauthorized", "a valid API key is needed: Authorization: Bearer KEY.")


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
