"""Encodings of text files other than UTF-8: one that a user names, or the likeliest for a file."""

import codecs
from pathlib import Path

from ..errors import UserError
from ..files.compression import reading

_SAMPLE_BYTES = 1 << 18


def checked_encoding(name: str) -> str:
    """Python's name of an encoding.

    Raises:
        UserError: if there is none of that name.
    """
    try:
        codec = codecs.lookup(name)
    except LookupError:
        codec = None
    if codec is None or not getattr(codec, "_is_text_encoding", True):
        raise UserError(f"--encoding {name!r} is not known. Say utf-8, latin-1, cp1252, utf-16 or another.")
    return codec.name


def guess_encoding(path: Path, line: bytes) -> str | None:
    """The likeliest encoding of a file; None where the package charset-normalizer is missing or finds none.

    Args:
        path: the file.
        line: the first line that is not UTF-8, which must be readable.
    """
    try:
        from charset_normalizer import from_bytes
    except ImportError:
        return None
    with reading(path) as stream:
        sample = stream.read(_SAMPLE_BYTES)
    if line not in sample:
        sample = line
    found = from_bytes(sample).best()
    if found is None:
        return None
    # of one alphabet the package names an alphabetically early code page; Western files are commoner
    likely = [found.encoding, *found.could_be_from_charset]
    for encoding in (*(one for one in ("cp1252",) if one in likely), found.encoding):
        try:
            line.decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    return None
