"""Opens the compiled kernel that fits this processor, on the threads that torch has already."""

import ctypes
import logging
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from .build import library_file

logger = logging.getLogger(__name__)

_LIBRARY_OF_CAPABILITY = {"AVX512": "avx512", "AVX512_VNNI": "avx512", "AVX2": "avx2"}


class Arguments(ctypes.Structure):
    """``AttentionArguments`` of ``attention.cpp``, which says what they mean."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("query", "key", "value", "out")),
        *((name, ctypes.c_void_p) for name in ("key_table", "query_table", "rows_by_key", "rows_by_query")),
        *((name, ctypes.c_void_p) for name in ("key_mask", "pair_mask")),
        *((name, ctypes.c_int64) for name in ("query_batch", "query_head", "query_token")),
        *((name, ctypes.c_int64) for name in ("key_batch", "key_head", "key_token")),
        *((name, ctypes.c_int64) for name in ("value_batch", "value_head", "value_token")),
        *((name, ctypes.c_int64) for name in ("pair_batch", "pair_head", "pair_query")),
        *(
            (name, ctypes.c_int64)
            for name in ("batch", "length", "heads", "head_width", "table_rows", "threads")
        ),
        ("team", ctypes.c_void_p),
        ("scale", ctypes.c_float),
        ("hides_queries", ctypes.c_int32),
    )


class Kernel:
    """An opened library.

    Args:
        path: the shared object.
        team: address of ``GOMP_parallel``; None runs everything on the calling thread.
    """

    def __init__(self, path: Path, team: int | None) -> None:
        self.name = path.stem.removeprefix("debertav3_")
        self.team = team
        library = ctypes.CDLL(str(path))
        self._attend = library.debertav3_attend
        self._attend.argtypes, self._attend.restype = (ctypes.POINTER(Arguments),), ctypes.c_int
        self._pack = library.debertav3_pack
        self._pack.argtypes = (
            ctypes.c_void_p,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_float,
            ctypes.c_void_p,
        )
        self._pack.restype = None
        self._panel_floats = library.debertav3_panel_floats
        self._panel_floats.argtypes, self._panel_floats.restype = (ctypes.c_int64,) * 2, ctypes.c_int64
        library.debertav3_more_rows.restype = ctypes.c_int64
        self.more_rows: int = library.debertav3_more_rows()

    def attend(self, arguments: Arguments) -> None:
        """Run attention.

        Raises:
            MemoryError: if there is not enough memory.
        """
        if self._attend(ctypes.byref(arguments)):
            raise MemoryError("not enough memory for the attention of a text this long")

    def pack(self, table_NRH: Tensor, factor: float) -> Tensor:
        """Rows of a table, times a factor, in the layout that the kernel multiplies by, head after head."""
        N, R, H = table_NRH.shape
        table_NRH = table_NRH.detach().to(torch.float32).contiguous()
        panels = torch.empty(N, self._panel_floats(R, H))
        for head in range(N):
            self._pack(table_NRH[head].data_ptr(), R, H, factor, panels[head].data_ptr())
        return panels


@lru_cache(maxsize=1)
def kernel() -> Kernel | None:
    """The kernel for this processor; None, with one line of log that says why, where there is none."""
    capability = torch.backends.cpu.get_cpu_capability()
    name = _LIBRARY_OF_CAPABILITY.get(capability)
    if name is None:
        logger.info("no CPU kernel for a processor with %s: attention runs in torch", capability)
        return None
    path = library_file(name)
    if not path.is_file():
        logger.info("the CPU kernel was not built when this package was installed: attention runs in torch")
        return None
    try:
        found = Kernel(path, _team())
    except OSError as error:
        logger.info("the CPU kernel cannot be opened (%s): attention runs in torch", error)
        return None
    logger.info("attention runs in the CPU kernel for %s", found.name)
    return found


def _team() -> int | None:
    """Address of ``GOMP_parallel`` in torch's own OpenMP runtime: a second one would start a second pool.

    None, with one line of log, where torch brings none of that form.
    """
    try:
        with open("/proc/self/maps", encoding="utf-8") as lines:
            mapped = {line.split()[-1] for line in lines if ".so" in line}
    except OSError:
        mapped = set()
    runtimes = [
        path for path in sorted(mapped) if Path(path).name.startswith(("libgomp", "libiomp5", "libomp"))
    ]
    # torch's own first: another package may have loaded a second runtime
    runtimes.sort(key=lambda path: "torch" not in path)
    for path in runtimes:
        try:
            address = ctypes.cast(ctypes.CDLL(path).GOMP_parallel, ctypes.c_void_p).value
        except (OSError, AttributeError):
            continue
        return address
    logger.info("no OpenMP runtime found beside torch: the CPU kernel uses one thread")
    return None
