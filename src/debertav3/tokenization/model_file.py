"""The normaliser's settings out of an ``spm.model``, read from its bytes.

sentencepiece itself does not tell them, and its protobuf classes demand one very new protobuf runtime, so the
two fields are read off the wire: an ``spm.model`` is a protobuf message whose field 3 is the
``NormalizerSpec``.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import UserError

_MODEL_NORMALIZER = 3
_NORMALIZER_CHARSMAP = 2
_NORMALIZER_SQUEEZES_SPACES = 4

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5  # protobuf's wire types


@dataclass(frozen=True, kw_only=True)
class NormalizerSpec:
    """How a sentencepiece model normalises text."""

    precompiled_charsmap: bytes = b""
    """Longest-match replacements, such as NFKC, in sentencepiece's own format; empty for none."""
    removes_extra_whitespaces: bool = True
    """Whether spaces at both ends go, and runs of them become one."""


def read_normalizer(model: bytes) -> NormalizerSpec:
    """Read the normaliser's settings.

    Raises:
        UserError: if the bytes are not a whole protobuf message.
    """
    charsmap, squeezes = b"", 1
    try:
        for field, value in _fields(model):
            if field != _MODEL_NORMALIZER or not isinstance(value, bytes):
                continue
            for inner, setting in _fields(value):
                if inner == _NORMALIZER_CHARSMAP and isinstance(setting, bytes):
                    charsmap = setting
                elif inner == _NORMALIZER_SQUEEZES_SPACES and isinstance(setting, int):
                    squeezes = setting
    except IndexError as error:
        raise UserError(f"spm.model ({len(model)} bytes) is cut off. Fetch the file again.") from error
    return NormalizerSpec(precompiled_charsmap=charsmap, removes_extra_whitespaces=bool(squeezes))


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of every field: an int for varints, bytes for the rest."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        field, wire_type = key >> 3, key & 7
        if wire_type == _VARINT:
            number, place = _varint(message, place)
            yield field, number
            continue
        if wire_type == _LENGTH:
            size, place = _varint(message, place)
        elif wire_type in (_FIXED32, _FIXED64):
            size = 4 if wire_type == _FIXED32 else 8
        else:
            raise IndexError(f"wire type {wire_type}")
        if place + size > len(message):
            raise IndexError(place + size)
        yield field, message[place : place + size]
        place += size


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """The number at ``place``, seven bits a byte, and the place behind it."""
    number = shift = 0
    while True:
        byte = message[place]
        place += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, place
