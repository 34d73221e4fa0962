"""Where a run may begin or resume: its folder, its checkpoints, and what must not have changed."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path

from ..errors import UserError
from ..files import Output, check_outputs, read_json_object, remove_leftovers, write_json
from ..json_types import JsonMapping, JsonObject
from ..runs.checkpoints import CheckpointStore
from ..runs.folder import check_run_folder
from ..runs.record import differences, has_record
from .config import FinetuneConfig
from .records import changed_settings, changes_between, known_by_path

logger = logging.getLogger(__name__)

_SETTINGS = "settings.json"
_CLASS_NAMES = "class_names"
WRITTEN = (
    "README.md",
    "config.json",
    "metrics.json",
    "probabilities.json",
    "report.html",
    "*.safetensors",
    "*.safetensors.index.json",
    "spm.model",
    "spiece.model",
    "tokenizer*.json",
    "added_tokens.json",
    "special_tokens_map.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)
"""Files that a run leaves in its folder, ``run.json`` aside."""

FOLDS, PREDICTIONS = "folds.json", "out_of_fold.jsonl"
WRITTEN_BY_FOLDS = ("fold-*", FOLDS, PREDICTIONS)
"""What a cross-validation leaves in its folder."""


def checkpoints_of(out: Path) -> CheckpointStore:
    """The checkpoints of the run in ``out``: the last one, and in addition the best one."""
    return CheckpointStore(out, name="checkpoint")


def check_can_be_made(out: Path) -> None:
    """Check that files can be written to a folder that need not exist. Nothing is left there.

    Raises:
        UserError: if it is a file, is below one, or the system does not let it be made or written to.
    """
    check_outputs([Output(option="--out", path=out, is_folder=True, may_exist=True)], inputs={})


def starting_point(
    config: FinetuneConfig,
    out: Path,
    *,
    data: Mapping[str, object],
    contents: Mapping[str, object],
    labels: tuple[str, ...],
    resume: bool,
) -> Path | None:
    """Return the checkpoint to resume from; None for the beginning. Nothing is written.

    Args:
        config: the run.
        out: its folder, which need not exist.
        data: rows and sum of each data file (:func:`debertav3.finetuning.records.data_facts`).
        contents: what the run is made of (:func:`debertav3.finetuning.records.run_contents`).
        labels: class names in id order.
        resume: whether to continue what is there.

    Raises:
        UserError: if the folder holds another run, a model, or files that this run would write over, or if
            settings, data or labels are not those of the run that is to be resumed.
    """
    check_folder(config, out, resume=resume)
    if not resume:
        return None
    store = checkpoints_of(out)
    settings = store.folder / _SETTINGS
    if settings.is_file():
        before = read_json_object(settings)
        _refuse_changes(before, config, data=data, contents=contents, labels=labels)
    found = store.newest()
    logger.info("resuming from %s", found or "the beginning: there is no complete checkpoint yet")
    return found


def check_folder(config: FinetuneConfig, out: Path, *, resume: bool) -> None:
    """Check, before torch is loaded, that a run may use a folder. Nothing is written.

    Raises:
        UserError: see :func:`debertav3.runs.folder.check_run_folder`.
    """
    store, is_finished = checkpoints_of(out), has_record(out)
    check_run_folder(
        out,
        writes=(*WRITTEN, store.folder.name),
        is_own=_has_begun(out),
        holds_run=is_finished or bool(store.all()),
        is_finished=is_finished,
        resume=resume,
        inputs={"--model": config.model},
    )


def check_folder_of_folds(out: Path) -> None:
    """Check that a cross-validation may use a folder: what it writes there is new or of another one's folds.

    Raises:
        UserError: if there are such files, and no fold that has begun.
    """
    check_run_folder(
        out,
        writes=(FOLDS, PREDICTIONS),
        is_own=any(map(_has_begun, out.glob("fold-*"))),
        holds_run=False,
        resume=False,
        inputs={},
    )


def _has_begun(out: Path) -> bool:
    """Whether a folder has a run of fine-tuning, finished or not."""
    return has_record(out) or (checkpoints_of(out).folder / _SETTINGS).is_file()


def write_settings(
    config: FinetuneConfig,
    out: Path,
    *,
    data: Mapping[str, object],
    contents: Mapping[str, object],
    labels: tuple[str, ...],
) -> None:
    """Note what the run is made of; by this file a later ``--resume`` knows the folder as a run's."""
    path = checkpoints_of(out).folder / _SETTINGS
    write_json(path, _pinned(config, data=data, contents=contents, labels=labels))


def remove_checkpoints(out: Path) -> None:
    """Delete what the run has written under ``checkpoints``, and the folder if nothing else is in it."""
    store = checkpoints_of(out)
    (store.folder / _SETTINGS).unlink(missing_ok=True)
    remove_leftovers(store.folder, re.escape(_SETTINGS))
    store.remove_all()


def _pinned(
    config: FinetuneConfig,
    *,
    data: Mapping[str, object],
    contents: Mapping[str, object],
    labels: tuple[str, ...],
) -> dict[str, object]:
    pinned: JsonObject = {**config.to_dict(), "data": dict(data), "contents": dict(contents)}
    return {**pinned, _CLASS_NAMES: list(labels)}


def _refuse_changes(
    before: JsonMapping,
    config: FinetuneConfig,
    *,
    data: JsonMapping,
    contents: JsonMapping,
    labels: tuple[str, ...],
) -> None:
    """Refuse other settings, labels, data or weights; what an older version did not note is not compared.

    Data, model and tokenizer are compared by content, so they may have moved; without a note of their
    content by path, and data by their sums.
    """
    if isinstance(before.get("labels"), list):  # class names were called so, as a setting is now
        others = {name: value for name, value in before.items() if name != "labels"}
        before = {_CLASS_NAMES: before["labels"], **others}
    before = {_CLASS_NAMES: list(labels), **before}
    known = before.get("contents", {})
    names = changed_settings(before, config, by_path=known_by_path(known, contents))
    now = {**config.to_dict(), _CLASS_NAMES: list(labels)}
    names += [_CLASS_NAMES] if before[_CLASS_NAMES] != now[_CLASS_NAMES] else []
    if names:
        changed = differences({name: before.get(name) for name in names}, {name: now[name] for name in names})
        raise UserError(f"--resume needs the settings of the first run; changed: {', '.join(changed)}")
    other = changes_between(known, contents)
    if not known and "data" in before:
        other = [source for source, facts in data.items() if before["data"].get(source) != facts]
    if other:
        raise UserError(
            f"--resume needs the data and the model of the first run; changed since: {', '.join(other)}. "
            "Put the old files back, or train in another folder."
        )
