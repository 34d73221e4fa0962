"""One run: read and check the data, train, score every dev set, leave a folder that answers and repeats."""

import json
import logging
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers.trainer_utils import TrainOutput

from ..checkpoint import save_model
from ..checkpoint.quiet import quiet_transformers
from ..data.jsonl import write_json
from ..errors import UserError
from ..models import DebertaV2ForSequenceClassification
from ..tokenization import DebertaV3Tokenizer
from . import checkpoints, metrics
from .batches import EncodedDataset, PaddingCollator, encode_examples
from .config import FinetuneConfig
from .examples import Example
from .losses import LossFunction, classification_loss, regression_loss
from .opening import label_order, open_model, open_tokenizer
from .preparation import Data
from .records import run_record
from .sift import class_divergence, score_divergence
from .task import Task
from .tasks import find_task
from .trainer import FinetuneTrainer, training_arguments

logger = logging.getLogger(__name__)

_SETTINGS = "settings.json"


def run(config: FinetuneConfig, data: Data, out: Path, *, resume: bool = False) -> dict[str, Any] | None:
    """Train as the settings say and fill the folder ``out``.

    Args:
        config: the run.
        data: from :func:`read_data`.
        out: gets the checkpoint, ``run.json`` and ``metrics.json``.
        resume: go on from the newest complete checkpoint under ``out``.

    Returns:
        The content of ``metrics.json``; None if the run was stopped by SIGTERM and can be resumed.

    Raises:
        UserError: for unusable data, settings or folders; nothing is written then.
    """
    started = time.perf_counter()
    folder = out / "checkpoints"
    start_from = _starting_point(config, out, folder, resume=resume)
    tokenizer = open_tokenizer(config)
    transformers.set_seed(config.seed)
    model = open_model(config, tokenizer, data.labels)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    prepared = _prepare(config, data, model=model, tokenizer=tokenizer, folder=folder)
    trainer = prepared.trainer
    write_json(folder / _SETTINGS, config.to_dict())
    with quiet_transformers():
        trained = trainer.train(resume_from_checkpoint=str(start_from) if start_from else None)
    if trainer.saves.is_stopped:
        step = trainer.state.global_step
        logger.warning(
            "stopped by SIGTERM at step %d; the same command with --resume goes on from there", step
        )
        return None
    report = _report(prepared, trained) | {"seconds": time.perf_counter() - started}
    if trainer.is_world_process_zero():
        device = str(trainer.args.device)
        record = run_record(config, labels=prepared.labels, rows=data.rows, device=device)
        with quiet_transformers():
            save_model(model, out, tokenizer)
        write_json(out / "metrics.json", report)
        write_json(out / "run.json", record)  # comes last, so a folder that has it is complete
        if not config.keep_checkpoints:
            shutil.rmtree(folder)
    return report


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """All that stands ready before the first step."""

    task: Task
    labels: tuple[str, ...]
    """In the order of the model's outputs."""
    train: list[Example]
    dev_sets: dict[str, EncodedDataset]
    trainer: FinetuneTrainer


def _prepare(
    config: FinetuneConfig,
    data: Data,
    *,
    model: DebertaV2ForSequenceClassification,
    tokenizer: DebertaV3Tokenizer,
    folder: Path,
) -> _Prepared:
    task = find_task(config.task)
    labels = label_order(model) if data.labels else ()

    def encoded(examples: Sequence[Example], name: str) -> EncodedDataset:
        return encode_examples(
            examples, tokenizer, labels=labels, max_length=config.max_length, description=name
        )

    dev_sets = {path: encoded(examples, "dev").sorted_by_length()[0] for path, examples in data.dev.items()}
    args = training_arguments(
        _with_precision(config), folder=folder, has_dev=bool(dev_sets), best_metric=task.best_metric
    )
    trainer = FinetuneTrainer(
        model,
        config=config,
        args=args,
        collator=PaddingCollator(tokenizer),
        loss=_loss(task, config),
        divergence=score_divergence if task.is_regression else class_divergence,
        train_dataset=encoded(data.train, "train"),
        dev_dataset=next(iter(dev_sets.values()), None),
        compute_metrics=lambda output: _scores(task, output.predictions, output.label_ids),
    )
    return _Prepared(task=task, labels=labels, train=data.train, dev_sets=dev_sets, trainer=trainer)


