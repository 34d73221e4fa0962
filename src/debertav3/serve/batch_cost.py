"""What a call and a batch cost on this machine, measured before the server is ready."""

import logging
import time
from collections.abc import Sequence

import numpy as np

from ..heads import MASKED_LM
from ..inference.backends.protocol import Backend
from ..inference.batching import Encoding, run_batches
from ..inference.engine import Engine
from ..inference.token_budget import best_batch_tokens
from .queue import BatchCost

logger = logging.getLogger(__name__)

SHORT = 32
"""Tokens of a short text."""
LIMIT_SECONDS = 1.0
LEAST_CALL = 8.0
"""Where batches are not slower, a call costs at least this many tokens: Python and threads are not free."""
_MARGIN = 1.03  # batches that are slower than single texts by this are not made


def measure_cost(engine: Engine) -> BatchCost:
    """Measure single short texts and a full batch of them, on the backend that is the fastest.

    The budget is the engine's: what a user said, else what `best_batch_tokens` found on this machine.
    """
    engine.settle_backend()
    budget = engine.batch_tokens or best_batch_tokens(engine.backend)
    one, many = [_text(engine.backend, 0)], [_text(engine.backend, n) for n in range(max(2, budget // SHORT))]
    _seconds(engine, one)  # the first call allocates
    started, single, full = time.perf_counter(), float("inf"), float("inf")
    for _ in range(5):
        single = min(single, *(_seconds(engine, one) for _ in range(3)))
        full = min(full, _seconds(engine, many))
        if time.perf_counter() - started > LIMIT_SECONDS:
            break
    per_token = full / (len(many) * SHORT)
    call = single / per_token - SHORT
    call = 0.0 if full > _MARGIN * single * len(many) else max(LEAST_CALL, call)
    cost = BatchCost(budget=budget, call=call, rate=1 / per_token)
    logger.info("batches: %s", cost)
    return cost


def _text(backend: Backend, seed: int) -> Encoding:
    ids = np.random.default_rng(seed).integers(0, int(backend.config["vocab_size"]), size=SHORT).tolist()
    return Encoding(ids, [0] * SHORT, (1,) if backend.head == MASKED_LM else ())


def _seconds(engine: Engine, texts: Sequence[Encoding]) -> float:
    started = time.perf_counter()
    whole = len(texts) * SHORT
    for _ in run_batches(
        engine.backend, texts, pad_id=engine.tokenizer.pad_token_id, batch_tokens=whole, show_progress=False
    ):
        pass
    return time.perf_counter() - started
