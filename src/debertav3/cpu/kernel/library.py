"""Opens the compiled kernel that fits this processor. Arrays are numpy's; torch is not needed."""

import ctypes
import enum
import logging
import os
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...errors import UserError
from .build import INSTRUCTIONS, library_file, sources_digest
from .memory import Floats, HugePages, aligned
from .threads import Crew, crew

logger = logging.getLogger(__name__)

_AVX2 = frozenset({"avx2", "fma"})
_AVX512 = _AVX2 | {"avx512f", "avx512bw", "avx512dq", "avx512vl"}
_NEEDED = {
    "amx": _AVX512,
    "avx512vnni": _AVX512 | {"avx512_vnni"},
    "avx512": _AVX512,
    "avx2": _AVX2,
    "i8mm": frozenset(),
    "dotprod": frozenset(),
    "neon": frozenset(),
}
"""What Linux must say of the processor, so that the library can be asked for the rest; the first that runs is
taken. Every 64-bit Arm processor runs enough of each library to ask it."""

VARIABLE = "DEBERTAV3_KERNEL"
"""The environment variable that names the kernel: a key of `INSTRUCTIONS`, or ``none`` for no kernel."""

LARGEST_WIDTH = 1024
LONGEST = 1 << 20
"""Limits on head width and tokens, far above use, that keep every size in the kernel far from overflow."""

_WEIGHTS = HugePages()


class WeightKind(enum.IntEnum):
    """What a packed weight is, and how it is multiplied: ``WeightKind`` of ``abi.h``."""

    INT8 = 0
    TWO_BF16 = 2
    """fp32; with AMX two bf16 numbers for one, which keep 16 bits."""
    THREE_BF16 = 3
    """fp32; with AMX three bf16 numbers for one, which keep all 24 bits."""


def _fields(kind: type, *names: str) -> tuple[tuple[str, type], ...]:
    return tuple((name, kind) for name in names)


def address(array: npt.NDArray[np.generic]) -> int:
    """Where an array's first number is; valid as long as the array."""
    return int(array.__array_interface__["data"][0])


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


class TrainingArguments(ctypes.Structure):
    """One block of attention in training; ``abi.h`` says what the fields mean."""

    _fields_ = (
        *_fields(ctypes.c_void_p, "content", "c2p", "p2c", "rows_by_key", "rows_by_query", "mask"),
        *_fields(ctypes.c_void_p, "weights", "used", "dused", "dscores", "dc2p", "dp2c"),
        *_fields(ctypes.c_int64, "mask_sample", "mask_query"),
        *_fields(ctypes.c_int64, "samples", "length", "tokens", "columns", "first_sample", "threads"),
        ("team", ctypes.c_void_p),
        ("seed", ctypes.c_uint64),
        ("threshold", ctypes.c_uint32),
        *_fields(ctypes.c_float, "kept_factor", "scale"),
        ("is_bf16", ctypes.c_int32),
    )


class VocabularyArguments(ctypes.Structure):
    """Predictions of words for some rows; ``abi.h`` says what the fields mean."""

    _fields_ = (
        *_fields(ctypes.c_void_p, "logits", "bias", "targets", "uniforms", "drawn", "correct"),
        *_fields(ctypes.c_void_p, "loss", "top", "share", "dbias"),
        *_fields(ctypes.c_int64, "rows", "words", "threads"),
        ("team", ctypes.c_void_p),
        ("temperature", ctypes.c_float),
        ("is_bf16", ctypes.c_int32),
    )


_STRUCTS = (
    LinearArguments,
    AttentionArguments,
    NormArguments,
    LayerArguments,
    TrainingArguments,
    VocabularyArguments,
)


