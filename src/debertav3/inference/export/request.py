"""What `debertav3 export` is asked for. Loads nothing heavy, so that wrong options are refused at once."""

from dataclasses import dataclass, field
from pathlib import Path

from ...errors import UserError
from ...tasks.columns import Columns
from ..backends.exported import ALL_FORMATS, TORCH


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """What to write."""

    format: str
    """``onnx``, ``openvino``, or for int8 ``torch``: what is to run it."""
    task: str | None = None
    """Where a checkpoint has two heads: whose to export."""
    int8: bool = False
    """Quantize, if the gate lets it pass."""
    calibration: Path | None = None
    """int8: rows as ``debertav3 predict`` reads them, with or without labels."""
    columns: Columns = field(default_factory=Columns)
    """int8: columns of the examples, where they are neither those of the training nor the usual ones."""
    fp16: bool = False
    """Store weights in fp16; the graph computes in fp32."""
    for_long_inputs: bool = False
    """Compute one head after the other: less memory for long inputs, more time for short ones."""
    needs_vnni: bool = False
    """int8 graphs: all 8 bits of weights, which overflow without a word on processors that lack VNNI."""
    force: bool = False
    """int8: write what the gate refuses, and say so in the model card."""

    def __post_init__(self) -> None:
        if self.format not in ALL_FORMATS:
            raise UserError(f"unknown format {self.format!r}. Choose one of: {', '.join(ALL_FORMATS)}.")
        if self.format == TORCH and not self.int8:
            raise UserError(
                "format torch is for --int8: in other precisions torch runs the checkpoint itself."
            )
        if self.format == TORCH and self.for_long_inputs:
            raise UserError(
                "--for-long-inputs is for graphs: torch needs little memory for long inputs anyway."
            )
        if self.int8 and self.calibration is None:
            raise UserError(
                "int8 is only written if its decisions are unchanged: give examples with --calibration FILE."
            )
        if self.needs_vnni and (not self.int8 or self.format == TORCH):
            raise UserError(
                "--vnni is for --int8 with format onnx or openvino: on torch int8 is exact everywhere."
            )
        if not self.int8 and (self.calibration is not None or self.force):
            raise UserError("--calibration and --force belong to --int8.")
        if not self.int8 and self.columns != Columns():
            raise UserError(
                "--text-column, --pair-column and --label-column name columns of --calibration, which "
                "belongs to --int8."
            )
