"""Subsets of examples."""

import random
from collections import defaultdict
from collections.abc import Sequence

from .task import Example


def take_balanced(examples: Sequence[Example], limit: int | None, *, seed: int) -> list[Example]:
    """Draw ``limit`` examples, labels as balanced as the data allow; None means all."""
    if limit is None or limit >= len(examples):
        return list(examples)
    generator = random.Random(seed)
    shuffled = generator.sample(range(len(examples)), len(examples))
    by_label: dict[str, list[int]] = defaultdict(list)
    for index in shuffled:
        label = examples[index].label
        by_label[label if isinstance(label, str) else ""].append(index)
    turns = sorted(
        (turn, name, index) for name, group in by_label.items() for turn, index in enumerate(group)
    )
    return [examples[index] for index in sorted(index for _, _, index in turns[:limit])]
