"""Opens the compiled kernel that fits this processor, on the threads that torch has already."""

import ctypes
import enum
import logging
import os
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from ...errors import UserError
from .build import INSTRUCTIONS, library_file, sources_digest

logger = logging.getLogger(__name__)

_LIBRARIES = {"AVX512": ("amx", "avx512vnni", "avx512", "avx2"), "AVX2": ("avx2",)}
"""By what torch says of the processor; the first that runs is taken."""

VARIABLE = "DEBERTAV3_KERNEL"
"""The environment variable that names the kernel: a key of `INSTRUCTIONS`, or ``none`` for torch alone."""


class WeightKind(enum.IntEnum):
    """What a packed weight is, and how it is multiplied: ``WeightKind`` of ``abi.h``."""

    INT8 = 0
    TWO_BF16 = 2
    """fp32; with AMX two bf16 numbers for one, which keep 16 bits."""
    THREE_BF16 = 3
    """fp32; with AMX three bf16 numbers for one, which keep all 24 bits."""


def _fields(kind: type, *names: str) -> tuple[tuple[str, type], ...]:
    return tuple((name, kind) for name in names)


class LinearArguments(ctypes.Structure):
    """A linear layer; ``abi.h`` says what the fields mean."""

    _fields_ = (
        *_fields(ctypes.c_void_p, "weight", "bias"),
        ("in_", ctypes.c_int64),
        *_fields(ctypes.c_int64, "out", "kind"),
    )


class AttentionArguments(ctypes.Structure):
    """One call of attention; ``abi.h`` says what the fields mean."""

    _fields_ = (
        *_fields(ctypes.c_void_p, "query", "key", "value", "out"),
        *_fields(ctypes.c_void_p, "key_table", "query_table", "rows_by_key", "rows_by_query"),
        *_fields(ctypes.c_void_p, "key_mask", "pair_mask"),
        *_fields(ctypes.c_int64, "query_batch", "query_head", "query_token"),
        *_fields(ctypes.c_int64, "key_batch", "key_head", "key_token"),
        *_fields(ctypes.c_int64, "value_batch", "value_head", "value_token"),
        *_fields(ctypes.c_int64, "pair_batch", "pair_head", "pair_query"),
        *_fields(ctypes.c_int64, "batch", "length", "queries"),
        *_fields(ctypes.c_int64, "heads", "head_width", "table_rows", "threads"),
        ("team", ctypes.c_void_p),
        ("scale", ctypes.c_float),
        ("hides_queries", ctypes.c_int32),
    )


class NormArguments(ctypes.Structure):
    """Weight and bias of a LayerNorm."""

    _fields_ = _fields(ctypes.c_void_p, "weight", "bias")


class LayerArguments(ctypes.Structure):
    """One layer of the encoder; ``abi.h`` says what the fields mean."""

    _fields_ = (
        *_fields(LinearArguments, "query", "key", "value", "output", "widen", "narrow"),
        *_fields(NormArguments, "attention_norm", "output_norm"),
        ("attention", AttentionArguments),
        *_fields(ctypes.c_void_p, "states", "queries", "out"),
        ("width", ctypes.c_int64),
        ("epsilon", ctypes.c_float),
    )


