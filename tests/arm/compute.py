"""Runs on the Arm machine, without torch: computes cases that test_arm.py has written.

Run: python compute.py FOLDER KERNEL

Reads FOLDER/cases/*.npz and FOLDER/models/*, and writes what the kernel of that name makes of them.
"""

import sys
from pathlib import Path

import numpy as np

from debertav3.checkpoint.folder import Checkpoint
from debertav3.cpu.kernel.library import (
    AttentionArguments,
    Kernel,
    NormArguments,
    TrainingArguments,
    address,
    kernel,
)
from debertav3.cpu.kernel.tables import KernelTables, offset_rows
from debertav3.cpu.kernel.weights import PackedWeight
from debertav3.inference.backends.native import NativeBackend
from debertav3.layers.buckets import RelativeBuckets

Arrays = dict[str, np.ndarray]


def attention(compiled: Kernel, case: Arrays) -> np.ndarray:
    """``(B, L, N, H)`` of queries, keys and values of this shape."""
    q, k, v = (np.ascontiguousarray(case[name]) for name in ("q", "k", "v"))
    B, L, N, H = q.shape
    scale, out = H**-0.5, np.empty_like(q)
    arguments = AttentionArguments(
        query=address(q), key=address(k), value=address(v), out=address(out),
        batch=B, length=L, queries=L, heads=N, head_width=H, scale=scale,
    )  # fmt: skip
    for name in ("query", "key", "value"):
        for axis, stride in (("batch", L * N * H), ("head", H), ("token", N * H)):
            setattr(arguments, f"{name}_{axis}", stride)
    arguments.team, arguments.threads = compiled.crew()
    kept = []
    keys, queries = (case.get(name) for name in ("key_NRH", "query_NRH"))
    if keys is not None or queries is not None:
        num_buckets, max_distance, span = (int(x) for x in case["positions"])
        buckets = RelativeBuckets(
            num_buckets=num_buckets, max_distance=max_distance, span=span, long_inputs="clamp"
        )
        tables = KernelTables.make(buckets, keys, queries, scale=scale, compiled=compiled)
        kept += [tables, tables.give(arguments, compiled.more_rows)]
    if "key_mask" in case:
        kept.append(mask := np.ascontiguousarray(case["key_mask"]))
        arguments.key_mask = address(mask)
    if "pair_mask" in case:
        kept.append(pairs := np.ascontiguousarray(case["pair_mask"]))  # (B, L, L)
        arguments.pair_batch, arguments.pair_head, arguments.pair_query = L * L, 0, L
        arguments.pair_mask = address(pairs)
    compiled.attend(arguments)
    return out


def linear(compiled: Kernel, case: Arrays) -> np.ndarray:
    """``(M, out)``, in int8 where there are scales."""
    bias = case.get("bias")
    if "scale" in case:
        packed = PackedWeight.of_int8(compiled, case["weight"], case["scale"], bias)
    else:
        packed = PackedWeight.of_floats(compiled, case["weight"], bias)
    return compiled.linear(packed.arguments(), case["x"])


def training(compiled: Kernel, case: Arrays) -> np.ndarray:
    """Weights, weights after dropout, gradients of scores and of both products: flat, one after the other."""
    is_bf16, tokens = bool(case["is_bf16"]), int(case["tokens"])
    C, P, _ = case["content"].shape
    buckets = RelativeBuckets(num_buckets=8, max_distance=16, span=8, long_inputs="clamp")
    first, end = buckets.window(tokens)
    columns = -(-(end - first) // 16) * 16
    row = (offset_rows(buckets, P) - first).clip(0, end - first - 1)
    by_query, by_key = row.astype(np.int32), np.ascontiguousarray(end - first - 1 - row[::-1], np.int32)

    def numbers(x: np.ndarray) -> np.ndarray:
        bits = np.append(x.ravel(), np.zeros(16, np.float32)).astype(
            np.float32
        )  # a vector past the end may be read
        return (bits.view(np.uint32) >> 16).astype(np.uint16) if is_bf16 else bits

    given = {name: numbers(case[name]) for name in ("content", "dused")}
    given |= {name: numbers(case[name][..., :columns]) for name in ("c2p", "p2c")}
    names = {"weights": P, "used": P, "dscores": P, "dc2p": columns, "dp2c": columns}
    made = {name: numbers(np.zeros((C, P, width))) for name, width in names.items()}
    mask = np.ascontiguousarray(case["mask"])
    team, threads = compiled.crew()
    arguments = TrainingArguments(
        **{name: address(x) for name, x in (given | made).items()},
        rows_by_key=address(by_key), rows_by_query=address(by_query), mask=address(mask),
        mask_sample=tokens * tokens, mask_query=tokens, samples=C, length=P, tokens=tokens, columns=columns,
        first_sample=3, threads=threads, team=team, seed=99, threshold=1 << 30, kept_factor=4 / 3, scale=0.2,
        is_bf16=is_bf16,
    )  # fmt: skip
    compiled.weigh(arguments)
    compiled.differentiate(arguments)
    found = np.concatenate([made[name][: C * P * width] for name, width in names.items()])
    return (found.astype(np.uint32) << 16).view(np.float32) if is_bf16 else found


def norm(compiled: Kernel, case: Arrays) -> np.ndarray:
    """LayerNorm of rows."""
    x, weight, bias = (np.array(case[name]) for name in ("x", "weight", "bias"))
    compiled.normalize(x, NormArguments(address(weight), address(bias)), 1e-7)
    return x


def gelu(compiled: Kernel, case: Arrays) -> np.ndarray:
    """GELU of rows."""
    x = np.array(case["x"])
    compiled.gelu(x)
    return x


def model(folder: Path) -> Arrays:
    """The logits of batches beside a checkpoint."""
    backend = NativeBackend.open(Checkpoint.open(folder), task=None, device="cpu", dtype="fp32")
    logits = {}
    for file in sorted(folder.glob("batch-*.npz")):
        logits[file.stem] = backend.run(dict(np.load(file)))["logits"]
    return logits


COMPUTE = {"attention": attention, "linear": linear, "training": training, "norm": norm, "gelu": gelu}

if __name__ == "__main__":
    folder, name = Path(sys.argv[1]), sys.argv[2]
    compiled = kernel()
    assert compiled is not None and compiled.name == name, f"got {compiled and compiled.name}, need {name}"
    found = {
        file.stem: COMPUTE[file.stem.partition("-")[0]](compiled, dict(np.load(file)))
        for file in sorted((folder / "cases").glob("*.npz"))
    }
    np.savez(folder / f"{name}.npz", **found)
    for path in sorted((folder / "models").iterdir()):
        np.savez(folder / f"{name}-{path.name}.npz", **model(path))
