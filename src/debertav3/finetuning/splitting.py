"""Which examples train, which are held out, which are not used; decided by 16 bytes kept of each example.

Rows that belong together stay together: those with the same texts, query or context, or with
``group_column`` those with the same value in it. Every part gets its share of each label.
"""

import math
import random
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from ..errors import UserError
from ..tasks.columns import actual_name
from ..tasks.example import Example
from ..tasks.tables import Reading
from ..tasks.task import Task
from .config import FinetuneConfig
from .repetitions import text_key

TRAIN, HELD_OUT, UNUSED = 0, 1, 2
"""What becomes of an example."""
Parts = npt.NDArray[np.int32]
_INTERVALS = 10
"""Numbers are spread like labels, by the tenth of the sorted values that they lie in."""
_BLOCK = 1 << 16


class SplitKeys:
    """What is kept of examples until it is known where they go: a hash of the group, and the label."""

    def __init__(self) -> None:
        self._groups = array("Q")
        self._ids: dict[str, int] = {}
        self._kinds = array("I")
        self._numbers = array("d")

    def __len__(self) -> int:
        return len(self._groups)

    def add(self, example: Example, group: Sequence[str]) -> None:
        """Take in an example.

        Args:
            example: the example.
            group: what it shares with those that it stays together with, see `group_of`.
        """
        label = example.label
        self._groups.append(text_key(group))
        self._kinds.append(self._ids.setdefault(label if isinstance(label, str) else "", len(self._ids)))
        if isinstance(label, int | float) and not isinstance(label, bool):
            self._numbers.append(label)

    @property
    def groups(self) -> npt.NDArray[np.uint64]:
        """Of each example; equal ones go to one part."""
        return np.frombuffer(self._groups, dtype=np.uint64)

    @property
    def labels(self) -> tuple[Sequence[int], list[str]]:
        """Each example's label id, and the labels by id; labels that are not text share one id."""
        return self._kinds, list(self._ids)

    @property
    def kinds(self) -> tuple[Sequence[int], list[str]]:
        """What every part should have its share of: the label, or the tenth that a number lies in."""
        if len(self._numbers) < len(self) or not len(self):
            return self.labels
        numbers = np.frombuffer(self._numbers)
        below = np.searchsorted(np.sort(numbers), numbers)  # so that equal numbers are of one kind
        kinds = (below * _INTERVALS // len(self)).astype(np.uint32)
        return array("I", kinds.tobytes()), [str(one) for one in range(_INTERVALS)]


def group_of(example: Example, task: Task, reading: Reading, column: str | None) -> Sequence[str]:
    """What the example that was read last shares with those that it stays together with.

    Raises:
        UserError: if its row has no such column.
    """
    if column is None:
        return task.belongs_to(example)
    fields = reading.latest.fields
    name = actual_name(fields, column, is_said=True)
    if name is None:
        raise UserError(
            f"{reading.source} has no column {column!r}, which --group-column names. "
            f"It has {', '.join(map(str, fields))}."
        )
    return (str(fields[name]),)


def needs_split(config: FinetuneConfig) -> bool:
    """Whether a run holds examples out, or draws some of them."""
    data = config.data
    return data.dev_split is not None or data.folds is not None or data.train_limit is not None


def split(keys: SplitKeys, config: FinetuneConfig) -> tuple[str, npt.NDArray[np.int8]]:
    """Decide about every example as ``dev_split``, or ``folds`` and ``fold``, and ``train_limit`` say.

    Args:
        keys: of all training examples, in order.
        config: the run.

    Returns:
        The name of the held-out set, empty where nothing is held out; and for each example `TRAIN`,
        `HELD_OUT` or `UNUSED`.

    Raises:
        UserError: if a part would be empty.
    """
    name, held = _held_out(keys, config)
    parts = np.where(held, HELD_OUT, TRAIN).astype(np.int8)
    limit = config.data.train_limit
    kept = np.flatnonzero(parts == TRAIN)
    if limit is not None and limit < len(kept):
        ids, names = keys.labels
        parts[kept] = UNUSED
        chosen = take_balanced(
            [ids[index] for index in kept.tolist()] if name else ids, names, limit, seed=config.seed
        )
        parts[kept[chosen]] = TRAIN
    return name, parts


def _held_out(keys: SplitKeys, config: FinetuneConfig) -> tuple[str, npt.NDArray[np.bool_]]:
    """The name of the held-out set, and which examples are in it."""
    data = config.data
    if data.dev_split is not None:
        weights, chosen, name = [1 - data.dev_split, data.dev_split], 1, f"dev_split={data.dev_split:g}"
    elif data.folds is not None and data.fold is not None:
        weights, chosen, name = [1.0] * data.folds, data.fold - 1, f"fold {data.fold} of {data.folds}"
    elif data.folds is not None:
        weights, chosen, name = [1.0] * data.folds, None, f"folds={data.folds}"
    else:
        return "", np.zeros(len(keys), np.bool_)
    parts = assign(keys, weights, seed=config.seed)
    if chosen is None:  # all folds in turn: none may be empty
        if len(np.unique(parts)) < len(weights):
            raise UserError(
                f"{name} of {len(keys)} examples leaves a part with nothing to score on: give more data, "
                "or fewer --folds."
            )
        return "", np.zeros(len(keys), np.bool_)
    is_held = parts == chosen
    if is_held.all() or not is_held.any():
        lacking = "train on" if is_held.any() else "score on"
        raise UserError(
            f"{name} of {len(keys)} examples leaves nothing to {lacking}: give more data, "
            "another share, or "
            "--dev FILE."
        )
    return name, is_held


def assign(keys: SplitKeys, weights: Sequence[float], *, seed: int) -> Parts:
    """Distribute examples over parts so that each part gets its share of every label, and of all examples.

    A part's share of a label is seldom whole. What the whole shares leave over goes where examples are
    missing, so that many labels with few examples each do not make a part small.

    Args:
        keys: of the examples.
        weights: of the parts; the sum does not matter.
        seed: of the order.

    Returns:
        The index of each example's part.
    """
    kinds, names = keys.kinds
    totals = Counter(kinds)
    shares = [[totals[kind] * one / sum(weights) for one in weights] for kind in range(len(names))]
    sizes = [0] * len(weights)
    by_kind: dict[int, list[int]] = defaultdict(lambda: [0] * len(weights))
    parts = np.zeros(len(keys), np.int32)

    def urgency(part: int, kind: int, of_it: int, size: int) -> tuple[int, float, float]:
        """How well a group of a kind suits a part, least first: within its whole share, rounded up, above."""
        share = shares[kind][part]
        count = by_kind[kind][part] + of_it
        of_kind, of_all = count / weights[part], (sizes[part] + size) / weights[part]
        if any(of_it > math.ceil(one) for one in shares[kind]):
            return 1, of_all, of_kind  # larger than the share of some part, which would never get one
        if count <= math.floor(share):
            return 0, of_kind, of_all
        return (1, of_all, of_kind) if count <= math.ceil(share) else (2, of_kind, of_all)

    for indices in _groups(keys.groups, seed=seed):
        found = Counter(kinds[index] for index in indices)
        kind = min(found, key=lambda one: (-found[one], names[one]))
        part = min(range(len(weights)), key=lambda one: urgency(one, kind, found[kind], len(indices)))
        parts[indices] = part
        for one, count in found.items():
            by_kind[one][part] += count
        sizes[part] += len(indices)
    return parts


def _groups(keys: npt.NDArray[np.uint64], *, seed: int) -> Iterator[list[int]]:
    """The examples of each group: large groups first, while there is room for them, others by chance.

    What is kept meanwhile is 12 bytes for each example, since there may be millions.
    """
    order = _compact(np.argsort(keys, kind="stable"))
    starts = _compact(np.flatnonzero(_is_new(keys, order)))
    by_appearance = _compact(np.argsort(order[starts]))
    chance = array("I", range(len(starts)))
    random.Random(seed).shuffle(chance)
    shuffled = by_appearance[np.frombuffer(chance, dtype=np.uint32)]
    del by_appearance, chance
    sizes = np.diff(starts, append=np.uint32(len(keys)))
    if len(sizes) and sizes.max() > 1:
        shuffled = shuffled[np.argsort(-sizes[shuffled].astype(np.int32), kind="stable")]
    del sizes
    for first in range(0, len(shuffled), _BLOCK):
        for group in shuffled[first : first + _BLOCK].tolist():
            end = starts[group + 1] if group + 1 < len(starts) else len(keys)
            yield order[starts[group] : end].tolist()


def _compact(numbers: npt.NDArray[np.intp]) -> npt.NDArray[np.uint32]:
    return numbers.astype(np.uint32)


def _is_new(keys: npt.NDArray[np.uint64], order: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    """Whether each key in order is another one than that before it."""
    found = np.ones(len(order), np.bool_)
    for first in range(1, len(order), _BLOCK):
        block = keys[order[first - 1 : first + _BLOCK]]
        found[first : first + _BLOCK] = block[1:] != block[:-1]
    return found


def take_balanced(labels: Sequence[int], names: Sequence[str], limit: int, *, seed: int) -> list[int]:
    """Draw ``limit`` examples, labels as balanced as the data allow.

    Args:
        labels: of each example the id of its label.
        names: of the labels, by id.
        limit: fewer than there are examples.
        seed: of the draw.

    Returns:
        Their indices, in order.
    """
    generator = random.Random(seed)
    left = Counter(labels)
    quota: Counter[int] = Counter()
    room = limit
    while room:  # a round: one more of each label that has any
        having = sorted((one for one in left if left[one]), key=lambda one: names[one])
        rounds = max(1, min(room // len(having), min(left[one] for one in having)))
        for one in having[:room]:
            quota[one] += rounds
            left[one] -= rounds
        room -= rounds * min(room, len(having))
    pool = array("Q", range(len(labels)))
    chosen = []
    for size in range(len(labels), 0, -1):  # as ``random.sample`` draws
        place = generator.randrange(size)
        index, pool[place] = pool[place], pool[size - 1]
        if quota[labels[index]]:
            quota[labels[index]] -= 1
            chosen.append(index)
    return sorted(chosen)
