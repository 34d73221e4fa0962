"""Whole files through a `Predictor`: every row back in order, in flat memory, and the metrics.

A file is read up to three times. The first pass checks every row and reports a fault in the last line before
the first batch is computed; the second answers chunk by chunk, each sorted by length within, and keeps
the answers in a `Journal`; the third writes rows and answers together. Every later pass compares what it
reads with the first, chunk by chunk. A run that was stopped resumes with the first chunk that its journal
does not have: chunks depend on the file alone, so the results are the same.
"""

import itertools
import json
import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ...errors import UserError
from ...files import Output, check_outputs, json_text, lock, replacing_text
from ...json_types import JsonObject
from ...tasks.formats import JSONL, PARQUET, Format
from ...tasks.preannotations import Tool
from ...tasks.rows import Row
from ...tasks.table_writers import PREDICTION, SCORES, Layout, open_writer, written_format
from ...tasks.tables import Reading
from .input import CHUNK_ROWS, Source, check_file, chunks_of, examples, rows_of
from .journal import Journal, StoredAnswer
from .row_answers import CheckedRow, FileTask
from .workers import Answerer, InProcess, Settled, answer_chunk

if TYPE_CHECKING:
    from tqdm import tqdm

logger = logging.getLogger(__name__)


def predict_file(
    task: FileTask,
    source: str | Path,
    target: str | Path,
    *,
    metrics: str | Path | None = None,
    source_format: str | None = None,
    target_format: str | None = None,
    tool: Tool | None = None,
    resume: bool = False,
    overwrite: bool = False,
    answerer: Answerer | None = None,
) -> None:
    """Answer every row of a file.

    Args:
        task: what to answer.
        source: the rows: any that `tasks.tables.read_table` reads.
        target: gets every row in order, with ``prediction`` and ``scores`` added; ``.gz`` is compressed.
        metrics: gets the metrics of the labelled rows, as JSON.
        source_format: name of one of `formats.FORMATS`; None goes by ending and content.
        target_format: likewise for the target.
        tool: task ner: the annotation tool that the target is written for, in place of a format.
        resume: continue with the answers that an earlier run has left, if there are any.
        overwrite: start over, and replace what an earlier run has left when the new output is whole.
        answerer: who answers; None for this process.

    Raises:
        UserError: for the first thing that is wrong; then neither file is written.
    """
    outputs = check_run(
        target, metrics, target_format=target_format, tool=tool, resume=resume, overwrite=overwrite
    )
    with lock(target):
        check_outputs(
            outputs, inputs={"--data": source, "--model": task.predictor.engine.place}, overwrite=overwrite
        )
        _predict(
            task,
            source,
            target,
            metrics=metrics,
            source_format=source_format,
            written=tool or written_format(target, named=target_format),
            resume=resume,
            answerer=answerer,
        )


def check_run(
    target: str | Path,
    metrics: str | Path | None,
    *,
    target_format: str | None,
    tool: Tool | None = None,
    resume: bool,
    overwrite: bool,
) -> list[Output]:
    """Check the options of a run that need no model, and list what it writes, for `check_outputs`.

    Raises:
        UserError: for options that contradict each other, a format that cannot be written, or an earlier
            run's answers that are neither continued nor replaced.
    """
    if resume and overwrite:
        raise UserError("--resume continues an earlier run and --overwrite replaces it. Give one of them.")
    if tool is None:
        written_format(target, named=target_format)
        output = Output(option="--out", path=target, may_exist=resume)
    else:
        output = tool.output(target)
    journal = Journal(target)
    if journal.exists() and not journal.is_ours():
        raise UserError(
            f"{journal.path} is not the progress of a run, and --out {target} needs this name for its own. "
            "Move that file, or choose another --out."
        )
    if journal.exists() and not (resume or overwrite):
        raise UserError(
            f"{journal.path} contains the answers of a run that was stopped. "
            "Continue with --resume, or start over with --overwrite."
        )
    return [
        output,
        Output(option="--metrics", path=metrics, may_exist=resume),
        Output(option="the progress file of --out,", path=journal.path, may_exist=True, is_beside=True),
    ]


