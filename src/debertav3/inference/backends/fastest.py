"""``auto`` before much work: the ways to run a checkpoint race on this machine, once, for about a second."""

import logging
import time
from dataclasses import dataclass

import numpy as np

from ...checkpoint.folder import Checkpoint
from ...errors import UserError
from ...heads import MASKED_LM
from .choose import AUTO, BackendConfig, Way, may_differ, open_backend, ways
from .protocol import Backend, Batch
from .speeds import memory_key, recall_fastest, remember_fastest

logger = logging.getLogger(__name__)

LIMIT_SECONDS = 1.0
"""After this no other backend is opened and no other round begun."""

MARGIN = 1.05
"""A backend must be faster than the present one by this: less is noise, and would change from day to day."""

_SHAPE = (4, 64)  # of a batch: near those of sentence pairs, and quick for large models too


@dataclass(frozen=True)
class Auto:
    """The choice among the backends of one checkpoint."""

    checkpoint: Checkpoint
    task: str | None
    how: BackendConfig

    def named(self, name: str) -> Backend:
        """Open a certain backend, such as the one of a run that is resumed.

        Raises:
            UserError: if it cannot run the checkpoint here.
        """
        how = BackendConfig(backend=name, device=self.how.device, dtype=self.how.dtype)
        return open_backend(self.checkpoint, task=self.task, how=how)

    def fastest(self, present: Backend) -> Backend:
        """Return the fastest backend, which is the present one where there is no other.

        It is measured once for this machine, content and versions, and remembered.

        Args:
            present: the checkpoint, opened.
        """
        if self.how.backend != AUTO or not may_differ(self.checkpoint):
            return present
        key = memory_key(self.checkpoint, task=self.task, device=self.how.device, dtype=self.how.dtype)
        if recall_fastest(key) is not None:  # `open_backend` has taken it, where it is there
            return present
        others = [
            way for way in ways(self.checkpoint, task=self.task, how=self.how) if way.name != present.name
        ]
        if not others:
            return present
        chosen, measured = race(present, others)
        logger.info("auto: %s (measured on this machine, tokens/s: %s)", chosen.name, measured)
        remember_fastest(key, chosen.name, measured)
        return chosen


def race(present: Backend, others: list[Way], *, limit_seconds: float = LIMIT_SECONDS) -> tuple[Backend, str]:
    """Let backends compute the same batch in turns.

    Args:
        present: what stays unless another is faster by `MARGIN`.
        others: opened here, as long as there is time.
        limit_seconds: for all of it.

    Returns:
        The fastest, and the figures of all in words.
    """
    started = time.perf_counter()
    runners = {present.name: present}
    batch = _batch(present)
    present.run(batch)  # tables and threads are made in the first call
    for way in others:
        if time.perf_counter() - started > limit_seconds:
            break
        try:
            opened = way.open()
            opened.run(batch)
        except UserError as error:
            logger.warning("auto: backend %s cannot be used: %s", way.name, error)
            continue
        runners[way.name] = opened
    started = max(started, time.perf_counter() - limit_seconds / 2)  # opening may take half of it
    seconds = dict.fromkeys(runners, float("inf"))
    for number in range(20):
        if number and time.perf_counter() - started > limit_seconds:
            break
        for name, runner in runners.items():
            before = time.perf_counter()
            runner.run(batch)
            seconds[name] = min(seconds[name], time.perf_counter() - before)
    best = min(seconds, key=lambda name: seconds[name])
    if seconds[best] * MARGIN > seconds[present.name]:
        best = present.name
    tokens = batch["input_ids"].size
    return runners[best], ", ".join(f"{name} {tokens / took:,.0f}" for name, took in seconds.items())


def _batch(backend: Backend) -> Batch:
    rows, length = _SHAPE
    length = min(length, int(str(backend.config.get("max_position_embeddings") or length)))
    ids = np.random.default_rng(0).integers(0, int(str(backend.config["vocab_size"])), (rows, length))
    batch = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": np.zeros_like(ids),
    }
    if backend.head == MASKED_LM:
        batch["masked_positions"] = np.ones((rows, 1), np.int64)
    return batch
