"""Contract: arrays for packed weights begin at a cache line, never overlap, and give their memory back."""

import gc
import mmap
import os
import weakref

import numpy as np
import pytest

from debertav3.cpu.kernel.memory import HugePages, aligned


def test_arrays_lie_one_after_another() -> None:
    pages = HugePages()
    sizes = [1, 5, 16, 100_003, 3 << 20, 7, 6 << 20, 0, 2]  # one larger than what a block holds
    arrays = [pages.take(size) for size in sizes]
    for number, (array, size) in enumerate(zip(arrays, sizes, strict=True)):
        assert array.shape == (size,) and array.dtype == np.float32
        assert size == 0 or (array.ctypes.data % 64 == 0 and not array.any())
        array[:] = number
    assert all((array == number).all() for number, array in enumerate(arrays))


def test_a_block_lives_as_long_as_an_array_in_it() -> None:
    pages = HugePages()
    first, second = pages.take(10), pages.take(10)
    base: object = second
    while not isinstance(base, mmap.mmap):
        base = base.obj if isinstance(base, memoryview) else base.base  # type: ignore[attr-defined]
    alive = weakref.ref(base)
    del base, pages, first
    gc.collect()
    assert alive() is not None and not second.any()
    del second
    gc.collect()
    assert alive() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_writes_into_memory_of_its_own() -> None:
    pages = HugePages()
    before = pages.take(16)
    before[:] = 1
    child = os.fork()
    if not child:  # as a worker process that opens a model of its own
        before[:] = 2
        pages.take(16)[:] = 2
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert (before == 1).all()
    assert not pages.take(16).any()


def test_other_arrays_begin_at_a_cache_line() -> None:
    assert all(aligned(3, size).ctypes.data % 64 == 0 for size in range(1, 20))
