"""One run: read and check the data, train, score every dev set, leave a folder that answers and repeats."""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
import transformers
from torch import nn
from transformers import PreTrainedModel
from transformers.trainer_utils import EvalPrediction

from ..checkpoint import save_model
from ..checkpoint.quiet import quiet_transformers
from ..checkpoint.saving import replacing_folder
from ..data.probabilities import Probabilities
from ..errors import MissingExtraError, UserError
from ..files import replacing_text, write_json
from ..heads import TOKENS
from ..json_types import JsonMapping, JsonObject
from ..models import DebertaV2PreTrainedModel
from ..models.precision import multiplies_bf16
from ..runs import page
from ..runs.checkpoints import CheckpointStore
from ..tasks.custom import named_columns
from ..tasks.task import Example, Task
from ..tasks.text import TextTask
from . import plots
from .adaptation import add_lora, freeze, merged
from .baselines import check_length
from .batches import EncodedDataset, PaddingCollator, Tokenizer
from .calibration import Predictions, describe
from .card import model_card
from .config import FinetuneConfig
from .doctor import add_word_baselines, examine
from .folder import checkpoints_of, remove_checkpoints, starting_point, write_settings
from .objectives import Objective, objective_of
from .opening import Start, find_start, label_order, open_model, open_tokenizer
from .outcomes import Outcome, by_length, calibration, worst
from .preparation import Data
from .records import data_facts, finite, run_contents, run_record
from .report import WORST_SHOWN, render
from .trainer import DivergedError, FinetuneTrainer, training_arguments
from .verdict import verdict

logger = logging.getLogger(__name__)


class NotPossibleError(UserError):
    """The task or a setting cannot be with this model; with another it might."""


def run(
    config: FinetuneConfig,
    data: Data,
    out: Path,
    *,
    resume: bool = False,
    on_outcomes: Callable[[Mapping[str, list[Outcome]]], None] | None = None,
) -> dict[str, object] | None:
    """Train as the settings say and fill the folder ``out``.

    Args:
        config: the run.
        data: from :func:`read_data`.
        out: gets the checkpoint, ``run.json`` and ``metrics.json``.
        resume: go on from the newest complete checkpoint under ``out``.
        on_outcomes: called before ``run.json`` is written, with the answers to every dev set's examples.

    Returns:
        The content of ``metrics.json``; None if SIGTERM or Ctrl-C stopped the run, which can be resumed.

    Raises:
        UserError: for unusable data, settings or folders; nothing is written then.
        NotPossibleError: if it is this model with which the task or a setting cannot be; neither then.
        DivergedError: if the training ends without a usable model; its checkpoints are left, and in
            ``report.html`` and ``metrics.json`` its course.
    """
    started = time.perf_counter()
    sums = data_facts(data)
    contents = run_contents(config, sums)
    start_from = starting_point(config, out, data=sums, contents=contents, labels=data.labels, resume=resume)
    plots.require()
    page.require()
    with _says_not_possible():
        start = find_start(config)
        tokenizer = open_tokenizer(config, data.task, start)
        model = open_for_training(config, data, tokenizer, start)
        facts = examine(data, config, tokenizer=tokenizer) if config.data.check_data else {}
        for line in facts.get("warnings", ()):
            logger.warning("%s", line)
        prepared = _prepare(config, data, model=model, tokenizer=tokenizer, store=checkpoints_of(out))
    trainer = prepared.trainer
    write_settings(config, out, data=sums, contents=contents, labels=data.labels)
    try:
        with quiet_transformers():
            trained = trainer.train(resume_from_checkpoint=str(start_from) if start_from else None)
        if trainer.saves.is_stopped:
            step = trainer.state.global_step
            reason = trainer.saves.request.reason
            logger.warning("stopped by %s at step %d: continue with --resume", reason, step)
            return None
        trainer.check_weights()
        report, outcomes, fitted = _report(prepared, steps=trained.global_step)
    except DivergedError as error:
        if trainer.is_world_process_zero():
            _report_divergence(prepared, error, out, config=config, data=data, made_of=(sums, contents))
        raise
    with _tells_what_is_kept(out):
        add_word_baselines(report["dev"], facts.get("dev", {}))
        report |= {"data": facts, "seconds": time.perf_counter() - started}
        if trainer.is_world_process_zero():
            trained_model = merged(trainer.model)
            record = _record(prepared, config, out, made_of=(sums, contents), model=trained_model)
            with quiet_transformers():
                _save(trained_model, out, tokenizer)
            if fitted is not None:
                fitted.write(out)
            write_json(out / "metrics.json", finite(report))
            worst_of = {source: worst(found, WORST_SHOWN) for source, found in outcomes.items()}
            _write(out / "report.html", render(report, record, data, worst_of))
            _write(
                out / "README.md",
                model_card(report, record, data, architecture=trained_model.config.to_dict()),
            )
            if on_outcomes is not None:
                on_outcomes(outcomes)
            write_json(out / "run.json", record)  # comes last, so a folder that has it is complete
            _tell(report, prepared.task.best_metric, prepared.labels, out)
            if not config.checkpoints.keep_checkpoints:
                remove_checkpoints(out)
    return report


