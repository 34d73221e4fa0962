"""``debertav3 predict`` and ``debertav3 evaluate``: one task over the rows of a file."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UserError
from ..files import Output
from .inputs import check_file, check_loading, did_you_mean, open_checkpoint
from .options import Command, Overwrite
from .outputs import guard
from .reading import Encoding, Header, Records, Sheet, SkipBad, read_options
from .terminal import show_understanding, wrote

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from ..inference.files.row_answers import AnswerOptions
    from ..inference.files.workers import Answerer, TaskPlan
    from ..tasks.columns import Columns

TaskName = Annotated[
    str,
    typer.Argument(
        help="nli, classify, zero-shot, rerank, ner, qa, fill-mask, rtd or choice; names of training (sst2, "
        "custom, squad2, ...) are taken for what answers them.",
        metavar="TASK",
    ),
]
ModelName = Annotated[str, typer.Option(help="Checkpoint folder or Hub name.")]
HeadLabels = Annotated[
    str | None,
    typer.Option(
        "--labels",
        help="What the head's outputs mean, in their order, for checkpoints that do not say: "
        "entailment,neutral,contradiction. For zero-shot: the labels to choose from, where rows bring none. "
        "Or a YAML file with lines 'label in the rows: label of the model'.",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cuda, cuda:1, npu, xpu, mps or cpu.")]
Dtype = Annotated[str, typer.Option(help="fp32, bf16 or fp16.")]
BackendName = Annotated[
    str,
    typer.Option(
        help="auto (fastest for many inputs), light (soonest first answer), torch, openvino or onnx; "
        "the last two run what debertav3 export has written."
    ),
]
Calibration = Annotated[
    bool,
    typer.Option(
        "--calibration/--no-calibration",
        help="Use the temperature and thresholds that fine-tuning fitted; off, the raw probabilities.",
    ),
]
BatchTokens = Annotated[
    int | None,
    typer.Option(
        "--tokens-per-batch",
        "--batch-tokens",
        help="Most tokens of a batch, padding included; measured once for big inputs.",
        show_default="by device",
        min=1,
    ),
]
MaxLength = Annotated[
    int | None, typer.Option(help="Most tokens of one input.", show_default="the checkpoint's", min=8)
]
NLILabels = Annotated[
    str | None,
    typer.Option(help="zero-shot, rerank: what the outputs of the NLI head mean, as --labels of nli."),
]
Template = Annotated[
    str, typer.Option(help="zero-shot: the hypothesis, with {} for the label.", show_default=True)
]
MultiLabel = Annotated[bool, typer.Option("--multi-label", help="zero-shot: several labels may hold.")]
Aggregation = Annotated[str, typer.Option(help="ner: first, average, max or simple.")]
TopK = Annotated[int, typer.Option(help="fill-mask: candidates for each mask.", min=1)]
NBest = Annotated[int, typer.Option(help="qa: candidates for each question.", min=1)]
NullThreshold = Annotated[
    str, typer.Option(help='qa: logits by which "no answer" must lead to win; none always answers.')
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="jsonl, json, csv, parquet, xlsx or, to read, tsv, conll, fasttext and xml, "
        "where the ending does not say.",
        show_default="jsonl",
    ),
]
AsTool = Annotated[
    str | None,
    typer.Option(
        "--as",
        help="ner: write pre-annotations that a tool imports: label-studio, doccano, prodigy, brat, conll.",
        show_default="rows with their answers",
    ),
]
TextColumn = Annotated[
    str | None,
    typer.Option(
        "--text-column",
        help="Column of the text, or of the first of two.",
        show_default="as the model was trained, or the usual names",
    ),
]
PairColumn = Annotated[
    str | None, typer.Option("--pair-column", help="Column of the second text.", show_default="likewise")
]
LabelColumn = Annotated[
    str | None, typer.Option("--label-column", help="Column with the gold labels.", show_default="likewise")
]
WordColumn = Annotated[
    str | None,
    typer.Option(
        "--word-column",
        help="ner: number of the column of the words in CoNLL, from 1.",
        show_default="found",
    ),
]
TagColumn = Annotated[
    str | None,
    typer.Option("--tag-column", help="ner: likewise of the gold tags.", show_default="found"),
]
TagNames = Annotated[
    str | None,
    typer.Option("--tag-names", help="ner: names of gold tags that are numbers, such as O,B-PER,I-PER."),
]


def register(app: typer.Typer) -> None:
    app.command("predict", cls=Command)(predict)
    app.command("evaluate", cls=Command)(evaluate)


def predict(
    task: TaskName,
    model: ModelName,
    source: Annotated[
        Path,
        typer.Option(
            "--data",
            help="Rows: .jsonl, .json, .csv, .tsv, .conll (also .gz, .zst), .parquet, .xlsx, datasets:NAME; "
            "ner: also .spacy and a folder of brat.",
        ),
    ],
    target: Annotated[
        Path,
        typer.Option(
            "--out",
            help="Gets every row in order, with prediction and scores: .jsonl, .csv, .parquet, .xlsx.",
        ),
    ],
    metrics: Annotated[Path | None, typer.Option(help="Gets the metrics of labelled rows as JSON.")] = None,
    file_format: Format = None,
    text: TextColumn = None,
    pair: PairColumn = None,
    label: LabelColumn = None,
    encoding: Encoding = None,
    header: Header = None,
    sheet: Sheet = None,
    records: Records = None,
    skip_bad: SkipBad = False,
    word_column: WordColumn = None,
    tag_column: TagColumn = None,
    tag_names: TagNames = None,
    as_tool: AsTool = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a stopped run.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start again and replace what an earlier run has left.")
    ] = False,
    workers: Annotated[
        int, typer.Option(help="Processes, each with the model; the cores are divided among them.", min=1)
    ] = 1,
    use_ray: Annotated[
        bool,
        typer.Option("--ray", help="Let --workers actors of a Ray cluster answer (RAY_ADDRESS, or local)."),
    ] = False,
    labels: HeadLabels = None,
    nli_labels: NLILabels = None,
    backend: BackendName = "auto",
    calibrated: Calibration = True,
    device: Device = "auto",
    dtype: Dtype = "fp32",
    batch_tokens: BatchTokens = None,
    max_length: MaxLength = None,
    template: Template = "This example is {}.",
    multi_label: MultiLabel = False,
    aggregation: Aggregation = "first",
    top_k: TopK = 5,
    n_best: NBest = 1,
    null_threshold: NullThreshold = "0",
) -> None:
    """Answer every row of a file.

    docs/prediction.md says which columns each task reads. Probabilities are shares from 0 to 1.

    Example: debertav3 predict nli --model models/nano --data pairs.jsonl --out answers.jsonl
    """
    show_understanding()
    from ..inference.files.predict import check_run, predict_file
    from ..inference.files.row_answers import AnswerOptions
    from ..tasks.preannotations import tool_named

    tool = None if as_tool is None else tool_named(as_tool)
    guard(
        *check_run(target, metrics, target_format=file_format, tool=tool, resume=resume, overwrite=overwrite),
        inputs={"--data": source, "--model": model},
        overwrite=overwrite,
    )
    options = AnswerOptions(
        candidate_labels=_candidates(task, labels),
        template=template,
        multi_label=multi_label,
        aggregation=aggregation,
        top_k=top_k,
        n_best=n_best,
        null_threshold=_threshold(null_threshold),
        columns=_asked_columns(text, pair, label),
        label_map=_label_map(labels),
        reading=read_options(
            encoding=encoding,
            header=header,
            sheet=sheet,
            records=records,
            skip_bad=skip_bad,
            columns=_asked_columns(text, pair, label),
            word_column=word_column,
            tag_column=tag_column,
            tag_names=tuple(label_list(tag_names) or ()),
        ),
    )
    plan = _plan(
        task,
        source,
        options,
        source_format=file_format,
        model=model,
        labels=_head_labels(task, labels, nli_labels),
        backend=backend,
        device=device,
        dtype=dtype,
        calibrated=calibrated,
        batch_tokens=batch_tokens,
        max_length=max_length,
    )
    if tool is not None and plan.task != "ner":
        raise UserError(f"--as is for task ner, which finds entities, not {plan.task}. Leave it out.")
    predict_file(
        plan.open(),
        source,
        target,
        metrics=metrics,
        source_format=file_format,
        target_format=file_format,
        tool=tool,
        resume=resume,
        overwrite=overwrite,
        answerer=_answerer(plan, workers=workers, use_ray=use_ray),
    )
    wrote(target, metrics)


def evaluate(
    task: TaskName,
    model: ModelName,
    data: Annotated[Path, typer.Option(help="Labelled rows: as of --data of `predict`.")],
    metrics: Annotated[Path | None, typer.Option(help="Also write the metrics to this file.")] = None,
    file_format: Format = None,
    text: TextColumn = None,
    pair: PairColumn = None,
    label: LabelColumn = None,
    encoding: Encoding = None,
    header: Header = None,
    sheet: Sheet = None,
    records: Records = None,
    skip_bad: SkipBad = False,
    word_column: WordColumn = None,
    tag_column: TagColumn = None,
    tag_names: TagNames = None,
    labels: HeadLabels = None,
    nli_labels: NLILabels = None,
    backend: BackendName = "auto",
    calibrated: Calibration = True,
    device: Device = "auto",
    dtype: Dtype = "fp32",
    batch_tokens: BatchTokens = None,
    max_length: MaxLength = None,
    template: Template = "This example is {}.",
    multi_label: MultiLabel = False,
    aggregation: Aggregation = "first",
    null_threshold: NullThreshold = "0",
    overwrite: Overwrite = False,
) -> None:
    """Score a checkpoint on labelled rows.

    Prints the metrics as JSON: shares from 0 to 1, but for `exact_match` and `f1` of qa, which are points
    of 100 as in SQuAD's official script.

    Example: debertav3 evaluate nli --model models/nano --data dev.jsonl.gz --metrics metrics.json
    """
    show_understanding()
    guard(
        Output(option="--metrics", path=metrics),
        inputs={"--data": data, "--model": model},
        overwrite=overwrite,
    )
    from ..files import replacing_text
    from ..inference.files.predict import evaluate_file, to_json
    from ..inference.files.row_answers import AnswerOptions

    options = AnswerOptions(
        candidate_labels=_candidates(task, labels),
        template=template,
        multi_label=multi_label,
        aggregation=aggregation,
        null_threshold=_threshold(null_threshold),
        columns=_asked_columns(text, pair, label),
        label_map=_label_map(labels),
        reading=read_options(
            encoding=encoding,
            header=header,
            sheet=sheet,
            records=records,
            skip_bad=skip_bad,
            columns=_asked_columns(text, pair, label),
            word_column=word_column,
            tag_column=tag_column,
            tag_names=tuple(label_list(tag_names) or ()),
        ),
    )
    plan = _plan(
        task,
        data,
        options,
        source_format=file_format,
        model=model,
        labels=_head_labels(task, labels, nli_labels),
        backend=backend,
        device=device,
        dtype=dtype,
        calibrated=calibrated,
        batch_tokens=batch_tokens,
        max_length=max_length,
    )
    report = to_json(evaluate_file(plan.open(), data, source_format=file_format))
    if metrics is not None:
        with replacing_text(metrics) as file:
            file.write(report)
    print(report, end="")
    wrote(metrics)


def _plan(
    task: str,
    source: Path,
    options: "AnswerOptions",
    *,
    source_format: str | None,
    model: str,
    **loading: Any,
) -> "TaskPlan":
    """How to open a task over a file; mistakes in either are reported before torch is loaded."""
    from ..files.named_sets import DATASETS_PREFIX
    from ..inference.files.input import open_rows
    from ..inference.files.row_answers import FILE_TASKS
    from ..inference.files.workers import TaskPlan
    from ..tasks.annotations.brat import is_brat
    from ..tasks.columns import find_columns
    from ..tasks.names import answering_name

    named = task
    if answering_name(named, {}) not in FILE_TASKS:
        near = did_you_mean(named, list(FILE_TASKS))
        raise UserError(f"unknown task {named!r}.{near} Choose one of: {', '.join(FILE_TASKS)}.")
    check_loading(backend=loading["backend"], dtype=loading["dtype"])
    checkpoint = None
    if named not in FILE_TASKS:
        checkpoint = open_checkpoint(model)
        task = answering_name(named, checkpoint.folder.json("config.json"))
        logger.info("task %s is answered as %s", named, task)
    if not str(source).startswith(DATASETS_PREFIX):
        if not (source.is_dir() and is_brat(source)):
            check_file("--data", source, advice="Give the path of a file of rows, or datasets:NAME.")
        reading = replace(options.reading, format=source_format)
        next(iter(open_rows(task, source, reading)), None)  # a wrong format shows at once
    checkpoint = checkpoint or open_checkpoint(model)
    trained = checkpoint.trained
    if task != named:
        trained = trained._replace(task=trained.task or named)
    kind, asked = FILE_TASKS[task], options.columns
    for option, column in (
        ("--text-column", asked.text),
        ("--pair-column", asked.pair),
        ("--label-column", asked.label),
    ):
        if column is not None and option not in kind.column_options:
            raise UserError(f"task {task} reads no column that {option} names. Leave it out.")
    for option in ("word_column", "tag_column", "tag_names"):
        if getattr(options.reading, option) and task != "ner":
            raise UserError(f"--{option.replace('_', '-')} is for task ner, not {task}. Leave it out.")
    columns = find_columns(trained, asked)
    settled = replace(
        options,
        columns=columns,
        trained_task=trained.task,
        reading=options.reading.with_columns(columns.names),
    )
    return TaskPlan(task=task, checkpoint=checkpoint, options=settled, loading=loading)


def _asked_columns(text: str | None, pair: str | None, label: str | None) -> "Columns":
    from ..tasks.columns import Columns

    return Columns(text=text, pair=pair, label=label)


def _answerer(plan: "TaskPlan", *, workers: int, use_ray: bool) -> "Answerer | None":
    if use_ray:
        from ..inference.files.ray import RayWorkers

        return RayWorkers(plan, num_workers=workers)
    if workers > 1:
        from ..inference.files.workers import WorkerProcesses

        return WorkerProcesses(plan, num_workers=workers)
    return None


def label_list(text: str | None) -> list[str] | None:
    """Labels written with commas."""
    return None if text is None else [label.strip() for label in text.split(",")]


def _label_map(labels: str | None) -> Mapping[str, str]:
    """What rows call labels, if ``--labels`` names a file of that."""
    from ..tasks.label_map import ENDINGS, read_label_map

    return read_label_map(labels) if labels is not None and labels.endswith(ENDINGS) else {}


def _names_labels(labels: str | None) -> bool:
    """Whether ``--labels`` has names rather than the file of a map."""
    return labels is not None and not labels.endswith((".yaml", ".yml", ".json"))


def _candidates(task: str, labels: str | None) -> tuple[str, ...] | None:
    found = label_list(labels) if task == "zero-shot" and _names_labels(labels) else None
    return tuple(found) if found else None


def _head_labels(task: str, labels: str | None, nli_labels: str | None) -> list[str] | None:
    own = labels if _names_labels(labels) else None
    return label_list(nli_labels if task == "zero-shot" else own or nli_labels)


def _threshold(text: str) -> float | None:
    if text == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise UserError(f"--null-threshold must be a number or none, got {text!r}.") from None
