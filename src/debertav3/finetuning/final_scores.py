"""Scores of the final weights on every dev set, and how the training went."""

import math

import numpy as np

from ..data.probabilities import Probabilities
from ..errors import DivergedError
from ..json_types import JsonObject
from ..tasks.text import TextTask
from .batches import EncodedDataset
from .calibration import DevPredictions, describe
from .outcomes import Outcome, by_length, calibration
from .prepared_run import PreparedRun
from .trainer import DIVERGED_ADVICE


def course_of(prepared: PreparedRun, *, steps: int) -> dict[str, object]:
    """How much was trained, and how fast: counts, seconds, and examples per second over all processes.

    Args:
        prepared: the run.
        steps: optimizer steps done.
    """
    trainer, tally = prepared.trainer, prepared.trainer.tally
    return {
        "examples": len(prepared.train),
        "steps": steps,
        "seconds": tally.seconds,
        "examples_per_second": steps * trainer.train_sampler.batch_size / max(tally.seconds, 1e-9),
        "skipped_steps": tally.skipped_steps,
    }


def final_scores(
    prepared: PreparedRun, *, steps: int
) -> tuple[JsonObject, dict[str, list[Outcome]], Probabilities | None]:
    """Score the final weights.

    Args:
        prepared: the run; its trainer scores nothing of its own afterwards.
        steps: optimizer steps done.

    Returns:
        The content of ``metrics.json``; each example's outcome, by dev set; the temperature or thresholds
        fitted on the first dev set, None where there is nothing to fit.

    Raises:
        DivergedError: if the loss on a dev set is not finite.
    """
    trainer, task = prepared.trainer, prepared.task
    trainer.compute_metrics = None  # it scores the first dev set; from here on each is scored as itself
    dev: dict[str, dict[str, object]] = {}
    outcomes: dict[str, list[Outcome]] = {}
    fitted: Probabilities | None = None
    for source, dataset in prepared.dev_sets.items():
        dev[source], outcomes[source], predictions = _dev_report(prepared, dataset, source=source)
        if predictions is not None:
            if len(dev) == 1 and trainer.config.evaluation.calibrate:
                fitted = predictions.fit()
            dev[source]["probabilities"] = describe(predictions, fitted)
    report: dict[str, object] = {
        "task": task.name,
        "dev": dev,
        "train": course_of(prepared, steps=steps),
        "history": trainer.state.log_history,
    }
    if dev:
        report = {task.best_metric: next(iter(dev.values()))[task.best_metric], **report}
    return report, outcomes, fitted


def _dev_report(
    prepared: PreparedRun, dataset: EncodedDataset, *, source: str
) -> tuple[dict[str, object], list[Outcome], DevPredictions | None]:
    """Score the final weights on one dev set, beside the best answer that is always the same."""
    objective, labels = prepared.objective, prepared.labels
    output = prepared.trainer.predict(dataset)
    loss = (output.metrics or {})["test_loss"]
    if not math.isfinite(loss):
        raise DivergedError(
            f"training diverged: the loss on {source} is {loss}; the model was not saved. {DIVERGED_ADVICE}"
        )
    outcomes = objective.outcomes(output.predictions, dataset, labels=labels)
    report = {
        **objective.score(output.predictions, dataset, labels=labels),
        "loss": loss,
        "examples": len(dataset.examples),
        "majority_baseline": prepared.task.baseline(dataset.examples, dataset.examples, labels=labels),
        **objective.details(output.predictions, dataset, labels=labels),
        "calibration": calibration(outcomes),
        "by_length": by_length(outcomes),
    }
    return report, outcomes, _predictions(prepared, output.predictions, dataset)


def _predictions(prepared: PreparedRun, logits: object, dataset: EncodedDataset) -> DevPredictions | None:
    """What a classifier said of a dev set; None for other heads, and for numbers and rankings."""
    task, labels = prepared.task, prepared.labels
    if not isinstance(task, TextTask) or task.target == "number" or not labels:
        return None
    gold = dataset.labels()
    if task.target == "one-label" and gold.ndim == 2:  # distributions over labels
        gold = gold.argmax(-1)
    return DevPredictions(logits_NC=np.asarray(logits), gold=gold, kind=task.target, labels=labels)