class Kernel:
    """An opened library.

    Args:
        path: the shared object.

    Raises:
        OSError: if it cannot be opened, is of other sources, or this machine cannot run it.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.stem.removeprefix("debertav3_")
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
        for index, mirror in enumerate(_STRUCTS):
            theirs, ours = struct_size(index), ctypes.sizeof(mirror)
            if theirs != ours:
                raise OSError(f"{path}: {mirror.__name__} has {theirs} bytes there and {ours} in library.py")
        self.more_rows: int = function("more_rows", size)()
        self._own_team = ctypes.cast(library["debertav3_own_team"], ctypes.c_void_p).value
        self._table_floats = function("table_floats", size, size, size)
        self._pack_table = function("pack_table", None, pointer, size, size, ctypes.c_float, pointer)
        self._linear_floats = function("linear_floats", size, size, size)
        self._pack_linear = function("pack_linear", None, pointer, size, size, pointer)
        self._int8_floats = function("int8_floats", size, size, size)
        self._pack_int8 = function("pack_int8", None, pointer, pointer, size, size, pointer)
        self._attend = function("attend", number, ctypes.POINTER(AttentionArguments))
        self._layer = function("layer", number, ctypes.POINTER(LayerArguments))
        self._weigh = function("weigh", number, ctypes.POINTER(TrainingArguments))
        self._differentiate = function("differentiate", number, ctypes.POINTER(TrainingArguments))
        self._drop = function(
            "drop", number, pointer, pointer, size, size, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_float,
            ctypes.c_int32, size, pointer,
        )  # fmt: skip
        self._predict = function("predict", number, ctypes.POINTER(VocabularyArguments))
        self._widen = function(
            "widen",
            number,
            pointer,
            ctypes.c_int32,
            size,
            ctypes.c_float,
            pointer,
            ctypes.c_int32,
            size,
            pointer,
        )
        self._linear = function(
            "linear", number, ctypes.POINTER(LinearArguments), pointer, size, pointer, size, pointer
        )
        norm = ctypes.POINTER(NormArguments)
        self._normalize = function(
            "normalize", number, pointer, size, size, norm, ctypes.c_float, size, pointer
        )
        self._gelu = function("gelu", number, pointer, size, size, size, pointer)

    def crew(self) -> Crew:
        """The threads for a call: see ``threads.py``."""
        return crew(self._own_team)

    def attend(self, arguments: AttentionArguments) -> None:
        """Run attention.

        Raises:
            MemoryError: if there is not enough memory; so do `layer` and `linear`.
        """
        _check(self._attend(ctypes.byref(arguments)))

    def layer(self, arguments: LayerArguments) -> None:
        """Run one layer of the encoder."""
        _check(self._layer(ctypes.byref(arguments)))

    def weigh(self, arguments: TrainingArguments) -> None:
        """From products to attention weights, in training."""
        _check(self._weigh(ctypes.byref(arguments)))

    def differentiate(self, arguments: TrainingArguments) -> None:
        """From the gradient of attention weights to those of products."""
        _check(self._differentiate(ctypes.byref(arguments)))

    def drop(
        self,
        x: int,
        out: int,
        rows: int,
        columns: int,
        *,
        seed: int,
        threshold: int,
        kept_factor: float,
        is_bf16: bool,
    ) -> None:
        """Dropout of contiguous rows: addresses, and what ``layers/attention_dropout.py`` says."""
        team, threads = self.crew()
        _check(self._drop(x, out, rows, columns, seed, threshold, kept_factor, is_bf16, threads, team))

    def predict(self, arguments: VocabularyArguments) -> None:
        """From products with the word embeddings to loss, draws and gradients; threads are filled in."""
        arguments.team, arguments.threads = self.crew()
        _check(self._predict(ctypes.byref(arguments)))

    def widen(self, x: int, count: int, factor: float, out: int, *, is_bf16: bool, adds: bool) -> None:
        """``out = x * factor``, or that added to it: addresses of ``count`` numbers, ``out`` in fp32."""
        team, threads = self.crew()
        _check(self._widen(x, is_bf16, count, factor, out, adds, threads, team))

    def linear(self, arguments: LinearArguments, x_MD: Floats) -> Floats:
        """``(M, in)`` to ``(M, out)``."""
        x_MD = np.ascontiguousarray(x_MD)
        y = aligned(len(x_MD), arguments.out)
        team, threads = self.crew()
        done = self._linear(ctypes.byref(arguments), address(x_MD), len(x_MD), address(y), threads, team)
        _check(done)
        return y

    def normalize(self, x_MD: Floats, arguments: NormArguments, epsilon: float) -> None:
        """LayerNorm of contiguous rows, in place."""
        team, threads = self.crew()
        _check(self._normalize(address(x_MD), *x_MD.shape, ctypes.byref(arguments), epsilon, threads, team))

    def gelu(self, x_MD: Floats) -> None:
        """The exact GELU of contiguous rows, in place."""
        team, threads = self.crew()
        _check(self._gelu(address(x_MD), *x_MD.shape, threads, team))

    def pack_table(self, table_NRH: Floats, factor: float) -> Floats:
        """Rows of a table, times a factor, in the layout that the kernel multiplies by, head after head."""
        N, R, H = table_NRH.shape
        table_NRH = np.ascontiguousarray(table_NRH, np.float32)
        panels = aligned(N, self._table_floats(R, H))
        for head in range(N):
            self._pack_table(address(table_NRH[head]), R, H, factor, address(panels[head]))
        return panels

    def pack_linear(self, weight: Floats) -> Floats:
        """An ``(out, in)`` fp32 weight in the layout that the kernel multiplies by."""
        out_features, in_features = weight.shape
        weight = np.require(weight, np.float32, ["C", "A"])
        packed = _WEIGHTS.take(self._linear_floats(in_features, out_features))
        self._pack_linear(address(weight), in_features, out_features, address(packed))
        return packed

    def pack_int8(self, weight: npt.NDArray[np.int8], scale: Floats) -> Floats:
        """An ``(out, in)`` int8 weight and its ``(out,)`` scales, likewise."""
        out_features, in_features = weight.shape
        weight, scale = np.ascontiguousarray(weight), np.require(scale, np.float32, ["C", "A"])
        packed = _WEIGHTS.take(self._int8_floats(in_features, out_features))
        self._pack_int8(address(weight), address(scale), in_features, out_features, address(packed))
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
    flags = _processor_flags()
    names = tuple(name for name, needed in _NEEDED.items() if name in INSTRUCTIONS and needed <= flags)
    reason = "there is none for this processor"
    if wanted := os.environ.get(VARIABLE):
        if wanted != "none" and wanted not in INSTRUCTIONS:
            raise UserError(f"{VARIABLE} is {wanted!r}; need one of: {', '.join((*INSTRUCTIONS, 'none'))}")
        names = tuple(name for name in names if name == wanted)
        reason = f"{VARIABLE} is none" if wanted == "none" else f"this processor does not run {wanted}"
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
    logger.info("CPU kernel not used: %s; torch or numpy computes everything", reason)
    return None


def open_kernel(name: str) -> Kernel:
    """Open the library of one instruction set, a key of `INSTRUCTIONS`.

    Raises:
        OSError: if it was not built, or this machine does not run it.
    """
    if not _NEEDED[name] <= _processor_flags():
        raise OSError(f"this processor does not run {name}")
    path = library_file(name)
    if not path.is_file():
        raise OSError(f"{name} was not built when this package was installed")
    try:
        return Kernel(path)
    except AttributeError as error:  # a function is missing: the library is of other sources
        raise OSError(str(error)) from error


@lru_cache(maxsize=1)
def _processor_flags() -> frozenset[str]:
    """What Linux says that the processor has, and the system saves: ``flags`` of ``/proc/cpuinfo``."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            line = next((line for line in lines if line.startswith("flags")), "")
    except OSError:
        line = ""
    return frozenset(line.partition(":")[2].split())
