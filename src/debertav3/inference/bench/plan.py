"""What ``debertav3 bench`` is asked for. Loads nothing heavy, so that wrong options are refused at once."""

from dataclasses import dataclass
from pathlib import Path

from ...checkpoint.folder import Checkpoint
from ...errors import UserError
from ...sizes import SIZES, is_size

Shape = tuple[int, int]
"""Texts in a batch, tokens in a text."""

SHAPES: tuple[Shape, ...] = ((1, 32), (1, 128), (8, 128), (16, 64), (2, 512))
QUICK_SHAPES: tuple[Shape, ...] = ((1, 32), (8, 64))


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """What to measure."""

    model: str = "xsmall"
    """A size, for random weights, or a checkpoint folder."""
    exported: tuple[Path, ...] = ()
    """Folders that ``debertav3 export`` has made of the model."""
    shapes: tuple[Shape, ...] = SHAPES
    rounds: int = 7
    threads: int = 1
    with_exports: bool = True
    """Whether to export the model, ours and transformers' own, for ONNX Runtime and OpenVINO, where they are
    installed; that takes a minute or two."""

    def __post_init__(self) -> None:
        if not is_size(self.model):
            if not Path(self.model).is_dir():
                raise UserError(f"{self.model} is neither a folder nor one of the sizes {', '.join(SIZES)}.")
            _ = Checkpoint.open(self.model).config
        for folder in self.exported:
            if not Checkpoint.open(folder).is_export:
                raise UserError(f"--exported {folder} is not a folder of debertav3 export.")


_MOST_TOKENS = 1 << 22


def read_shapes(text: str) -> tuple[Shape, ...]:
    """Shapes written as ``1x32,8x128``.

    Raises:
        UserError: if one is not two positive numbers, or too large for any machine.
    """
    shapes = []
    for part in text.split(","):
        batch, _, length = part.strip().partition("x")
        if not (batch.isdecimal() and length.isdecimal() and int(batch) and int(length)):
            raise UserError(
                f"shapes are written as texts x tokens, such as 1x32,8x128; got {part.strip()!r}."
            )
        if int(batch) * int(length) > _MOST_TOKENS:
            raise UserError(f"a shape has at most {_MOST_TOKENS:,} tokens in all; got {part.strip()!r}.")
        shapes.append((int(batch), int(length)))
    return tuple(shapes)
