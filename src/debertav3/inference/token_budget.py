"""How many tokens a batch should hold on this machine with this model: measured once, in about a second.

Too small a batch leaves cores waiting, too large a one costs page faults on a CPU without our C++ kernel, or
fills a GPU's memory. The answer is kept in the user's cache folder, which may be deleted at any time; it
changes the speed and not the answers.
"""

import hashlib
import json
import logging
import os
import platform
import sys
import time

import numpy as np

from ..cpu.kernel.threads import num_threads
from ..cpu.machine import installed_version, machine_description
from ..errors import UserError
from ..files.user_cache import recall, remember
from ..heads import MASKED_LM
from ..version import __version__
from .backends.protocol import Backend, Batch

logger = logging.getLogger(__name__)

BIG_INPUT_TOKENS = 200_000
"""Tokens from which on a measurement is worth its second: half a minute of V3 xsmall on two cores."""

FACTORS = (0.5, 1, 2, 4)
"""What is tried, in parts of the backend's own figure."""

KEPT = "batch_tokens.json"
"""Name of the measured figures in the user's cache folder."""

LIMIT_SECONDS = 1.5
_LENGTH = 64  # tokens of an input: near those of sentence pairs
_PACKAGES = ("numpy", "onnxruntime", "openvino", "torch")
_MARGIN = 1.03  # another figure than the backend's own must be faster by this


def best_batch_tokens(backend: Backend) -> int:
    """The number of tokens a batch that runs fastest here, from the cache or measured now."""
    key = _key(backend)
    known = _read_cache()
    if key in known:
        return known[key]
    best = measure_batch_tokens(backend)
    remember(KEPT, json.dumps({**_read_cache(), key: best}, indent=1) + "\n")
    return best


def measure_batch_tokens(backend: Backend, *, limit_seconds: float = LIMIT_SECONDS) -> int:
    """Try batches of several sizes, small ones first, for about ``limit_seconds`` at most.

    A size is tried only if it should end in time, going by the rate so far, so a slow model keeps the
    backend's own figure.
    """
    started = time.perf_counter()
    sizes = [max(_LENGTH, int(backend.batch_tokens * factor)) for factor in FACTORS]
    batches = {size: _batch(backend, size) for size in sizes}
    rates: dict[int, float] = {}
    for _ in range(3):
        for size, batch in batches.items():
            left = limit_seconds - (time.perf_counter() - started)
            expected = size / max(rates.values()) if rates else 0.0
            if left <= expected:
                continue
            before = time.perf_counter()
            try:
                backend.run(batch)
            except UserError:  # no memory for it
                continue
            rates[size] = max(rates.get(size, 0.0), size / (time.perf_counter() - before))
    own = rates.get(backend.batch_tokens, 0.0)
    best = max(rates, key=lambda size: rates[size], default=backend.batch_tokens)
    chosen = best if own and rates[best] > _MARGIN * own else backend.batch_tokens
    shown = ", ".join(f"{size}: {rate:,.0f}/s" for size, rate in rates.items())
    logger.info("%d tokens a batch (measured, tokens a batch: tokens/s): %s", chosen, shown)
    return chosen


def _batch(backend: Backend, num_tokens: int) -> Batch:
    """Random tokens in inputs of one length."""
    shape = (num_tokens // _LENGTH, _LENGTH)
    vocabulary = int(backend.config["vocab_size"])
    ids = np.random.default_rng(0).integers(0, vocabulary, size=shape)
    batch = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": np.zeros_like(ids),
    }
    if backend.head == MASKED_LM:
        batch["masked_positions"] = np.ones((shape[0], 1), dtype=np.int64)
    return batch


def _key(backend: Backend) -> str:
    """What the figure depends on: machine, kernel, threads, versions, backend, device and model's shape."""
    about = [
        platform.node(),
        *machine_description(),
        os.cpu_count(),
        num_threads(),
        __version__,
        *(installed_version(name) for name in _PACKAGES),
        _device_name(backend),
        backend.name,
        backend.head,
        backend.dtype,
        backend.batch_tokens,
        json.dumps({key: value for key, value in sorted(backend.config.items())}, default=str),
    ]
    return hashlib.sha256(repr(about).encode()).hexdigest()[:16]


def _device_name(backend: Backend) -> str:
    """The device, and which model of it torch says that it is: ``cuda:0 NVIDIA H200``."""
    device = str(backend.device)
    module = getattr(sys.modules.get("torch"), device.partition(":")[0], None)
    named = getattr(module, "get_device_name", None)
    return device if named is None else f"{device} {named(backend.device)}"


def _read_cache() -> dict[str, int]:
    try:
        found = json.loads(recall(KEPT) or "{}")
    except ValueError:
        return {}
    is_valid = isinstance(found, dict) and all(isinstance(one, int) and one > 0 for one in found.values())
    return found if is_valid else {}