def _report(prepared: _Prepared, trained: TrainOutput) -> dict[str, Any]:
    """Return the content of ``metrics.json``: scores of every dev set, speed and the log."""
    trainer, task = prepared.trainer, prepared.task
    dev = {path: _dev_report(prepared, dataset) for path, dataset in prepared.dev_sets.items()}
    report: dict[str, Any] = {
        "task": task.name,
        "dev": dev,
        "train": {
            "examples": len(prepared.train),
            "steps": trained.global_step,
            "loss": trained.training_loss,
            "seconds": trained.metrics["train_runtime"],
            "examples_per_second": trained.metrics["train_samples_per_second"],
            "skipped_steps": trainer.skipped_steps,
        },
        "history": trainer.state.log_history,
    }
    if dev:
        report = {task.best_metric: next(iter(dev.values()))[task.best_metric], **report}
    return report


def _starting_point(config: FinetuneConfig, out: Path, folder: Path, *, resume: bool) -> Path | None:
    """Return the checkpoint to go on from, and refuse to write over another run."""
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file. Give a folder.")
    if not resume:
        if (out / "run.json").exists() or checkpoints.numbered(folder):
            raise UserError(
                f"--out {out} already holds a run. Choose another folder, or add --resume to go on with it."
            )
        return None
    if (out / "run.json").exists():
        raise UserError(f"--out {out} holds a finished run; there is nothing to resume.")
    settings = folder / _SETTINGS
    if settings.is_file():
        before = json.loads(settings.read_text(encoding="utf-8"))
        now = config.to_dict()
        changed = [key for key in now if before.get(key) != now[key]]
        if changed:
            listed = ", ".join(f"{key} (was {before.get(key)!r}, now {now[key]!r})" for key in changed)
            raise UserError(f"--resume needs the settings of the first run; changed: {listed}")
    found = checkpoints.newest_complete(folder)
    logger.info("resuming from %s", found or "the beginning: there is no complete checkpoint yet")
    return found


def _with_precision(config: FinetuneConfig) -> FinetuneConfig:
    """Resolve ``auto`` for the device at hand."""
    if config.precision != "auto":
        return config
    has_bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return config.with_values({"precision": "bf16" if has_bf16 else "fp32"}, source="auto")


def _loss(task: Task, config: FinetuneConfig) -> LossFunction:
    return (
        regression_loss if task.is_regression else classification_loss(label_smoothing=config.label_smoothing)
    )


def _decide(task: Task, logits: metrics.Array) -> metrics.Array:
    """Label ids, or numbers for regression, from ``(N, num_labels)`` logits."""
    decided: metrics.Array = logits.squeeze(-1) if task.is_regression else logits.argmax(axis=-1)
    return decided


def _scores(task: Task, logits: metrics.Array, gold: metrics.Array) -> dict[str, float]:
    predictions = _decide(task, logits)
    return {metric.__name__: metric(predictions, gold) for metric in task.metrics}


def _dev_report(prepared: _Prepared, dataset: EncodedDataset) -> dict[str, Any]:
    """Score the final weights on one dev set, beside always answering with the commonest training label."""
    task, labels = prepared.task, prepared.labels
    output = prepared.trainer.predict(dataset)
    logits, gold = np.asarray(output.predictions), np.asarray(output.label_ids)
    report: dict[str, Any] = {
        **_scores(task, logits, gold),
        "loss": (output.metrics or {})["test_loss"],
        "examples": len(gold),
    }
    if task.is_regression:
        return report
    predictions = _decide(task, logits)
    commonest = labels.index(str(Counter(example.label for example in prepared.train).most_common(1)[0][0]))
    always = np.full_like(gold, commonest)
    report["majority_baseline"] = {metric.__name__: metric(always, gold) for metric in task.metrics}
    report["per_label"] = metrics.per_label(predictions, gold, names=labels)
    report["confusion"] = metrics.confusion(predictions, gold, num_labels=len(labels))
    return report
