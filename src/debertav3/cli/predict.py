"""``debertav3 predict`` and ``debertav3 evaluate``: one task over the rows of a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
    HeadLabels,
    LabelColumn,
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
from .options import Command, Overwrite
from .outputs import guard
from .reading_options import ChoiceColumns, Encoding, Header, Records, Sheet, SkipBad, read_options
from .task_plan import asked_columns, label_list, plan_of, threshold
from .terminal import show_log, show_understanding, wrote

if TYPE_CHECKING:
    from ..inference.files.workers import Answerer, TaskPlan


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
    choices: ChoiceColumns = None,
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
    report = to_json(evaluate_file(plan.open(), data, source_format=file_format))
    if metrics is not None:
        with replacing_text(metrics) as file:
            file.write(report)
    print(report, end="")
    wrote(metrics)


def _answerer(plan: "TaskPlan", *, workers: int, use_ray: bool) -> "Answerer | None":
    if use_ray:
        from ..inference.files.ray import RayWorkers

        return RayWorkers(plan, num_workers=workers)
    if workers > 1:
        from ..inference.files.workers import WorkerProcesses

        return WorkerProcesses(plan, num_workers=workers, show_log=show_log)
    return None
