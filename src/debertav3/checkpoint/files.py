"""The files of a checkpoint folder, read as hostile input.

A folder is only data: nothing in it can name code to run or a file outside it, and every size that it states
is checked against the file first. Only safetensors and, with ``weights_only=True``, ``.bin`` files are read.
"""

import json
import math
import os
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ..errors import MissingExtraError, UserError
from ..files.model_folder import GENERATOR, GENERATOR_BESIDE, ModelFolder
from ..files.reading import POINTER_BYTES, check_fetched, check_not_pipe
from .foreign_folders import found_instead

if TYPE_CHECKING:
    import torch

    from ..cpu.native.tensors import StoredArray

INT8_WEIGHTS = "model_int8.safetensors"
"""Int8 weights, which mean nothing without their scales (``int8.py``). They have a name of their own because
transformers would load them as ordinary weights, with only a warning."""

WEIGHTS = ("model.safetensors", "pytorch_model.bin", INT8_WEIGHTS)
"""Names of weight files, in the order in which they are tried; each may be split, with an index."""

MAX_HEADER_BYTES = 100_000_000  # the safetensors library's own limit
MAX_DIMENSIONS = 16
MAX_TENSORS = 20_000  # the deepest released model has about a thousand

DTYPE_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
"""Bytes per number of each supported dtype, by its name in safetensors."""

_TORCH_NAMES = {
    "torch.float64": "F64",
    "torch.float32": "F32",
    "torch.float16": "F16",
    "torch.bfloat16": "BF16",
    "torch.int64": "I64",
    "torch.int32": "I32",
    "torch.int16": "I16",
    "torch.int8": "I8",
    "torch.uint8": "U8",
    "torch.bool": "BOOL",
}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """What a file says about one tensor, without its numbers."""

    dtype: str
    """As in safetensors: ``F32``, ``F16``, ``BF16``, ..."""
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


def find_weights(folder: ModelFolder) -> list[Path]:
    """Return the weight files of a checkpoint folder, in a fixed order.

    Raises:
        UserError: if there are none, an index names one that is missing, or one lies outside the folder.
    """
    for name in WEIGHTS:
        path = folder.file(name)
        if path.is_file():
            return [path]
        if folder.has(index := f"{name}.index.json"):
            return _from_index(folder, index, suffix=path.suffix)
    raise UserError(
        f"{folder} has no weights: need {', '.join(WEIGHTS[:-1])} or {WEIGHTS[-1]}."
        f"{found_instead(folder.path)}"
    )


def _from_index(folder: ModelFolder, name: str, *, suffix: str) -> list[Path]:
    index, weight_map = folder.file(name), folder.json(name).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UserError(f"{index} has no weight_map: restore or re-download it")
    names = set()
    for key, part in weight_map.items():
        if not isinstance(part, str) or not part.endswith(suffix):
            raise UserError(f"{index}: {key} is in {part!r}; need the name of a {suffix} file")
        names.add(part)
    paths = [folder.file(part) for part in sorted(names)]
    for path in paths:
        if not path.is_file():
            raise UserError(f"{index} names {path.name}, which is missing: the download is incomplete")
    return paths


def find_generator(folder: ModelFolder) -> list[Path]:
    """Return the weight files of the generator that a discriminator's folder holds; none if it holds none."""
    for name in GENERATOR_BESIDE:
        if (path := folder.file(name)).is_file():
            return [path]
    inner = folder.file(GENERATOR)
    return find_weights(ModelFolder(inner)) if inner.is_dir() else []


def read_header(path: Path) -> dict[str, StoredTensor]:
    """Read and check what a safetensors file says about its tensors, without reading them.

    Raises:
        UserError: if the file is truncated, damaged, or its header contradicts its length.
    """
    return {name: tensor for name, (tensor, _) in _read_entries(path).items()}


def _read_entries(path: Path) -> dict[str, tuple[StoredTensor, int]]:
    """What the header says about each tensor, and the byte offset of its numbers in the file."""
    check_not_pipe(path)
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(POINTER_BYTES)
        check_fetched(path, head)
        length = int.from_bytes(head[:8], "little")
        if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
            raise _damaged(path, f"it has {size:,} bytes, fewer than its header says")
        stream.seek(8)
        text = stream.read(length)
    try:
        header = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "its header is not JSON") from error
    if not isinstance(header, dict):
        raise _damaged(path, "its header is not a JSON object")
    metadata = header.pop("__metadata__", {})
    if len(header) > MAX_TENSORS:
        raise UserError(
            f"{path} lists {len(header):,} tensors; no DeBERTa has more than {MAX_TENSORS:,}: "
            "download the checkpoint again"
        )
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _damaged(path, "its metadata is not a table of strings")
    spans = []
    tensors = {}
    for name, entry in header.items():
        tensor, span = _checked_entry(path, name, entry)
        tensors[name] = tensor, 8 + length + span[0]
        spans.append(span)
    end = 0
    for first, last in sorted(spans):
        if first != end:
            raise _damaged(path, "its tensors overlap or leave gaps")
        end = last
    if end != size - 8 - length:
        raise _damaged(path, f"its tensors need {8 + length + end:,} bytes and the file has {size:,}")
    return tensors


