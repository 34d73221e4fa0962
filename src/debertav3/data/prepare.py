"""``debertav3 data prepare``: raw text to token shards, in stages run by datatrove's executors.

Every stage is a list of tasks that each leave a mark when they are complete, so a relaunch with the same
arguments does only what is unfinished. The work is split into units once (``plan.json``), and a relaunch with
other settings, or data or a tokenizer of other content, is refused.
"""

import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Literal, get_args

from tqdm import tqdm

from ..errors import MissingExtraError, UserError
from ..files import (
    fingerprint,
    publish_folder,
    read_json_object,
    replacing_text,
    sha256_of_bytes,
    sha256_of_file,
    temporary_folder,
    write_json,
)
from ..json_types import JsonObject
from ..tokenization import DebertaV3Tokenizer
from ..tokenization.tokenizer_files import MODEL_FILE
from .documents import Unit, plan_units
from .shards import FORMAT, INDEX_NAME, SPLITS, TokenShards, read_index, token_dtype

log = logging.getLogger(__name__)

PLAN_NAME = "plan.json"
WRITTEN = (INDEX_NAME, PLAN_NAME, "problems.jsonl", "tokenizer", "stages", *SPLITS)
"""Everything that ``data prepare`` writes in its folder."""

Stage = tuple[str, list[object], int]
Documents = Literal["block", "line"]
Cleaning = Literal["none", "light", "gopher"]
Deduplication = Literal["none", "exact", "minhash"]
Executor = Literal["local", "slurm", "ray"]


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """What ``data prepare`` reads, and how it cuts, cleans and splits it."""

    inputs: tuple[str, ...]
    """Files, folders or ``datasets:NAME[:CONFIG][:SPLIT]``."""
    tokenizer: str
    """Folder or Hub name of the tokenizer."""
    text_column: str = "text"
    txt_documents: Documents = "block"
    """In .txt files, a document is a ``"block"`` between blank lines, or a ``"line"``."""
    clean: Cleaning = "none"
    """``"none"``, ``"light"`` (see `clean_text`) or ``"gopher"`` (light, then Gopher's filters)."""
    dedup: Deduplication = "none"
    """``"none"``, ``"exact"`` or ``"minhash"`` (near duplicates)."""
    heldout_share: float = 0.005
    """Share of the documents held out for validation, chosen by hash."""
    unit_mib: int = 64
    """MiB of a file in one task at most."""

    def __post_init__(self) -> None:
        for name, allowed in (
            ("clean", get_args(Cleaning)),
            ("dedup", get_args(Deduplication)),
            ("txt_documents", get_args(Documents)),
        ):
            if getattr(self, name) not in allowed:
                raise UserError(f"{name} must be one of {', '.join(allowed)}; got {getattr(self, name)!r}")
        if not 0 <= self.heldout_share < 1:
            raise UserError(f"heldout_share must be at least 0 and below 1; got {self.heldout_share}")
        if self.unit_mib < 1:
            raise UserError(f"unit_mib must be at least 1; got {self.unit_mib}")


@dataclass(frozen=True, kw_only=True)
class ExecutorConfig:
    """Where the tasks run."""

    kind: Executor = "local"
    workers: int = 1
    """Tasks at a time."""
    slurm_time: str = "08:00:00"
    slurm_partition: str = ""

    def __post_init__(self) -> None:
        if self.kind not in (known := get_args(Executor)):
            raise UserError(f"the executor must be one of {', '.join(known)}; got {self.kind!r}")
        if self.kind == "slurm" and not self.slurm_partition:
            raise UserError("the slurm executor needs --slurm-partition")
        if self.workers < 1:
            raise UserError(f"workers must be at least 1; got {self.workers}")


def prepare(config: PrepareConfig, out: Path, executor: ExecutorConfig) -> JsonObject | None:
    """Write token shards to ``out``, or continue where an earlier call stopped.

    Returns:
        The index, or None if the tasks were handed to Slurm or Ray and will write it later.

    Raises:
        UserError: for unusable input or none, for a folder that was started with other settings, or if tasks
            failed (a full disk): the same call then does only the rest.
    """
    try:
        units = _plan(config, out)
        if (out / INDEX_NAME).is_file():
            for split in SPLITS:
                TokenShards(out, split)  # verifies it
            log.info("%s is complete already: same data, tokenizer and settings", out)
            return read_index(out)
        stages = _stages(config, out, units)
        if executor.kind != "local":
            _submit(stages, out, executor)
            return None
        *reading, index = stages
        for stage in reading:
            _run_locally(stage, out, executor.workers)
        _require_documents(out)
        _run_locally(index, out, executor.workers)
    except OSError as error:
        raise UserError(
            f"cannot write to {out}: {error.strerror or error}. Finished jobs are kept: fix "
            "the problem and run the same command again"
        ) from error
    return read_index(out)


