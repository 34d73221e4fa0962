"""The backend of our own: numpy and the C++ kernel, with neither torch nor transformers, from a checkpoint.

Where there is no kernel, numpy computes everything: slower, and right.
"""

import logging
import os
from collections.abc import Mapping
from functools import partial
from typing import Self

from ...checkpoint import files, keys
from ...checkpoint.agreement import check_body, compare
from ...checkpoint.folder import Checkpoint
from ...checkpoint.shapes import expected_tensors
from ...cpu.kernel.library import VARIABLE, kernel
from ...cpu.native.model import NativeModel
from ...errors import UserError
from ...heads import BY_NAME, MASKED_LM
from ...layers.config import EncoderConfig
from ..output_labels import label_names
from .protocol import INT8, Batch, Logits, head_for

logger = logging.getLogger(__name__)

NATIVE = "native"

_BATCH_TOKENS = 1024


class NativeBackend:
    """A checkpoint in numpy and our kernel: see `Backend`.

    Args:
        model: the checkpoint's tensors, ready to compute.
        checkpoint: where they come from.
        head: what it predicts, a head's name in ``heads.py``.
        is_int8: whether its encoder multiplies in int8.
    """

    name = NATIVE
    device = "cpu"

    def __init__(self, model: NativeModel, checkpoint: Checkpoint, *, head: str, is_int8: bool) -> None:
        self.model = model
        self.checkpoint = checkpoint
        self.head = head
        self.dtype = INT8 if is_int8 else "fp32"
        self.config: Mapping[str, object] = checkpoint.config
        self.batch_tokens = _BATCH_TOKENS

    @classmethod
    def open(cls, checkpoint: Checkpoint, *, task: str | None, device: str, dtype: str) -> Self:
        """Load a checkpoint with the head that it names or the task needs.

        Args:
            checkpoint: what to load; one with int8 weights multiplies in int8.
            task: see `head_for`.
            device: ``auto`` or ``cpu``.
            dtype: ``fp32``.

        Raises:
            UserError: if the checkpoint cannot be used, or is not for this backend: see `why_not`.
        """
        if (reason := why_not(checkpoint, device=device, dtype=dtype)) is not None:
            raise UserError(f"backend native cannot run {checkpoint.name}: {reason}. Use --backend torch.")
        head = head_for(checkpoint.config, task=task, place=checkpoint.name)
        config, weights = EncoderConfig.from_dict(checkpoint.config), checkpoint.weights
        check_body(checkpoint.folder, checkpoint.config, weights.stored)
        heads = keys.heads_of(weights.stored)
        wanted = expected_tensors(
            config,
            head=head,
            num_labels=len(label_names(checkpoint.config)),
            has_legacy_head=head == MASKED_LM and keys.LEGACY + MASKED_LM in heads and MASKED_LM not in heads,
        )
        usable, report = compare(
            checkpoint.folder,
            weights,
            wanted,
            head_name=BY_NAME[head].class_name,
            new_head=False,
            relabelled=False,
        )
        compiled = kernel()
        if compiled is None:
            is_wanted = os.environ.get(VARIABLE) == "none"
            logger.log(
                logging.INFO if is_wanted else logging.WARNING,
                "without the CPU kernel, numpy computes, which is slower; DEBERTAV3_LOG=info says why",
            )
        model = NativeModel(weights.arrays(usable), config, head=head, compiled=compiled)
        return cls(model, checkpoint, head=head, is_int8=bool(report.int8))

    def __reduce__(self) -> tuple[object, ...]:
        """Copies and pickles open the checkpoint again: packed weights are the machine's."""
        opened = partial(self.open, task=BY_NAME[self.head].tasks[0], device="cpu", dtype="fp32")
        return opened, (self.checkpoint,)

    def run(self, batch: Batch) -> Logits:
        """Compute the logits of one batch: see `Backend.run`.

        Raises:
            UserError: for more tokens than the model takes, or than there is memory for; or if a weight file
                was overwritten.
        """
        for file in self.checkpoint.weights.mapped.values():  # the word embeddings are read from it
            file.check()
        try:
            return self.model.run(**batch)
        except MemoryError as error:
            size = " x ".join(map(str, batch["input_ids"].shape))
            raise UserError(
                f"there is not enough memory for a batch of {size} tokens. Lower batch_tokens or max_length."
            ) from error


def why_not(checkpoint: Checkpoint, *, device: str, dtype: str) -> str | None:
    """Why this backend does not take a checkpoint; None if it does.

    Args:
        checkpoint: a checkpoint, or a folder of int8 weights.
        device: as asked for.
        dtype: as asked for.

    Raises:
        UserError: if the folder has no weights.
    """
    if dtype != "fp32":
        return f"it computes in fp32 and int8; got dtype {dtype!r}"
    if device not in ("auto", "cpu"):
        return f"it runs on the CPU; got device {device!r}"
    if any(path.suffix != ".safetensors" for path in files.find_weights(checkpoint.folder)):
        return "it reads safetensors, and the weights are in another format"
    return None
