"""What computes the logits: one small protocol, and the heads that it may have.

A backend knows one checkpoint and one head. It gets padded numpy batches and returns numpy logits; text,
labels and answers are none of its business, so a new runtime is one file.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import UserError

Batch = Mapping[str, npt.NDArray[np.int64]]
"""``input_ids``, ``attention_mask`` and ``token_type_ids``, each ``(B, L)``; for `MASKED_LM` also
``masked_positions``, ``(B, M)``: which tokens to predict, rows filled up with 0."""
Logits = Mapping[str, npt.NDArray[np.float32]]
"""By output name: ``logits``, or ``start_logits`` and ``end_logits``; real numbers in fp32."""

SEQUENCE = "sequence-classification"
TOKENS = "token-classification"
SPANS = "question-answering"
MASKED_LM = "masked-lm"
REPLACED_TOKENS = "replaced-token-detection"
MULTIPLE_CHOICE = "multiple-choice"

HEAD_OF_ARCHITECTURE = {
    "DebertaV2ForSequenceClassification": SEQUENCE,
    "DebertaV2ForTokenClassification": TOKENS,
    "DebertaV2ForQuestionAnswering": SPANS,
    "DebertaV2ForMaskedLM": MASKED_LM,
    "DebertaV2ForReplacedTokenDetection": REPLACED_TOKENS,
    "DebertaV2ForMultipleChoice": MULTIPLE_CHOICE,
}
"""Which head a ``config.json`` names in ``architectures``."""

HEAD_OF_TASK = {
    "nli": SEQUENCE,
    "classify": SEQUENCE,
    "zero-shot": SEQUENCE,
    "rerank": SEQUENCE,
    "ner": TOKENS,
    "qa": SPANS,
    "fill-mask": MASKED_LM,
    "rtd": REPLACED_TOKENS,
    "choice": MULTIPLE_CHOICE,
}
"""Which head a task needs."""

INT8 = "int8"
"""How weights are stored, and what products with them compute in."""


class Backend(Protocol):
    """One checkpoint, ready to run."""

    name: str
    """``torch``, ``onnx`` or ``openvino``."""
    device: Any
    """Where it computes; written in the log."""
    dtype: str
    """In what it computes: ``fp32``, ``bf16`` or ``fp16``; ``int8`` where products with weights do."""
    head: str
    """One of the values of `HEAD_OF_TASK`."""
    config: Mapping[str, Any]
    """The checkpoint's ``config.json``."""
    batch_tokens: int
    """How many tokens a batch should hold, padding included, where the user does not say."""

    def run(self, batch: Batch) -> Logits:
        """Compute the logits of one batch.

        Returns:
            ``logits``, ``(B, labels)`` for `SEQUENCE`, ``(B, 1)`` for `MULTIPLE_CHOICE`, whose choices are
            inputs each for itself, ``(B, L, labels)`` for `TOKENS`, ``(B, L)`` for
            `REPLACED_TOKENS`, ``(B, M, vocabulary)`` for `MASKED_LM`; ``start_logits`` and ``end_logits``,
            each ``(B, L)``, for `SPANS`.
        """
        ...


def head_for(config: Mapping[str, Any], *, task: str | None, place: str) -> str:
    """Decide which head to load.

    A checkpoint that names its head is taken at its word; pre-training checkpoints hold both pre-training
    heads and often name none, so there the task decides.

    Args:
        config: the checkpoint's ``config.json``.
        task: a key of `HEAD_OF_TASK`, or None to go by the checkpoint alone.
        place: the checkpoint, for messages.

    Raises:
        UserError: if the task is unknown, the checkpoint has another task's head, or nothing says which.
    """
    if task is not None and task not in HEAD_OF_TASK:
        raise UserError(f"unknown task {task!r}. Choose one of: {', '.join(HEAD_OF_TASK)}.")
    architectures = config.get("architectures") or []
    named = next((HEAD_OF_ARCHITECTURE[name] for name in architectures if name in HEAD_OF_ARCHITECTURE), None)
    wanted = HEAD_OF_TASK[task] if task is not None else named
    if wanted is None:
        found = (
            f"its config.json says {', '.join(architectures)}"
            if architectures
            else "its config.json names no head"
        )
        raise UserError(
            f"{place} does not say what it predicts: {found}. Say which task, or fine-tune it first."
        )
    is_pretraining = wanted in (MASKED_LM, REPLACED_TOKENS)
    if named == wanted or (is_pretraining and named in (None, MASKED_LM, REPLACED_TOKENS)):
        return wanted
    has = f"has a {named} head" if named else "has no fine-tuned head"
    raise UserError(
        f"task {task!r} needs a {wanted} head; {place} {has}. Give a checkpoint fine-tuned for {task}."
    )