def _checked_entry(path: Path, name: str, entry: object) -> tuple[StoredTensor, tuple[int, int]]:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise _damaged(path, f"the header's entry for {name!r} is not a tensor")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        raise UserError(f"{path}: {name} is stored as {dtype!r}; this package reads {', '.join(DTYPE_BYTES)}")
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise _damaged(path, f"the shape or offsets of {name!r} are not integers")
    stored = StoredTensor(dtype, tuple(shape))
    if offsets[1] - offsets[0] != stored.size * DTYPE_BYTES[dtype]:
        raise _damaged(path, f"the size of {name!r} contradicts its shape")
    return stored, (offsets[0], offsets[1])


def _are_counts(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= MAX_DIMENSIONS
        and all(type(number) is int and 0 <= number < 1 << 63 for number in value)
    )


def _damaged(path: Path, why: str) -> UserError:
    return UserError(f"{path} is damaged or truncated: {why}; copy or download it again")


def read_safetensors(path: Path, only: Iterable[str] | None = None) -> "dict[str, torch.Tensor]":
    """Read tensors onto the CPU in their stored dtype: those named in ``only``, or all.

    Raises:
        UserError: if the file is damaged or changes while it is read.
    """
    from safetensors import SafetensorError, safe_open

    names = read_header(path) if only is None else only  # our check is stricter than the library's
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{path}: safetensors opens only paths that are UTF-8. Rename the folder, or give a link to it."
        ) from None
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise _damaged(path, str(error)) from error


class MappedFile:
    """A file that is mapped into memory, and what shows that another program has written into it since.

    A file that is replaced is no danger: the map keeps the old one.

    Args:
        path: the file.
        stream: open for reading.
    """

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self.path = path
        self._handle = os.dup(stream.fileno())
        weakref.finalize(self, os.close, self._handle)
        self._state = self._now()

    def check(self) -> None:
        """Refuse to go on with a file that was changed.

        Raises:
            UserError: if it was.
        """
        if self._now() != self._state:
            raise UserError(
                f"{self.path} was overwritten while it is in use. Open the model again; to replace a file "
                "that is in use, write a new one and rename it."
            )

    def _now(self) -> tuple[int, int]:
        found = os.fstat(self._handle)
        return found.st_size, found.st_mtime_ns


def map_safetensors(path: Path, only: Iterable[str]) -> "tuple[dict[str, StoredArray], MappedFile]":
    """Map tensors into memory, without torch; only what is used is read from the disk.

    Raises:
        UserError: if the file is damaged.
    """
    import mmap

    import numpy as np

    from ..cpu.native.tensors import NUMPY_DTYPES, StoredArray

    entries = _read_entries(path)
    with path.open("rb") as stream:
        mapped = MappedFile(path, stream)
        content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    arrays = {}
    for name in only:
        stored, first = entries[name]
        flat = np.frombuffer(content, NUMPY_DTYPES[stored.dtype], count=stored.size, offset=first)
        arrays[name] = StoredArray(stored.dtype, flat.reshape(stored.shape))
    return arrays, mapped


def read_bin(path: Path) -> "dict[str, torch.Tensor]":
    """Read all tensors of a ``.bin`` file onto the CPU, without running any code from it.

    Raises:
        UserError: if the file is damaged, or holds anything but tensors.
    """
    import pickle

    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingExtraError(feature=f"reading {path.name}", package="torch", extra="torch") from error
    check_not_pipe(path)
    check_fetched(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"refusing {path}: it holds more than tensors, or is damaged; convert a file that you trust to "
            "safetensors, or download it again"
        ) from error
    except (
        RuntimeError,
        ValueError,
        EOFError,
        OSError,
        KeyError,
        TypeError,
        IndexError,
        AttributeError,
    ) as error:
        raise _damaged(path, "torch cannot read it") from error
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds a {type(content).__name__}; need a table of tensors by name")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor) or value.layout != torch.strided:
            raise UserError(f"{path}: {name!r} is not an ordinary tensor; need a table of tensors by name")
        if str(value.dtype) not in _TORCH_NAMES:
            raise UserError(f"{path}: {name} is stored as {value.dtype}; need floats or integers")
    return dict(content)


def describe(tensor: "torch.Tensor") -> StoredTensor:
    """Describe a tensor as a file would."""
    return StoredTensor(_TORCH_NAMES[str(tensor.dtype)], tuple(tensor.shape))
