"""What computes the logits: one small protocol, and which head a checkpoint is opened with.

A backend knows one checkpoint and one head. It gets padded numpy batches and returns numpy logits; text,
labels and answers are none of its business, so a new runtime is one file.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ...errors import UserError
from ...heads import BY_NAME, BY_TASK, ENCODER, heads_in
from ...json_types import JsonMapping

Batch = Mapping[str, npt.NDArray[np.int64]]
"""``input_ids``, ``attention_mask`` and ``token_type_ids``, each ``(B, L)``; for masked LM also
``masked_positions``, ``(B, M)``: which tokens to predict, rows filled up with 0."""
Logits = Mapping[str, npt.NDArray[np.float32]]
"""By output name: ``logits``, or ``start_logits`` and ``end_logits``; real numbers in fp32."""

DEVICES = ("cuda", "npu", "xpu", "mps", "cpu")
"""Kinds of device, in the order in which ``auto`` looks for them; npu is Ascend's, through ``torch_npu``."""

INT8 = "int8"
"""How weights are stored, and what products with them compute in."""


class Backend(Protocol):
    """One checkpoint, ready to run."""

    head: str
    """A head's name in ``heads.py``."""
    config: JsonMapping
    """The checkpoint's ``config.json``."""

    @property
    def name(self) -> str:
        """``native``, ``torch``, ``onnx`` or ``openvino``."""
        ...

    @property
    def dtype(self) -> str:
        """In what it computes: ``fp32``, ``bf16`` or ``fp16``; ``int8`` where products with weights do."""
        ...

    @property
    def batch_tokens(self) -> int:
        """How many tokens a batch should hold, padding included, where the user does not say."""
        ...

    @property
    def device(self) -> object:
        """Where it computes; written in the log."""
        ...

    def run(self, batch: Batch) -> Logits:
        """Compute the logits of one batch.

        Returns:
            By the names of the head's outputs: ``(B, labels)`` for a classifier of texts, ``(B, 1)`` for
            multiple choice, whose choices are inputs each for itself, ``(B, L, labels)`` for one of tokens,
            ``(B, L)`` for replaced tokens and for each of start and end of a span, ``(B, M, vocabulary)``
            for masked LM.
        """
        ...


def device_named(name: str) -> tuple[str, int]:
    """Kind and number of a device such as ``cuda:1``, whether it is there or not.

    Raises:
        UserError: if devices are not called so.
    """
    kind, _, number = name.partition(":")
    if kind not in DEVICES or (number and not number.isdecimal()):
        raise UserError(
            f"unknown device {name!r}. Choose auto or one of: {', '.join(DEVICES)} (cuda:1 for the second)."
        )
    return kind, int(number or 0)


def head_of_task(task: str) -> str:
    """Return the name of the head that answers a task.

    Raises:
        UserError: if there is no such task.
    """
    if task not in BY_TASK:
        raise UserError(f"unknown task {task!r}. Choose one of: {', '.join(BY_TASK)}.")
    return BY_TASK[task].name


def head_for(config: JsonMapping, *, task: str | None, place: str) -> str:
    """Decide which head to load.

    A checkpoint that names its head is taken at its word; pre-training checkpoints hold both pre-training
    heads and often name none, so there the task decides.

    Args:
        config: the checkpoint's ``config.json``.
        task: one that a head answers, or None to go by the checkpoint alone.
        place: the checkpoint, for messages.

    Raises:
        UserError: if the task is unknown, the checkpoint has another task's head, or nothing says which.
    """
    needed = head_of_task(task) if task is not None else None
    architectures = config.get("architectures") or []
    named = next((head.name for head in heads_in(architectures) if head.name != ENCODER), None)
    wanted = needed or named
    if wanted is None:
        found = (
            f"its config.json says {', '.join(architectures)}"
            if architectures
            else "its config.json names no head"
        )
        raise UserError(
            f"{place} does not say what it predicts: {found}. Name the task, or fine-tune it first."
        )
    if named == wanted or (BY_NAME[wanted].is_pretrained and (named is None or BY_NAME[named].is_pretrained)):
        return wanted
    has = f"has a {named} head" if named else "has no fine-tuned head"
    raise UserError(
        f"task {task!r} needs a {wanted} head; {place} {has}. Give a checkpoint fine-tuned for {task}."
    )