@contextlib.contextmanager
def _tells_what_is_kept(out: Path) -> Iterator[None]:
    """Say that the training is not lost where its report or model cannot be written."""
    try:
        yield
    except (KeyboardInterrupt, OSError, UserError) as error:
        kept = checkpoints_of(out).newest()
        if kept is None:
            raise
        told = f"What was trained is kept in {kept}: continue with --resume."
        if isinstance(error, KeyboardInterrupt):
            logger.warning("%s", told)
            raise
        raise UserError(f"{str(error).rstrip('.')}. {told}") from error


@contextlib.contextmanager
def _says_not_possible() -> Iterator[None]:
    """Tell what is wrong with the model from what would stop any run."""
    try:
        yield
    except MissingExtraError:
        raise
    except UserError as error:
        raise NotPossibleError(str(error)) from error


def open_for_training(
    config: FinetuneConfig, data: Data, tokenizer: Tokenizer, start: Start
) -> PreTrainedModel:
    """Open the model as the run trains it.

    Raises:
        UserError: if the task or a setting is not possible with it.
    """
    transformers.set_seed(config.seed)
    model = open_model(config, tokenizer, data.task, data.labels, start)
    if config.sift and not isinstance(model, DebertaV2PreTrainedModel):
        raise UserError(
            "SiFT needs a DeBERTa v2 or v3 model, whose embeddings take a perturbation; leave --sift out."
        )
    if isinstance(model, DebertaV2PreTrainedModel) and not torch.accelerator.is_available():
        model.set_attention_backend("blockwise")  # in bf16 a training step takes less than half the time
    check_length(model, config)
    if config.loop.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    freeze(model, config)
    return model


def _write(path: Path, text: str) -> None:
    with replacing_text(path) as file:
        file.write(text)


def _save(model: PreTrainedModel, out: Path, tokenizer: Tokenizer) -> None:
    if isinstance(model, DebertaV2PreTrainedModel):
        save_model(model, out, tokenizer)
        return
    with replacing_folder(out) as partial:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """All that stands ready before the first step."""

    task: Task
    objective: Objective[Task]
    labels: tuple[str, ...]
    """In the order of the model's outputs."""
    train: list[Example]
    dev_sets: dict[str, EncodedDataset]
    trainer: FinetuneTrainer


def _prepare(
    config: FinetuneConfig,
    data: Data,
    *,
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    store: CheckpointStore,
) -> _Prepared:
    task, labels = data.task, label_order(model, data.labels)
    objective = objective_of(task)

    def encoded(examples: Sequence[Example]) -> EncodedDataset:
        return objective.encode(examples, tokenizer, labels=labels, config=config)

    dev_sets = {source: encoded(examples).sorted_by_length() for source, examples in data.dev.items()}
    first_dev = next(iter(dev_sets.values()), None)

    def first_dev_scores(output: EvalPrediction) -> dict[str, float]:
        assert first_dev is not None
        return objective.score(output.predictions, first_dev, labels=labels)

    args = training_arguments(
        _with_precision(config),
        model=model,
        folder=store.folder,
        has_dev=bool(dev_sets),
        best_metric=task.best_metric,
    )
    trainer = FinetuneTrainer(
        add_lora(model, config) if config.lora else model,
        config=config,
        args=args,
        store=store,
        collator=PaddingCollator(tokenizer, has_token_labels=task.head == TOKENS),
        loss=objective.loss(data.train, labels=labels, config=config),
        divergence=objective.divergence,
        train_dataset=encoded(data.train),
        dev_dataset=first_dev,
        compute_metrics=first_dev_scores,
    )
    return _Prepared(
        task=task, objective=objective, labels=labels, train=data.train, dev_sets=dev_sets, trainer=trainer
    )


