"""``debertav3.finetune(...)``: the `finetune` command as a function, for files and for rows in memory."""

import importlib.util
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import MissingExtraError, UserError
from ..finetuning.config import FinetuneConfig
from ..finetuning.preparation import resolve
from ..finetuning.steps import is_cross_validation, prepared, train_and_score
from ..json_types import JsonObject
from ..processes import num_processes
from ..runs.settings import settings_of
from ..tasks.memory_rows import are_paths, write_rows

if TYPE_CHECKING:
    from ..inference.predictor import Predictor

ROWS = "rows"
"""Subfolder of a run's folder for rows that were given in memory."""


@dataclass(frozen=True, kw_only=True)
class FinetuneResult:
    """What `finetune` returns."""

    out: Path
    """The folder of the run: model, tokenizer, ``metrics.json``, ``report.html``, ``run.json``."""
    metrics: JsonObject = field(repr=False)
    """All scores of each dev set, by its source, as under ``dev`` in ``metrics.json``.

    The source of rows in memory is ``OUT/rows/dev.jsonl``. For cross-validation, mean, standard deviation and
    values of each score, by its name.
    """
    folds: int | None = None
    """Number of models after a cross-validation."""
    _temporary: object = field(default=None, repr=False, compare=False)
    """Keeps a temporary folder alive as long as this object."""

    def predictor(self, **options: Any) -> "Predictor":
        """Load the model.

        Args:
            options: as for `Predictor.from_pretrained`.

        Raises:
            UserError: after a cross-validation, which leaves one model per fold.
        """
        from ..inference.predictor import Predictor

        if self.folds:
            raise UserError(
                f"{self.out} holds {self.folds} models, one for each fold. Open one of them: "
                f"Predictor.from_pretrained({str(self.out / 'fold-1')!r})."
            )
        return Predictor.from_pretrained(self.out, **options)


def finetune(
    task: str,
    model: str | Path,
    train: object = None,
    dev: object = None,
    out: str | Path | None = None,
    *,
    epochs: float | None = None,
    learning_rate: float | None = None,
    batch_size: int | None = None,
    max_length: int | None = None,
    dev_split: float | None = None,
    seed: int | None = None,
    text_column: str | None = None,
    pair_column: str | None = None,
    label_column: str | None = None,
    label_kind: str | None = None,
    sift: bool = False,
    lora: bool = False,
    resume: bool = False,
    **settings: object,
) -> FinetuneResult:
    """Train a model on labelled data, score it on the dev data, and save a model that is ready to use.

    The same settings give the same weights as ``debertav3 finetune``.

    Args:
        task: its name, such as ``nli``, ``squad2`` or ``ner``, or ``custom`` for your own columns.
        model: a size (trained from scratch), a folder or a Hub name.
        train: a path, several paths or ``datasets:NAME``; or rows: a list of dicts, a pandas DataFrame, a
            ``datasets.Dataset``. None means the task's public data.
        dev: the same; the first dev set selects the best checkpoint.
        out: folder for the run; None means a temporary one, deleted with the result.
        epochs: passes over the training data; here and below, None means the default for model and task.
        learning_rate: its peak.
        batch_size: examples per optimizer step.
        max_length: maximum tokens per example; longer ones are truncated.
        dev_split: without ``dev``, the share of the training rows to hold out.
        seed: random seed of new weights, data order and dropout.
        text_column: task custom: the column of the text.
        pair_column: task custom: the column of the second text.
        label_column: task custom: the column of the gold labels.
        label_kind: task custom: what a label is.
        sift: add SiFT, an adversarial regularizer.
        lora: train low-rank adapters only.
        resume: continue from the newest complete checkpoint in ``out``.
        settings: any other setting by short name, or by full name as ``**{"optimizer.weight_decay": 0.1}``.

    Raises:
        UserError: if settings, data or the folder cannot be used.
        MissingExtraError: without the extra ``train``.
        KeyboardInterrupt: if Ctrl-C or SIGTERM stopped the run; ``resume=True`` continues it.
    """
    if importlib.util.find_spec("torch") is None:
        raise MissingExtraError(feature="debertav3.finetune", package="torch", extra="train")
    if resume and out is None:
        raise UserError("resume=True needs the folder of the run: give out=FOLDER.")
    temporary = tempfile.TemporaryDirectory(prefix="debertav3-") if out is None else None
    folder = Path(temporary.name) / "model" if temporary else Path(str(out))
    rows = {name: data for name, data in (("train", train), ("dev", dev)) if not _is_source(data)}
    given = {
        "train": _sources(train, folder, "train"),
        "dev": _sources(dev, folder, "dev"),
        "epochs": epochs,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "max_length": max_length,
        "dev_split": dev_split,
        "seed": seed,
        "text_column": text_column,
        "pair_column": pair_column,
        "label_column": label_column,
        "label_kind": label_kind,
        "sift": sift or None,
        "lora": lora or None,
        **{name: _plain(value) for name, value in settings.items()},
    }
    given = {name: _plain(value) for name, value in given.items() if value is not None}
    _refuse_doubles(given)
    config = resolve(task, model=str(model), given=given, source="finetune()")
    written: list[Path] = []

    def write() -> None:
        for name, data in rows.items():
            path = _rows_file(folder, name)
            if not path.exists():
                written.append(path)
            write_rows(data, path, name=name)

    if rows and num_processes() > 1:
        raise UserError(
            f"{' and '.join(rows)} in memory cannot be read by several processes. "
            "Write the rows to a file first."
        )
    try:
        with prepared(config, folder, resume=resume, before_reading=write) as (data, start):
            report = train_and_score(config, data, folder, start=start, resume=resume)
    except BaseException:
        _remove_unused(written, folder)
        raise
    if report is None:
        raise KeyboardInterrupt(f"stopped; continue with resume=True and out={str(folder)!r}")
    is_folds = is_cross_validation(config)
    return FinetuneResult(
        out=folder,
        metrics=report["scores"] if is_folds else report["dev"],
        folds=config.data.folds if is_folds else None,
        _temporary=temporary,
    )


def _is_source(data: object) -> bool:
    return data is None or are_paths(data)


def _sources(data: Any, folder: Path, name: str) -> list[str] | None:
    """The paths that a run reads: the given ones, or the file that the rows are written to."""
    if data is None:
        return None
    if are_paths(data):
        return [str(data)] if isinstance(data, str | Path) else [str(one) for one in data]
    return [str(_rows_file(folder, name))]


def _rows_file(folder: Path, name: str) -> Path:
    return folder / ROWS / f"{name}.jsonl"


def _plain(value: object) -> object:
    """A setting with numpy's numbers (from a grid search) and paths made plain."""
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, Path) else value


def _refuse_doubles(given: Mapping[str, object]) -> None:
    """Refuse a setting that is given by both its short and its full name."""
    known = settings_of(FinetuneConfig)
    counts = Counter(known[name].path for name in given if name in known)
    for path, count in counts.items():
        if count > 1:
            raise UserError(f"finetune(): {known[path].short} and {path} are one setting; give only one.")


def _remove_unused(written: list[Path], folder: Path) -> None:
    """Remove the rows of a call that failed before its run began, so that the folder is as before."""
    if any(path.name != ROWS for path in folder.glob("[!.]*")):
        return
    for path in written:
        path.unlink(missing_ok=True)
    for empty in (folder / ROWS, folder):
        if written and empty.is_dir() and not any(empty.iterdir()):
            empty.rmdir()
