"""Everything before the first tensor: settings are resolved, data read and checked. Imports no torch."""

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import UserError
from ..files.model_folder import json_object, user_path
from ..heads import MULTIPLE_CHOICE, TOKENS
from ..json_types import JsonMapping
from ..processes import num_processes
from ..sizes import PUBLISHED, SIZES, is_size
from ..tasks.custom import custom_task
from ..tasks.example import Example
from ..tasks.label_map import read_label_map
from ..tasks.names import CUSTOM, TASKS, check_task_name, training_name
from ..tasks.public import PUBLIC_SOURCES
from ..tasks.read_options import ReadOptions, Said
from ..tasks.sources import expand
from ..tasks.tables import named_columns
from ..tasks.tagging import TaggingTask
from ..tasks.task import Task
from ..tasks.text import TextTask
from ..tasks.understanding import log_all
from .config import FinetuneConfig
from .recipes import recipe
from .splitting import HELD_OUT, TRAIN, SplitKeys, group_of, needs_split, split

_LOSS_SETTINGS = {
    "balance_classes": ("one-label", "several-labels", TOKENS),
    "label_smoothing": ("one-label", TOKENS, MULTIPLE_CHOICE),
}
"""For each setting, the kinds of answer whose loss uses it."""
_TRACKERS = (
    "azure_ml",
    "clearml",
    "codecarbon",
    "comet_ml",
    "dagshub",
    "dvclive",
    "flyte",
    "kubeflow",
    "mlflow",
    "neptune",
    "swanlab",
    "tensorboard",
    "trackio",
    "wandb",
)
"""transformers' names of trackers, listed here because importing them loads torch."""
_SHAPE = ("num_hidden_layers", "hidden_size", "conv_kernel_size")


def resolve(
    task: str,
    *,
    model: str,
    given: Mapping[str, object],
    config_file: Mapping[str, object] | None = None,
    overrides: Sequence[str] = (),
    source: str = "command line",
) -> FinetuneConfig:
    """Merge a run's settings: defaults, recipe, YAML file, options of the command, ``--set``.

    A public task without a training file gets its data from the Hub.

    Args:
        task: its name, or an alias.
        model: a size, a local folder or a Hub name.
        given: settings by short or full name.
        config_file: the content of ``--config``.
        overrides: ``key=value`` texts.
        source: where ``given`` comes from, for messages.

    Raises:
        UserError: for an unknown task or key, or an invalid value.
    """
    task, kind = training_name(task)
    check_task_name(task)
    if kind is not None:
        given = {"label_kind": kind, **given}

    def layered(base: FinetuneConfig) -> FinetuneConfig:
        base = base.with_values(config_file or {}, source="--config")
        base = base.with_values({"task": task, "model": model, **given}, source=source)
        return base.with_overrides(overrides)

    has_sift = layered(FinetuneConfig(task=task, model=model)).sift.enabled  # it decides the recipe
    chosen = recipe(size_of(model), task, sift=has_sift)
    config = layered(FinetuneConfig.of(task=task, model=model, **chosen))
    if config.data.train or task not in PUBLIC_SOURCES:
        return config
    train, dev = PUBLIC_SOURCES[task]
    if config.data.dev_split is not None or config.data.folds is not None:
        dev = ()
    return config.with_values({"train": train, "dev": config.data.dev or dev}, source="public data")


@dataclass(frozen=True, kw_only=True)
class Data:
    """The checked examples of a run."""

    task: Task
    labels: tuple[str, ...]
    train: list[Example]
    dev: dict[str, list[Example]]
    rows: dict[str, int]
    """Labelled rows of each source."""
    columns: dict[str, object]
    """What the columns of the training rows are: ``text``, ``pair``, ``label``, ``choices``."""
    row_sums: dict[str, str]
    """SHA-256 sum over the rows of each source that is not a file, or has parts in other files."""


def read_options(config: FinetuneConfig, *, records: str | None = None) -> ReadOptions:
    """How the files of a run are read."""
    data = config.data
    return ReadOptions(
        format=data.format,
        encoding=data.encoding,
        has_header=data.header,
        sheet=data.sheet,
        records=records or data.records,
        columns=_said(config).columns,
        word_column=data.word_column,
        tag_column=data.tag_column,
        tag_names=data.tag_names,
        skip_bad=data.skip_bad,
    )


