"""Batches across requests: asyncio in front, one thread that computes behind, and a queue between them.

The thread takes the next batch the moment it is idle: nothing waits for company. A request that is cancelled
takes its texts out of the queue; one that does not fit is refused with the seconds after which it would.

Requests arrive in a deque, which needs no lock; the thread moves them to the queue between two batches.
"""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from ..inference.batching import Encoding
from ..inference.engine import FloatArray
from .queue import BatchCost, TextQueue, Waiting

Logits = dict[str, FloatArray]

FILL = 0.6
"""How much of the longest wait is filled: the rate varies, and rare lengths wait longer."""
RATE_SECONDS = 1.0
"""The rate is an average over about so long."""


class Runner(Protocol):
    """Computes one batch of a model."""

    def __call__(self, encodings: Sequence[Encoding]) -> list[Logits]:
        """The logits of each input, in order."""
        ...


class Observer(Protocol):
    """Receives what happens, for metrics. Called on the event loop."""

    def batch(self, *, texts: int, tokens: int) -> None:
        """A batch was computed."""
        ...

    def dropped(self, texts: int) -> None:
        """Texts of a cancelled request were not computed."""
        ...


class Overloaded(Exception):
    """The queue is full.

    Args:
        retry_after: seconds after which there should be room.
    """

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"the queue is full; room is expected in {retry_after:.1f} s")
        self.retry_after = retry_after


class TooLarge(Exception):
    """A request has more work than can be done in its time, even if nothing else waits.

    Args:
        tokens: of its texts.
        needed: seconds that they take, about.
        left: seconds that it has.
    """

    def __init__(self, tokens: int, needed: float, left: float) -> None:
        super().__init__(
            f"the request has {tokens} tokens, about {needed:.0f} s of work; it may take "
            f"{max(left, 0):.0f} s. Send fewer or shorter texts at a time."
        )


class Closed(Exception):
    """The batcher takes nothing more."""


@dataclass(eq=False)
class _Request:
    """One request's texts on their way."""

    answer: "asyncio.Future[list[Logits]]"
    missing: int
    outputs: list[Logits]
    submitted: float
    begun: float | None = None
    compute_seconds: float = 0.0


class _Span(NamedTuple):
    """When a batch was computed."""

    busy_since: float
    """When the one before it ended; if there was nothing to do between them, as ``begun``."""
    begun: float
    ended: float


@dataclass(frozen=True, kw_only=True)
class Computed:
    """The logits of a request's texts, and how long they took."""

    outputs: list[Logits]
    queue_seconds: float
    """From submission to the first of its batches."""
    compute_seconds: float
    """Sum over its batches."""


