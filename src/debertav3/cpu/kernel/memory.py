"""Memory that the kernel reads and writes: it begins at a cache line; packed weights lie in huge pages."""

import contextlib
import math
import mmap
import threading

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_LINE = 64  # bytes of a cache line
_PAGE = 2 << 20  # bytes of a huge page, on x86 and on Arm with small pages of 4 KiB
_BLOCK = 8 * _PAGE


def aligned(*shape: int) -> Floats:
    """An uninitialized fp32 array that begins at a cache line."""
    count = math.prod(shape)
    block = np.empty(count * 4 + _LINE, np.uint8)
    first = -block.ctypes.data % _LINE
    return block[first : first + count * 4].view(np.float32).reshape(shape)


class HugePages:
    """Arrays for packed weights, one after another in blocks that ask Linux for huge pages.

    A model's weights are read from end to end in every call; with pages of 4 KiB each of them costs a look-up
    in the page table. A block lives as long as an array in it; pages that are never written take no memory.
    """

    def __init__(self) -> None:
        self._block = np.empty(0, np.uint8)
        self._used = 0
        self._lock = threading.Lock()

    def take(self, count: int) -> Floats:
        """An array of ``count`` fp32 numbers that begins at a cache line; all are zero."""
        size = (count * 4 + _LINE - 1) // _LINE * _LINE
        with self._lock:
            if self._used + size > len(self._block):
                self._block, self._used = _huge_block(max(size, _BLOCK)), 0
            place = self._block[self._used : self._used + count * 4]
            self._used += size
        return place.view(np.float32)


def _huge_block(size: int) -> npt.NDArray[np.uint8]:
    """At least so many bytes of zeros, from the beginning of a huge page on."""
    size = (size + _PAGE - 1) // _PAGE * _PAGE
    # Private: by default the pages are shared with forks, which would pack their weights over ours.
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    mapped = mmap.mmap(-1, size + _PAGE, **private)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a Linux without them
            mapped.madvise(mmap.MADV_HUGEPAGE)
    block = np.frombuffer(mapped, np.uint8)
    first = -block.ctypes.data % _PAGE
    return block[first : first + size]
