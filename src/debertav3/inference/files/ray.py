"""Chunks of a file answered by a Ray cluster, through Ray Data: as many machines as the cluster has."""

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ...errors import MissingExtraError
from ...json_types import JsonObject
from .journal import StoredAnswer
from .workers import Chunk, Settled, TaskPlan, answer_chunk, open_quietly

if TYPE_CHECKING:
    import ray

logger = logging.getLogger(__name__)


class RayWorkers:
    """Ray actors, each with the model; the chunks lie in Ray's object store, which spills to disk.

    Args:
        plan: how each of them opens the task; the model's place must exist on every machine.
        num_workers: how many actors.
        address: of a running cluster; None takes ``RAY_ADDRESS``, or starts a local one.

    Raises:
        MissingExtraError: if Ray is not installed.
    """

    def __init__(self, plan: TaskPlan, *, num_workers: int, address: str | None = None) -> None:
        try:
            import ray
            import ray.data
        except ImportError as error:
            raise MissingExtraError(feature="--ray", package="ray", extra="ray") from error
        self.plan, self.num_workers = plan, num_workers
        if not ray.is_initialized():
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
        logger.info("Ray: %d workers", num_workers)

    def __call__(self, chunks: Iterable[Chunk], settled: Settled) -> Iterator[list[StoredAnswer]]:
        """See `workers.Answerer`."""
        import ray

        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        stored = [ray.put(chunk) for chunk in chunks]
        if not stored:
            return
        numbers = [{"chunk": number} for number in range(len(stored))]
        answered = ray.data.from_items(numbers, override_num_blocks=len(numbers)).map_batches(
            _Actor,
            fn_constructor_args=(self.plan, settled, stored),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=self.num_workers),
        )
        for row in answered.iter_rows():
            yield [StoredAnswer(*answer) for answer in json.loads(row["answers"])]


class _Actor:
    """One copy of the model in the cluster."""

    def __init__(self, plan: TaskPlan, settled: Settled, stored: Sequence["ray.ObjectRef"]) -> None:
        self.task = open_quietly(plan, settled)
        self.stored = stored

    def __call__(self, batch: JsonObject) -> dict[str, list[str]]:
        """The answers of some chunks, given by number, as JSON: the journal keeps them so, too."""
        import ray

        return {
            "answers": [json.dumps(answer_chunk(self.task, ray.get(self.stored[n]))) for n in batch["chunk"]]
        }