class Kernel:
    """An opened library.

    Args:
        path: the shared object.
        team: address of ``GOMP_parallel``; None runs everything on the calling thread.

    Raises:
        OSError: if it cannot be opened, is of other sources, or this machine cannot run it.
    """

    def __init__(self, path: Path, team: int | None) -> None:
        self.name = path.stem.removeprefix("debertav3_")
        self.team = team
        pointer, size, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
        library = ctypes.CDLL(str(path))

        def function(name: str, result: type | None, *arguments: type) -> "ctypes._NamedFuncPointer":
            found = library[f"debertav3_{name}"]
            found.restype, found.argtypes = result, arguments
            return found

        if not function("is_ready", number)():
            raise OSError(f"this machine does not run {self.name}")
        if function("sources", ctypes.c_uint64)() != sources_digest():
            raise OSError(f"{path} was compiled from other sources: install the package again")
        struct_size = function("struct_size", size, size)
        for index, mirror in enumerate((LinearArguments, AttentionArguments, NormArguments, LayerArguments)):
            theirs, ours = struct_size(index), ctypes.sizeof(mirror)
            if theirs != ours:
                raise OSError(f"{path}: {mirror.__name__} has {theirs} bytes there and {ours} in library.py")
        self.more_rows: int = function("more_rows", size)()
        self._table_floats = function("table_floats", size, size, size)
        self._pack_table = function("pack_table", None, pointer, size, size, ctypes.c_float, pointer)
        self._linear_floats = function("linear_floats", size, size, size)
        self._pack_linear = function("pack_linear", None, pointer, size, size, pointer)
        self._int8_floats = function("int8_floats", size, size, size)
        self._pack_int8 = function("pack_int8", None, pointer, pointer, size, size, pointer)
        self._attend = function("attend", number, ctypes.POINTER(AttentionArguments))
        self._layer = function("layer", number, ctypes.POINTER(LayerArguments))
        self._linear = function(
            "linear", number, ctypes.POINTER(LinearArguments), pointer, size, pointer, size, pointer
        )

    def attend(self, arguments: AttentionArguments) -> None:
        """Run attention.

        Raises:
            MemoryError: if there is not enough memory; so do `layer` and `linear`.
        """
        _check(self._attend(ctypes.byref(arguments)))

    def layer(self, arguments: LayerArguments) -> None:
        """Run one layer of the encoder."""
        _check(self._layer(ctypes.byref(arguments)))

    def linear(self, arguments: LinearArguments, x_MD: Tensor) -> Tensor:
        """``(M, in)`` to ``(M, out)``."""
        x_MD = x_MD.contiguous()
        y = x_MD.new_empty(x_MD.shape[0], arguments.out)
        threads = torch.get_num_threads()
        done = self._linear(
            ctypes.byref(arguments), x_MD.data_ptr(), len(x_MD), y.data_ptr(), threads, self.team
        )
        _check(done)
        return y

    def pack_table(self, table_NRH: Tensor, factor: float) -> Tensor:
        """Rows of a table, times a factor, in the layout that the kernel multiplies by, head after head."""
        N, R, H = table_NRH.shape
        table_NRH = table_NRH.detach().to(torch.float32).contiguous()
        panels = torch.empty(N, self._table_floats(R, H))
        for head in range(N):
            self._pack_table(table_NRH[head].data_ptr(), R, H, factor, panels[head].data_ptr())
        return panels

    def pack_linear(self, weight: Tensor) -> Tensor:
        """An ``(out, in)`` fp32 weight in the layout that the kernel multiplies by."""
        out_features, in_features = weight.shape
        weight = weight.detach().to(torch.float32).contiguous()
        packed = torch.empty(self._linear_floats(in_features, out_features))
        self._pack_linear(weight.data_ptr(), in_features, out_features, packed.data_ptr())
        return packed

    def pack_int8(self, weight: Tensor, scale: Tensor) -> Tensor:
        """An ``(out, in)`` int8 weight and its ``(out,)`` scales, likewise."""
        out_features, in_features = weight.shape
        weight, scale = weight.detach().contiguous(), scale.detach().to(torch.float32).contiguous()
        packed = torch.empty(self._int8_floats(in_features, out_features))
        self._pack_int8(weight.data_ptr(), scale.data_ptr(), in_features, out_features, packed.data_ptr())
        return packed


def _check(lacks_memory: int) -> None:
    if lacks_memory:
        raise MemoryError("not enough memory for a text this long, or so many texts at once")


@lru_cache(maxsize=1)
def kernel() -> Kernel | None:
    """The kernel that ``DEBERTAV3_KERNEL`` names, else the best for this processor; the choice is kept.

    Returns:
        None, with one line of log that says why, where there is none.

    Raises:
        UserError: if the variable names a kernel that does not exist or cannot run here.
    """
    capability = torch.backends.cpu.get_cpu_capability()
    names = _LIBRARIES.get(capability, ())
    reason = f"there is none for a processor with {capability}"
    if wanted := os.environ.get(VARIABLE):
        if wanted != "none" and wanted not in INSTRUCTIONS:
            raise UserError(f"{VARIABLE} is {wanted!r}; need one of: {', '.join(INSTRUCTIONS)}, none")
        names = tuple(name for name in names if name == wanted)
        reason = f"{VARIABLE} is none" if wanted == "none" else f"this processor has only {capability}"
    for name in names:
        try:
            found = open_kernel(name)
        except OSError as error:
            reason = str(error)
            continue
        logger.info("CPU kernel: %s", found.name)
        return found
    if wanted and wanted != "none":
        raise UserError(f"{VARIABLE} is {wanted!r}, which cannot run: {reason}. Unset it, or choose another")
    logger.info("CPU kernel not used: %s; torch computes everything", reason)
    return None


def open_kernel(name: str) -> Kernel:
    """Open the library of one instruction set, a key of `INSTRUCTIONS`.

    Raises:
        OSError: if it was not built, or this machine does not run it.
    """
    if name not in _LIBRARIES.get(torch.backends.cpu.get_cpu_capability(), ()):
        raise OSError(f"this processor does not run {name}")
    path = library_file(name)
    if not path.is_file():
        raise OSError(f"{name} was not built when this package was installed")
    try:
        return Kernel(path, _team())
    except AttributeError as error:  # a function is missing: the library is of other sources
        raise OSError(str(error)) from error


def _team() -> int | None:
    """Address of ``GOMP_parallel`` in torch's own OpenMP runtime: a second one would start a second pool.

    None, with one line of log, where torch brings none of that form.
    """
    try:
        with open("/proc/self/maps", encoding="utf-8") as lines:
            mapped = {line.split()[-1] for line in lines if ".so" in line}
    except OSError:
        mapped = set()
    names = ("libgomp", "libiomp5", "libomp")
    runtimes = [path for path in sorted(mapped) if Path(path).name.startswith(names)]
    # torch's own first: another package may have loaded a second runtime
    runtimes.sort(key=lambda path: "torch" not in path)
    for path in runtimes:
        try:
            return ctypes.cast(ctypes.CDLL(path).GOMP_parallel, ctypes.c_void_p).value
        except (OSError, AttributeError):
            continue
    logger.info("no OpenMP runtime found beside torch: the CPU kernel uses one thread")
    return None
