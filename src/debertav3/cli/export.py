"""``debertav3 export``: a checkpoint as a graph for OpenVINO or ONNX Runtime, or in int8 for any backend."""

from pathlib import Path
from typing import Annotated

import typer

from ..files import Output
from .answer_options import LabelColumn, PairColumn, TextColumn
from .input_checks import check_file, choose, open_checkpoint
from .options import Command, Overwrite
from .outputs import guard
from .terminal import log_to_stderr, wrote


def register(app: typer.Typer) -> None:
    app.command("export", cls=Command)(export)


def export(
    model: Annotated[str, typer.Option(help="Checkpoint folder or Hub name.")],
    format_: Annotated[
        str, typer.Option("--format", help="What is to run it: openvino, onnx, or with --int8 torch.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    task: Annotated[
        str | None, typer.Option(help="Whose head, where a checkpoint has two; what rows --calibration has.")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Quantise, if it decides as before.")] = False,
    calibration: Annotated[
        Path | None, typer.Option(help="int8: your own examples, as predict reads them; some hundreds.")
    ] = None,
    text_column: TextColumn = None,
    pair_column: PairColumn = None,
    label_column: LabelColumn = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Store weights in fp16: half the size.")] = False,
    for_long_inputs: Annotated[
        bool,
        typer.Option(
            "--for-long-inputs", help="One head after the other: less memory, slower below 256 tokens."
        ),
    ] = False,
    vnni: Annotated[
        bool,
        typer.Option("--vnni", help="int8 on ONNX and OpenVINO: all 8 bits, for processors with VNNI alone."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="int8: write what the gate refuses; the model card says so.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Export a model for OpenVINO, ONNX or int8.

    Writes a graph that runs without torch, or int8 weights, checked against the model; see docs/export.md.

    Example: debertav3 export --model models/nano --format openvino --out nano-openvino
    """
    log_to_stderr()
    from ..inference.backends.exported import ALL_FORMATS
    from ..inference.export.request import ExportConfig
    from ..tasks.columns import Columns

    choose("--format", format_, ALL_FORMATS)
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
