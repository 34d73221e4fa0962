"""Chunks of a file answered by a Ray cluster, through Ray Data: as many machines as the cluster has."""

import logging
import pickle
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..errors import MissingExtraError
from .answerers import Chunk, TaskPlan, answer_chunk, open_quietly
from .journal import StoredAnswer

if TYPE_CHECKING:
    import pyarrow

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

    def __call__(self, chunks: Iterable[Chunk], batch_tokens: int | None) -> Iterator[list[StoredAnswer]]:
        """See `answerers.Answerer`."""
        import pyarrow
        import ray

        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        blocks: list[Any] = [ray.put(pyarrow.table({"chunk": [pickle.dumps(chunk)]})) for chunk in chunks]
        if not blocks:
            return
        answered = ray.data.from_arrow_refs(blocks).map_batches(
            _Actor,
            fn_constructor_args=(self.plan, batch_tokens),
            batch_size=None,  # one block, which is one chunk
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=self.num_workers),
        )
        for row in answered.iter_rows():
            yield pickle.loads(row["answers"])


class _Actor:
    """One copy of the model in the cluster."""

    def __init__(self, plan: TaskPlan, batch_tokens: int | None) -> None:
        self.task = open_quietly(plan, batch_tokens)

    def __call__(self, block: "pyarrow.Table") -> dict[str, list[Any]]:
        chunks = [pickle.loads(one) for one in block["chunk"].to_pylist()]
        return {"answers": [pickle.dumps(answer_chunk(self.task, chunk)) for chunk in chunks]}
