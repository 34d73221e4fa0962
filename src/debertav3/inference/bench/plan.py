"""What ``debertav3 bench`` is asked for. Loads nothing heavy, so that wrong options are refused at once."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...checkpoint.folder import Checkpoint
from ...errors import UserError
from ...heads import MASKED_LM, MULTIPLE_CHOICE, REPLACED_TOKENS, heads_in
from ...sizes import SIZES, is_size
from ..backends.exported import changes_since_export, read_exported

Shape = tuple[int, int]
"""Texts in a batch, tokens in a text."""

SHAPES: tuple[Shape, ...] = ((1, 32), (1, 128), (8, 128), (16, 64), (2, 512))
OUR_BACKENDS = ("torch", "onnx", "openvino")
"""What the table calls ``debertav3 NAME`` in any run."""
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
            _check_model(Checkpoint.open(self.model))
        for folder in self.exported:
            exported = Checkpoint.open(folder)
            if not exported.is_export:
                raise UserError(f"--exported {folder} is not a folder of debertav3 export.")
            if is_size(self.model):
                raise UserError(
                    f"--exported {folder} is an export of a checkpoint, and --model {self.model} has random "
                    "weights. Give that checkpoint with --model."
                )
            if changed := changes_since_export(read_exported(exported), Checkpoint.open(self.model)):
                raise UserError(
                    f"--exported {folder} was not exported from {self.model} as it is now "
                    f"({', '.join(changed)}). Export it again, or give the checkpoint that it was exported "
                    "from with --model."
                )
        exported_names(self.exported)


def _check_model(checkpoint: Checkpoint) -> None:
    """Refuse what stock transformers and our exports cannot be compared on."""
    if checkpoint.is_export:
        raise UserError(
            f"{checkpoint.name} is an exported folder. Give the checkpoint that it was exported from with "
            "--model, and this folder with --exported."
        )
    heads = {head.name for head in heads_in(checkpoint.config.get("architectures"))}
    if other := heads & {MASKED_LM, MULTIPLE_CHOICE, REPLACED_TOKENS}:
        raise UserError(
            f"{checkpoint.name} has a {min(other)} head. bench measures classifiers, token classifiers, "
            "question answering and encoders: give such a checkpoint, or a size."
        )


def exported_names(folders: Sequence[Path]) -> list[str]:
    """What the table calls exported folders: each by its name, or by its path where the name is taken.

    Raises:
        UserError: if a folder is given twice.
    """
    places = [folder.resolve() for folder in folders]
    if twice := [place for place, count in Counter(places).items() if count > 1]:
        raise UserError(f"--exported names the folder {twice[0]} twice. Give it once.")
    count = Counter([*OUR_BACKENDS, *(place.name for place in places)])
    return [f"debertav3 {place.name if count[place.name] == 1 else place}" for place in places]


Earlier = dict[tuple[str, int, int], float]
"""Milliseconds of an earlier run by contender, texts and tokens."""


def read_earlier(old: Path, shapes: Sequence[Shape]) -> Earlier:
    """Read the JSON line of an earlier run, to compare with.

    Raises:
        UserError: if it is not such a file, or has none of the shapes.
    """
    try:
        figures = json.loads(old.read_text(encoding="utf-8"))["figures"]
        found = {(one["name"], one["batch"], one["length"]): float(one["milliseconds"]) for one in figures}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"--compare reads the JSON line of an earlier debertav3 bench; {old} is not one ({error})."
        ) from None
    if not {key[1:] for key in found} & set(shapes):
        asked = ",".join(f"{batch}x{length}" for batch, length in shapes)
        raise UserError(f"--compare {old} has none of the shapes {asked}. Say its own with --shapes.")
    return found


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
