"""A backend that loads its weights when they are first needed, after the input has been checked."""

from collections.abc import Mapping
from functools import cached_property

from ...checkpoint.folder import Checkpoint
from .choose import BackendConfig, check_runtime, open_backend
from .exported import read_exported
from .protocol import Backend, Batch, Logits, head_for


class DeferredBackend:
    """Head and configuration at once, from the folder's small files; the rest as soon as it is asked for.

    Args:
        checkpoint: what to load.
        task: see `head_for`.
        how: where and in which precision.

    Raises:
        UserError: if the task needs another head, or there is no such backend for the checkpoint.
    """

    def __init__(self, checkpoint: Checkpoint, *, task: str | None, how: BackendConfig) -> None:
        check_runtime(checkpoint, task=task, how=how)
        self._checkpoint, self._task, self._how = checkpoint, task, how
        self.config: Mapping[str, object] = checkpoint.config
        if checkpoint.is_export:
            self.head = read_exported(checkpoint).manifest.head
        else:
            self.head = head_for(checkpoint.config, task=task, place=checkpoint.name)

    @cached_property
    def _loaded(self) -> Backend:
        return open_backend(self._checkpoint, task=self._task, how=self._how)

    @property
    def name(self) -> str:
        """Of the backend that runs."""
        return self._loaded.name

    @property
    def dtype(self) -> str:
        """In what it computes."""
        return self._loaded.dtype

    @property
    def batch_tokens(self) -> int:
        """How many tokens a batch should hold."""
        return self._loaded.batch_tokens

    @property
    def device(self) -> object:
        """Where it computes."""
        return self._loaded.device

    def run(self, batch: Batch) -> Logits:
        """Compute the logits of one batch: see `Backend.run`."""
        return self._loaded.run(batch)
