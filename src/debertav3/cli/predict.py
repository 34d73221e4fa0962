"""``debertav3 predict`` and ``debertav3 evaluate``: one task over the rows of a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ..errors import UserError
from ..files import Output
from .answer_options import (
    Aggregation,
    AsTool,
    BackendName,
    BatchTokens,
    Calibration,
    Device,
    Dtype,
    Format,
    LabelColumn,
    LabelsOrMap,
    MaxLength,
    ModelName,
    MultiLabel,
    NBest,
    NLILabels,
    NullThreshold,
    PairColumn,
    TagColumn,
    TagNames,
    TaskName,
    Template,
    TextColumn,
    TopK,
    WordColumn,
)
from .commands import Option
from .options import DATA, RUN, Overwrite
from .outputs import guard
from .reading_options import ChoiceColumns, Encoding, Header, Records, Sheet, SkipBad, read_options
from .task_plan import asked_columns, label_list, plan_of, threshold
from .terminal import show_log, show_understanding, wrote

if TYPE_CHECKING:
    from ..inference.files.row_answers import FileTask
    from ..inference.files.workers import Answerer, TaskPlan


def predict(
    task: TaskName,
    model: ModelName,
    source: Annotated[
        Path,
        Option(
            "--data",
            help="Rows: .jsonl, .json, .csv, .tsv, .conll (also .gz, .zst), .parquet, .xlsx or "
            "datasets:NAME; ner: also .spacy or a folder of brat files.",
            heading=DATA,
        ),
    ],
    target: Annotated[
        Path,
        Option(
            "--out",
            help="File for the rows, in order, with prediction and scores: .jsonl, .csv, .parquet or .xlsx.",
            heading=DATA,
        ),
    ],
    metrics: Annotated[
        Path | None, Option(help="File for the metrics, as JSON, if rows have labels.", heading=DATA)
    ] = None,
    file_format: Format = None,
    text: TextColumn = None,
    pair: PairColumn = None,
    label: LabelColumn = None,
    choices: ChoiceColumns = None,
    encoding: Encoding = None,
    header: Header = None,
    sheet: Sheet = None,
    records: Records = None,
    skip_bad: SkipBad = False,
    word_column: WordColumn = None,
    tag_column: TagColumn = None,
    tag_names: TagNames = None,
    as_tool: AsTool = None,
    resume: Annotated[bool, Option("--resume", help="Continue an interrupted run.", heading=RUN)] = False,
    overwrite: Annotated[
        bool,
        Option("--overwrite", help="Start over and replace the results of an earlier run.", heading=RUN),
    ] = False,
    workers: Annotated[
        int,
        Option(
            help="Processes, each with its own copy of the model; they share the cores.", min=1, heading=RUN
        ),
    ] = 1,
    use_ray: Annotated[
        bool,
        Option("--ray", help="Run --workers actors on a Ray cluster (RAY_ADDRESS, or local).", heading=RUN),
    ] = False,
    labels: LabelsOrMap = None,
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
    """Predict every row of a file.

    docs/prediction.md lists the columns that each task reads. Probabilities range from 0 to 1.

    Example: debertav3 predict nli --model models/nano --data pairs.jsonl --out answers.jsonl
    """
    show_understanding()
    from ..inference.files.predict import check_run, predict_file
    from ..inference.files.row_answers import AnswerOptions
    from ..tasks.preannotations import tool_named

    tool = None if as_tool is None else tool_named(as_tool)
    guard(
        *check_run(target, metrics, target_format=file_format, tool=tool, resume=resume, overwrite=overwrite),
        inputs={"--data": source, "--model": model, "--labels": labels},
        overwrite=overwrite,
    )
    columns = asked_columns(text, pair, label, choices)
    plan = plan_of(
        task,
        source,
        AnswerOptions(
            template=template,
            multi_label=multi_label,
            aggregation=aggregation,
            top_k=top_k,
            n_best=n_best,
            null_threshold=threshold(null_threshold),
            columns=columns,
            reading=read_options(
                encoding=encoding,
                header=header,
                sheet=sheet,
                records=records,
                skip_bad=skip_bad,
                columns=columns,
                word_column=word_column,
                tag_column=tag_column,
                tag_names=tuple(label_list(tag_names) or ()),
            ),
        ),
        source_format=file_format,
        model=model,
        labels=labels,
        nli_labels=nli_labels,
        backend=backend,
        device=device,
        dtype=dtype,
        calibrated=calibrated,
        batch_tokens=batch_tokens,
        max_length=max_length,
    )
    if tool is not None and plan.task != "ner":
        raise UserError(f"--as is for task ner, which finds entities, not {plan.task}. Leave it out.")
    opened = plan.open()
    predict_file(
        opened,
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
    wrote(target, metrics, by=_computed_by(opened))


def evaluate(
    task: TaskName,
    model: ModelName,
    data: Annotated[Path, Option(help="Labelled rows, in the formats of `debertav3 predict`.", heading=DATA)],
    metrics: Annotated[Path | None, Option(help="Also write the metrics to this file.", heading=DATA)] = None,
    file_format: Format = None,
    text: TextColumn = None,
    pair: PairColumn = None,
    label: LabelColumn = None,
    choices: ChoiceColumns = None,
    encoding: Encoding = None,
    header: Header = None,
    sheet: Sheet = None,
    records: Records = None,
    skip_bad: SkipBad = False,
    word_column: WordColumn = None,
    tag_column: TagColumn = None,
    tag_names: TagNames = None,
    labels: LabelsOrMap = None,
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
    """Evaluate a checkpoint on labelled rows.

    Prints the metrics as JSON: from 0 to 1, except `exact_match` and `f1` of qa, which go from 0 to 100 as in
    SQuAD's official script.

    Example: debertav3 evaluate nli --model models/nano --data dev.jsonl.gz --metrics metrics.json
    """
    show_understanding()
    guard(
        Output(option="--metrics", path=metrics),
        inputs={"--data": data, "--model": model, "--labels": labels},
        overwrite=overwrite,
    )
    from ..files import json_text, replacing_text
    from ..inference.files.predict import evaluate_file
    from ..inference.files.row_answers import AnswerOptions

    columns = asked_columns(text, pair, label, choices)
    plan = plan_of(
        task,
        data,
        AnswerOptions(
            template=template,
            multi_label=multi_label,
            aggregation=aggregation,
            null_threshold=threshold(null_threshold),
            columns=columns,
            reading=read_options(
                encoding=encoding,
                header=header,
                sheet=sheet,
                records=records,
                skip_bad=skip_bad,
                columns=columns,
                word_column=word_column,
                tag_column=tag_column,
                tag_names=tuple(label_list(tag_names) or ()),
            ),
        ),
        source_format=file_format,
        model=model,
        labels=labels,
        nli_labels=nli_labels,
        backend=backend,
        device=device,
        dtype=dtype,
        calibrated=calibrated,
        batch_tokens=batch_tokens,
        max_length=max_length,
    )
    opened = plan.open()
    report = json_text(evaluate_file(opened, data, source_format=file_format))
    if metrics is not None:
        with replacing_text(metrics) as file:
            file.write(report)
    print(report, end="")
    wrote(metrics, by=_computed_by(opened))


def _computed_by(task: "FileTask") -> str:
    """The backend that answered, which ``auto`` may have chosen."""
    backend = task.predictor.engine.backend
    return f"backend {backend.name}, {backend.dtype}"


def _answerer(plan: "TaskPlan", *, workers: int, use_ray: bool) -> "Answerer | None":
    if use_ray:
        from ..inference.files.ray import RayWorkers

        return RayWorkers(plan, num_workers=workers)
    if workers > 1:
        from ..inference.files.workers import WorkerProcesses

        return WorkerProcesses(plan, num_workers=workers, show_log=show_log)
    return None
