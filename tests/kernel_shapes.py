"""The kernel on random shapes, masks and values, against float64 and exact integers; on numpy alone.

Every array ends where its memory ends, so that a build with AddressSanitizer sees each read past the end.

Run: python tests/kernel_shapes.py --cases 2000 --longest 4096               (every path of this processor)
     python tests/kernel_shapes.py --cases 100 --sanitize   (compiles with AddressSanitizer and UBSan first)
"""

import argparse
import ctypes
import math
import os
import shutil
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from debertav3.cpu.kernel import build, library, weights
from debertav3.cpu.kernel.library import AttentionArguments, Kernel, NormArguments, address
from debertav3.cpu.kernel.tables import KernelTables, offset_rows
from debertav3.layers.buckets import RelativeBuckets

UNIT = 2.0**-24
"""Unit roundoff of fp32."""

V3 = RelativeBuckets(num_buckets=256, max_distance=512, span=256, long_inputs="clamp")
ODD = RelativeBuckets(num_buckets=6, max_distance=300, span=6, long_inputs="clamp")
_SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-fno-omit-frame-pointer")
_libc = ctypes.CDLL(None)


def exact(*shape: int) -> Any:
    """An fp32 array that begins at a cache line and ends where its memory does."""
    place, count = ctypes.c_void_p(), math.prod(shape)
    if _libc.posix_memalign(ctypes.byref(place), 64, max(1, count * 4)):
        raise MemoryError(f"no memory for {shape}")
    assert place.value is not None
    block = (ctypes.c_float * count).from_address(place.value)
    weakref.finalize(block, _libc.free, place)  # an array of numpy's keeps its block
    return np.frombuffer(block, np.float32).reshape(shape)


def copied(values: Any) -> Any:
    """Values in memory of their own: see `exact`."""
    array = exact(*values.shape)
    array[...] = values
    return array


def check_attention(compiled: Kernel, rng: np.random.Generator, *, longest: int) -> None:
    """One random call of attention against float64."""
    B, N = int(rng.integers(1, 3)), int(rng.integers(1, 4))
    L = int(min(longest, 2 ** rng.uniform(0, math.log2(longest) + 0.01)))
    H, threads = int(rng.integers(16, 129)), int(rng.integers(1, 3))
    buckets = V3 if rng.random() < 0.7 else ODD
    q, k, v = (copied(rng.standard_normal((B, L, N, H)) * 10 ** rng.uniform(-6, 0.7)) for _ in range(3))
    has_c2p, has_p2c = rng.random(2) < 0.8
    tables = [
        copied(rng.standard_normal((N, 2 * buckets.span, H))) if has else None for has in (has_c2p, has_p2c)
    ]
    seen = rng.random((B, L)) < rng.choice([0.1, 0.6, 1.0])
    seen[:, rng.integers(L)] = True
    scale = H**-0.5
    call = {"threads": threads, "scale": scale, "seen": seen, "buckets": buckets}
    got = attend(compiled, q, k, v, tables, **call)
    want, sizes, largest = reference(q, k, v, tables, buckets, seen, scale)
    # a score that is off by d moves a weight by the share 2 d at most
    share = 2 * (H + 4) ** 0.5 * 2 * UNIT * largest + (8 + L**0.5) * UNIT
    error = np.abs(got - want)
    assert (error <= share * sizes).all(), (B, L, N, H, float((error / sizes).max()), share)
    # what is not finite stays in its head of its text
    b, n, j = int(rng.integers(B)), int(rng.integers(N)), int(np.flatnonzero(seen[int(rng.integers(B))])[0])
    if seen[b, j]:
        k[b, j, n, int(rng.integers(H))] = np.nan
        spoilt = attend(compiled, q, k, v, tables, **call)
        assert np.isnan(spoilt[b, :, n]).all()
        spoilt[b, :, n] = got[b, :, n]
        assert np.array_equal(spoilt, got), "NaN reached another head or text"


