"""One run: read and check the data, train, score every dev set, leave a folder that answers and repeats."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

from torch import nn
from transformers import PreTrainedModel

from ..checkpoint import save_model
from ..checkpoint.quiet import quiet_transformers
from ..checkpoint.saving import replacing_folder
from ..errors import DivergedError, MissingExtraError, UserError
from ..files import replacing_text, write_json
from ..json_types import JsonMapping
from ..models import DebertaV2PreTrainedModel
from ..runs import page, plots
from ..runs.record import finite, write_record
from .adaptation import merged
from .batches import Tokenizer
from .card import model_card
from .config import FinetuneConfig
from .doctor import add_word_baselines, examine
from .final_scores import course_of, final_scores
from .outcomes import Outcome, worst
from .preparation import Data
from .prepared_run import PreparedRun, open_for_training, prepare_run
from .records import data_facts, run_contents, run_record
from .report import WORST_SHOWN, render
from .resuming import checkpoints_of, remove_checkpoints, starting_point, write_settings
from .score_verdict import verdict
from .start import Start, find_start
from .starting_model import open_tokenizer

logger = logging.getLogger(__name__)


class NotPossibleError(UserError):
    """The task or a setting cannot be with this model; with another it might."""


def run(
    config: FinetuneConfig,
    data: Data,
    out: Path,
    *,
    start: Start | None = None,
    resume: bool = False,
    on_outcomes: Callable[[Mapping[str, list[Outcome]]], None] | None = None,
) -> dict[str, object] | None:
    """Train as the settings say and fill the folder ``out``.

    Args:
        config: the run.
        data: from :func:`read_data`.
        out: gets the checkpoint, ``run.json`` and ``metrics.json``.
        start: what it starts from, if that is found already.
        resume: continue from the newest complete checkpoint under ``out``.
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
        start = start or find_start(config)
        tokenizer = open_tokenizer(config, data.task, start)
        model = open_for_training(config, data, tokenizer, start)
        facts = examine(data, config, tokenizer=tokenizer) if config.data.check_data else {}
        for line in facts.get("warnings", ()):
            logger.warning("%s", line)
        prepared = prepare_run(config, data, model=model, tokenizer=tokenizer, store=checkpoints_of(out))
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
        report, outcomes, fitted = final_scores(prepared, steps=trained.global_step)
    except DivergedError as error:
        if trainer.is_world_process_zero():
            _report_divergence(prepared, error, out, config=config, data=data, made_of=(sums, contents))
        raise
    with _says_what_is_kept(out):
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
            write_record(out, record)  # comes last, so a folder that has it is complete
            _log_scores(report, prepared.task.best_metric, prepared.labels, out)
            if not config.checkpoints.keep_checkpoints:
                remove_checkpoints(out)
    trainer.accelerator.wait_for_everyone()  # what reads the folder next may be in any process
    return report


@contextlib.contextmanager
def _says_what_is_kept(out: Path) -> Iterator[None]:
    """Say that the training is not lost where its report or model cannot be written."""
    try:
        yield
    except (KeyboardInterrupt, OSError, UserError) as error:
        kept = checkpoints_of(out).newest()
        if kept is None:
            raise
        advice = f"What was trained is kept in {kept}: continue with --resume."
        if isinstance(error, KeyboardInterrupt):
            logger.warning("%s", advice)
            raise
        raise UserError(f"{str(error).rstrip('.')}. {advice}") from error


@contextlib.contextmanager
def _says_not_possible() -> Iterator[None]:
    """Tell what is wrong with the model from what would stop any run."""
    try:
        yield
    except MissingExtraError:
        raise
    except UserError as error:
        raise NotPossibleError(str(error)) from error


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


def _report_divergence(
    prepared: PreparedRun,
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
        "train": course_of(prepared, steps=trainer.state.global_step),
        "history": trainer.state.log_history,
        "data": {"warnings": [str(error)]},
    }
    write_json(out / "metrics.json", finite(report))
    _write(out / "report.html", render(report, record, data, {}))


def _record(
    prepared: PreparedRun,
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
        columns=prepared.columns,
        data=data,
        contents=contents,
        device=str(prepared.trainer.args.device),
        parameters=sum(weight.numel() for weight in model.parameters()),
    )


def _log_scores(report: JsonMapping, metric: str, labels: Sequence[str], out: Path) -> None:
    """Say in a line for each dev set how it went, and where to read on."""
    for source, scores in report["dev"].items():
        line, is_well = verdict(source, scores, metric, labels)
        logger.log(logging.INFO if is_well else logging.WARNING, "%s", line)
    logger.info("scores, curves and errors: %s", out / "report.html")
