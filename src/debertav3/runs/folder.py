"""The folder of a training run: whether a run may begin in it or continue."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from ..files import Inputs, Output, check_outputs
from .checkpoints import CHECKPOINTS


def check_run_folder(
    out: Path,
    *,
    writes: Sequence[str],
    is_own: bool,
    holds_run: bool,
    is_finished: bool = False,
    resume: bool,
    inputs: Inputs,
) -> None:
    """Check that a run may use a folder, which need not exist. Nothing is written.

    Args:
        out: the folder.
        writes: patterns of the files and folders that a run leaves in it.
        is_own: whether a run has begun there, so that what it holds is the run's own.
        holds_run: whether a run has left something there that must not be lost.
        is_finished: whether there is nothing left to resume.
        resume: whether to continue what is there.
        inputs: what the run reads, by option; see :func:`debertav3.files.check_outputs`.

    Raises:
        UserError: if it holds a run and ``resume`` is missing, a finished run that is to be resumed, or
            files of something else that this run would write over; if it is a file or an input, or cannot
            be written.
    """
    check_outputs(
        [Output(option="--out", path=out, is_folder=True, writes=tuple(writes), may_exist=True)],
        inputs=inputs,
    )
    if is_finished and resume:
        raise UserError(f"--out {out} contains a finished run; there is nothing to resume.")
    if holds_run and not resume:
        raise UserError(
            f"--out {out} already contains a run. Choose another folder, or add --resume to continue it."
        )
    if is_own:
        return
    if found := sorted(
        {path.name for pattern in writes for path in out.glob(pattern) if not _is_empty(path)}
    ):
        raise UserError(
            f"--out {out} contains {', '.join(found[:3])}, which does not come from a run "
            "and would be overwritten. Choose another folder."
        )


def _is_empty(path: Path) -> bool:
    """Whether a folder has no files; a run killed while it first writes leaves a dotted part in its store."""
    names = [one.name for one in path.iterdir()] if path.is_dir() else [path.name]
    return all(path.name == CHECKPOINTS and name.startswith(".") for name in names)