def _predict(
    task: FileTask,
    source: str | Path,
    target: str | Path,
    *,
    metrics: str | Path | None,
    source_format: str | None,
    written: Format | Tool,
    resume: bool,
    answerer: Answerer | None,
) -> None:
    journal = Journal(target)
    found = check_file(task, source, source_format=source_format, needs_schema=written is PARQUET)
    replaced = [name for name in (PREDICTION, SCORES) if name in found.columns]
    if replaced and isinstance(written, Format):
        logger.warning(
            "%s: in %s, its own %s %s replaced by the answers",
            source,
            target,
            " and ".join(replaced),
            "are" if len(replaced) > 1 else "is",
        )
    started = time.monotonic()
    with journal:
        num_known = None
        if resume and journal.exists():
            _keep_backend(journal, task)
            num_known = journal.begin_again(_about(task, found))
        elif resume and Path(target).exists():
            num_known = _take_over(journal, task, found, target, written)
        _fill(journal, task, found, num_known=num_known, answerer=answerer)
        report = _write(journal, task, found, target, written)
        logger.info(
            "%d rows in %.1f s on backend %s",
            found.num_rows,
            time.monotonic() - started,
            task.predictor.engine.backend.name,
        )
        if metrics is not None:
            if not found.num_labelled:
                logger.warning("%s: no row has a label, so there are no scores", source)
            with replacing_text(metrics) as file:
                file.write(json_text(report))
        journal.delete()


def evaluate_file(task: FileTask, source: str | Path, *, source_format: str | None = None) -> JsonObject:
    """Answer the labelled rows of a file and return the metrics.

    Raises:
        UserError: if a row is wrong, or none has a label.
    """
    found = check_file(task, source, source_format=source_format)
    if not found.num_labelled:
        columns = ", ".join(map(repr, found.columns))
        advice = f" Say with --label-column where it stands: there are {columns}."
        raise UserError(
            f"{source}: none of its {found.num_rows} rows has a label, so there is nothing to score."
            f"{advice if '--label-column' in task.column_options else ''}"
        )
    task.predictor.engine.settle(found.num_tokens)
    with _bar(found.num_rows, done=0) as bar:
        for chunk in chunks_of(task, found):
            if labelled := [example for example in chunk if example.gold is not None]:
                for example, answer in zip(labelled, answer_chunk(task, labelled), strict=True):
                    task.scorer.add(example.gold, answer.scored)
            bar.update(len(chunk))
    return _metrics(task, found)


def _fill(
    journal: Journal, task: FileTask, source: Source, *, num_known: int | None, answerer: Answerer | None
) -> None:
    """Answer the chunks that the journal has not; ``num_known`` rows are in it, None if it is new."""
    engine = task.predictor.engine
    chunks = chunks_of(task, source)
    first: list[list[CheckedRow]] = []
    num_done = 0
    if num_known is None:
        engine.settle(source.num_tokens)
        journal.begin({**_about(task, source), "batch_tokens": engine.batch_tokens})
    else:
        engine.batch_tokens = journal.about["batch_tokens"]
        for chunk in chunks:
            if num_done + len(chunk) > num_known:
                first = [chunk]
                break
            num_done += len(chunk)
        journal.keep(num_done)
        logger.info("%s: %d of %d rows are already answered", journal.path, num_done, source.num_rows)
    answer = answerer or InProcess(task)
    with _bar(source.num_rows, done=num_done) as bar:
        settled = Settled(engine.backend.name, engine.batch_tokens)
        for answers in answer(itertools.chain(first, chunks), settled):
            journal.add(answers)
            bar.update(len(answers))


def _keep_backend(journal: Journal, task: FileTask) -> None:
    """Resume with the backend that the run started with, where ``auto`` may choose.

    Raises:
        UserError: if it cannot run the checkpoint here.
    """
    checkpoint, header = task.predictor.checkpoint, journal.header()
    if checkpoint is None or header.get("content") != checkpoint.fingerprint:
        return  # of another model: `Journal.begin_again` says so
    name = str(header.get("backend"))
    try:
        task.predictor.engine.keep_backend(name)
    except UserError as error:
        raise UserError(
            f"{journal.path} was started on backend {name}, which cannot continue: {error} "
            "Or start over with --overwrite."
        ) from None


