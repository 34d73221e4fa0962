"""Memory-mapped token shards: token ids of whole documents in a row, and where each document ends.

A folder of shards holds ``index.json`` (vocabulary size, token type, fingerprint, statistics), ``tokenizer/``
and, for each split (``train``, ``heldout``), pairs ``NNNNN.tokens`` (little-endian uint16, or uint32 where
the vocabulary needs it, without special tokens) and ``NNNNN.ends`` (uint64: where each document ends, counted
in tokens). The index has the SHA-256 sums of all of them; opening a split compares them.
"""

import contextlib
import hashlib
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..files import fingerprint, read_json_object, replacing, sha256_of_file
from ..json_types import JsonObject

logger = logging.getLogger(__name__)

SPLITS = ("train", "heldout")
INDEX_NAME = "index.json"
FORMAT = "debertav3-shards-1"
MAX_VERIFIED_BYTES = 8 << 30
"""Up to this size a split is verified whole when it is opened; of a larger one so much, in random shards."""


def token_dtype(vocab_size: int) -> np.dtype[np.unsignedinteger]:
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

    def __init__(self, folder: Path, name: str, dtype: np.dtype[np.unsignedinteger]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._name = name
        self._paths = {ending: folder / f"{name}.{ending}" for ending in ("tokens", "ends")}
        self._dtype = dtype
        self._digest = hashlib.sha256()
        self._ends_digest = hashlib.sha256()
        self.num_tokens = 0
        self.num_documents = 0

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            # Left in the opposite order: the tokens, which are looked for first, appear last.
            self._tokens = stack.enter_context(replacing(self._paths["tokens"]))
            self._ends = stack.enter_context(replacing(self._paths["ends"]))
            self._files = stack.pop_all()
        return self

    def add(self, ids: Sequence[int]) -> None:
        """Append one document."""
        data = np.asarray(ids, dtype=self._dtype).tobytes()
        self._tokens.write(data)
        self._digest.update(data)
        self.num_tokens += len(ids)
        self.num_documents += 1
        end = self.num_tokens.to_bytes(8, "little")
        self._ends.write(end)
        self._ends_digest.update(end)

    def facts(self) -> dict[str, object]:
        """What the index says of this shard."""
        return {
            "name": self._name,
            "num_tokens": self.num_tokens,
            "num_documents": self.num_documents,
            "sha256": self._digest.hexdigest(),
            "ends_sha256": self._ends_digest.hexdigest(),
        }

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.__exit__(kind, error, trace)


@dataclass(frozen=True)
class Shard:
    """One shard on disk."""

    folder: Path
    name: str
    num_tokens: int
    num_documents: int
    dtype: np.dtype[np.unsignedinteger]
    sums: tuple[tuple[str, str], ...] = ()
    """Endings and SHA-256 sums of its files; older shards have none of the ends."""

    def tokens(self) -> NDArray[np.unsignedinteger]:
        """All token ids, ``(num_tokens,)``, mapped from disk."""
        return self._map("tokens", self.dtype, self.num_tokens)

    def ends(self) -> NDArray[np.uint64]:
        """End of each document in tokens, ``(num_documents,)``, mapped from disk."""
        return self._map("ends", np.dtype("<u8"), self.num_documents)

    def _map(
        self, ending: str, dtype: np.dtype[np.unsignedinteger], length: int
    ) -> NDArray[np.unsignedinteger]:
        path = self.folder / f"{self.name}.{ending}"
        if not length:
            return np.empty(0, dtype=dtype)
        return np.memmap(path, dtype=dtype, mode="r", shape=(length,))


class TokenShards:
    """All shards of one split, verified.

    Args:
        folder: what ``debertav3 data prepare`` wrote.
        split: ``"train"`` or ``"heldout"``.
        verify: compare the sums of the files, up to `MAX_VERIFIED_BYTES`. Of several processes on one machine
            one needs to do it; sizes and the tokenizer are compared always.

    Raises:
        UserError: if the folder is not complete, of another format, or a file is not what the index says: its
            size, its sum, ids beyond the vocabulary, or the tokenizer beside it.
    """

    def __init__(self, folder: str | Path, split: str = "train", *, verify: bool = True) -> None:
        self.folder = Path(folder)
        index = read_index(self.folder)
        self.vocab_size: int = index["vocab_size"]
        self.fingerprint: str = index["fingerprint"]
        self.dtype: np.dtype[np.unsignedinteger] = np.dtype(str(index["dtype"]))
        self.split = split
        self.shards = [
            Shard(
                self.folder / split,
                row["name"],
                row["num_tokens"],
                row["num_documents"],
                self.dtype,
                tuple(
                    (ending, row[key])
                    for ending, key in (("tokens", "sha256"), ("ends", "ends_sha256"))
                    if key in row
                ),
            )
            for row in index["splits"][split]
            if row["num_tokens"]
        ]
        for shard in self.shards:
            _check_sizes(shard)
        _check_tokenizer(self.folder, index)
        if verify:
            self._verify()

    def _verify(self) -> None:
        shards, left = list(self.shards), MAX_VERIFIED_BYTES
        random.shuffle(shards)  # not seeded: opening a large corpus often checks all of it in time
        for number, shard in enumerate(shards):
            if left <= 0:
                message = "%s: %d of %d shards verified, drawn at random; the corpus is large"
                logger.info(message, self.folder / self.split, number, len(shards))
                return
            left -= shard.num_tokens * shard.dtype.itemsize
            _check_content(shard, self.vocab_size)

    def content(self) -> dict[str, str]:
        """Return the SHA-256 sum of every file of the split, as the index notes it.

        Older indexes have no sums; then the files are read, 1.5 GB in about a second.
        """
        return {
            f"{self.split}/{shard.name}.{ending}": dict(shard.sums).get(ending) or _checked_sum(shard, ending)
            for shard in self.shards
            for ending in ("tokens", "ends")
        }

    @property
    def num_tokens(self) -> int:
        """Tokens of the split, without special tokens."""
        return sum(shard.num_tokens for shard in self.shards)

    @property
    def num_documents(self) -> int:
        """Documents of the split."""
        return sum(shard.num_documents for shard in self.shards)


_AGAIN = "Run debertav3 data prepare again into a new folder"


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
                f"{_AGAIN}"
            )


