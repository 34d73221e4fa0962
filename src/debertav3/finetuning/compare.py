"""Models by tasks by seeds: one table, made run by run; interrupted, the same command continues."""

import hashlib
import logging
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..errors import DivergedError, UserError
from ..files import read_json_object, replacing_text, write_json
from ..processes import need_one_process
from ..runs.record import has_record, read_record
from ..tasks.glue import GLUE_TASKS
from .config import FinetuneConfig
from .preparation import Data, read_data, resolve
from .records import data_facts, refuse_other_run
from .resuming import check_can_be_made
from .start import Start, check_start, find_start

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
    seeds: tuple[int, ...]
    """Of the runs that have finished."""
    values: tuple[float, ...]
    """One for each of these seeds."""
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


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A run that has no score."""

    model: str
    task: str
    seed: int
    what: str
    """``diverged`` or ``not possible``."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What came of all runs."""

    lines: list[Line]
    failures: list[Failure]

    def summary(self) -> str:
        """Say in one line which runs have failed and why; empty if none has."""
        cells: dict[tuple[str, str, str], list[Failure]] = {}
        for failure in self.failures:
            cells.setdefault((failure.model, failure.task, failure.what), []).append(failure)
        groups = [
            f"{model} on {task}, seed {', '.join(str(one.seed) for one in group)}: {what} ({group[0].reason})"
            for (model, task, what), group in cells.items()
        ]
        return f"runs that failed: {len(self.failures)}; " + "; ".join(groups) if groups else ""


def compare(
    models: Sequence[str],
    tasks: Mapping[str, Mapping[str, Sequence[str]]],
    seeds: Sequence[int],
    out: Path,
    *,
    given: Mapping[str, object] | None = None,
    overrides: Sequence[str] = (),
) -> Comparison:
    """Train and score every model on every task with every seed; finished runs under ``out`` are kept.

    A run that diverges, or that its model cannot do, is noted as failed, and the next begins.

    Args:
        models: sizes, folders or Hub names.
        tasks: by task ``train`` and ``dev``, each a list of sources; without any the task's public data.
        seeds: one run for each.
        out: a folder for each run, and ``compare.json`` and ``compare.md``, renewed after each task.
        given: settings of every run.
        overrides: ``key=value`` texts for every run.

    Raises:
        UserError: if nothing can be done, or there is no dev set; of settings and data before any training.
    """
    need_one_process("compare")
    seeds = list(dict.fromkeys(seeds))
    plan = {
        (model, task): {
            _folder_of(out, model, task, seed): resolve(
                task, model=model, given={**(given or {}), **sources, "seed": seed}, overrides=overrides
            )
            for seed in seeds
        }
        for model in dict.fromkeys(models)
        for task, sources in tasks.items()
    }
    check_can_be_made(out)
    _refuse_foreign(out)
    starts = _check(plan)
    found = Comparison(lines=[], failures=[])
    for (model, task), runs in plan.items():
        finished = []
        for folder, config in runs.items():
            failure = None if _is_finished(folder) else _run(config, folder, starts[model])
            if failure is None:
                finished.append((config.seed, folder))
            else:
                found.failures.append(failure)
        found.lines.extend(_lines(model, task, finished))
        _write(found, glue_averages(found.lines), seeds, out)
    return found


def _refuse_foreign(out: Path) -> None:
    """Refuse to write over a table that no comparison has written."""
    table, text = out / "compare.json", out / "compare.md"
    if table.exists():
        read_json_object(table, needs=("seeds", "rows"))
    elif text.exists():
        raise UserError(
            f"{text} is not part of a comparison: there is no compare.json next to it. Choose another --out."
        )


def _check(plan: Mapping[tuple[str, str], Mapping[Path, FinetuneConfig]]) -> dict[str, Start]:
    """Find before the first training what would stop a later one: settings, data, models, tokenizers.

    Returns:
        What the runs that are left start from, by model: each is opened once.

    Raises:
        UserError: naming everything that is wrong.
    """
    data: dict[str, Data] = {}
    waiting = []  # one run for each model and task that has runs to do
    read: dict[str, Mapping[str, object]] = {}  # by task: its data are the same for all models and seeds
    for (_, task), runs in plan.items():
        for folder, config in runs.items():
            if not (config.data.dev or config.data.dev_split):
                raise UserError(f"nothing to score on: give --dev {task}=FILE.")
            if task not in data:
                data[task] = read_data(config)
                read[task] = data_facts(data[task])
            if _is_finished(folder):
                refuse_other_run(config, folder, data=read[task])
        waiting += [(task, config) for folder, config in runs.items() if not _is_finished(folder)][:1]
    faults: dict[str, None] = {}  # in order, each once: a missing model is missing for every task

    def note(check: Callable[[], object]) -> None:
        try:
            check()
        except UserError as error:
            faults[" ".join(str(error).split()).rstrip(".")] = None

    starts: dict[str, Start] = {}

    def find(config: FinetuneConfig) -> None:
        if config.model not in starts:
            starts[config.model] = find_start(config)

    for _, config in waiting:
        note(partial(find, config))
    if not faults:
        for _, config in waiting:
            note(partial(check_start, config, starts[config.model]))
    if not faults:
        from .starting_model import check_tokenizer  # loads torch

        for task, config in waiting:
            note(partial(check_tokenizer, config, data[task].task, starts[config.model]))
    if faults:
        raise UserError(f"nothing was trained: {'; '.join(faults)}.")
    return starts