def _about(task: FileTask, source: Source) -> JsonObject:
    """What must be equal for the answers of two runs to belong together."""
    engine, checkpoint = task.predictor.engine, task.predictor.checkpoint
    about = {
        "task": task.name,
        "model": engine.place,
        "content": None if checkpoint is None else checkpoint.fingerprint,
        "dtype": engine.backend.dtype,
        "backend": engine.backend.name,
        "labels": task.predictor.labels,
        "probabilities": asdict(task.predictor.probabilities),
        "max_length": engine.inputs.max_length,
        "options": asdict(task.options),
        "input rows": source.num_rows,
        "input checksum": source.checksum,
        "chunk rows": CHUNK_ROWS,
    }
    return json.loads(json.dumps(about, default=dict))


def _take_over(
    journal: Journal, task: FileTask, source: Source, target: str | Path, target_format: Format | Tool
) -> int:
    """Begin a journal with the answers of an output that another program left half written.

    Raises:
        UserError: if it is not JSONL, or its rows are not those of the input.
    """
    if target_format is not JSONL:
        raise UserError(
            f"{target} exists, but not {journal.path}, which --resume continues. Start over with --overwrite."
        )
    journal.begin({**_about(task, source), "batch_tokens": task.predictor.engine.batch_tokens})
    rows = examples(task, source.reading)
    for old, (row, example) in zip(_whole_rows(target), rows, strict=False):
        rest = {name: value for name, value in old.original.items() if name not in (PREDICTION, SCORES)}
        wanted = {name: value for name, value in row.original.items() if name not in (PREDICTION, SCORES)}
        if rest != wanted or PREDICTION not in old.original:
            journal.delete()
            raise UserError(f"{old.place} does not match {row.place}. Start over with --overwrite.")
        if example.gold is not None:
            break  # its metrics need more than the output says
        journal.add([StoredAnswer(old.original[PREDICTION], old.original.get(SCORES), None)])
    if journal.num_rows:
        message = "%s: %d rows are taken over; nothing says which model answered them"
        logger.warning(message, target, journal.num_rows)
    return journal.num_rows


def _whole_rows(target: str | Path) -> Iterator[Row]:
    """The rows of a file up to the first that is torn."""
    rows = Reading(str(target), JSONL)
    with suppress(UserError):
        yield from rows


def _write(
    journal: Journal, task: FileTask, source: Source, target: str | Path, written: Format | Tool
) -> JsonObject:
    """Write rows and answers together, and score."""
    if isinstance(written, Tool):
        with written.open(target) as write_texts:
            for chunk in _scored_chunks(journal, task, source):
                found = (task.marked(row, answer.prediction, answer.scores) for row, answer in chunk)
                write_texts([one for one in found if one is not None])
        return _metrics(task, source)
    first = next(answer.prediction for answer in journal.read() if answer.prediction is not None)
    layout = Layout(
        file_format=written,
        columns=source.columns,
        schema=source.schema,
        has_numbers=isinstance(first, float | int),
    )
    with open_writer(target, layout) as write:
        for chunk in _scored_chunks(journal, task, source):
            write(
                [
                    {**row.original, PREDICTION: answer.prediction, SCORES: answer.scores}
                    for row, answer in chunk
                ]
            )
    return _metrics(task, source)


def _scored_chunks(
    journal: Journal, task: FileTask, source: Source
) -> Iterator[list[tuple[Row, StoredAnswer]]]:
    """All rows with their answers; those with a gold label are scored."""
    answers = journal.read()
    for chunk in rows_of(task, source):
        block = []
        for row, example in chunk:
            answer = next(answers)
            if example.gold is not None:
                task.scorer.add(example.gold, _scored(answer))
            block.append((row, answer))
        yield block


def _scored(answer: StoredAnswer) -> object:
    """The prediction as the scorer takes it: JSON has made lists of the tuples that entities are."""
    if isinstance(answer.scored, list):
        return [tuple(one) if isinstance(one, list) else one for one in answer.scored]
    return answer.scored


def _bar(num_rows: int, *, done: int) -> "tqdm[NoReturn]":
    from tqdm import tqdm

    is_small = num_rows <= CHUNK_ROWS  # then the predictor's own bar says more
    return tqdm(total=num_rows, initial=done, unit=" rows", disable=True if is_small else None)


def _metrics(task: FileTask, source: Source) -> JsonObject:
    scores = task.scorer.result() if source.num_labelled else {}
    about = {
        "task": task.name,
        "model": task.predictor.engine.place,
        "rows": source.num_rows,
        "labelled": source.num_labelled,
    }
    return {**about, **scores}
