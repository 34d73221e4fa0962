"""The models of a server, and a request's way through them: tokenize, wait for a batch, decode."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from ..errors import UserError
from ..heads import SEQUENCE, SPANS
from ..inference.batching import Encoding
from ..inference.engine import Outputs, Steps
from ..json_types import Json
from ..version import __version__
from .answers import ServedModel
from .batch_cost import measure_cost
from .batcher import Batcher, Closed, Overloaded, TooLarge
from .interruption import deadlines
from .limits import Limits
from .metrics import Metrics
from .queue import BatchCost
from .refusals import Refusal
from .request_log import RequestLog

T = TypeVar("T")

STOPPING = "the server is not ready, or is stopping. Try another one."

_CHARACTERS_PER_TOKEN = 4
_SHORT = 2000
"""Bytes of a body whose texts are tokenized on the event loop: another thread costs more than the work."""
_FEW = 64
"""Answers of so few texts are decoded on the event loop: another thread costs more than the work."""


class Service:
    """Everything that requests share.

    Args:
        models: what is served, by name; the first one answers where a request names none.
        limits: bounds of a request.
        log: where requests are noted.
        costs: what batches may hold, by model; measured at the start where None.
    """

    def __init__(
        self,
        models: dict[str, ServedModel],
        *,
        limits: Limits,
        log: RequestLog,
        costs: dict[str, BatchCost] | None = None,
    ) -> None:
        self.models = models
        self.limits = limits
        self.deadlines = deadlines(limits.seconds)
        self.log = log
        self.costs = costs
        self.metrics = Metrics(lambda: self.batcher.num_waiting if self.batcher else 0)
        self.batcher: Batcher | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        """The event loop that it was started on."""
        self._starting = asyncio.Lock()
        self.is_stopping = False
        self.num_active = 0
        """Requests that were accepted and not answered yet."""
        self.tokenizing = _tokenizing_thread()

    @property
    def is_ready(self) -> bool:
        """Whether requests are answered."""
        return self.batcher is not None and not self.is_stopping

    @property
    def is_started(self) -> bool:
        """Whether it was started on the event loop that runs."""
        return self.batcher is not None and self._loop is asyncio.get_running_loop()

    async def start(self, *, again: bool = False) -> None:
        """Warm the models up, measure what batches cost, and start computing.

        Later calls change nothing, unless the event loop is another one: clients for tests, for example, may
        make one a request.

        Args:
            again: restart after `stop`.

        Raises:
            RuntimeError: if another event loop that is still running serves these models.
        """
        loop, ended = asyncio.get_running_loop(), None
        if self._loop is not loop:
            if self._loop is not None and self._loop.is_running():
                raise RuntimeError(
                    "the models are served on another event loop. Make an application for each."
                )
            again = self._loop is not None
            self._loop, self._starting = loop, asyncio.Lock()
        if again:
            ended, self.batcher, self.is_stopping = self.batcher, None, False
        async with self._starting:
            if ended is not None:
                await self._end(ended)
            if self.batcher is None:
                await self._start()

    async def _end(self, batcher: Batcher) -> None:
        """Release what belongs to an event loop that has ended, or to a stopped service."""
        await batcher.close()
        self.log.flush()
        self.tokenizing.shutdown(wait=False)
        self.tokenizing = _tokenizing_thread()
        self.deadlines = deadlines(self.limits.seconds)

    async def _start(self) -> None:
        if self.costs is None:
            self.costs = await asyncio.to_thread(
                lambda: {name: measure_cost(model.predictor.engine) for name, model in self.models.items()}
            )
        self.batcher = Batcher(
            runners={name: model.run for name, model in self.models.items()},
            costs=self.costs,
            queue_seconds=self.limits.queue_seconds,
            observer=self.metrics,
        )
        self.batcher.start()

    async def stop(self) -> None:
        """Compute what is waiting, then end the threads."""
        self.is_stopping = True
        if self.batcher is not None:
            await self.batcher.close()
        self.log.flush()
        self.tokenizing.shutdown(wait=False)

    def check_room(self, size: int) -> None:
        """Refuse a request that would not fit into the queue.

        Args:
            size: bytes of its body.

        Raises:
            Refusal: if the queue is full.
        """
        assert self.batcher is not None
        try:
            self.batcher.check_room(1 + size // _CHARACTERS_PER_TOKEN)
        except Overloaded as error:
            raise _overloaded(error) from None
        except Closed:
            raise Refusal("stopping", STOPPING) from None

    def model(
        self,
        name: object,
        *,
        tasks: Sequence[str],
        suits: Callable[[ServedModel], bool] = lambda _: True,
    ) -> ServedModel:
        """The model for a request.

        With a single model any name will do, as elsewhere; of several models the name counts, and without
        one the first that can answer does.

        Args:
            name: what the request calls it, if anything.
            tasks: what is asked for; the model must answer one of them.
            suits: what more the first model is chosen by where the request names none.

        Raises:
            Refusal: if there is no such model, or its head cannot answer.
        """
        if isinstance(name, str) and name in self.models:
            chosen = self.models[name]
        elif len(self.models) == 1:
            (chosen,) = self.models.values()
        elif name:
            raise Refusal("unknown_model", f"no model of that name; there are {', '.join(self.models)}.")
        else:
            served = list(self.models.values())
            able = [one for one in served if one.answers_any(tasks)] or served
            chosen = next((one for one in able if suits(one)), able[0])
        if tasks and not chosen.answers_any(tasks):
            if len(tasks) == 1:
                chosen.require(tasks[0])
            raise Refusal(
                "wrong_head",
                f"model {chosen.name!r} answers {', '.join(chosen.tasks) or 'nothing'}; need one for "
                f"{', '.join(tasks[:-1])} or {tasks[-1]}.",
            )
        return chosen


@dataclass(eq=False)
class Call:
    """One request while it is answered: times and tokens add up in it."""

    service: Service
    id: str
    version: str = __version__
    """Of this package."""
    model_name: object = None
    """What the request calls the model."""
    started: float = field(default_factory=time.perf_counter)
    model: ServedModel | None = None
    characters: int = 0
    lengths: list[int] = field(default_factory=list)
    """Tokens of every input."""
    truncated: list[bool] = field(default_factory=list)
    """Whether each input was cut."""
    tokenization_seconds: float = 0.0
    queue_seconds: float = 0.0
    inference_seconds: float = 0.0

    @property
    def num_tokens(self) -> int:
        """Tokens of all inputs, special ones included."""
        return sum(self.lengths)

    @property
    def total_seconds(self) -> float:
        """Since the request began."""
        return time.perf_counter() - self.started

    def use(self, *tasks: str, suits: Callable[[ServedModel], bool] = lambda _: True) -> ServedModel:
        """The model that answers one of some tasks: see `Service.model`."""
        self.model = self.service.model(self.model_name, tasks=tasks, suits=suits)
        return self.model

    def check_inputs(self, count: int) -> None:
        """See `Limits.check_inputs`."""
        self.service.limits.check_inputs(count)

    async def answer(self, steps: Steps[T], *, truncate: bool | None = None) -> T:
        """Drive a task of the model in use to its answer.

        Args:
            steps: the task.
            truncate: whether inputs that are too long are cut; None takes the server's setting.

        Raises:
            Refusal: if the inputs are not good, the queue is full, or the model fails.
        """
        assert self.model is not None
        batcher = self.service.batcher
        if batcher is None:
            raise Refusal("stopping", STOPPING)
        began = time.perf_counter()
        try:
            if self.characters <= _SHORT and self.model.head == SEQUENCE:
                begun = _begin(steps)
            else:
                with batcher.reserve(self.characters // _CHARACTERS_PER_TOKEN):
                    begun = await self.off_the_loop(_begin, steps)
            self.tokenization_seconds += time.perf_counter() - began
            if isinstance(begun, _Known):
                known: T = begun.answer
                return known
            self._note(begun, truncate=truncate)
        except UserError as error:
            raise Refusal("invalid", str(error)) from None
        except Overloaded as error:
            raise _overloaded(error) from None
        except Closed:
            raise Refusal("stopping", STOPPING) from None
        try:
            left = self.service.limits.seconds - self.total_seconds
            computed = await batcher.run(self.model.name, begun, seconds=left)
        except Overloaded as error:
            raise _overloaded(error) from None
        except TooLarge as error:
            raise Refusal("invalid", str(error)) from None
        except Closed:
            raise Refusal("stopping", STOPPING) from None
        except UserError as error:
            raise Refusal("failed", str(error)) from None
        self.queue_seconds += computed.queue_seconds
        self.inference_seconds += computed.compute_seconds
        outputs = enumerate(computed.outputs)
        try:
            if self.model.head == SEQUENCE and len(begun) <= _FEW:
                return _finish(steps, outputs)
            finished: T = await self.off_the_loop(_finish, steps, outputs)
            return finished
        except UserError as error:
            raise Refusal("invalid", str(error)) from None

    def _note(self, encodings: list[Encoding], *, truncate: bool | None) -> None:
        self.check_inputs(len(encodings))
        masks = max([len(one.masked_positions) for one in encodings], default=0)
        if masks > self.service.limits.masks:
            raise Refusal(
                "invalid", f"a text has {masks} masks; at most {self.service.limits.masks} are allowed."
            )
        if truncate is None:
            truncate = self.service.limits.truncate
        assert self.model is not None
        if any(one.is_truncated for one in encodings):
            if self.model.head == SPANS:  # contexts are read in windows, so only questions can be too long
                most = self.model.max_length // 2 - 2
                raise Refusal("invalid", f"a question has more than {most} tokens. Shorten it.")
            if not truncate:
                most = self.model.max_length
                raise Refusal(
                    "invalid", f"an input has more than {most} tokens. Shorten it, or send truncate: true."
                )
        self.lengths += [len(one.input_ids) for one in encodings]
        self.truncated += [one.is_truncated for one in encodings]

    async def off_the_loop(self, work: Callable[..., object], *args: object) -> Json:
        """Call a function on the tokenizing thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.service.tokenizing, work, *args)


@dataclass(frozen=True)
class _Known:
    """The answer of a task that needs no computing, such as that to an empty list."""

    answer: Json


def _begin(steps: Steps[object]) -> list[Encoding] | _Known:
    """Start a task: its inputs."""
    try:
        return next(steps)
    except StopIteration as stop:
        return _Known(stop.value)


def _finish(steps: Steps[T], outputs: Outputs) -> T:
    try:
        steps.send(outputs)
    except StopIteration as stop:
        answer: T = stop.value
        return answer
    raise AssertionError("a task has one round of computing")


def _tokenizing_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="debertav3-tokenizing")


def _overloaded(error: Overloaded) -> Refusal:
    return Refusal("overloaded", f"{error}. Try again then.", retry_after=math.ceil(error.retry_after))