def _is_finished(folder: Path) -> bool:
    return has_record(folder)


def _run(config: FinetuneConfig, folder: Path, start: Start) -> Failure | None:
    """Start or resume a run.

    Returns:
        Why it has no score; None if it has one.
    """
    from .run import NotPossibleError, run

    logger.info("%s on %s, seed %d", config.model, config.task, config.seed)
    try:
        data = read_data(config, is_logged=False)
        if run(config, data, folder, start=start, resume=folder.exists()) is None:
            raise UserError("stopped by SIGTERM; run the same command to continue.")
    except (DivergedError, NotPossibleError) as error:
        logger.warning("%s on %s, seed %d failed: %s", config.model, config.task, config.seed, error)
        return Failure(
            model=config.model,
            task=config.task,
            seed=config.seed,
            what="diverged" if isinstance(error, DivergedError) else "not possible",
            reason=" ".join(str(error).split()),
        )
    return None


def _lines(model: str, task: str, finished: Sequence[tuple[int, Path]]) -> list[Line]:
    """The scores of one model on one task.

    Args:
        model: as it was named.
        task: its name.
        finished: seeds and folders.
    """
    if not finished:
        return []
    reports = [read_json_object(folder / "metrics.json", needs=("dev", "train")) for _, folder in finished]
    parameters = read_record(finished[0][1], needs=("parameters",))["parameters"]
    seconds = statistics.mean(report["train"]["seconds"] for report in reports)
    return [
        Line(
            model=model,
            task=task,
            dev=dev,
            score=score,
            seeds=tuple(seed for seed, _ in finished),
            values=tuple(report["dev"][dev][score] for report in reports),
            parameters=parameters,
            seconds=seconds,
        )
        for dev, scores in reports[0]["dev"].items()
        for score in scores["majority_baseline"]
    ]


def glue_averages(lines: Sequence[Line]) -> list[Line]:
    """Return for each model that has all GLUE tasks the mean over them, each the mean of its scores.

    It is over the seeds with which all of them have finished.
    """
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
        seeds = [seed for seed in mine[0].seeds if all(seed in line.seeds for line in mine)]
        if not seeds:
            continue
        by_task = [
            [[line.values[line.seeds.index(seed)] for seed in seeds] for line in mine if line.task == task]
            for task in sorted(needed)
        ]
        means = [[statistics.mean(of_seed) for of_seed in zip(*rows, strict=True)] for rows in by_task]
        averages.append(
            Line(
                model=model,
                task="GLUE",
                dev="all",
                score="average",
                seeds=tuple(seeds),
                values=tuple(statistics.mean(of_seed) for of_seed in zip(*means, strict=True)),
                parameters=mine[0].parameters,
                seconds=sum({line.task: line.seconds for line in mine}.values()),
            )
        )
    return averages


def _write(found: Comparison, averages: Sequence[Line], seeds: Sequence[int], out: Path) -> None:
    """Write ``compare.json`` and ``compare.md``."""
    rows = [
        {
            **vars(line),
            "seeds": list(line.seeds),
            "values": list(line.values),
            "mean": line.mean,
            "spread": line.spread,
        }
        for line in (*found.lines, *averages)
    ]
    failed = [vars(failure) for failure in found.failures]
    write_json(out / "compare.json", {"seeds": list(seeds), "rows": rows, "failed": failed})
    table = [
        "| model | task | dev set | score | mean | spread | seeds | parameters (M) | seconds |",
        "|---|---|---|---|---:|---:|---:|---:|---:|",
    ]
    table += [
        f"| {line.model} | {line.task} | {_short(line.dev)} | {line.score} | {line.mean:.4f} "
        f"| {line.spread:.4f} | {_share(len(line.seeds), len(seeds))} | {line.parameters / 1e6:.3g} "
        f"| {line.seconds:.0f} |"
        for line in (*found.lines, *averages)
    ]
    scored = {(line.model, line.task) for line in found.lines}
    empty = {(one.model, one.task): one.what for one in found.failures if (one.model, one.task) not in scored}
    table += [
        f"| {model} | {task} | | | {what} | | {_share(0, len(seeds))} | | |"
        for (model, task), what in empty.items()
    ]
    if found.failures:
        table += ["", "Failed:", ""]
        table += [
            f"- {one.model} on {one.task}, seed {one.seed}: {one.what}: {one.reason}"
            for one in found.failures
        ]
    with replacing_text(out / "compare.md") as file:
        file.write("\n".join(table) + "\n")


def _share(finished: int, wanted: int) -> str:
    """How many seeds a mean is over."""
    return str(finished) if finished == wanted else f"{finished} of {wanted}"


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


def _folder_of(out: Path, model: str, task: str, seed: int) -> Path:
    """The folder of a run: no two models share one, whatever characters their names have."""
    plain = re.sub(r"[^\w.-]+", "_", model).strip("_")
    if plain == model:
        return out / f"{model}--{task}--{seed}"
    older = out / f"{plain}--{task}--{seed}"  # older versions gave x/y and x_y this one
    if has_record(older) and read_record(older, needs=("config",))["config"]["model"] == model:
        return older
    return out / f"{plain}-{hashlib.sha256(model.encode()).hexdigest()[:8]}--{task}--{seed}"
