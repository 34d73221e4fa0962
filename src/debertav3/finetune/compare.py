"""Models by tasks by seeds: one table, made run by run, so that it can be broken off and gone on with."""

import json
import logging
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.jsonl import atomic_write, write_json
from ..errors import UserError
from .checkpoints import file_sha256
from .config import FinetuneConfig
from .folder import check_can_be_made
from .glue import GLUE_TASKS
from .preparation import read_data, resolve

logger = logging.getLogger(__name__)

_LEFT_OUT = {"wnli": ("accuracy",), "cola": ("accuracy",)}
"""Not in GLUE's average: CoLA counts by Matthews' correlation, WNLI, as in the papers, not at all."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One score of one model on one dev set."""

    model: str
    task: str
    dev: str
    score: str
    values: tuple[float, ...]
    """One for each seed."""
    parameters: int
    seconds: float
    """Mean time of a training."""

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return statistics.mean(self.values)

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds; 0 for one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0


def compare(
    models: Sequence[str],
    tasks: Mapping[str, Mapping[str, Sequence[str]]],
    seeds: Sequence[int],
    out: Path,
    *,
    given: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
) -> list[Line]:
    """Train and score every model on every task with every seed; finished runs under ``out`` are kept.

    Args:
        models: sizes, folders or Hub names.
        tasks: by task ``train`` and ``dev``, each a list of sources; without any the task's public data.
        seeds: one run for each.
        out: a folder for each run, and ``compare.json`` and ``compare.md``, renewed after each task.
        given: settings of every run.
        overrides: ``key=value`` texts for every run.

    Raises:
        UserError: if a run cannot be done, or has no dev set; of settings and data before the first training.
    """
    plan = {
        (model, task): {
            out / f"{_file_name(model)}--{task}--{seed}": resolve(
                task, model=model, given={**(given or {}), **sources, "seed": seed}, overrides=overrides
            )
            for seed in seeds
        }
        for model in models
        for task, sources in tasks.items()
    }
    check_can_be_made(out)
    _check(plan)
    lines: list[Line] = []
    for (model, task), runs in plan.items():
        for folder, config in runs.items():
            _ensure_run(config, folder)
        lines += _lines(model, task, list(runs))
        _write(lines, glue_averages(lines), seeds, out)
    return lines


def _check(plan: Mapping[tuple[str, str], Mapping[Path, FinetuneConfig]]) -> None:
    """Find before the first training what would stop a later one: a folder's other settings, bad data.

    Raises:
        UserError: if there is such a thing.
    """
    unread: dict[str, FinetuneConfig] = {}  # by task: its data are the same for all models and seeds
    for (_, task), runs in plan.items():
        for folder, config in runs.items():
            if not config.dev:
                raise UserError(f"nothing to compare by: give --dev {task}=FILE.")
            if _is_finished(folder):
                _refuse_other_settings(config, folder)
            else:
                unread.setdefault(task, config)
    for config in unread.values():
        read_data(config)


def _is_finished(folder: Path) -> bool:
    return (folder / "run.json").exists()


def _refuse_other_settings(config: FinetuneConfig, folder: Path) -> None:
    record, now = _read(folder / "run.json"), config.to_dict()
    changed = [key for key in now if record["config"].get(key) != now[key]]
    if changed:
        raise UserError(f"{folder} was made with another {', '.join(changed)}; take another --out.")
    for source, facts in record["data"].items():
        if Path(source).is_file() and file_sha256(Path(source)) != facts["sha256"]:
            raise UserError(f"{source} has changed since {folder} was made from it; take another --out.")


def _ensure_run(config: FinetuneConfig, folder: Path) -> None:
    """Do a run or go on with it, unless it is finished."""
    if _is_finished(folder):
        return
    from .run import run

    logger.info("%s on %s, seed %d", config.model, config.task, config.seed)
    if run(config, read_data(config), folder, resume=folder.exists()) is None:
        raise UserError("stopped; the same command goes on from there.")


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _lines(model: str, task: str, folders: Sequence[Path]) -> list[Line]:
    reports = [_read(folder / "metrics.json") for folder in folders]
    parameters = _read(folders[0] / "run.json")["parameters"]
    seconds = statistics.mean(report["train"]["seconds"] for report in reports)
    return [
        Line(
            model=model,
            task=task,
            dev=dev,
            score=score,
            values=tuple(report["dev"][dev][score] for report in reports),
            parameters=parameters,
            seconds=seconds,
        )
        for dev, scores in reports[0]["dev"].items()
        for score in scores["majority_baseline"]
    ]


def glue_averages(lines: Sequence[Line]) -> list[Line]:
    """Return for each model that has all GLUE tasks the mean over them, each the mean of its scores."""
    averages = []
    needed = {task.name for task in GLUE_TASKS} - {"wnli"}
    for model in dict.fromkeys(line.model for line in lines):
        mine = [
            line
            for line in lines
            if line.model == model and line.task in needed and line.score not in _LEFT_OUT.get(line.task, ())
        ]
        if {line.task for line in mine} != needed:
            continue
        by_task = [[line.values for line in mine if line.task == task] for task in sorted(needed)]
        means = [[statistics.mean(of_seed) for of_seed in zip(*rows, strict=True)] for rows in by_task]
        averages.append(
            Line(
                model=model,
                task="GLUE",
                dev="all",
                score="average",
                values=tuple(statistics.mean(of_seed) for of_seed in zip(*means, strict=True)),
                parameters=mine[0].parameters,
                seconds=sum({line.task: line.seconds for line in mine}.values()),
            )
        )
    return averages


def _write(lines: Sequence[Line], averages: Sequence[Line], seeds: Sequence[int], out: Path) -> None:
    """Write ``compare.json`` and ``compare.md``."""
    rows = [
        {**vars(line), "values": list(line.values), "mean": line.mean, "spread": line.spread}
        for line in (*lines, *averages)
    ]
    write_json(out / "compare.json", {"seeds": list(seeds), "rows": rows})
    table = [
        "| model | task | dev set | score | mean | spread | parameters (M) | seconds |",
        "|---|---|---|---|---:|---:|---:|---:|",
    ]
    table += [
        f"| {line.model} | {line.task} | {_short(line.dev)} | {line.score} | {line.mean:.4f} "
        f"| {line.spread:.4f} | {line.parameters / 1e6:.1f} | {line.seconds:.0f} |"
        for line in (*lines, *averages)
    ]
    with atomic_write(out / "compare.md") as file:
        file.write("\n".join(table) + "\n")


def _short(source: str) -> str:
    """A file's name; a data set's name as it is."""
    return Path(source).name if Path(source).exists() else source


def parse_sources(assignments: Sequence[str], tasks: Sequence[str], *, option: str) -> dict[str, list[str]]:
    """Read ``TASK=SOURCE`` texts; a task of which none speaks has an empty list.

    Raises:
        UserError: for a text that names none of the tasks.
    """
    found: dict[str, list[str]] = {task: [] for task in tasks}
    for assignment in assignments:
        task, equals, source = assignment.partition("=")
        if not equals or task not in found:
            raise UserError(f"{option} {assignment!r}: write TASK=FILE with one of {', '.join(tasks)}.")
        found[task].append(source)
    return found


def _file_name(model: str) -> str:
    return re.sub(r"[^\w.-]+", "_", model).strip("_")
