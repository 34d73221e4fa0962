"""Memory-mapped token shards: token ids of whole documents in a row, and where each document ends.

A folder of shards holds ``index.json`` (vocabulary size, token type, fingerprint, statistics), ``tokenizer/``
and, for each split (``train``, ``heldout``), pairs ``NNNNN.tokens`` (little-endian uint16, or uint32 where
the vocabulary needs it, without special tokens) and ``NNNNN.ends`` (uint64: where each document ends, counted
in tokens).
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..files import sha256_of_file

SPLITS = ("train", "heldout")
INDEX_NAME = "index.json"
FORMAT = "debertav3-shards-1"


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """The smallest of uint16 and uint32 that holds every id below ``vocab_size``."""
    return np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<u4")


class ShardWriter:
    """Writes one shard document by document; it appears under its name only when it is complete.

    Use as a context manager: leaving it with an exception removes what was written.

    Args:
        folder: the folder of the split.
        name: the shard's name, without ending.
        dtype: see `token_dtype`.
    """

    def __init__(self, folder: Path, name: str, dtype: np.dtype[Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._paths = {ending: folder / f"{name}.{ending}" for ending in ("tokens", "ends")}
        self._temporary = {
            ending: path.with_name(f"{path.name}.{os.getpid()}.tmp") for ending, path in self._paths.items()
        }
        self._dtype = dtype
        self._digest = hashlib.sha256()
        self.num_tokens = 0
        self.num_documents = 0

    def __enter__(self) -> Self:
        self._tokens = open(self._temporary["tokens"], "wb", buffering=1 << 20)
        self._ends = open(self._temporary["ends"], "wb", buffering=1 << 16)
        return self

    def add(self, ids: Sequence[int]) -> None:
        """Append one document."""
        data = np.asarray(ids, dtype=self._dtype).tobytes()
        self._tokens.write(data)
        self._digest.update(data)
        self.num_tokens += len(ids)
        self.num_documents += 1
        self._ends.write(self.num_tokens.to_bytes(8, "little"))

    def facts(self) -> dict[str, Any]:
        """What the index says of this shard."""
        return {
            "name": self._paths["tokens"].stem,
            "num_tokens": self.num_tokens,
            "num_documents": self.num_documents,
            "sha256": self._digest.hexdigest(),
        }

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                for stream in (self._tokens, self._ends):
                    stream.flush()
                    os.fsync(stream.fileno())
                for ending in ("ends", "tokens"):
                    os.replace(self._temporary[ending], self._paths[ending])
        finally:
            for stream in (self._tokens, self._ends):
                with contextlib.suppress(OSError):  # a full disk: closing tries once more to write the buffer
                    stream.close()
            for path in self._temporary.values():
                path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Shard:
    """One shard on disk."""

    folder: Path
    name: str
    num_tokens: int
    num_documents: int
    dtype: np.dtype[Any]

    def tokens(self) -> NDArray[Any]:
        """All token ids, ``(num_tokens,)``, mapped from disk."""
        return self._map("tokens", self.dtype, self.num_tokens)

    def ends(self) -> NDArray[np.uint64]:
        """End of each document in tokens, ``(num_documents,)``, mapped from disk."""
        return self._map("ends", np.dtype("<u8"), self.num_documents)

    def _map(self, ending: str, dtype: np.dtype[Any], length: int) -> NDArray[Any]:
        path = self.folder / f"{self.name}.{ending}"
        if not length:
            return np.empty(0, dtype=dtype)
        return np.memmap(path, dtype=dtype, mode="r", shape=(length,))


class TokenShards:
    """All shards of one split.

    Args:
        folder: what ``debertav3 data prepare`` wrote.
        split: ``"train"`` or ``"heldout"``.

    Raises:
        UserError: if the folder is not complete, of another format, or a file's size is not what the index
            says.
    """

    def __init__(self, folder: str | Path, split: str = "train") -> None:
        self.folder = Path(folder)
        index = read_index(self.folder)
        self.vocab_size: int = index["vocab_size"]
        self.fingerprint: str = index["fingerprint"]
        self.dtype = np.dtype(index["dtype"])
        self.split = split
        self.shards = [
            Shard(self.folder / split, row["name"], row["num_tokens"], row["num_documents"], self.dtype)
            for row in index["splits"][split]
            if row["num_tokens"]
        ]
        self._sums = [row["sha256"] for row in index["splits"][split] if row["num_tokens"]]
        for shard in self.shards:
            _check_sizes(shard)

    def content(self) -> dict[str, str]:
        """Return the SHA-256 sum of every file of the split; a second for about 1.5 GB.

        Raises:
            UserError: if the tokens of a shard are not those that ``debertav3 data prepare`` wrote.
        """
        sums = {}
        for shard, wanted in zip(self.shards, self._sums, strict=True):
            for ending in ("tokens", "ends"):
                path = shard.folder / f"{shard.name}.{ending}"
                sums[f"{self.split}/{path.name}"] = sha256_of_file(path)
            if sums[f"{self.split}/{shard.name}.tokens"] != wanted:
                raise UserError(
                    f"{shard.folder / shard.name}.tokens changed since it was prepared: it does not have the "
                    "SHA-256 sum of the index. Run debertav3 data prepare again into a new folder"
                )
        return sums

    @property
    def num_tokens(self) -> int:
        """Tokens of the split, without special tokens."""
        return sum(shard.num_tokens for shard in self.shards)

    @property
    def num_documents(self) -> int:
        """Documents of the split."""
        return sum(shard.num_documents for shard in self.shards)


def _check_sizes(shard: Shard) -> None:
    for ending, size in (
        ("tokens", shard.num_tokens * shard.dtype.itemsize),
        ("ends", shard.num_documents * 8),
    ):
        path = shard.folder / f"{shard.name}.{ending}"
        found = path.stat().st_size if path.exists() else None
        if found != size:
            raise UserError(
                f"{path}: {'missing' if found is None else f'{found} bytes'}, the index says {size} bytes. "
                "Run debertav3 data prepare again into a new folder"
            )


def read_index(folder: Path) -> dict[str, Any]:
    """Read ``index.json``.

    Raises:
        UserError: if it is missing or not ours.
    """
    path = folder / INDEX_NAME
    if not path.is_file():
        raise UserError(
            f"{folder} holds no {INDEX_NAME}: run debertav3 data prepare, which goes on where it stopped"
        )
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise UserError(f"{path} is not a {FORMAT!r} index")
    return index
