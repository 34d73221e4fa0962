"""What is done with examples of every task: subsets, and a look for dev rows that are also in training."""

import logging
import random
from collections import defaultdict
from collections.abc import Sequence

from .task import Example

logger = logging.getLogger(__name__)


def warn_of_overlap(train: Sequence[Example], dev: Sequence[Example], *, source: str) -> int:
    """Count dev examples whose texts also stand in the training data, and warn if there are any."""
    known = {example.texts for example in train}
    shared = sum(example.texts in known for example in dev)
    if shared:
        logger.warning(
            "%s: %d of %d examples are also in the training data; its scores will be too good",
            source,
            shared,
            len(dev),
        )
    return shared


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