def _report_divergence(
    prepared: _Prepared,
    error: DivergedError,
    out: Path,
    *,
    config: FinetuneConfig,
    data: Data,
    made_of: tuple[Mapping[str, object], Mapping[str, object]],
) -> None:
    """Leave the curves up to the last step and what ended the run, but no ``run.json``: it is not whole."""
    trainer = prepared.trainer
    record = _record(prepared, config, out, made_of=made_of, model=cast(nn.Module, trainer.model))
    report = {
        "task": prepared.task.name,
        "dev": {},
        "train": _course(prepared, steps=trainer.state.global_step),
        "history": trainer.state.log_history,
        "data": {"warnings": [str(error)]},
    }
    write_json(out / "metrics.json", finite(report))
    _write(out / "report.html", render(report, record, data, {}))


def _record(
    prepared: _Prepared,
    config: FinetuneConfig,
    out: Path,
    *,
    made_of: tuple[Mapping[str, object], Mapping[str, object]],
    model: nn.Module,
) -> dict[str, object]:
    """Return ``run.json``.

    Args:
        prepared: the run.
        config: its settings.
        out: its folder.
        made_of: from :func:`data_facts` and :func:`run_contents`.
        model: what was trained.
    """
    data, contents = made_of
    return run_record(
        config,
        out=out,
        labels=prepared.labels,
        columns=named_columns(prepared.task),
        data=data,
        contents=contents,
        device=str(prepared.trainer.args.device),
        parameters=sum(weight.numel() for weight in model.parameters()),
    )


def _course(prepared: _Prepared, *, steps: int) -> dict[str, object]:
    """How much was trained, and how fast."""
    trainer, tally = prepared.trainer, prepared.trainer.tally
    return {
        "examples": len(prepared.train),
        "steps": steps,
        "seconds": tally.seconds,
        "examples_per_second": steps * trainer.train_sampler.batch_size / max(tally.seconds, 1e-9),
        "skipped_steps": tally.skipped_steps,
    }


def _report(
    prepared: _Prepared, *, steps: int
) -> tuple[JsonObject, dict[str, list[Outcome]], Probabilities | None]:
    """Return scores of every dev set, speed and the log; what became of each dev example; what was fitted."""
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
        "train": _course(prepared, steps=steps),
        "history": trainer.state.log_history,
    }
    if dev:
        report = {task.best_metric: next(iter(dev.values()))[task.best_metric], **report}
    return report, outcomes, fitted


def _tell(report: JsonMapping, metric: str, labels: Sequence[str], out: Path) -> None:
    """Say in a line for each dev set how it went, and where to read on."""
    for source, scores in report["dev"].items():
        line, is_well = verdict(source, scores, metric, labels)
        logger.log(logging.INFO if is_well else logging.WARNING, "%s", line)
    logger.info("scores, curves and errors: %s", out / "report.html")


def _with_precision(config: FinetuneConfig) -> FinetuneConfig:
    """Resolve ``auto``: bf16 on an accelerator that multiplies in it; fp32 on CPUs, to the last bit."""
    if config.loop.precision != "auto":
        return config
    device = torch.accelerator.current_accelerator(check_available=True)
    has_bf16 = device is not None and multiplies_bf16(device.type)
    return config.with_values({"precision": "bf16" if has_bf16 else "fp32"}, source="auto")


def _dev_report(
    prepared: _Prepared, dataset: EncodedDataset, *, source: str
) -> tuple[dict[str, object], list[Outcome], Predictions | None]:
    """Score the final weights on one dev set, beside the best answer that is always the same."""
    objective, labels = prepared.objective, prepared.labels
    output = prepared.trainer.predict(dataset)
    loss = (output.metrics or {})["test_loss"]
    if not math.isfinite(loss):
        raise DivergedError(f"training diverged: the loss on {source} is {loss}; the model was not saved.")
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


def _predictions(prepared: _Prepared, logits: object, dataset: EncodedDataset) -> Predictions | None:
    """What a classifier said of a dev set; None for other heads, and for numbers and rankings."""
    task, labels = prepared.task, prepared.labels
    if not isinstance(task, TextTask) or task.target == "number" or not labels:
        return None
    gold = dataset.labels()
    if task.target == "one-label" and gold.ndim == 2:  # distributions over labels
        gold = gold.argmax(-1)
    return Predictions(logits_NC=np.asarray(logits), gold=gold, kind=task.target, labels=labels)
