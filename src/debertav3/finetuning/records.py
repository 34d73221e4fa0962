"""What is needed to repeat a run: settings, data sums, versions, commit, command; and what has changed."""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..files import sha256_of_file
from ..files.model_content import changed_files, model_content
from ..files.named_sets import DATASETS_PREFIX
from ..json_types import JsonMapping, JsonObject
from ..runs.record import circumstances, read_record
from ..sizes import is_size
from ..tasks.sources import expand
from .command import command_of
from .config import FinetuneConfig

if TYPE_CHECKING:
    from .preparation import Data

logger = logging.getLogger(__name__)

PATHS = ("train", "dev", "model", "tokenizer", "labels")
"""Settings that name files and folders. What counts is their content: see `run_contents`."""


def run_record(
    config: FinetuneConfig,
    *,
    out: Path,
    labels: tuple[str, ...],
    columns: Mapping[str, object],
    data: Mapping[str, object],
    contents: Mapping[str, object],
    device: str,
    parameters: int,
) -> dict[str, object]:
    """Return the content of ``run.json``.

    Args:
        config: the resolved settings.
        out: the folder of the run.
        labels: class names in id order.
        columns: from `Data.columns`.
        data: from :func:`data_facts`.
        contents: from :func:`run_contents`.
        device: what the run was computed on.
        parameters: of the model, head included.
    """
    return {
        "command": command_of(config, out),
        "working_folder": _working_folder(config),
        "out": out.resolve().name,
        "config": config.to_dict(),
        "labels": list(labels),
        "columns": dict(columns),
        "parameters": parameters,
        "data": dict(data),
        "contents": dict(contents),
        "seed": config.seed,
        "device": device,
        **circumstances(),
    }


def data_facts(data: "Data") -> JsonObject:
    """Return rows and SHA-256 sum of each source: of a file's bytes, or of the rows of a data set by name."""
    return {
        source: {"rows": count, "sha256": data.row_sums.get(source) or sha256_of_file(Path(source))}
        for source, count in data.rows.items()
    }


def run_contents(config: FinetuneConfig, data: JsonMapping) -> JsonObject:
    """Return what a run is made of, by content and never by path: data, weights, configuration, tokenizer.

    Args:
        config: the run.
        data: from :func:`data_facts`.

    Returns:
        ``train`` and ``dev``, for each source in its order the SHA-256 sum; ``model`` and ``tokenizer``, the
        sums of their files by name, or None for what the Hub's cache does not hold yet; ``labels``, the sum
        of the file of label names.
    """

    def sources(role: str, given: tuple[str, ...]) -> list[object]:
        return [_identity(data[source]) for source in expand(given, role=role)]

    return {
        "train": sources("train", config.data.train),
        "dev": sources("dev", config.data.dev),
        "model": _model_sums(config.model),
        "tokenizer": _model_sums(config.tokenizer),
        "labels": config.data.labels and sha256_of_file(Path(config.data.labels)),
    }


def changed_settings(
    before: Mapping[str, object], config: FinetuneConfig, *, by_path: Collection[str]
) -> list[str]:
    """Name the settings that are not those of an earlier run.

    Args:
        before: its settings; one that an older version did not know had its default.
        config: the settings now.
        by_path: which of `PATHS` are compared as text.
    """
    defaults = FinetuneConfig(task=config.task, model=config.model).to_dict()
    return [
        name
        for name, value in config.to_dict().items()
        if (name not in PATHS or name in by_path) and before.get(name, defaults[name]) != value
    ]


def known_by_path(before: Mapping[str, object], now: Mapping[str, object]) -> tuple[str, ...]:
    """Which of `PATHS` the contents of two runs do not tell apart, so that the path has to."""
    return tuple(name for name in PATHS if before.get(name) is None or now.get(name) is None)


def changes_between(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """Say in words which of two `run_contents` differ, and for a model which files; empty if none."""
    changed = []
    for name, content in now.items():
        old = before.get(name)
        if old == content or old is None or content is None:
            continue
        files = changed_files(old, content) if isinstance(old, dict) and isinstance(content, dict) else []
        changed.append(f"{name} ({', '.join(files)})" if files else name)
    return changed


def refuse_other_run(config: FinetuneConfig, folder: Path, *, data: JsonMapping) -> None:
    """Refuse to count a finished run of other settings, or by content of other data, weights or tokenizer.

    Args:
        config: the run that is wanted.
        folder: of the finished run.
        data: from :func:`data_facts`, of the wanted run.

    Raises:
        UserError: naming what differs.
    """
    record = read_record(folder, needs=("config", "data"))
    known, contents = record.get("contents", {}), run_contents(config, data)
    changed = changed_settings(record["config"], config, by_path=known_by_path(known, contents))
    changed += changes_between(known, contents)
    if changed:
        raise UserError(f"{folder} was made with another {', '.join(changed)}; choose another --out.")
    if not known:
        for source, facts in data.items():
            if record["data"].get(source, facts)["sha256"] not in (None, facts["sha256"]):
                raise UserError(
                    f"{source} has changed since {folder} was made from it; choose another --out."
                )
        logger.warning(
            "%s was made by an older version, which did not record checksums of the model: "
            "whether it has changed is unknown.",
            folder,
        )


def refuse_other_folder(record: JsonMapping, config: FinetuneConfig) -> None:
    """Refuse to repeat a run whose relative paths lead to nothing here, but did where it was made.

    Args:
        record: the content of its ``run.json``.
        config: the run that is to be.

    Raises:
        UserError: naming that folder.
    """
    folder = record.get("working_folder")
    if folder is None:
        return
    for path in _paths(config):
        if not path.exists() and (Path(folder) / path).exists():
            raise UserError(
                f"there is no {path} here; the run of --config was started in {folder}. Run "
                "the command there."
            )


def changes_since(record: JsonMapping, config: FinetuneConfig, data: "Data") -> list[str]:
    """Say which data are not those that a run was made of.

    Args:
        record: the content of its ``run.json``.
        config: the run that is to repeat it; files that replace the old ones do not count as a change.
        data: of that run.
    """
    before: JsonMapping = record.get("data", {})
    changed = [
        f"{source} has changed since the run of --config, so this run may end otherwise."
        for source, facts in data_facts(data).items()
        if source in before and _identity(facts) != _identity(before[source])
    ]
    named = config.to_dict()
    if all(named[role] == record["config"].get(role) for role in ("train", "dev")):
        changed += [
            f"{source} is new since the run of --config." for source in data.rows if source not in before
        ]
        changed += [
            f"{source} of the run of --config is gone." for source in before if source not in data.rows
        ]
    return changed


def _paths(config: FinetuneConfig) -> list[Path]:
    """What a run reads from disk; a model that is not a local folder may be a Hub name."""
    files = [
        source for source in (*config.data.train, *config.data.dev) if not source.startswith(DATASETS_PREFIX)
    ]
    names = [name for name in (config.model, config.tokenizer) if name is not None and not is_size(name)]
    return [Path(name) for name in (*files, *names)]


def _working_folder(config: FinetuneConfig) -> str | None:
    """Where the run's relative paths begin; None if it has none."""
    is_needed = any(not path.is_absolute() and path.exists() for path in _paths(config))
    return str(Path.cwd()) if is_needed else None


def _identity(facts: Mapping[str, object]) -> object:
    """The sum of a source; its rows where an older version noted no sum."""
    return facts["sha256"] or facts["rows"]


def _model_sums(name: str | None) -> dict[str, str] | None:
    """What identifies a model or tokenizer; a size, or nothing, by its name."""
    return {"size": name or "that of the model"} if name is None or is_size(name) else model_content(name)
