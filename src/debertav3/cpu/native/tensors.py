"""Tensors of a checkpoint as numpy sees them: views of the file, widened to fp32 where they are read."""

import mmap
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .maths import Floats

NUMPY_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I8": "i1"}
"""How the dtypes of safetensors are laid out; numpy has no bf16, whose bits are the upper half of fp32's."""


@dataclass(frozen=True, slots=True)
class StoredArray:
    """Real numbers of any width."""

    dtype: str
    """As in safetensors."""
    raw: npt.NDArray[np.generic]
    """In the dtype of `NUMPY_DTYPES`; often a view of a mapped file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the numbers."""
        return self.raw.shape

    def floats(self) -> Floats:
        """All numbers in fp32; a view where they are stored so."""
        return _widened(self.dtype, self.raw)

    def rows(self, index: npt.NDArray[np.int64]) -> Floats:
        """Some rows in fp32; of the others nothing is read."""
        return _widened(self.dtype, self.raw[index])


@dataclass(frozen=True, slots=True)
class Int8Array:
    """A linear layer's weight in int8; see ``cpu/int8.py``."""

    weight: npt.NDArray[np.int8]
    """``(out, in)``."""
    scale: Floats
    """``(out,)``: what each row is multiplied by."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight."""
        return self.weight.shape

    def floats(self) -> Floats:
        """The numbers that the integers stand for."""
        return self.weight * self.scale[:, None]


def release_pages(weights: Mapping[str, StoredArray | Int8Array]) -> None:
    """Let the system take back what was read of mapped files; it is read again where it is needed again."""
    mapped: dict[int, mmap.mmap] = {}
    for array in weights.values():
        owner: object = array.weight if isinstance(array, Int8Array) else array.raw
        while isinstance(owner, np.ndarray):
            owner = owner.base
        owner = owner.obj if isinstance(owner, memoryview) else owner
        if isinstance(owner, mmap.mmap):
            mapped[id(owner)] = owner
    for file in mapped.values():
        if hasattr(file, "madvise"):
            file.madvise(mmap.MADV_DONTNEED)


def _widened(dtype: str, raw: npt.NDArray[np.generic]) -> Floats:
    if dtype == "BF16":
        return (raw.astype(np.uint32) << 16).view(np.float32)
    return np.require(raw, np.float32, "A")
