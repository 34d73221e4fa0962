"""The data doctor over files of any size: they are read once, row by row, and nothing of them is kept."""

import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from ..json_types import JsonObject
from ..tasks.example import Example
from ..tasks.tables import Reading
from ..tasks.task import Task
from ..tasks.understanding import Understanding, tell_all
from .config import FinetuneConfig
from .doctor import Doctor, batches_of, examine
from .preparation import find_sources, read_data, read_options

if TYPE_CHECKING:
    from .batches import Tokenizer

logger = logging.getLogger(__name__)

_SECONDS = 10.0
"""Between two lines about how far it is."""


def check_data(
    config: FinetuneConfig, open_tokenizer: "Callable[[FinetuneConfig, Task], Tokenizer]"
) -> JsonObject:
    """Examine the files of a run, and say what was understood of them and how far it is.

    Where a part of the training data is held out (``dev_split``, ``folds``) or drawn (``train_limit``), all
    examples are held in memory, as in training.

    Args:
        config: the run.
        open_tokenizer: gives what lengths are counted by.

    Returns:
        As `Doctor.facts`.

    Raises:
        UserError: as `read_data`.
    """
    data = config.data
    if data.dev_split is not None or data.folds is not None or data.train_limit is not None:
        read = read_data(config)
        return examine(read, config, tokenizer=open_tokenizer(config, read.task))
    sources = find_sources(config)
    task = sources.task
    doctor = Doctor(task, config, open_tokenizer(config, task))
    understood = []
    for source in sources.train:
        understood.append(_pass(doctor, source, doctor.see_training))
    for source in sources.dev:
        understood.append(_pass(doctor, source, partial(doctor.see_dev, source)))
    tell_all(understood)
    labels = task.choose_labels(doctor.train.summary, source=", ".join(sources.train))
    for source, seen in doctor.dev.items():
        task.check_dev(seen.summary, labels, source=source)
    return doctor.facts()


def _pass(doctor: Doctor, source: str, see: "Callable[[list[Example]], None]") -> Understanding:
    """Show a source to the doctor."""
    task = doctor.task
    reading = task.open(source, read_options(doctor.config))
    found = task.summary(())
    for batch in batches_of(_watched(task.examples(reading), reading)):
        for example in batch:
            found.add(example, task.counted(example))
        see(batch)
    task.finish(reading, num_examples=found.num_examples)
    return task.understood(reading, found)


def _watched(examples: Iterator[Example], reading: Reading) -> Iterator[Example]:
    """The same examples; every few seconds a line says how many rows are read."""
    last = started = time.monotonic()
    for example in examples:
        yield example
        now = time.monotonic()
        if now - last > _SECONDS:
            last = now
            share = reading.share_read
            part = "" if share is None else f", {share:.0%} of the file"
            logger.info(
                "%s: %s rows read%s, %.0f s", reading.source, f"{reading.num_rows:,}", part, now - started
            )