def _said(config: FinetuneConfig) -> Said:
    data = config.data
    return Said(
        text=data.text_column,
        pair=data.pair_column,
        label=data.label_column,
        choices=data.choice_columns,
        label_map=read_label_map(data.labels) if data.labels else {},
    )


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file of a run."""

    path: str
    name: str
    """What its scores go by."""
    options: ReadOptions


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What a run reads, and how."""

    task: Task
    train: tuple[Source, ...]
    dev: tuple[Source, ...]

    @property
    def train_names(self) -> str:
        """For messages."""
        return ", ".join(source.name for source in self.train)


def find_sources(config: FinetuneConfig) -> Sources:
    """List the sources of a run and find its task, before any source is read in full.

    Raises:
        UserError: if there is no training file, or a setting means nothing here.
    """
    micro_batch(config)
    _check_trackers(config.loop.report_to)
    data = config.data
    if not data.train:
        raise UserError(f"no training data: task {config.task} needs --train FILE [FILE ...].")
    train, dev = expand(data.train, role="train"), expand(data.dev, role="dev")
    for role, paths in (("train", train), ("dev", dev)):
        if len(set(paths)) < len(paths):
            twice = next(path for path in paths if paths.count(path) > 1)
            raise UserError(f"--{role} names {twice} twice. Name every source once.")
    options = read_options(config)
    dev_options = read_options(config, records=data.dev_records)
    task = _task_of(config, source=train[0])
    _check_settings(config, task)
    return Sources(
        task=task,
        train=tuple(Source(path=path, name=path, options=options) for path in train),
        dev=tuple(
            Source(
                path=path,
                name=f"{path} {data.dev_records}" if data.dev_records else path,
                options=dev_options,
            )
            for path in dev
        ),
    )


def read_data(config: FinetuneConfig, *, is_logged: bool = True) -> Data:
    """Read all files of a run and check that they fit together.

    Args:
        config: the run.
        is_logged: whether to log how the files were understood.

    Raises:
        UserError: if there is no training file, a file cannot be used, or a setting means nothing here.
    """
    sources = find_sources(config)
    task = sources.task
    read: dict[str, list[Example]] = {}
    understood, row_sums, columns = [], {}, None
    keys = SplitKeys()
    for source in {one.name: one for one in (*sources.train, *sources.dev)}.values():
        reading = task.open(source.path, source.options)
        examples = read[source.name] = []
        for example in task.examples(reading):
            examples.append(example)
            if source in sources.train and needs_split(config):
                keys.add(example, group_of(example, task, reading, config.data.group_column))
        task.finish(reading, num_examples=len(examples))
        if config.data.group_column is not None and source in sources.train:
            reading.roles["group"] = config.data.group_column
        understood.append(task.understood(reading, task.summary(examples)))
        columns = named_columns(reading) if columns is None else columns
        if source.name != source.path or not reading.is_one_file:
            row_sums[source.name] = _sum_of(examples)
    if is_logged:
        log_all(understood)
    everything = [example for source in sources.train for example in read[source.name]]
    labels = task.choose_labels(task.summary(everything), source=sources.train_names)
    train, dev = everything, {source.name: read[source.name] for source in sources.dev}
    if needs_split(config):
        name, parts = split(keys, config)
        train = [example for example, part in zip(everything, parts, strict=True) if part == TRAIN]
        held = [example for example, part in zip(everything, parts, strict=True) if part == HELD_OUT]
        dev = ({name: held} if name else {}) | dev
    for name, examples in dev.items():
        task.check_dev(task.summary(examples), labels, source=name)
    return Data(
        task=task,
        labels=labels,
        train=train,
        dev=dev,
        rows={name: len(examples) for name, examples in read.items()},
        columns=columns or {},
        row_sums=row_sums,
    )


def _task_of(config: FinetuneConfig, *, source: str) -> Task:
    """The task of a run; task custom is settled by the first training source."""
    check_task_name(config.task)
    said = _said(config)
    if config.task != CUSTOM:
        return TASKS[config.task].with_said(said) if said else TASKS[config.task]
    return custom_task(
        source,
        read_options(config),
        text_column=said.text,
        pair_column=said.pair,
        label_column=said.label,
        label_kind=config.data.label_kind,
        label_map=said.label_map,
    )


