"""The steps of a fine-tuning, for the command line and for Python alike: guard the folder, read, train."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..files import Output, hold_outputs
from ..json_types import JsonObject
from ..processes import is_first_process
from .config import FinetuneConfig
from .preparation import Data, read_data
from .records import changes_since, refuse_other_folder
from .resuming import WRITTEN, WRITTEN_BY_FOLDS, check_folder, check_folder_of_folds
from .start import Start, check_start, is_from_hub

logger = logging.getLogger(__name__)


@contextmanager
def prepared(
    settings: FinetuneConfig,
    out: Path,
    *,
    resume: bool = False,
    config: Path | None = None,
    record: Mapping[str, object] | None = None,
    before_reading: Callable[[], None] | None = None,
) -> Iterator[tuple[Data, Start]]:
    """Check that a run may write ``out``, hold it while the block runs, and read the data. Loads no torch.

    Gives the data and what the run starts from.

    Args:
        settings: the run.
        out: its folder.
        resume: whether the run continues what is in ``out``.
        config: the file that the settings come from, which must not be written over.
        record: the run that is repeated, from `runs.assignments.recorded_run`.
        before_reading: called when the folder is held and nothing in it is in the way.

    Raises:
        UserError: if the folder, a setting or the data cannot be used.
    """
    inputs = {
        "--model": settings.model,
        "--train": settings.data.train,
        "--dev": settings.data.dev,
        "--tokenizer": settings.tokenizer,
        "--config": config,
        "--labels": settings.data.labels,
    }
    writes = WRITTEN_BY_FOLDS if is_cross_validation(settings) else WRITTEN
    output = Output(option="--out", path=out, is_folder=True, writes=writes, may_exist=True)
    with hold_outputs([output], inputs=inputs):
        if is_first_process() and is_cross_validation(settings):
            check_folder_of_folds(out)
        elif is_first_process() and not settings.data.folds:
            check_folder(settings, out, resume=resume)
        if record:
            refuse_other_folder(record, settings)
        if before_reading is not None:
            before_reading()
        start = None if is_from_hub(settings) else check_start(settings)
        data = read_data(settings)
        start = start or check_start(settings)
        for line in changes_since(record, settings, data) if record else ():
            logger.warning("%s", line)
        yield data, start


def train_and_score(
    settings: FinetuneConfig, data: Data, out: Path, *, start: Start, resume: bool = False
) -> JsonObject | None:
    """Train as the settings say, in every fold if they ask for cross-validation.

    Returns:
        The content of ``metrics.json``, or of ``folds.json`` for cross-validation; None if a signal stopped
        the run, which can be resumed.

    Raises:
        UserError: as :func:`debertav3.finetuning.run.run` and
            :func:`debertav3.finetuning.crossvalidation.cross_validate`.
    """
    # torch is loaded only now, so that bad data are reported at once
    if is_cross_validation(settings):
        from .crossvalidation import cross_validate

        return cross_validate(settings, data, out, start=start)
    from .run import run

    return run(settings, data, out, start=start, resume=resume)


def is_cross_validation(settings: FinetuneConfig) -> bool:
    """Whether the settings ask for a run for each fold, rather than for one run."""
    return bool(settings.data.folds and not settings.data.fold)
