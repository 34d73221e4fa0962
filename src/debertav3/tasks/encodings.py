"""Encodings of text files other than UTF-8: one that a user names, or the likeliest for a file."""

import codecs
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from ..files.compression import reading

_SAMPLE_BYTES = 1 << 18
MARKED = ("utf-32", "utf-16")
"""Encodings with a mark in the first bytes."""
_MARKS = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"))
_CYRILLIC = ("cp1251", "koi8_r", "cp866", "iso8859_5", "mac_cyrillic")
_JAPANESE = ("cp932", "euc_jp")


def wide_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32, by the mark at the beginning or zeros in every second byte; None for others."""
    for mark, name in (*_MARKS, (codecs.BOM_UTF16_BE, "utf-16")):
        if head.startswith(mark):
            return name
    size = len(head) // 2
    if size < 2 or head.count(0) * 4 < len(head):
        return None
    even, odd = head[: 2 * size : 2].count(0), head[1 : 2 * size : 2].count(0)
    if max(even, odd) < 0.6 * size or min(even, odd) > 0.05 * size:
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


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
    first = _by_script(sample, likely)
    for encoding in (
        *([first] if first else []),
        *(one for one in ("cp1252",) if one in likely),
        found.encoding,
    ):
        try:
            line.decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    return None


def _by_script(sample: bytes, likely: Sequence[str]) -> str | None:
    """The encoding of a Japanese or Cyrillic text, which the package takes for others of few words."""
    if not set(likely) & {"cp1252", "latin_1"}:
        for name in _JAPANESE:
            text = _decoded(sample, name)
            wide = [one for one in text if ord(one) > 0x2FFF]
            kana = sum("\u3041" <= one <= "\u30fe" for one in wide)
            if wide and 5 * kana > len(wide):
                return name
    if set(likely) & set(_CYRILLIC):  # most letters of a text are small ones, which the others turn around

        def order(name: str) -> tuple[int, int]:
            text = [one for one in _decoded(sample, name) if not one.isascii()]
            small = sum("\u0430" <= one <= "\u045f" for one in text)
            return small, -_CYRILLIC.index(name)

        return max(_CYRILLIC, key=order)
    return None


def _decoded(sample: bytes, encoding: str) -> str:
    return sample.decode(encoding, "ignore")
