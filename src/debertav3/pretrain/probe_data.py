"""What probes are run on: labelled texts and minimal pairs, from files that the user names. No torch."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..files.compression import bare_name
from ..tasks.columns import actual_name
from ..tasks.custom import custom_task
from ..tasks.example import Example
from ..tasks.rows import Row, text_in
from ..tasks.summary import Summary
from ..tasks.tables import read_table
from ..tasks.text import TextTask

GOOD, BAD = "sentence_good", "sentence_bad"
"""Columns of minimal pairs, as BLiMP (Warstadt et al. 2020, arXiv:1912.00582) calls them."""
_SPLITS = 5
"""One in this many first texts is for scoring."""


@dataclass(frozen=True)
class LabelledProbe:
    """Texts or pairs of texts with one label each. Rows with one first text are on one side."""

    name: str
    labels: tuple[str, ...]
    train: tuple[Example, ...]
    dev: tuple[Example, ...]

    @property
    def commonest_share(self) -> float:
        """What saying the commonest label of the training rows scores on the others."""
        always = Counter(example.label for example in self.train).most_common(1)[0][0]
        return sum(example.label == always for example in self.dev) / len(self.dev)


@dataclass(frozen=True)
class PairsProbe:
    """Pairs of a good and a bad sentence."""

    name: str
    pairs: tuple[tuple[str, str], ...]


Probe = LabelledProbe | PairsProbe


def read_probes(sources: Sequence[str], *, rows: int) -> list[Probe]:
    """Read probe data, one probe for each file.

    Args:
        sources: files of labelled rows, or of rows with ``sentence_good`` and ``sentence_bad``.
        rows: most rows of a file; chosen by a hash of the text, so always the same.

    Raises:
        UserError: if a file cannot be read, or no probe can be made of it.
    """
    probes = [_read(source, rows) for source in sources]
    names = [probe.name for probe in probes]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(
            f"--probe-data has two files called {twice[0]}: metrics are named after the file. Rename one"
        )
    return probes


def _read(source: str, rows: int) -> Probe:
    name = Path(bare_name(source)).stem or source
    first = next(iter(read_table(source)), None)
    if first is None:
        raise UserError(f"--probe-data {source} has no rows")
    if all(actual_name(first.fields, column) is not None for column in (GOOD, BAD)):
        pairs = [_pair(row) for row in read_table(source)]
        return PairsProbe(name, tuple(sorted(pairs, key=lambda pair: _hash(*pair))[:rows]))
    return _labelled(name, source, rows)


def _pair(row: Row) -> tuple[str, str]:
    pair = text_in(row, (GOOD,)), text_in(row, (BAD,))
    if pair[0] == pair[1]:
        raise UserError(f"{row.place}: the good and the bad sentence are the same")
    return pair


def _labelled(name: str, source: str, rows: int) -> LabelledProbe:
    task = custom_task(source)
    if not isinstance(task, TextTask) or task.target != "one-label":
        raise UserError(
            f"--probe-data {source}: a probe needs rows with a text, or two, and one label from a few; or "
            f"with {GOOD} and {BAD}"
        )
    examples = sorted(task.examples(read_table(source)), key=lambda one: _hash(*one.texts))[:rows]
    if not examples:
        raise UserError(f"--probe-data {source} has no row with text and label")
    labels = task.choose_labels(Summary.of(examples), source=f"--probe-data {source}")
    sides: tuple[list[Example], list[Example]] = [], []
    for example in examples:
        sides[_hash(example.texts[0]) % _SPLITS == 0].append(example)
    train, dev = sides
    missing = sorted(set(labels) - {str(example.label) for example in train})
    if missing or not dev:
        lack = f"label {missing[0]!r} is in none of the rows to learn from" if missing else "none to score"
        raise UserError(
            f"--probe-data {source}: of {len(examples)} rows {len(train)} are for training "
            f"and {len(dev)} for scoring, and {lack}. Give more rows, with fewer labels"
        )
    return LabelledProbe(name, labels, tuple(train), tuple(dev))


def _hash(*texts: str) -> int:
    return int.from_bytes(hashlib.sha256("\0".join(texts).encode()).digest()[:8], "big")
