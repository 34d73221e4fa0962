"""The data doctor over files of any size: they are read row by row, and no example of them is kept.

Once, unless a part of the training data is held out (``dev_split``, ``fold``) or drawn (``train_limit``):
then a first pass keeps 16 bytes of each example, which decide where it goes, and others examine each part.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ..json_types import JsonObject
from ..tasks.example import Example
from ..tasks.summary import Summary
from ..tasks.tables import Reading
from ..tasks.task import Task
from ..tasks.understanding import Understanding, log_all
from .config import FinetuneConfig
from .doctor import Doctor, batches_of
from .preparation import Source, Sources, find_sources
from .splitting import HELD_OUT, TRAIN, SplitKeys, group_of, needs_split, split

if TYPE_CHECKING:
    from .batches import Tokenizer

logger = logging.getLogger(__name__)

_SECONDS = 10.0
"""Between two lines about how far it is."""


def check_data(
    config: FinetuneConfig, open_tokenizer: "Callable[[FinetuneConfig, Task], Tokenizer]"
) -> JsonObject:
    """Examine the files of a run, and say what was understood of them and how far it is.

    Args:
        config: the run.
        open_tokenizer: gives what lengths are counted by.

    Returns:
        As `Doctor.facts`.

    Raises:
        UserError: as `read_data`.
    """
    sources = find_sources(config)
    task = sources.task
    doctor = Doctor(task, config, open_tokenizer(config, task))
    everything = doctor.train.summary
    if needs_split(config):
        everything, understood = _parts(doctor, sources)
    else:
        understood = [_pass(doctor, source, doctor.see_training) for source in sources.train]
    understood += [_pass(doctor, one, partial(doctor.see_dev, one.name)) for one in sources.dev]
    log_all(understood)
    labels = task.choose_labels(everything, source=sources.train_names)
    for name, seen in doctor.dev.items():
        task.check_dev(seen.summary, labels, source=name)
    return doctor.facts()


def _parts(doctor: Doctor, sources: Sources) -> tuple[Summary, list[Understanding]]:
    """Show what is trained on to the doctor, then what is held out, and nothing that is not used.

    Returns:
        What all training files have, and what each was read as.
    """
    task, config = doctor.task, doctor.config
    keys, everything, understood = SplitKeys(), Summary(), []
    for source in sources.train:
        reading = task.open(source.path, source.options)
        found = task.summary(())
        for example in _watched(task.examples(reading), reading):
            keys.add(example, group_of(example, task, reading, config.data.group_column))
            for summary in (found, everything):
                summary.add(example, task.counted(example))
        task.finish(reading, num_examples=found.num_examples)
        if config.data.group_column is not None:
            reading.roles["group"] = config.data.group_column
        understood.append(task.understood(reading, found))
    task.choose_labels(everything, source=sources.train_names)
    name, parts = split(keys, config)
    del keys
    for wanted, see in ((TRAIN, doctor.see_training), (HELD_OUT, partial(doctor.see_dev, name))):
        if wanted == TRAIN or name:
            places = iter(parts)
            for source in sources.train:
                reading = task.open(source.path, source.options)
                examples = _watched(task.examples(reading), reading)
                for batch in batches_of(
                    one for one, part in zip(examples, places, strict=False) if part == wanted
                ):
                    see(batch)
    return everything, understood


def _pass(doctor: Doctor, source: Source, see: "Callable[[Sequence[Example]], None]") -> Understanding:
    """Show a source to the doctor."""
    task = doctor.task
    reading = task.open(source.path, source.options)
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
