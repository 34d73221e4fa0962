"""Cross-validation: a run for each fold, the mean of their scores, and a prediction for every example."""

import logging
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import UserError
from ..files import read_json_object, replacing_text, write_json
from ..processes import is_first_process
from ..runs.record import has_record
from ..tasks.table_writers import json_line
from .config import FinetuneConfig
from .outcomes import Outcome
from .preparation import Data, read_data
from .records import changes_between, data_facts, refuse_other_run, run_contents
from .resuming import FOLDS, PREDICTIONS
from .run import run
from .start import Start

logger = logging.getLogger(__name__)


def cross_validate(config: FinetuneConfig, data: Data, out: Path, *, start: Start) -> dict[str, object]:
    """Train on all but one fold, in turn, and score on that one.

    If interrupted, the same call continues with the first fold that is not finished.

    Args:
        config: with ``folds`` and without ``fold``.
        data: of ``config``; every fold reads its own part.
        out: gets a folder for each fold, ``folds.json`` and ``out_of_fold.jsonl``: for every example its
            texts, gold label, prediction, confidence and fold.
        start: what every fold starts from.

    Returns:
        ``folds`` and, by score, ``mean``, ``sd`` (sample standard deviation) and ``values``.

    Raises:
        UserError: if there are dev files, ``out`` holds folds of other settings, data or weights, or data or
            weights change between two folds.
        DivergedError: if a fold ends without a usable model.
    """
    folds = config.data.folds or 0
    if data.dev:
        raise UserError("--folds scores on the training data itself: leave --dev and --dev-split out.")
    plan = {out / f"fold-{fold}": config.changed(fold=fold) for fold in range(1, folds + 1)}
    facts = data_facts(data)
    for folder, settings in plan.items():
        if has_record(folder):
            refuse_other_run(settings, folder, data=facts)
    contents = run_contents(config, facts)
    for folder, settings in plan.items():
        if has_record(folder):
            continue
        part = read_data(settings, is_logged=False)
        if changed := changes_between(contents, run_contents(config, data_facts(part))):
            raise UserError(f"{', '.join(changed)} changed during the run; start it again in another folder.")
        logger.info("%s: %d examples to train on", folder.name, len(part.train))

        def keep(outcomes: Mapping[str, Sequence[Outcome]], part: Data = part, folder: Path = folder) -> None:
            _write_predictions(outcomes, part, folder)

        if run(settings, part, folder, start=start, resume=folder.exists(), on_outcomes=keep) is None:
            raise UserError("stopped; run the same command to continue.")
    return _summary(list(plan), out)


def _write_predictions(outcomes: Mapping[str, Sequence[Outcome]], data: Data, folder: Path) -> None:
    ((name, found),) = outcomes.items()
    examples = data.dev[name]
    with replacing_text(folder / PREDICTIONS) as file:
        for one in sorted(found, key=lambda one: one.example):
            row = {
                "texts": list(examples[one.example].texts),
                "gold": one.gold,
                "predicted": one.predicted,
                "confidence": one.confidence,
                "fold": name,
            }
            file.write(json_line(row))


def _summary(folders: Sequence[Path], out: Path) -> dict[str, object]:
    scores: dict[str, list[float]] = {}
    for folder in folders:
        report = read_json_object(folder / "metrics.json", needs=("dev",))
        (dev,) = report["dev"].values()
        for name in dev["majority_baseline"]:  # the names of the task's scores
            scores.setdefault(name, []).append(dev[name])
    found = {
        name: {"mean": statistics.mean(values), "sd": statistics.stdev(values), "values": values}
        for name, values in scores.items()
    }
    for name, one in found.items():
        logger.info("%s: %.4f ± %.4f (mean ± sd of %d folds)", name, one["mean"], one["sd"], len(folders))
    if is_first_process():
        write_json(out / FOLDS, {"folds": len(folders), "scores": found})
        with replacing_text(out / PREDICTIONS) as file:
            for folder in folders:
                file.write((folder / PREDICTIONS).read_text(encoding="utf-8"))
    return {"folds": len(folders), "scores": found}