def _plan(config: PrepareConfig, out: Path) -> list[Unit]:
    """Split the inputs and begin the folder; or check that its plan is of the same data and settings.

    Data and tokenizer are compared by content: paths and times may differ.
    """
    units = plan_units(config.inputs, unit_bytes=config.unit_mib << 20)
    tokenizer = DebertaV3Tokenizer.from_pretrained(config.tokenizer)
    path = out / PLAN_NAME
    if not path.is_file() and out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out} is not empty and was not started by data prepare: choose a new folder")
    log.info("computing checksums of the inputs")
    sums = {source: _sum_of(source) for source in dict.fromkeys(unit.source for unit in units)}
    with temporary_folder(out) as aside:
        tokenizer.save_pretrained(str(aside / "tokenizer"))
        plan = {
            "settings": {
                name: value
                for name, value in json.loads(json.dumps(asdict(config))).items()
                if name not in ("inputs", "tokenizer")
            },
            "data": [{**asdict(unit), "source": sums[unit.source] or unit.source} for unit in units],
            "tokenizer": fingerprint(aside / "tokenizer"),
        }
        if path.is_file():
            _compare(out, read_json_object(path), plan)
        else:
            out.mkdir(parents=True, exist_ok=True)
            write_json(path, {**plan, "inputs": list(config.inputs), "from": config.tokenizer})
        if not (out / "tokenizer").exists():  # the first run, or one that was killed here
            publish_folder(aside / "tokenizer", out / "tokenizer")
    if fingerprint(out / "tokenizer") != plan["tokenizer"]:
        raise UserError(f"{out / 'tokenizer'} is not what data prepare wrote there: use a new folder")
    return units


def _compare(out: Path, before: Mapping[str, object], plan: Mapping[str, object]) -> None:
    words = {"settings": "settings", "data": "the data", "tokenizer": "the tokenizer"}
    changed = [words[key] for key in plan if plan[key] != before.get(key)]
    if changed:
        raise UserError(
            f"{out} was started with other inputs or settings ({', '.join(changed)} differ). "
            "Restore them, or use a new folder"
        )


def _sum_of(source: str) -> str | None:
    """The content of a file; None for a data set by name."""
    return sha256_of_file(source) if Path(source).is_file() else None


def _stages(config: PrepareConfig, out: Path, units: list[Unit]) -> list[Stage]:
    try:
        from . import datatrove_steps as steps
    except ModuleNotFoundError as error:
        raise MissingExtraError(feature="data prepare", package=str(error.name), extra="pretrain") from error

    def read(problems: Path | None) -> list[object]:
        reader = steps.ReadUnit(
            units=units,
            text_column=config.text_column,
            blank_line_ends_document=config.txt_documents == "block",
            clean=config.clean != "none",
            problems=problems,
        )
        return [reader, *(steps.gopher_filters() if config.clean == "gopher" else [])]

    stages: list[Stage] = []
    filters = []
    if config.dedup != "none":
        find = steps.exact_stages if config.dedup == "exact" else steps.minhash_stages
        stages, drop = find(read(None), out / "stages" / config.dedup, len(units))
        filters = [drop]
    write = steps.WriteShard(out=out, tokenizer=out / "tokenizer", heldout_share=config.heldout_share)
    stages.append(("tokenize", [*read(out / "stages" / "problems"), *filters, write], len(units)))
    stages.append(("index", [WriteIndex(out, tuple(dict.fromkeys(unit.source for unit in units)))], 1))
    return stages


def _stage_folder(out: Path, name: str) -> Path:
    return out / "stages" / "tasks" / name


def _run_locally(stage: Stage, out: Path, workers: int) -> None:
    from loguru import logger as datatrove_log

    from .datatrove_steps import PatientExecutor

    datatrove_log.disable("datatrove")  # its summaries would go to our stderr
    name, pipeline, tasks = stage
    folder = _stage_folder(out, name)
    executor = PatientExecutor(
        pipeline=pipeline,
        tasks=tasks,
        workers=min(workers, tasks),
        logging_dir=str(folder),
        skip_completed=True,
    )
    with _progress(name, folder / "completions", tasks):
        executor.run()
    left = executor.get_incomplete_ranks()
    if left:
        raise UserError(
            f"stage {name!r}: {len(left)} of {tasks} tasks failed, for the reasons above. "
            "Fix the problem and run the same command again: finished tasks are kept"
        )


def _require_documents(out: Path) -> None:
    """Refuse inputs that gave no document, and clear ``out`` for the corrected command."""
    reason = _why_no_document(out)
    if reason is None:
        return
    for name in ("stages", "tokenizer", *SPLITS):
        shutil.rmtree(out / name, ignore_errors=True)
    (out / PLAN_NAME).unlink()
    raise UserError(f"no document to prepare, and nothing was written: {reason}")


