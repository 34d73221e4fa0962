"""``debertav3 export``: a checkpoint as a graph for OpenVINO or ONNX Runtime, or in int8 for any backend."""

from pathlib import Path
from typing import Annotated, Literal

from ..files import Output
from .answer_options import LabelColumn, ModelName, PairColumn, TextColumn
from .commands import Option
from .input_checks import check_file, open_checkpoint
from .options import DATA, MODEL, RUN, Overwrite
from .outputs import guard
from .terminal import log_to_stderr, wrote

EXPORT = "Export"


def export(
    model: ModelName,
    format_: Annotated[
        Literal["openvino", "onnx", "torch"],
        Option("--format", help="The runtime to export for; torch only with --int8.", heading=EXPORT),
    ],
    out: Annotated[Path, Option(help="Folder for the export.", heading=RUN)],
    task: Annotated[
        str | None,
        Option(
            help="Task whose head to export, if the checkpoint has several, and that of the rows in "
            "--calibration.",
            heading=MODEL,
        ),
    ] = None,
    int8: Annotated[
        bool,
        Option("--int8", help="Quantize to int8, if the predictions stay the same.", heading=EXPORT),
    ] = False,
    calibration: Annotated[
        Path | None,
        Option(help="int8: a few hundred rows of your own, as `debertav3 predict` reads them.", heading=DATA),
    ] = None,
    text_column: TextColumn = None,
    pair_column: PairColumn = None,
    label_column: LabelColumn = None,
    fp16: Annotated[
        bool, Option("--fp16", help="Store weights in fp16, which halves the size.", heading=EXPORT)
    ] = False,
    for_long_inputs: Annotated[
        bool,
        Option(
            "--for-long-inputs",
            help="Compute one attention head after the other: a third of the memory, but slower.",
            heading=EXPORT,
        ),
    ] = False,
    vnni: Annotated[
        bool,
        Option(
            "--vnni",
            help="int8, not torch: all 8 bits of weights, only for processors with VNNI.",
            heading=EXPORT,
        ),
    ] = False,
    force: Annotated[
        bool,
        Option(
            "--force",
            help="int8: write the export even if the checks fail; the model card says so.",
            heading=EXPORT,
        ),
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Export a model for OpenVINO, ONNX or int8.

    Writes a graph that runs without torch, or int8 weights, checked against the model; see docs/export.md.

    Example: debertav3 export --model models/nano --format openvino --out nano-openvino
    """
    log_to_stderr()
    from ..inference.export.request import ExportConfig
    from ..tasks.columns import Columns

    config = ExportConfig(
        format=format_,
        task=task,
        int8=int8,
        calibration=calibration,
        columns=Columns(text=text_column, pair=pair_column, label=label_column),
        fp16=fp16,
        for_long_inputs=for_long_inputs,
        needs_vnni=vnni,
        force=force,
    )
    guard(
        Output(option="--out", path=out, is_folder=True),
        inputs={"--model": model, "--calibration": calibration},
        overwrite=overwrite,
    )
    check_file("--calibration", calibration, advice="Give a file of examples, as predict reads them.")
    checkpoint = open_checkpoint(model)
    if calibration is not None:
        from ..inference.export.int8_examples import Calibration

        Calibration(calibration, columns=config.columns, trained=checkpoint.trained).check(
            checkpoint, task=task
        )
    from ..inference.export.run import export_model

    export_model(checkpoint, out, config)
    print(out)
    wrote(out)
