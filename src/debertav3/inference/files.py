"""Whole files through a `Predictor`: every row back in order, in flat memory, and the metrics.

A file is read twice. The first pass checks every row, so that a fault in the last line is told before the
first batch is computed; the second answers chunk by chunk, each sorted by length within.
"""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from ..data.jsonl import Row, atomic_write, json_line, read_jsonl
from ..errors import UserError
from .file_tasks import FileTask
from .rows import Example

logger = logging.getLogger(__name__)

CHUNK_ROWS = 4096
CHUNK_CHARACTERS = 4_000_000  # about a million tokens, some 100 MB while they are worked on

_DIGITS = 6


def predict_file(
    task: FileTask, source: str | Path, target: str | Path, *, metrics: str | Path | None = None
) -> None:
    """Answer every row of a JSONL file.

    Args:
        task: what to answer.
        source: the rows, plain or gzip.
        target: gets every row in order, with ``prediction`` and ``scores`` added; ``.gz`` is compressed.
        metrics: gets the metrics of the labelled rows, as JSON.

    Raises:
        UserError: for the first thing that is wrong; then neither file is written.
    """
    if metrics is not None and Path(metrics).resolve() == Path(target).resolve():
        raise UserError(f"output and metrics are the same file {target}. Give two names.")
    num_rows, num_labelled = check_file(task, source)
    with ExitStack() as files:
        output = files.enter_context(atomic_write(target))
        report = files.enter_context(atomic_write(metrics)) if metrics is not None else None
        started = time.monotonic()
        _answer(task, source, num_rows=num_rows, output=output)
        logger.info("%d rows in %.1f s", num_rows, time.monotonic() - started)
        if report is not None:
            if not num_labelled:
                logger.warning("%s: no row has a label, so there are no scores", source)
            report.write(to_json(_metrics(task, num_rows, num_labelled)))


def evaluate_file(task: FileTask, source: str | Path) -> dict[str, Any]:
    """Answer the labelled rows of a JSONL file and return the metrics.

    Raises:
        UserError: if a row is wrong, or none has a label.
    """
    num_rows, num_labelled = check_file(task, source)
    if not num_labelled:
        raise UserError(f"{source}: none of its {num_rows} rows has a label, so there is nothing to score.")
    _answer(task, source, num_rows=num_rows, output=None)
    return _metrics(task, num_rows, num_labelled)


def check_file(task: FileTask, source: str | Path) -> tuple[int, int]:
    """Read a whole file without answering it: number of rows, and of those with a label.

    Raises:
        UserError: naming file, line and field of the first fault, or if there are no rows.
    """
    num_rows = num_labelled = 0
    for _, example in _examples(task, source):
        num_rows += 1
        num_labelled += example.gold is not None
    if not num_rows:
        raise UserError(f"{source} holds no rows. Need one JSON object on each line.")
    return num_rows, num_labelled


def _examples(task: FileTask, source: str | Path) -> Iterator[tuple[Row, Example]]:
    for row in read_jsonl(source):
        try:
            yield row, task.read(row.fields)
        except UserError as error:
            raise UserError(f"{source} line {row.number}: {error}") from error


def _chunks(
    task: FileTask, source: str | Path, *, labelled_only: bool
) -> Iterator[list[tuple[Row, Example]]]:
    chunk: list[tuple[Row, Example]] = []
    num_characters = 0
    for row, example in _examples(task, source):
        if labelled_only and example.gold is None:
            continue
        chunk.append((row, example))
        num_characters += example.num_characters
        if len(chunk) == CHUNK_ROWS or num_characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, num_characters = [], 0
    if chunk:
        yield chunk


def _answer(task: FileTask, source: str | Path, *, num_rows: int, output: IO[str] | None) -> None:
    from tqdm import tqdm

    is_small = num_rows <= CHUNK_ROWS  # then the predictor's own bar says more
    with tqdm(total=num_rows, unit=" rows", disable=True if is_small else None) as bar:
        for chunk in _chunks(task, source, labelled_only=output is None):
            results = task.answer([example for _, example in chunk])
            for (row, example), result in zip(chunk, results, strict=True):
                if example.gold is not None:
                    task.scorer.add(example.gold, result.scored)
                if output is not None:
                    added = {"prediction": rounded(result.prediction), "scores": rounded(result.scores)}
                    output.write(json_line({**row.fields, **added}))
            bar.update(len(chunk))


def _metrics(task: FileTask, num_rows: int, num_labelled: int) -> dict[str, Any]:
    scores = task.scorer.result() if num_labelled else {}
    about = {
        "task": task.name,
        "model": task.predictor.engine.place,
        "rows": num_rows,
        "labelled": num_labelled,
    }
    return {**about, **scores}


def to_json(metrics: dict[str, Any]) -> str:
    """Metrics as indented JSON with a line end."""
    return json.dumps(metrics, indent=2, ensure_ascii=False) + "\n"


def rounded(value: Any) -> Any:
    """The same lists and dicts with their real numbers cut to six decimals, which is more than fp32 tells."""
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return value