@dataclass(eq=False)
class Batcher:
    """Runs the texts of all requests and models on one thread. Start it on the event loop that uses it.

    Args:
        runners: computes a batch, by model.
        costs: what batches may hold, by model.
        queue_seconds: how long what is accepted may wait.
        observer: receives each batch, for metrics.
    """

    runners: Mapping[str, Runner]
    costs: Mapping[str, BatchCost]
    queue_seconds: float = 2.0
    observer: Observer | None = None
    reserved: int = 0
    """Tokens, estimated, of requests that are being tokenized."""
    accepted: int = 0
    """Tokens that wait or are being computed."""
    rate: float = field(init=False)
    """Tokens a second while there was work, lately; time between batches counts."""

    def __post_init__(self) -> None:
        self.queue = TextQueue(dict(self.costs))
        self.rate = min(cost.rate for cost in self.costs.values())
        self._least_bound = 2 * max(cost.budget for cost in self.costs.values())
        self._measured_rate, self._rated = self.rate, -math.inf
        self._arrivals: deque[tuple[str, list[Waiting]]] = deque()
        self._wake = threading.Condition()
        """Its lock is that of the queue, which the computing thread fills and empties."""
        self._is_idle = False
        self._is_closed = False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Start the computing thread."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="debertav3-inference", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Take nothing more, compute what waits, and end the thread."""
        with self._wake:
            self._is_closed = True
            self._wake.notify()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
            await asyncio.sleep(0)  # the last answers were handed to the loop

    @property
    def num_waiting(self) -> int:
        """Texts that wait."""
        with self._wake:
            self._receive()
            return len(self.queue)

    @property
    def waiting_tokens(self) -> int:
        """Tokens that are accepted and not computed yet."""
        return self.accepted + self.reserved

    @property
    def bound(self) -> int:
        """Most tokens that may wait: a part of `queue_seconds` of work, but two batches at the least."""
        return max(int(FILL * self.rate * self.queue_seconds), self._least_bound)

    def reserve(self, tokens: int) -> AbstractContextManager[None]:
        """Hold room for a request while it is being tokenized.

        Args:
            tokens: how many it will have, about.

        Raises:
            Overloaded: as `check_room`.
        """
        self.check_room(tokens)
        return self._reserved(tokens)

    @contextmanager
    def _reserved(self, tokens: int) -> Iterator[None]:
        self.reserved += tokens
        try:
            yield
        finally:
            self.reserved -= tokens

    def check_room(self, tokens: int) -> None:
        """Refuse what does not fit into the queue.

        Raises:
            Overloaded: if it does not. A request that is larger than half the queue needs half of it.
            Closed: after `close`.
        """
        if self._is_closed:
            raise Closed
        bound = self.bound
        excess = self.waiting_tokens + min(tokens, bound // 2) - bound
        if excess > 0:
            raise Overloaded(excess / self.rate)

    def _check_time(self, tokens: int, seconds: float) -> None:
        """Refuse what cannot be computed in its time.

        One batch is always taken: so the rate never stays too low for any request. Nor does it count here
        once it is older than a request may take.
        """
        if tokens <= self._least_bound // 2:
            return
        is_old = time.perf_counter() - self._rated > seconds
        rate = max(self.rate, self._measured_rate) if is_old else self.rate
        if tokens / rate > seconds:
            raise TooLarge(tokens, tokens / rate, seconds)
        late = (self.waiting_tokens + tokens) / rate - seconds
        if late > 0:
            raise Overloaded(late)

    async def run(self, model: str, encodings: Sequence[Encoding], *, seconds: float = math.inf) -> Computed:
        """Compute the logits of some inputs.

        Args:
            model: the model's name.
            encodings: the inputs.
            seconds: how long it may take.

        Raises:
            Overloaded: if they do not fit into the queue, or into the time behind what waits.
            TooLarge: if they would not fit into the time alone.
            Closed: after `close`.
        """
        tokens = sum([len(one.input_ids) for one in encodings])
        self._check_time(tokens, seconds)
        self.check_room(tokens)
        if not encodings:
            return Computed(outputs=[], queue_seconds=0.0, compute_seconds=0.0)
        request = _Request(
            answer=asyncio.get_running_loop().create_future(),
            missing=len(encodings),
            outputs=[{} for _ in encodings],
            submitted=time.perf_counter(),
        )
        self.accepted += tokens
        self._arrivals.append((model, [Waiting(request, n, one) for n, one in enumerate(encodings)]))
        if self._is_idle:  # it looks for arrivals after it says so
            with self._wake:
                self._wake.notify()
        try:
            outputs = await request.answer
        except asyncio.CancelledError:
            self._drop(request)
            raise
        assert request.begun is not None
        return Computed(
            outputs=outputs,
            queue_seconds=request.begun - request.submitted,
            compute_seconds=request.compute_seconds,
        )

    def _receive(self) -> None:
        """Move what has arrived to the queue; the caller has its lock."""
        while self._arrivals:
            self.queue.push(*self._arrivals.popleft())

    def _drop(self, request: _Request) -> None:
        with self._wake:
            self._receive()
            before = self.queue.num_tokens
            dropped = self.queue.drop(request)
            self.accepted -= before - self.queue.num_tokens
        if dropped and self.observer is not None:
            self.observer.dropped(dropped)

    def _work(self) -> None:
        assert self._loop is not None
        ended: float | None = None
        while True:
            with self._wake:
                self._receive()
                while not len(self.queue):
                    if self._is_closed:
                        return
                    ended = None
                    self._is_idle = True
                    if not self._arrivals:
                        self._wake.wait()
                    self._is_idle = False
                    self._receive()
                model, batch = self.queue.take(self.rate)
            begun = time.perf_counter()
            busy_since = begun if ended is None else ended
            results = self._compute(model, batch)
            ended = time.perf_counter()
            span = _Span(busy_since, begun, ended)
            try:
                self._loop.call_soon_threadsafe(self._deliver, batch, results, span)
            except RuntimeError:  # the loop was closed under us: nobody waits any more
                return

    def _compute(self, model: str, batch: Sequence[Waiting]) -> list[Logits | Exception]:
        """The logits of each text; if the batch fails, each text for itself, so that only the cause fails."""
        try:
            return [*self.runners[model]([text.encoding for text in batch])]
        except Exception as error:
            if len(batch) == 1:
                return [error]
        return [result for text in batch for result in self._compute(model, [text])]

    def _deliver(self, batch: Sequence[Waiting], results: Sequence[Logits | Exception], span: _Span) -> None:
        tokens = sum([text.length for text in batch])
        self.accepted -= tokens
        self._note_rate(tokens, max(span.ended - span.busy_since, 1e-6))
        if self.observer is not None:
            self.observer.batch(texts=len(batch), tokens=tokens)
        seen: set[int] = set()
        for text, result in zip(batch, results, strict=True):
            request = text.owner
            assert isinstance(request, _Request)
            if request.answer.done():
                continue
            if isinstance(result, Exception):
                request.answer.set_exception(result)
                self._drop(request)
                continue
            if id(request) not in seen:
                seen.add(id(request))
                request.compute_seconds += span.ended - span.begun
            request.begun = span.begun if request.begun is None else request.begun
            request.outputs[text.position] = result
            request.missing -= 1
            if not request.missing:
                request.answer.set_result(request.outputs)

    def _note_rate(self, tokens: int, seconds: float) -> None:
        self._rated = time.perf_counter()
        self.rate += (1 - math.exp(-seconds / RATE_SECONDS)) * (tokens / seconds - self.rate)
