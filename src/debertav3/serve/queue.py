"""The texts that wait for the encoder, and which of them share the next batch. No threads, no clock.

The oldest text is always in the next batch, so none starves. Among those that arrived next the ones nearest
in length join it, as long as the padding costs much less than a call of the encoder.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from ..inference.batching import Encoding

WINDOW = 128
"""Texts that are looked at for a batch, oldest first. A larger window saves little padding and makes texts of
rare lengths wait longer."""
WINDOW_SECONDS = 0.5
"""The same in seconds of work. On a slow machine 128 texts are the whole queue, and a text of a rare length
would let all others go first."""
PADDED = 0.25
"""The part of a call's cost that the padding of one more text may take. A text that does not join now saves a
call all the same, with texts nearer in length that come later. See ``benchmarks/serve_queue.py``."""


@dataclass(frozen=True, kw_only=True)
class BatchCost:
    """When texts should share a batch on this machine."""

    budget: int
    """Most tokens of a batch, padding included; a longer text is a batch of its own."""
    call: float
    """The fixed cost of one call of the encoder, in tokens. 0 says that batches do not pay, so every text is
    computed by itself."""
    rate: float = 1000.0
    """Tokens a second, as measured at the start."""


class Waiting:
    """One text in the queue.

    Args:
        owner: the request that it belongs to.
        position: which of the request's texts it is.
        encoding: the text.
    """

    __slots__ = ("encoding", "length", "owner", "position")

    def __init__(self, owner: Hashable, position: int, encoding: Encoding) -> None:
        self.owner, self.position, self.encoding = owner, position, encoding
        self.length = len(encoding.input_ids)
        """Its tokens."""


def next_batch(lengths: Sequence[int], cost: BatchCost) -> list[int]:
    """Choose the texts of the next batch.

    Args:
        lengths: tokens of the waiting texts, oldest first.
        cost: what a batch may hold.

    Returns:
        Positions in ``lengths``; the first one is 0.
    """
    chosen, longest = [0], lengths[0]
    if cost.call <= 0:
        return chosen
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    shorter, longer = order.index(0) - 1, order.index(0) + 1
    while True:
        size = len(chosen) + 1
        candidates = []  # (tokens of padding that it adds, longest text then, position, whether it is longer)
        if shorter >= 0 and size * longest <= cost.budget:
            place = order[shorter]
            candidates.append((longest - lengths[place], longest, place, False))
        if longer < len(order) and size * lengths[order[longer]] <= cost.budget:
            place = order[longer]
            candidates.append((len(chosen) * (lengths[place] - longest), lengths[place], place, True))
        if not candidates or min(candidates)[0] > PADDED * cost.call:
            return chosen
        _, longest, place, is_longer = min(candidates)
        chosen.append(place)
        if is_longer:
            longer += 1
        else:
            shorter -= 1


class TextQueue:
    """Waiting texts of several models, oldest first.

    Args:
        costs: for each model what its batches may hold.
    """

    def __init__(self, costs: dict[str, BatchCost]) -> None:
        self.costs = costs
        self.num_tokens = 0
        self._arrivals = 0
        self._waiting: dict[str, OrderedDict[int, Waiting]] = {name: OrderedDict() for name in costs}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def push(self, model: str, texts: Iterable[Waiting]) -> None:
        """Append texts."""
        for text in texts:
            self._waiting[model][self._arrivals] = text
            self._arrivals += 1
            self.num_tokens += text.length

    def drop(self, owner: Hashable) -> int:
        """Remove what is left of a request; returns how many texts that were."""
        dropped = 0
        for texts in self._waiting.values():
            for number in [number for number, text in texts.items() if text.owner == owner]:
                self.num_tokens -= texts.pop(number).length
                dropped += 1
        return dropped

    def take(self, rate: float) -> tuple[str, list[Waiting]]:
        """Remove and return the next batch, with its model; there must be a text.

        Args:
            rate: tokens a second, lately.
        """
        model = min(
            (name for name, texts in self._waiting.items() if texts),
            key=lambda name: next(iter(self._waiting[name])),
        )
        texts = self._waiting[model]
        window, tokens = [], 0
        for number, text in islice(texts.items(), WINDOW):
            window.append((number, text))
            tokens += text.length
            if tokens > WINDOW_SECONDS * rate:
                break
        places = next_batch([text.length for _, text in window], self.costs[model])
        batch = [window[place][1] for place in places]
        for place in places:
            del texts[window[place][0]]
        self.num_tokens -= sum(text.length for text in batch)
        return model, batch
