"""What a set of examples is: labels, lengths, repetitions. Counted as it is read; nothing of it is kept."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..heads import MULTIPLE_CHOICE, SEQUENCE, TOKENS
from ..tasks.example import Example
from ..tasks.summary import Summary
from ..tasks.tagging import MarkedText
from ..tasks.task import Task
from .repetitions import Repetitions

if TYPE_CHECKING:
    from .batches import Tokenizer

_PERCENTILES = (50, 90, 99, 100)
_CUT_WHOLE = (SEQUENCE, MULTIPLE_CHOICE)
"""Heads for which a text beyond the length limit is lost; the others read long texts in pieces."""


class SetFacts:
    """Facts of one set.

    Args:
        task: whose examples they are.
        tokenizer: by which lengths are counted, in tokens, special ones included.
        max_length: beyond which an example is cut, where the task's head cuts.
    """

    def __init__(self, task: Task, tokenizer: "Tokenizer", *, max_length: int) -> None:
        self.summary = Summary()
        self.repetitions = Repetitions()
        self._task = task
        self._tokenizer = tokenizer
        self._max_length = max_length if task.head in _CUT_WHOLE else None
        self._lengths: Counter[int] = Counter()
        self._num_unknown = 0

    def add(self, examples: Sequence[Example]) -> None:
        """Take in some examples."""
        for example in examples:
            self.summary.add(example, self._task.counted(example))
            self.repetitions.add(example.texts, example.label)
        lengths, num_unknown = _token_counts(examples, self._tokenizer, head=self._task.head)
        self._lengths.update(lengths)
        self._num_unknown += num_unknown

    def result(self) -> dict[str, object]:
        """The facts by name."""
        duplicates, contradictory = self.repetitions.counts()
        facts: dict[str, object] = {
            "examples": self.summary.num_examples,
            "labels": self._labels(),
            "duplicates": duplicates,
            "contradictory": contradictory,
            "tokens": {f"p{share}": int(percentile(self._lengths, share)) for share in _PERCENTILES},
            "with_unknown_tokens": self._num_unknown,
        }
        if not self.repetitions.is_exact:
            facts["repetitions"] = "estimated from a part of the examples"
        if self._max_length is not None:
            facts["truncated"] = sum(
                count for length, count in self._lengths.items() if length > self._max_length
            )
        return facts

    def _labels(self) -> dict[str, object]:
        found = self.summary
        if found.has_numbers:
            return {
                "mean": float(found.mean),
                "sd": float(found.deviation),
                "min": float(found.least),
                "max": float(found.most),
            }
        return dict(found.labels.most_common())


def percentile(counts: Mapping[int, int], share: float) -> float:
    """The percentile of numbers that are given by how often each occurs, as ``numpy.percentile`` has it."""
    values = np.array(sorted(counts))
    ends = np.cumsum([counts[value] for value in values.tolist()])
    place = share / 100 * (int(ends[-1]) - 1)
    below, above = (
        float(values[np.searchsorted(ends, rank, side="right")])
        for rank in (math.floor(place), math.ceil(place))
    )
    return below + (above - below) * (place - math.floor(place))


def _token_counts(examples: Sequence[Example], tokenizer: "Tokenizer", *, head: str) -> tuple[list[int], int]:
    """Tokens of each example's longest input, and how many examples have the unknown token."""
    inputs = [_inputs(example, head) for example in examples]
    texts = list(dict.fromkeys(text for one in inputs for parts in one for text in parts))
    encoded = tokenizer(texts, add_special_tokens=False)["input_ids"]
    sizes = {text: len(ids) for text, ids in zip(texts, encoded, strict=True)}
    odd = {text for text, ids in zip(texts, encoded, strict=True) if tokenizer.unk_token_id in ids}
    lengths = [max(sum(sizes[text] for text in parts) + len(parts) + 1 for parts in one) for one in inputs]
    return lengths, sum(any(not odd.isdisjoint(parts) for parts in one) for one in inputs)


def _inputs(example: Example, head: str) -> list[tuple[str, ...]]:
    """The texts of each input that an example becomes."""
    if head == TOKENS:
        is_cut = isinstance(example.extra, MarkedText)
        return [(example.extra.text if is_cut else " ".join(example.texts),)]
    if head == MULTIPLE_CHOICE:
        return [(example.texts[0], choice) for choice in example.texts[1:]]
    return [example.texts]
