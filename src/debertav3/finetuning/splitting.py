"""Held-out examples where no dev file is named: a share of the training data, or one of several folds.

Rows that belong together stay together: those with the same texts, or with ``group_column`` those with the
same value in it. Every part gets its share of each label.
"""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

from ..errors import UserError
from ..tasks.columns import actual_name
from ..tasks.example import Example
from ..tasks.read_options import AS_FOUND, ReadOptions
from ..tasks.tables import read_table
from ..tasks.tagging import MarkedText
from .config import FinetuneConfig

_INTERVALS = 10
"""Numbers are spread like labels, by the tenth of the sorted values that they lie in."""


def hold_out(
    examples: Sequence[Example],
    config: FinetuneConfig,
    *,
    sources: Sequence[str],
    options: ReadOptions = AS_FOUND,
) -> tuple[list[Example], dict[str, list[Example]]]:
    """Split the training examples as ``dev_split``, or ``folds`` and ``fold``, say.

    Args:
        examples: of all training sources.
        config: the run.
        sources: the training sources, for ``group_column``.
        options: how they are read.

    Returns:
        What to train on, and a dev set by its name; the dev set is missing if nothing is held out.

    Raises:
        UserError: if a part would be empty, or the groups cannot be read.
    """
    data = config.data
    if data.dev_split is not None:
        weights, chosen, name = [1 - data.dev_split, data.dev_split], 1, f"dev_split={data.dev_split:g}"
    elif data.folds is not None and data.fold is not None:
        weights, chosen, name = [1.0] * data.folds, data.fold - 1, f"fold {data.fold} of {data.folds}"
    elif data.folds is not None:
        weights, chosen, name = [1.0] * data.folds, None, f"folds={data.folds}"
    else:
        return list(examples), {}
    parts = assign(examples, weights, groups=groups_of(examples, config, sources, options), seed=config.seed)
    if chosen is None:  # all folds in turn: none may be empty
        if len(set(parts)) < len(weights):
            raise UserError(
                f"{name} of {len(examples)} examples leaves a part with nothing to score on: give more data, "
                "or fewer --folds."
            )
        return list(examples), {}
    held = [example for example, part in zip(examples, parts, strict=True) if part == chosen]
    kept = [example for example, part in zip(examples, parts, strict=True) if part != chosen]
    if not held or not kept:
        raise UserError(
            f"{name} of {len(examples)} examples leaves nothing to {'train on' if held else 'score on'}: "
            "give more data, another share, or --dev FILE."
        )
    return kept, {name: held}


def assign(
    examples: Sequence[Example], weights: Sequence[float], *, groups: Sequence[Hashable], seed: int
) -> list[int]:
    """Distribute examples over parts so that each part gets its share of every label, and of all examples.

    A part's share of a label is seldom whole. What the whole shares leave over goes where examples are
    missing, so that many labels with few examples each do not make a part small.

    Args:
        examples: what to distribute.
        weights: of the parts; the sum does not matter.
        groups: of each example; equal ones go to one part.
        seed: of the order.

    Returns:
        The index of each example's part.
    """
    kinds = _kinds(examples)
    members: dict[Hashable, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    order = list(members.values())
    random.Random(seed).shuffle(order)
    order.sort(key=len, reverse=True)  # large groups first, while there is room for them
    sizes = [0] * len(weights)
    by_kind: dict[Hashable, list[int]] = defaultdict(lambda: [0] * len(weights))
    parts = [0] * len(examples)
    totals = Counter(kinds)

    def urgency(part: int, kind: Hashable, size: int) -> tuple[int, float, float]:
        """How well a group of a kind suits a part, least first: within its whole share, rounded up, above."""
        share = totals[kind] * weights[part] / sum(weights)
        count = by_kind[kind][part] + size
        of_kind, of_all = count / weights[part], (sizes[part] + size) / weights[part]
        if count <= math.floor(share):
            return 0, of_kind, of_all
        return (1, of_all, of_kind) if count <= math.ceil(share) else (2, of_kind, of_all)

    for indices in order:
        found = [kinds[index] for index in indices]
        kind = max(sorted(set(found), key=str), key=found.count)
        part = min(range(len(weights)), key=lambda one: urgency(one, kind, len(indices)))
        for index in indices:
            parts[index] = part
            by_kind[kinds[index]][part] += 1
        sizes[part] += len(indices)
    return parts


def groups_of(
    examples: Sequence[Example],
    config: FinetuneConfig,
    sources: Sequence[str],
    options: ReadOptions = AS_FOUND,
) -> list[Hashable]:
    """What decides which examples stay together: the value in ``group_column``, else the texts.

    Raises:
        UserError: if a row has no such column, or the task's texts are not whole cells of a row.
    """
    column = config.data.group_column
    if column is None:
        return [example.texts for example in examples]
    by_text: dict[str, set[str]] = defaultdict(set)
    for source in sources:
        for row in read_table(source, options):
            name = actual_name(row.fields, column, is_said=True)
            if name is None:
                raise UserError(
                    f"{source} has no column {column!r}, which --group-column names. "
                    f"It has {', '.join(map(str, row.fields))}."
                )
            group = str(row.fields[name])
            for value in row.fields.values():
                if isinstance(value, str):
                    by_text[value.strip()].add(group)
    found: list[Hashable] = []
    for example in examples:
        texts = (example.extra.text,) if isinstance(example.extra, MarkedText) else example.texts
        candidates = [by_text.get(text.strip(), set()) for text in texts]
        common = set.intersection(*candidates) if candidates else set()
        if not common:
            raise UserError(
                f"--group-column: task {config.task} does not take its texts from single columns, so the "
                "group of an example is not known. Split the file yourself and give --dev."
            )
        found.append(min(common))
    return found


def _kinds(examples: Sequence[Example]) -> list[Hashable]:
    """What every part should have its share of: the label, or the tenth that a number lies in."""
    labels = [example.label for example in examples]
    if all(isinstance(label, int | float) and not isinstance(label, bool) for label in labels):
        order = sorted(range(len(labels)), key=lambda index: labels[index])
        kinds: list[Hashable] = [0] * len(labels)
        for rank, index in enumerate(order):
            kinds[index] = rank * _INTERVALS // len(labels)
        return kinds
    return [label if isinstance(label, str) else "" for label in labels]