def _sum_of(examples: Sequence[Example]) -> str:
    digest = hashlib.sha256()
    for example in examples:
        digest.update(repr(example).encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()


def micro_batch(config: FinetuneConfig) -> tuple[int, int]:
    """Split the batch of a step into examples per forward pass and process, and number of passes.

    Raises:
        UserError: if the batch size cannot be split so.
    """
    processes = num_processes()
    micro = config.loop.micro_batch_size or max(1, config.loop.batch_size // processes)
    if config.loop.batch_size % (micro * processes):
        raise UserError(
            f"batch_size {config.loop.batch_size} is not a multiple of {processes} processes x {micro} "
            "examples. Choose batch_size as a multiple of micro_batch_size x processes."
        )
    return micro, config.loop.batch_size // (micro * processes)


def _check_trackers(names: Sequence[str]) -> None:
    """Check that transformers knows the trackers and that they are installed.

    Raises:
        UserError: otherwise.
    """
    for name in names:
        if name not in _TRACKERS:
            known = ", ".join(_TRACKERS)
            raise UserError(f"report_to={name}: unknown tracker; transformers knows {known}.")
        if importlib.util.find_spec(name) is None:
            raise UserError(f"report_to={name} needs the package {name}: pip install {name}")


def can_balance(task: Task) -> bool:
    """Whether ``balance_classes`` has an effect on a task."""
    return _kind(task) in _LOSS_SETTINGS["balance_classes"]


def _kind(task: Task) -> str:
    """What decides the loss of a task."""
    return task.target if isinstance(task, TextTask) else task.head


def _check_settings(config: FinetuneConfig, task: Task) -> None:
    """Refuse settings that this task, or a run without dev set, would ignore."""
    kind = _kind(task)
    if config.task != CUSTOM and config.data.label_kind != "auto":
        raise UserError(
            f"task {config.task} has fixed labels; --label-kind is for task {CUSTOM}. "
            f"Leave it out, or use task {CUSTOM}."
        )
    for name in ("word_column", "tag_column", "tag_names"):
        if config.get(name) and not isinstance(task, TaggingTask):
            raise UserError(
                f"--{name.replace('_', '-')} is for tagged words, and task {config.task} has none here. "
                "Leave it out, or use task ner."
            )
    for name, kinds in _LOSS_SETTINGS.items():
        if config.get(name) and kind not in kinds:
            raise UserError(f"{name} has no effect on task {config.task} with {kind} answers; leave it out.")
    data = config.data
    asked = [name for name in ("dev_split", "folds") if config.get(name) is not None]
    if len(asked) + bool(data.dev) > 1:
        given = [*(["--dev"] if data.dev else []), *asked]
        raise UserError(f"{' and '.join(given)} are two sources of a dev set; keep one of them.")
    if data.fold is not None and (data.folds is None or data.fold > data.folds):
        raise UserError(f"fold={data.fold} is not one of folds={data.folds}.")
    if data.group_column is not None and not asked:
        raise UserError("group_column needs --dev-split or --folds; add one, or leave it out.")
    has_dev = bool(data.dev or asked)
    if config.loop.early_stopping_patience is not None and not has_dev:
        raise UserError("early_stopping_patience needs a dev set: give --dev FILE, or leave it out.")


def size_of(model: str) -> str | None:
    """The size of a model, by its name, its local ``config.json`` or its Hub name; None if it has none.

    Between sizes that differ only in their vocabulary (base, mdeberta-base), the closer vocabulary decides. A
    Hub name must end in a published one: OWNER/nli-deberta-v3-base.

    Raises:
        UserError: if the local file cannot be read.
    """
    if is_size(model):
        return model
    file = user_path(model) / "config.json"
    if file.is_file():
        raw: JsonMapping = json_object(file)
        if raw.get("model_type") != "deberta-v2":
            return None
        shape = [raw.get(key, 0) for key in _SHAPE]
        fitting = [name for name, known in SIZES.items() if [known.get(key, 0) for key in _SHAPE] == shape]
        rows = raw.get("vocab_size") or 0
        return min(fitting, key=lambda name: abs(SIZES[name]["vocab_size"] - rows), default=None)
    for size, published in PUBLISHED.items():
        name = published.hub_name.rpartition("/")[2]
        if f"/{model}".lower().endswith((f"/{name}", f"-{name}")):
            return size
    return None
