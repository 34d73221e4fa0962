"""Who answers the chunks of a file: this process, several processes, or a Ray cluster.

All get the same chunks and give the answers in order, so the results are the same.
"""

import logging
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ...checkpoint.folder import Checkpoint
from ...errors import UserError
from ...json_types import JsonMapping
from ...processes import end_with_parent
from ..predictor import Predictor
from .journal import StoredAnswer
from .row_answers import FILE_TASKS, AnswerOptions, CheckedRow, FileTask, Result

if TYPE_CHECKING:
    from concurrent.futures import Future

logger = logging.getLogger(__name__)

Chunk = Sequence[CheckedRow]


class Settled(NamedTuple):
    """What a run settled at its start; every process that answers for it uses the same."""

    backend: str
    """The backend's name, where ``auto`` was asked for."""
    batch_tokens: int | None
    """Tokens of a batch; None takes the backend's figure."""


Answerer = Callable[[Iterable[Chunk], Settled], Iterator[list[StoredAnswer]]]
"""Chunks in; the chunks' answers out, in order and one by one."""

_DIGITS = 6

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class TaskPlan:
    """How to open a task, in any process."""

    task: str
    """A key of `FILE_TASKS`."""
    checkpoint: Checkpoint
    """The model: opened here, and again in every other process."""
    options: AnswerOptions = field(default_factory=AnswerOptions)
    loading: JsonMapping = field(default_factory=dict)
    """Arguments of `Predictor.from_pretrained`."""

    def open(self) -> FileTask:
        """Open the model, whose weights are loaded with the first batch: see `Predictor.from_pretrained`.

        Raises:
            UserError: if there is no such task, or the model does not answer it.
        """
        if self.task not in FILE_TASKS:
            raise UserError(f"unknown task {self.task!r}. Choose one of: {', '.join(FILE_TASKS)}.")
        predictor = Predictor.from_pretrained(self.checkpoint, task=self.task, deferred=True, **self.loading)
        return FILE_TASKS[self.task](predictor, self.options)


def answer_chunk(task: FileTask, chunk: Chunk) -> list[StoredAnswer]:
    """The answers of one chunk, in its order; rows without a text get none."""
    answers = iter(task.answer([example for example in chunk if example.inputs is not None]))
    none = Result(None, None, None)
    results = [none if example.inputs is None else next(answers) for example in chunk]
    return [
        StoredAnswer(
            rounded(result.prediction),
            rounded(result.scores),
            None if example.gold is None else result.scored,
        )
        for example, result in zip(chunk, results, strict=True)
    ]


def rounded(value: object) -> object:
    """The same lists and dicts with their real numbers cut to six decimals, which is more than fp32 tells."""
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return value


class InProcess:
    """This process answers.

    Args:
        task: the task, which has its model and its tokens of a batch.
    """

    def __init__(self, task: FileTask) -> None:
        self.task = task

    def __call__(self, chunks: Iterable[Chunk], settled: Settled) -> Iterator[list[StoredAnswer]]:
        """See `Answerer`."""
        self.task.predictor.engine.batch_tokens = settled.batch_tokens
        return (answer_chunk(self.task, chunk) for chunk in chunks)


class WorkerProcesses:
    """Processes on this machine, each with the model.

    Args:
        plan: how each of them opens the task.
        num_workers: how many; the cores are divided among them, unless ``OMP_NUM_THREADS`` says otherwise.
        show_log: called in each of them first, so that their messages look like this process's.
    """

    def __init__(
        self, plan: TaskPlan, *, num_workers: int, show_log: Callable[[], None] | None = None
    ) -> None:
        self.plan, self.num_workers, self.show_log = plan, num_workers, show_log

    def __call__(self, chunks: Iterable[Chunk], settled: Settled) -> Iterator[list[StoredAnswer]]:
        """See `Answerer`.

        Raises:
            UserError: if a process dies.
        """
        from concurrent.futures import ProcessPoolExecutor
        from concurrent.futures.process import BrokenProcessPool
        from multiprocessing import get_context

        pool = ProcessPoolExecutor(
            self.num_workers,
            mp_context=get_context("spawn"),  # a fork of a process with threads may hang
            initializer=_open_in_worker,
            initargs=(self.plan, settled, max(1, usable_cores() // self.num_workers), self.show_log),
        )
        waiting: deque[Future[list[StoredAnswer]]] = deque()
        try:
            for chunk in chunks:
                waiting.append(pool.submit(_answer_in_worker, chunk))
                if len(waiting) > 2 * self.num_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise UserError(
                f"one of {self.num_workers} worker processes died, most likely because "
                "memory ran out. Use fewer --workers, and --resume."
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def usable_cores() -> int:
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_worker_task: FileTask | UserError | None = None
"""In a worker process: its task, or why it has none."""


def _open_in_worker(
    plan: TaskPlan, settled: Settled, num_threads: int, show_log: Callable[[], None] | None
) -> None:
    global _worker_task
    end_with_parent()
    if show_log is not None:
        show_log()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers, each of them once
    for name in THREAD_VARIABLES:
        os.environ.setdefault(name, str(num_threads))
    try:
        _worker_task = open_quietly(plan, settled)
    except UserError as error:  # the first chunk raises it: what fails here is reported as a death
        _worker_task = error


def open_quietly(plan: TaskPlan, settled: Settled) -> FileTask:
    """Open a task that shows no bars of its own."""
    task = plan.open()
    engine = task.predictor.engine
    engine.show_progress = False
    engine.batch_tokens = settled.batch_tokens
    engine.keep_backend(settled.backend)
    return task


def _answer_in_worker(chunk: Chunk) -> list[StoredAnswer]:
    assert _worker_task is not None, "the initializer opens it"
    if isinstance(_worker_task, UserError):
        raise _worker_task
    return answer_chunk(_worker_task, chunk)