def _why_no_document(out: Path) -> str | None:
    """Why the tasks found no document; None if they found any."""
    from .datatrove_steps import read_json_files

    facts = read_json_files(out / "stages" / "facts")
    if any(row[split]["num_documents"] for row in facts for split in SPLITS):
        return None
    problems = [row for rows in read_json_files(out / "stages" / "problems") for row in rows]
    if problems:
        return f"{problems[0]['place']}: {problems[0]['reason']}"
    return "the inputs are empty, or cleaning has left nothing of them"


def _submit(stages: list[Stage], out: Path, config: ExecutorConfig) -> None:
    """Hand the stages to Slurm or Ray, each waiting for the one before."""
    from datatrove.executor import RayPipelineExecutor, SlurmPipelineExecutor

    before = None
    for name, pipeline, tasks in stages:
        common: dict[str, object] = {
            "pipeline": pipeline,
            "tasks": tasks,
            "workers": config.workers,
            "logging_dir": str(_stage_folder(out, name)),
            "depends": before,
        }
        if config.kind == "slurm":
            before = SlurmPipelineExecutor(
                time=config.slurm_time,
                partition=config.slurm_partition,
                job_name=f"debertav3-{name}",
                **common,
            )
        else:
            before = RayPipelineExecutor(**common)
    if before is not None:
        before.run()


@contextmanager
def _progress(name: str, completions: Path, tasks: int) -> Iterator[None]:
    """A bar of finished tasks on stderr."""
    done = Event()

    def watch() -> None:
        with tqdm(total=tasks, desc=name, unit="task", disable=None) as bar:
            while True:
                stopped = done.wait(0.5)
                finished = len(list(completions.iterdir())) if completions.is_dir() else 0
                bar.update(finished - bar.n)
                if stopped:
                    return

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@dataclass
class WriteIndex:
    """The last stage, one task: gathers what the tasks found into ``index.json`` and ``problems.jsonl``."""

    out: Path
    sources: tuple[str, ...]
    """All files that were read."""

    def __call__(self, data: object, rank: int, world_size: int) -> None:
        """Gather and write."""
        from .datatrove_steps import read_json_files

        plan = read_json_object(self.out / PLAN_NAME)
        known = {unit["source"] for unit in plan["data"]}
        for source in self.sources:
            if (_sum_of(source) or source) not in known:
                raise UserError(
                    f"{source} has changed while it was prepared, so the shards mix two versions of it. "
                    f"Delete {self.out} and prepare again"
                )
        if reason := _why_no_document(self.out):  # only where Slurm or Ray ran the stages before
            raise UserError(f"no document to prepare, and no {INDEX_NAME} is written: {reason}")
        tokenizer = DebertaV3Tokenizer.from_pretrained(str(self.out / "tokenizer"))
        facts = read_json_files(self.out / "stages" / "facts")
        problems = [row for rows in read_json_files(self.out / "stages" / "problems") for row in rows]
        with replacing_text(self.out / "problems.jsonl") as stream:
            stream.writelines(json.dumps(problem) + "\n" for problem in problems)

        counts: Counter[str] = Counter()
        lengths: Counter[int] = Counter()
        for row in facts:
            counts.update(row["counts"])
            lengths.update({int(bits): number for bits, number in row["lengths"].items()})
        splits = {split: [row[split] for row in facts] for split in SPLITS}
        statistics: dict[str, object] = {
            f"{split}_{what}": sum(shard[what] for shard in splits[split])
            for split in SPLITS
            for what in ("num_tokens", "num_documents")
        }
        statistics.update(
            characters=counts["characters"],
            unknown_tokens=counts["unknown_tokens"],
            empty_documents=counts["empty_documents"],
            problems=len(problems),
            documents_of_at_most_tokens={str(2**bits - 1): lengths[bits] for bits in sorted(lengths)},
        )
        made_with = {row["tokenizer"] for row in facts}
        if made_with != {plan["tokenizer"]} or fingerprint(self.out / "tokenizer") != plan["tokenizer"]:
            raise UserError(
                f"{self.out / 'tokenizer'} was replaced while shards were made, so they have "
                f"different vocabularies. Delete {self.out} and prepare again"
            )
        model = self.out / "tokenizer" / MODEL_FILE
        identity = [
            FORMAT,
            sha256_of_file(model) if model.is_file() else plan["tokenizer"],
            *(row[split]["sha256"] for row in facts for split in SPLITS),
        ]
        index = {
            "format": FORMAT,
            "vocab_size": len(tokenizer),
            "dtype": token_dtype(len(tokenizer)).str,
            "fingerprint": sha256_of_bytes("\n".join(identity).encode()),
            "tokenizer": plan["tokenizer"],
            "statistics": statistics,
            "splits": splits,
        }
        write_json(self.out / INDEX_NAME, index)
