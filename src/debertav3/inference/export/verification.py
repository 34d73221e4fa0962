"""An export is written only if it computes what the model computes: every head, many shapes, ragged masks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm.auto import tqdm

from ...data.probabilities import Probabilities
from ...errors import UserError
from ...heads import BY_NAME, ENCODER, MASKED_LM, MULTIPLE_CHOICE, REPLACED_TOKENS, SEQUENCE, SPANS, TOKENS
from ..backends.protocol import Backend
from ..output_labels import label_names
from .graph import Arrays, random_batch, to_tensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH_SIZES = (1, 3, 8)
LENGTHS = (1, 2, 7, 64, 129, 257, 512)
TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2}
"""Largest difference of an output, times the largest output where that is above 1."""

Logits = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Verification:
    """What was compared, and how well it agreed."""

    shapes: list[tuple[int, int]]
    """Batch size and length in tokens."""
    largest_difference: float
    """Of an output, as a share of the tolerance's scale."""
    equal_decisions: float
    """Share of decisions that are those of the model, 0 to 1; NaN for an encoder, which decides nothing."""


def verify(backend: Backend, model: "PreTrainedModel", *, head: str, weights: str) -> Verification:
    """Compare an exported graph with its model on every shape.

    Where two answers of the model are as close as the tolerance, either counts as its decision.

    Args:
        backend: runs the graph.
        model: what was exported, not folded.
        head: what it predicts.
        weights: ``fp32`` or ``fp16``.

    Raises:
        UserError: if an output is not finite, differs by more than the tolerance, or decides otherwise.
    """
    tolerance = TOLERANCE[weights]
    longest = model.config.max_position_embeddings
    shapes = [(size, length) for size in BATCH_SIZES for length in LENGTHS if length <= longest]
    worst, num_equal, num_decisions = 0.0, 0, 0
    for size, length in tqdm(shapes, desc="verify", unit="shape", leave=False, disable=None):
        batch = random_batch(size, length, head=head, config=model.config, is_ragged=True)
        want, got = outputs_of(model, batch), backend.run(batch)
        for name, expected, given in _real_parts(want, got, batch, head):
            if not np.isfinite(given).all():
                raise UserError(
                    f"the exported graph gives values that are not finite at {size} x {length} tokens."
                )
            scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
            worst = max(worst, float(np.abs(given - expected).max(initial=0.0)) / scale)
            if worst > tolerance:
                raise UserError(
                    f"the exported graph differs from the model by {worst:.1e} ({name}, {size} x {length} "
                    f"tokens); {tolerance:.0e} is allowed. Nothing was written."
                )
            equal = _same_decisions(expected, given, head=head, margin=2 * tolerance * scale)
            num_equal, num_decisions = num_equal + int(equal.sum()), num_decisions + equal.size
    if num_equal < num_decisions:
        raise UserError(
            f"the exported graph decides differently from the model {num_decisions - num_equal} times out of "
            f"{num_decisions}. Nothing was written."
        )
    return Verification(shapes, worst, num_equal / num_decisions if num_decisions else float("nan"))


def outputs_of(model: "PreTrainedModel", batch: Arrays) -> dict[str, np.ndarray]:
    """What the model returns for a batch, by output name."""
    with torch.inference_mode():
        output = model(**to_tensors(batch))
    return {name: value.float().numpy() for name, value in output.items() if isinstance(value, torch.Tensor)}


def _real_parts(
    want: Logits, got: Logits, batch: Arrays, head: str
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """What counts of every output; values at padding are ignored."""
    if want.keys() - got.keys():
        raise UserError(f"the exported graph has the outputs {sorted(got)}; the model has {sorted(want)}.")
    mask = batch["attention_mask"].astype(bool)
    if head == SPANS:
        lowest = np.float32(-1e4)
        return [
            (name, np.where(mask, want[name], lowest), np.where(mask, got[name], lowest)) for name in want
        ]
    if BY_NAME[head].outputs_per == "token":
        return [(name, want[name][mask], got[name][mask]) for name in want]
    return [(name, want[name], got[name]) for name in want]


def _same_decisions(want: np.ndarray, got: np.ndarray, *, head: str, margin: float) -> np.ndarray:
    if head == ENCODER or (head in (SEQUENCE, MULTIPLE_CHOICE) and want.shape[-1] == 1):
        return np.empty(0, bool)
    if head == REPLACED_TOKENS:
        return ((want > 0) == (got > 0)) | (np.abs(want) <= margin)
    chosen = np.take_along_axis(want, got.argmax(-1)[..., None], -1)[..., 0]
    return chosen >= want.max(-1) - margin


def decisions(
    logits: Logits,
    batch: Mapping[str, np.ndarray],
    *,
    head: str,
    config: Mapping[str, object],
    probabilities: Probabilities,
) -> np.ndarray:
    """What a head decides about a batch, as one flat array of class numbers, places or signs.

    For heads that predict numbers, the numbers themselves.
    """
    if head == SPANS:
        mask = batch["attention_mask"].astype(bool)
        return np.concatenate([np.where(mask, logits[name], -np.inf).argmax(-1) for name in sorted(logits)])
    values = logits["logits"]
    if head == REPLACED_TOKENS:
        return values[batch["attention_mask"].astype(bool)] > 0
    if head == SEQUENCE and config.get("problem_type") == "multi_label_classification":
        shares = 1 / (1 + np.exp(-values / probabilities.temperature))
        least = np.array([probabilities.threshold(label) for label in label_names(config)])
        return (shares >= least).reshape(-1)
    if head == SEQUENCE and (values.shape[-1] == 1 or config.get("problem_type") == "regression"):
        return values.reshape(-1)
    chosen = values.argmax(-1)
    if head == TOKENS:
        return chosen[batch["attention_mask"].astype(bool)]
    if head == MASKED_LM:  # rows are filled up with masks at place 0
        return chosen[(batch["masked_positions"] > 0)]
    return chosen.reshape(-1)