def _checked_sum(shard: Shard, ending: str) -> str:
    path = shard.folder / f"{shard.name}.{ending}"
    found = sha256_of_file(path)
    if dict(shard.sums).get(ending, found) != found:
        raise UserError(f"{path} is damaged: its SHA-256 sum is not the recorded one. {_AGAIN}")
    return found


def _check_content(shard: Shard, vocab_size: int) -> None:
    for ending, _ in shard.sums:
        _checked_sum(shard, ending)
    largest = int(shard.tokens().max())
    if largest >= vocab_size:
        raise UserError(
            f"{shard.folder / shard.name}.tokens holds the id {largest}, and the vocabulary has only "
            f"{vocab_size} ids. {_AGAIN}"
        )
    ends = shard.ends().astype(np.int64)
    if (np.diff(ends, prepend=0) <= 0).any() or ends[-1] != shard.num_tokens:
        raise UserError(f"{shard.folder / shard.name}.ends does not divide the tokens. {_AGAIN}")


def _check_tokenizer(folder: Path, index: dict[str, object]) -> None:
    """Compare the tokenizer beside the shards with the one that made them; older indexes do not say."""
    wanted = index.get("tokenizer")
    if wanted is not None and (
        not (folder / "tokenizer").is_dir() or fingerprint(folder / "tokenizer") != wanted
    ):
        raise UserError(
            f"{folder / 'tokenizer'} is not the tokenizer that made these shards. Put the old one back, or "
            "prepare the data again into a new folder"
        )


def read_index(folder: Path) -> JsonObject:
    """Read ``index.json``.

    Raises:
        UserError: if it is missing, not ours, or says something that cannot be.
    """
    path = folder / INDEX_NAME
    if not path.is_file():
        raise UserError(f"{folder} holds no {INDEX_NAME}: run debertav3 data prepare to finish it")
    index = read_json_object(path)
    if index.get("format") != FORMAT:
        raise UserError(f"{path} is not a {FORMAT!r} index")
    if (fault := _fault_of(index)) is not None:
        raise UserError(f"{path} is damaged: {fault}. {_AGAIN}")
    return index


def _fault_of(index: dict[str, object]) -> str | None:
    size = index.get("vocab_size")
    if not isinstance(size, int) or size < 1:
        return f"vocab_size is {size!r}"
    if index.get("dtype") != token_dtype(size).str:
        return f"dtype is {index.get('dtype')!r}"
    if not isinstance(index.get("fingerprint"), str):
        return "it has no fingerprint"
    splits = index.get("splits")
    if not isinstance(splits, dict) or not all(isinstance(splits.get(name), list) for name in SPLITS):
        return "it does not list both splits"
    for row in (row for name in SPLITS for row in splits[name]):
        if not isinstance(row, dict):
            return "a shard is not an object"
        name = row.get("name")
        if not isinstance(name, str) or not name.isalnum():  # it becomes a part of a path
            return f"a shard has the name {name!r}"
        counts = [row.get("num_tokens"), row.get("num_documents")]
        if not all(isinstance(count, int) and count >= 0 for count in counts):
            return f"shard {name} has the counts {counts}"
    return None
