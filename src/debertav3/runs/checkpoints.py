"""The checkpoints of a run: complete or absent, the newest intact one to resume from, older ones removed.

A checkpoint is a folder ``OUT/checkpoints/NAME-STEP``. It is written aside, flushed, summed and renamed, so
it exists only with all its files and ``manifest.json``, their sizes and SHA-256 sums. What a crash leaves has
a dotted name, is never read, and is removed by the next save.
"""

import contextlib
import logging
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from ..errors import UserError
from ..files import MANIFEST, damage_of, publish_folder, remove_leftovers, temporary_path, write_manifest

logger = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
_STAGING = ".saving"


class CheckpointStore:
    """The checkpoints of one run. Folders without a manifest are not its own and are never removed.

    Args:
        out: the folder of the run.
        name: what folders are called: ``checkpoint`` for ``checkpoint-500``.
        digits: of the step in a folder's name, at least.
        keep: how many of the newest to keep; at least 1.
    """

    def __init__(self, out: Path, *, name: str, digits: int = 1, keep: int = 1) -> None:
        self.folder = out / CHECKPOINTS
        self.name = name
        self.digits = digits
        self.keep = keep
        self._pattern = re.compile(rf"{name}-(\d{{{digits},}})")

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step is, or would be."""
        return self.folder / f"{self.name}-{step:0{self.digits}d}"

    def all(self) -> list[Path]:
        """Every folder named like a checkpoint, by step."""
        found = self.folder.iterdir() if self.folder.is_dir() else ()
        numbered = [(int(match[1]), path) for path in found if (match := self._pattern.fullmatch(path.name))]
        return [path for _, path in sorted(numbered)]

    def step_of(self, checkpoint: Path) -> int:
        """The step in the name of a checkpoint."""
        return int(checkpoint.name.removeprefix(f"{self.name}-"))

    def newest(self, *, most: int | None = None) -> Path | None:
        """The newest intact checkpoint; damaged ones are named in a warning. Every file is read.

        Args:
            most: highest step; None for any.
        """
        for checkpoint in reversed(self.all()):
            if most is not None and self.step_of(checkpoint) > most:
                continue
            reason = damage_of(checkpoint)
            if reason is None:
                return checkpoint
            logger.warning("skipped %s, which is damaged: %s", checkpoint, reason)
        return None

    @contextmanager
    def saving(
        self, step: int, *, publishes: bool = True, wait: Callable[[], None] = lambda: None
    ) -> Iterator[Path]:
        """Give an empty folder that becomes the checkpoint of ``step`` if the block ends well.

        Several processes may write into it; they all enter the block, and one of them publishes.

        Args:
            step: optimizer steps done. An older checkpoint of the same step is replaced.
            publishes: whether this process makes the folder and publishes it.
            wait: waits for all processes; called when the folder is made, and at the end of the block.

        Raises:
            UserError: if it cannot be written; earlier checkpoints are still there.
        """
        target = self.path(step)
        staged = self.folder / _STAGING / target.name
        try:
            if publishes:
                self.clean()
                staged.mkdir(parents=True)
            wait()
            yield staged
            wait()
            if publishes:
                write_manifest(staged)
                publish_folder(staged, target)
        except (OSError, RuntimeError, SafetensorError) as error:
            # RuntimeError is what torch.save reports a full disk as.
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"the checkpoint of step {step} cannot be written to {self.folder}: "
                f"{reason}. Free some space and continue with --resume; earlier checkpoints "
                "are intact."
            ) from error
        finally:
            if publishes:
                shutil.rmtree(self.folder / _STAGING, ignore_errors=True)

    def remove_older(self, *, best: str | Path | None = None) -> None:
        """Remove all but the newest ``keep`` checkpoints and the best one."""
        for checkpoint in self._written()[: -self.keep]:
            if best is None or checkpoint.resolve() != Path(best).resolve():
                _remove(checkpoint)

    def remove_all(self) -> None:
        """Remove every checkpoint of the run, and the folder if nothing else is in it."""
        for checkpoint in self._written():
            _remove(checkpoint)
        self.clean()
        with contextlib.suppress(OSError):  # it does not exist, or holds other files
            self.folder.rmdir()

    def clean(self) -> None:
        """Remove what a crash left behind. Call it in one process only."""
        shutil.rmtree(self.folder / _STAGING, ignore_errors=True)
        remove_leftovers(self.folder, self._pattern.pattern)

    def _written(self) -> list[Path]:
        return [checkpoint for checkpoint in self.all() if (checkpoint / MANIFEST).is_file()]


def _remove(checkpoint: Path) -> None:
    """Rename, then remove: a crash in the middle must not leave half a folder under a checkpoint's name."""
    doomed = temporary_path(checkpoint)
    checkpoint.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)
