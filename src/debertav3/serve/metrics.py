"""Prometheus metrics under text-embeddings-inference's names, so that its dashboards work as they are.

Unlike there, a single predict counts once, and as a success. Times are in seconds. Answered requests are
noted, and counted when there are many or when somebody asks.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .refusals import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client.metrics_core import HistogramMetricFamily

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_TOKENS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128)
_STAGES = ("", "_tokenization", "_queue", "_inference")

_MOST_NOTED = 1000

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Histogram:
    """Counts values by size, on one thread: cheaper than the client library's, which takes locks.

    Args:
        name: of the metric.
        text: what it is.
        bounds: upper bounds of the buckets, ascending; one more takes what is larger.
    """

    def __init__(self, name: str, text: str, bounds: Sequence[float]) -> None:
        self.name, self.text, self.bounds = name, text, bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value, so many times."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def observe_all(self, values: Sequence[float], times: Sequence[int] | None = None) -> None:
        """Count many values, each so many times."""
        places = np.searchsorted(self.bounds, values, side="left")
        for place, count in enumerate(np.bincount(places, times, minlength=len(self.counts)).tolist()):
            self.counts[place] += round(count)
        self.sum += float(np.dot(values, np.ones(len(values)) if times is None else times))

    def collect(self) -> "Iterator[HistogramMetricFamily]":
        """What the client library's registry asks of a collector."""
        from prometheus_client.metrics_core import HistogramMetricFamily
        from prometheus_client.utils import floatToGoString

        names = [*map(floatToGoString, self.bounds), "+Inf"]
        buckets = list(zip(names, map(float, accumulate(self.counts)), strict=True))
        yield HistogramMetricFamily(self.name, self.text, buckets=buckets, sum_value=self.sum)


class Answered(NamedTuple):
    """An answered request."""

    lengths: list[int]
    """Tokens of each text that was computed; none for those that only tokenize."""
    total: float
    """Seconds in all."""
    tokenization: float
    """Of these, seconds of tokenizing."""
    queue: float
    """Seconds before its first batch."""
    inference: float
    """Seconds of its batches."""


class Metrics:
    """Counters of one server, in a registry of their own. Used on the event loop only.

    Args:
        queue_size: texts that wait now.
    """

    def __init__(self, queue_size: "Callable[[], float]") -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge

        self.registry = registry = CollectorRegistry()
        self._noted: list[Answered] = []

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        def histogram(name: str, text: str, bounds: Sequence[float]) -> _Histogram:
            made = _Histogram(name, text, bounds)
            registry.register(made)
            return made

        self.requests = counter("te_request_count", "Requests", "method")
        self.successes = counter("te_request_success", "Requests that were answered", "method")
        self.failures = counter("te_request_failure", "Requests that were not answered, by reason", "err")
        self.texts = counter("te_predict_count", "Texts and pairs that were asked for")
        self.answered = counter("te_predict_success", "Texts and pairs that were answered")
        self.skipped = counter("te_predict_skipped", "Texts whose client left before they were computed")
        self.tokens = counter("te_batch_tokens", "Tokens that were computed, without padding")
        self.stages = [
            histogram(f"te_request{stage}_duration", "Seconds of a request", _SECONDS) for stage in _STAGES
        ]
        self.text_stages = [
            histogram(f"te_predict{stage}_duration", "Seconds of a request, once a text", _SECONDS)
            for stage in _STAGES
        ]
        self.lengths = histogram("te_request_input_length", "Tokens of a text", _TOKENS)
        self.batch_texts = histogram("te_batch_next_size", "Texts of a batch", _TEXTS)
        self.batch_tokens = histogram("te_batch_next_tokens", "Tokens of a batch", _TOKENS)
        Gauge("te_queue_size", "Texts that wait", registry=registry).set_function(queue_size)

    def batch(self, *, texts: int, tokens: int) -> None:
        """A batch was computed."""
        self.batch_texts.observe(texts)
        self.batch_tokens.observe(tokens)
        self.tokens.inc(tokens)

    def dropped(self, texts: int) -> None:
        """Texts were not computed, for their client has left."""
        self.skipped.inc(texts)

    def success(self, answered: Answered) -> None:
        """A request was answered."""
        self._noted.append(answered)
        if len(self._noted) >= _MOST_NOTED:
            self._count()

    def _count(self) -> None:
        noted, self._noted = self._noted, []
        if not noted:
            return
        texts = [len(one.lengths) for one in noted]
        num_batches = sum(count > 1 for count in texts)
        for method, number in (("batch", num_batches), ("single", len(noted) - num_batches)):
            if number:
                self.requests.labels(method).inc(number)
                self.successes.labels(method).inc(number)
        self.texts.inc(sum(texts))
        self.answered.inc(sum(texts))
        seconds = [
            [one.total for one in noted],
            [one.tokenization for one in noted],
            [one.queue for one in noted],
            [one.inference for one in noted],
        ]
        for stage, text_stage, values in zip(self.stages, self.text_stages, seconds, strict=True):
            stage.observe_all(values)
            text_stage.observe_all(values, texts)
        self.lengths.observe_all([length for one in noted for length in one.lengths])

    def failure(self, kind: Kind, *, num_texts: int) -> None:
        """A request was not answered."""
        self.requests.labels("batch" if num_texts > 1 else "single").inc()
        self.failures.labels(kind).inc()
        self.texts.inc(num_texts)

    def text(self) -> bytes:
        """Everything in Prometheus's text format."""
        from prometheus_client import generate_latest

        self._count()
        lines = generate_latest(self.registry).splitlines(keepends=True)
        # The client library appends _total to counters and adds their time of creation; TEI has neither.
        return b"".join(line.replace(b"_total", b"", 1) for line in lines if b"_created" not in line)