def attend(
    compiled: Kernel,
    q: Any,
    k: Any,
    v: Any,
    tables: Any,
    *,
    threads: int,
    scale: float,
    seen: Any,
    buckets: Any,
) -> Any:
    """Attention by the kernel, ``(B, L, N, H)``."""
    B, L, N, H = q.shape
    out, mask = exact(B, L, N, H), np.ascontiguousarray(seen, np.uint8)
    out[...] = np.nan
    strides = {"batch": L * N * H, "head": H, "token": N * H}
    arguments = AttentionArguments(
        **{name: address(array) for name, array in (("query", q), ("key", k), ("value", v), ("out", out))},
        **{f"{name}_{key}": step for name in ("query", "key", "value") for key, step in strides.items()},
        key_mask=address(mask),
        batch=B,
        length=L,
        queries=L,
        heads=N,
        head_width=H,
        scale=scale,
    )
    arguments.team, arguments.threads = compiled.crew().team, threads
    kept: list[object] = [mask]
    if any(table is not None for table in tables):
        made = KernelTables.make(buckets, *tables, scale=scale, compiled=compiled)
        kept += [made, made.give(arguments, compiled.more_rows)]
    compiled.attend(arguments)
    return out


def reference(q: Any, k: Any, v: Any, tables: Any, buckets: Any, seen: Any, scale: float) -> Any:
    """Attention in float64, the same with magnitudes of the values, and the largest score there could be."""
    q, k, v = (x.astype(np.float64).transpose(0, 2, 1, 3) for x in (q, k, v))
    L = q.shape[2]
    rows = offset_rows(buckets, L)[np.arange(L)[:, None] - np.arange(L) + L - 1]
    scores, most = q @ k.swapaxes(-1, -2), np.abs(q) @ np.abs(k).swapaxes(-1, -2)
    largest = most.max()
    for states, table, is_query in ((q, tables[0], True), (k, tables[1], False)):
        if table is None:
            continue
        products = states @ table.astype(np.float64).swapaxes(-1, -2)
        index = rows if is_query else rows.T
        picked = np.take_along_axis(products, np.broadcast_to(index, (*products.shape[:2], L, L)), -1)
        scores = scores + (picked if is_query else picked.swapaxes(-1, -2))
        largest += (np.abs(states) @ np.abs(table.astype(np.float64)).swapaxes(-1, -2)).max()
    scores = np.where(seen[:, None, None], scores * scale, -np.inf)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    back = [(shares @ x).transpose(0, 2, 1, 3) for x in (v, np.abs(v))]
    return *back, largest * scale


def check_linear(compiled: Kernel, rng: np.random.Generator, *, longest: int) -> None:
    """One linear layer in fp32 against float64, and in int8 against exact integers, bit by bit."""
    rows, into, out = (int(2 ** rng.uniform(0, top)) for top in (min(9, math.log2(longest)), 11, 9))
    x = copied(rng.standard_normal((rows, into)) * 10 ** rng.uniform(-30, 30, (rows, 1)))
    x[rng.random(rows) < 0.1] = 0
    bias = copied(rng.standard_normal(out)) if rng.random() < 0.7 else None
    weight = copied(rng.standard_normal((out, into)))
    floats = weights.PackedWeight.of_floats(compiled, weight, bias)  # must outlive the call
    got = compiled.linear(floats.arguments(), x)
    added = 0.0 if bias is None else bias.astype(np.float64)
    exactly = x.astype(np.float64) @ weight.T.astype(np.float64) + added
    sizes = np.abs(x.astype(np.float64)) @ np.abs(weight.T.astype(np.float64)) + np.abs(added)
    tiny = into * 2.0**-126  # numbers below the smallest normal one may count as zero
    error = np.abs(got - exactly)
    bad = ~(error <= (into + 2) * UNIT * sizes + tiny)
    assert not bad.any(), (rows, into, out, got[bad][:3], exactly[bad][:3], error[bad][:3])
    numbers = rng.integers(-127, 128, (out, into)).astype(np.int8)
    scales = copied(rng.uniform(1e-3, 1, out))
    packed = weights.PackedWeight.of_int8(compiled, numbers, scales, bias)
    got = compiled.linear(packed.arguments(), x)
    largest = np.maximum(np.abs(x).max(1, keepdims=True), np.float32(1e-30))
    whole = np.rint(x * (np.float32(127) / largest)).astype(np.int64)
    sums = (whole @ numbers.T.astype(np.int64)).astype(np.float32)
    with np.errstate(over="ignore"):
        want = sums * (largest / np.float32(127) * scales) + (0 if bias is None else bias)
    assert np.array_equal(got, want.astype(np.float32)), (rows, into, out)
    spoilt = int(rng.integers(rows))
    x[spoilt, int(rng.integers(into))] = rng.choice([np.nan, np.inf])
    again = compiled.linear(packed.arguments(), x)
    assert not np.isfinite(again[spoilt]).any()
    assert np.array_equal(np.delete(again, spoilt, 0), np.delete(got, spoilt, 0))


