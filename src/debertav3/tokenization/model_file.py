"""An ``spm.model`` as bytes: the normalizer's settings, and the same model with fewer pieces.

sentencepiece itself does not tell the settings, and its protobuf classes demand one very new protobuf
runtime, so fields are read off the wire: an ``spm.model`` is a protobuf message whose field 1 is a piece,
repeated in the order of the ids, field 2 the ``TrainerSpec`` and field 3 the ``NormalizerSpec``.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from ..errors import UserError

_MODEL_PIECE = 1
_MODEL_TRAINER = 2
_TRAINER_VOCAB_SIZE = 4
_MODEL_NORMALIZER = 3
_NORMALIZER_CHARSMAP = 2
_NORMALIZER_SQUEEZES_SPACES = 4

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5  # protobuf's wire types


@dataclass(frozen=True, kw_only=True)
class NormalizerSpec:
    """How a sentencepiece model normalizes text."""

    precompiled_charsmap: bytes = b""
    """Longest-match replacements, such as NFKC, in sentencepiece's own format; empty for none."""
    removes_extra_whitespaces: bool = True
    """Whether spaces at both ends go, and runs of them become one."""


def read_normalizer(model: bytes) -> NormalizerSpec:
    """Read the normalizer's settings.

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
        raise _cut_off(model) from error
    return NormalizerSpec(precompiled_charsmap=charsmap, removes_extra_whitespaces=bool(squeezes))


def select_pieces(model: bytes, keep: Collection[int]) -> bytes:
    """The same model with only the pieces of these ids, renumbered from 0 in their order.

    Everything else stays byte for byte, but for the vocabulary size, which is said again at the end: of a
    field that comes twice, protobuf takes the last.

    Raises:
        UserError: if the bytes are not a whole protobuf message.
    """
    kept = []
    number = start = 0
    try:
        for field, _, end in _fields_with_ends(model):
            if field != _MODEL_PIECE or number in keep:
                kept.append(model[start:end])
            number += field == _MODEL_PIECE
            start = end
    except IndexError as error:
        raise _cut_off(model) from error
    size = _as_varint(_TRAINER_VOCAB_SIZE << 3 | _VARINT) + _as_varint(len(keep))
    trainer = _as_varint(_MODEL_TRAINER << 3 | _LENGTH) + _as_varint(len(size)) + size
    return b"".join(kept) + trainer


def _cut_off(model: bytes) -> UserError:
    return UserError(f"spm.model ({len(model)} bytes) is truncated. Download the file again.")


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of every field: an int for varints, bytes for the rest."""
    return ((field, value) for field, value, _ in _fields_with_ends(message))


def _fields_with_ends(message: bytes) -> Iterator[tuple[int, int | bytes, int]]:
    """`_fields`, and where each field ends and the next begins."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        field, wire_type = key >> 3, key & 7
        if wire_type == _VARINT:
            number, place = _varint(message, place)
            yield field, number, place
            continue
        if wire_type == _LENGTH:
            size, place = _varint(message, place)
        elif wire_type in (_FIXED32, _FIXED64):
            size = 4 if wire_type == _FIXED32 else 8
        else:
            raise IndexError(f"wire type {wire_type}")
        if place + size > len(message):
            raise IndexError(place + size)
        place += size
        yield field, message[place - size : place], place


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """The number at ``place``, seven bits a byte, and the position after it."""
    number = shift = 0
    while True:
        byte = message[place]
        place += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, place


def _as_varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])
