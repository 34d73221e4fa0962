"""What a call and a batch cost on this machine, measured before the server is ready."""

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Self

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


class Seconds(NamedTuple):
    """How long something took, and how much of the processor."""

    wall: float
    cpu: float

    def least(self, other: Self) -> Self:
        """The less of each."""
        return type(self)(min(self.wall, other.wall), min(self.cpu, other.cpu))


def measure_cost(engine: Engine) -> BatchCost:
    """Measure single short texts and a full batch of them, on the backend that is the fastest.

    The budget is the engine's: what a user said, else what `best_batch_tokens` found on this machine.
    """
    engine.settle_backend()
    budget = engine.batch_tokens or best_batch_tokens(engine.backend)
    one, many = [_text(engine.backend, 0)], [_text(engine.backend, n) for n in range(max(2, budget // SHORT))]
    _measure(engine, one)  # the first call allocates
    started, single, full = time.perf_counter(), Seconds(math.inf, math.inf), Seconds(math.inf, math.inf)
    for _ in range(5):
        for _ in range(3):
            single = single.least(_measure(engine, one))
        full = full.least(_measure(engine, many))
        if time.perf_counter() - started > LIMIT_SECONDS:
            break
    cost = cost_of(single, full, texts=len(many), budget=budget)
    logger.info("batches: %s", cost)
    return cost


def cost_of(single: Seconds, full: Seconds, *, texts: int, budget: int) -> BatchCost:
    """What the measurements say.

    On a busy machine, or where a container's share of a processor is limited, a long batch is interrupted and
    a short text is not. So batches are given up only if they also take more of the processor.

    Args:
        single: of one text of `SHORT` tokens.
        full: of a batch of such texts.
        texts: how many that were.
        budget: most tokens of a batch.
    """
    per_token = full.wall / (texts * SHORT)
    cost = BatchCost(budget=budget, call=0.0, rate=1 / per_token)
    if full.wall > _MARGIN * single.wall * texts and full.cpu > _MARGIN * single.cpu * texts:
        return cost
    return replace(cost, call=max(LEAST_CALL, single.wall / per_token - SHORT))


def _text(backend: Backend, seed: int) -> Encoding:
    ids = np.random.default_rng(seed).integers(0, int(backend.config["vocab_size"]), size=SHORT).tolist()
    return Encoding(ids, [0] * SHORT, (1,) if backend.head == MASKED_LM else ())


def _measure(engine: Engine, texts: Sequence[Encoding]) -> Seconds:
    started, began = time.perf_counter(), time.process_time()
    whole = len(texts) * SHORT
    for _ in run_batches(
        engine.backend, texts, pad_id=engine.tokenizer.pad_token_id, batch_tokens=whole, show_progress=False
    ):
        pass
    return Seconds(time.perf_counter() - started, time.process_time() - began)