def check_rows(compiled: Kernel, rng: np.random.Generator, *, longest: int) -> None:
    """LayerNorm and GELU of random rows against float64."""
    rows, width = int(rng.integers(1, 50)), int(rng.integers(1, 900))
    x = copied(rng.standard_normal((rows, width)) * 10 ** rng.uniform(-3, 3) + rng.uniform(-1, 1))
    gain, shift = copied(rng.standard_normal(width)), copied(rng.standard_normal(width))
    exactly = x.astype(np.float64)
    mean, spread = exactly.mean(1, keepdims=True), exactly.std(1, keepdims=True)
    got = copied(x)
    compiled.normalize(got, NormArguments(address(gain), address(shift)), 1e-7)
    deviation = np.sqrt(spread**2 + 1e-7)
    want = (exactly - mean) / deviation * gain + shift
    # the mean is off by some roundings of the largest number, the spread by its share
    bound = (width**0.5 + 16) * UNIT * (np.abs(exactly).max(1, keepdims=True) / deviation + 1)
    bound = bound * (2 + np.abs(want - shift) / np.maximum(np.abs(gain), 1e-30)) * np.abs(gain)
    assert (np.abs(got - want) <= bound + 4 * UNIT * (np.abs(shift) + np.abs(want))).all(), (rows, width)
    got = copied(x)
    compiled.gelu(got)
    half = np.array([math.erf(y / 2**0.5) for y in exactly.flat]).reshape(exactly.shape)
    want = exactly * 0.5 * (1 + half)
    assert (np.abs(got - want) <= 16 * UNIT * np.abs(exactly)).all(), (rows, width)


CHECKS = (check_attention, check_linear, check_rows)


def check(compiled: Kernel, *, cases: int, longest: int, seed: int = 0) -> None:
    """Run every check on so many random cases."""
    usual = library.aligned
    library.aligned = exact
    try:
        for case in range(cases):
            for number, one in enumerate(CHECKS):
                one(compiled, np.random.default_rng([seed, case, number]), longest=longest)
    finally:
        library.aligned = usual


def sanitized(name: str, arguments: list[str]) -> int:
    """Compile one library with the sanitizers and run the cases on it in a process of its own."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or "g++"
    runtime = [
        subprocess.run([compiler, f"-print-file-name={so}"], capture_output=True, text=True).stdout.strip()
        for so in ("libasan.so", "libubsan.so")
    ]
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / f"debertav3_{name}.so"
        flags = [*build.FLAGS, *_SANITIZERS, *build.INSTRUCTIONS[name]]
        digest = f"-DDEBERTAV3_SOURCES={build.sources_digest()}ULL"
        subprocess.run(
            [compiler, *flags, digest, str(build.FOLDER / "kernel.cpp"), "-o", str(made)], check=True
        )
        environment = {**os.environ, "LD_PRELOAD": " ".join(runtime), "PYTHONMALLOC": "malloc"}
        environment["ASAN_OPTIONS"] = "detect_leaks=0"  # Python itself leaves memory behind
        command = [sys.executable, __file__, "--library", str(made), *arguments]
        return subprocess.run(command, env=environment).returncode


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--longest", type=int, default=1024, help="tokens")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--library", type=Path, help="only this one")
    parser.add_argument("--sanitize", action="store_true", help="with AddressSanitizer and UBSan")
    asked = parser.parse_args()
    given = ["--cases", str(asked.cases), "--longest", str(asked.longest), "--seed", str(asked.seed)]
    if asked.library is not None:
        check(Kernel(asked.library), cases=asked.cases, longest=asked.longest, seed=asked.seed)
        return 0
    failed = 0
    for name in build.INSTRUCTIONS:
        try:
            compiled = library.open_kernel(name)
        except OSError as error:
            print(f"{name}: skipped, {error}")
            continue
        if asked.sanitize:
            failed |= sanitized(name, given)
        else:
            check(compiled, cases=asked.cases, longest=asked.longest, seed=asked.seed)
        print(
            f"{name}: {asked.cases} cases of each kind, {'FAILED' if failed else 'as they must be'}",
            flush=True,
        )
    return failed


if __name__ == "__main__":
    sys.exit(main())
