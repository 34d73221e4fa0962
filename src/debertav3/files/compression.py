"""Files that may be compressed, recognized by their first bytes, whatever their names.

gzip and zstd are read and written; bzip2, xz and a zip archive of a single file are read.
"""

import bz2
import gzip
import io
import lzma
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import IO, Any, BinaryIO, cast

from ..errors import MissingExtraError, UserError
from .reading import POINTER_BYTES, check_fetched, check_not_pipe

ENDINGS = (".gz", ".zst")
"""Of what is written."""
READ_ENDINGS = (*ENDINGS, ".bz2", ".xz", ".zip")
_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_BZIP2_MAGIC = b"BZh"
_XZ_MAGIC = b"\xfd7zX"
_ZIP_MAGIC = b"PK\x03\x04"
_KINDS = {
    _GZIP_MAGIC: "gzip",
    _ZSTD_MAGIC: "zstd",
    _BZIP2_MAGIC: "bzip2",
    _XZ_MAGIC: "xz",
    _ZIP_MAGIC: "zip",
}
_READ_AT_ONCE = 1 << 16


def bare_name(path: str | Path) -> str:
    """The name of a file in lower case, without the ending that says how it is compressed."""
    name = Path(path).name.lower()
    return next((name.removesuffix(ending) for ending in READ_ENDINGS if name.endswith(ending)), name)


def is_compressed(path: str | Path) -> bool:
    """Whether a file is compressed.

    Raises:
        UserError: as `check_not_pipe`.
        OSError: if it cannot be read.
    """
    check_not_pipe(path)
    with Path(path).open("rb") as plain:
        magic = plain.read(4)
    if magic == _ZIP_MAGIC:
        return only_member(path) is not None
    return magic.startswith((_GZIP_MAGIC, _BZIP2_MAGIC)) or magic in (_ZSTD_MAGIC, _XZ_MAGIC)


@contextmanager
def open_binary(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file for reading, decompressed.

    Raises:
        MissingExtraError: for zstd without the package zstandard.
        UserError: as `check_not_pipe` and `check_fetched`, or for a zip archive with a password.
        OSError: if the file cannot be opened or read; see `damage` for what else reading may raise.
    """
    check_not_pipe(path)
    with Path(path).open("rb") as plain:
        head = plain.read(POINTER_BYTES)
        check_fetched(path, head)
        magic = head[:4]
        plain.seek(0)
        if magic.startswith(_GZIP_MAGIC):
            with gzip.open(plain) as unpacked:
                yield cast(BinaryIO, unpacked)
        elif magic == _ZSTD_MAGIC:
            with io.BufferedReader(_ZstdReader(plain)) as unpacked:
                yield cast(BinaryIO, unpacked)
        elif magic.startswith(_BZIP2_MAGIC):
            with bz2.open(plain) as unpacked:
                yield cast(BinaryIO, unpacked)
        elif magic == _XZ_MAGIC:
            with lzma.open(plain) as unpacked:
                yield cast(BinaryIO, unpacked)
        elif magic == _ZIP_MAGIC and (member := only_member(path)) is not None:
            with zipfile.ZipFile(plain) as archive, _open_member(archive, member, path) as unpacked:
                yield cast(BinaryIO, unpacked)
        else:
            yield plain


def _open_member(archive: zipfile.ZipFile, name: str, path: str | Path) -> IO[bytes]:
    try:
        return archive.open(name)
    except NotImplementedError:
        why = "is packed in a way that is not read"
    except RuntimeError:
        why = "needs a password"
    raise UserError(f"{path} {why}. Unpack it, and give the file in it: {name}.")


def members(path: str | Path) -> list[str]:
    """Names of the files in a zip archive, without those that macOS adds; none of another kind of file."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return []
    return [name for name in names if not name.endswith("/") and not name.startswith("__MACOSX/")]


def only_member(path: str | Path) -> str | None:
    """The file in a zip archive that has nothing else; None for other files."""
    names = members(path)
    return names[0] if len(names) == 1 else None


def damage() -> tuple[type[Exception], ...]:
    """What reading a damaged compressed file raises."""
    errors = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, zipfile.BadZipFile)
    # Only a library that was imported can have raised. It may also be half imported: a reader that nobody
    # needs any more ends whenever Python collects it.
    zstandard = getattr(sys.modules.get("zstandard"), "ZstdError", None)
    return errors if zstandard is None else (*errors, zstandard)


def read_lines(path: str | Path) -> Iterator[bytes]:
    """Yield the lines of a plain or compressed file, each with its line end.

    Raises:
        UserError: if the file is missing, is a folder, cannot be read, or is a compressed file that was cut
            short.
    """
    with reading(path) as stream:
        yield from stream


@contextmanager
def reading(path: str | Path) -> Iterator[BinaryIO]:
    """`open_binary` whose errors become a `UserError`.

    Raises:
        UserError: see `read_lines`.
    """
    try:
        with open_binary(path) as stream:
            yield stream
    except FileNotFoundError:
        raise UserError(f"{path} does not exist. Give the path of an existing file.") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder. Give the path of a file.") from None
    except damage() as error:
        raise _damaged(path, error) from None
    except OSError as error:
        if error.errno is None:  # of a library that unpacks, not of the system
            raise _damaged(path, error) from None
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from None


def _damaged(path: str | Path, error: Exception) -> UserError:
    with Path(path).open("rb") as stream:
        magic = stream.read(4)
    kind = next((kind for start, kind in _KINDS.items() if magic.startswith(start)), "compressed")
    return UserError(f"{path} is a damaged {kind} file ({error}). Download or create it again.")


def compressing(raw: IO[bytes], *, ending: str) -> IO[bytes]:
    """A stream that compresses what is written to it into ``raw``, as an ending says; other endings: ``raw``.

    Closing it leaves ``raw`` open. Equal content gives equal bytes.

    Raises:
        MissingExtraError: for zstd without the package zstandard.
        UserError: for an ending of compressed files that are read only.
    """
    if ending in READ_ENDINGS and ending not in ENDINGS:
        raise UserError(f"files that end in {ending} are read, not written. Give a name with .gz or .zst.")
    if ending == ".gz":
        return cast(IO[bytes], gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0))
    if ending == ".zst":
        return cast(IO[bytes], _zstandard().ZstdCompressor().stream_writer(raw, closefd=False))
    return raw


def _zstandard() -> ModuleType:
    try:
        import zstandard
    except ImportError as error:
        raise MissingExtraError(feature="zstd (.zst)", package="zstandard", extra="zstd") from error
    return zstandard


class _ZstdReader(io.RawIOBase):
    """Decompresses frame after frame; zstandard's own reader takes a file that was cut short for whole."""

    def __init__(self, plain: BinaryIO) -> None:
        self._plain = plain
        self._new = _zstandard().ZstdDecompressor().decompressobj
        self._frame: Any = None
        self._waiting = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._waiting:
            block = self._frame.unused_data if self._frame is not None and self._frame.eof else b""
            block = block or self._plain.read(_READ_AT_ONCE)
            if not block:
                if self._frame is not None and not self._frame.eof:
                    raise EOFError("the zstd file ends within a frame")
                return 0
            if self._frame is None or self._frame.eof:
                self._frame = self._new()
            self._waiting = memoryview(self._frame.decompress(block))
        count = min(len(buffer), len(self._waiting))
        buffer[:count] = self._waiting[:count]
        self._waiting = self._waiting[count:]
        return count
