"""Whether a pre-training went well: judged by its log, by word frequencies alone, and by its weights."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from ..checkpoint.sanity import ABSURD, is_absurd
from ..data.shards import TokenShards
from ..json_types import JsonMapping
from .sharding import local

MAX_SKIPPED_SHARE = 0.1
SCALER_STEPS = 20
"""Steps that a gradient scaler (fp16) may skip while it finds its scale."""
_COUNTED_TOKENS = 20_000_000
_MARGIN = 0.02
"""Nats: a smaller lead over the baseline is not evidence."""
_DETECTION_MARGIN = 0.002
"""Share of tokens that the discriminator must get right beyond those of saying original everywhere."""
_SELDOM = 0.05
"""Share of the replaced tokens below which a discriminator finds almost none."""
_RISE = 0.1
"""Nats by which the loss on held-out text may end above its lowest."""

Kind = Literal["trained", "past its best", "not yet", "not validated", "diverged"]
Rows = Sequence[JsonMapping]


@dataclass(frozen=True, kw_only=True)
class RunVerdict:
    """What became of a run."""

    kind: Kind
    reasons: tuple[str, ...]
    """Sentences for a person, with the figures."""

    def __str__(self) -> str:
        return f"{_HEADINGS[self.kind]} {' '.join(self.reasons)}"


_HEADINGS: dict[Kind, str] = {
    "trained": "The run went well.",
    "past its best": "The run ended PAST its best point.",
    "not yet": "The run has NOT learned enough to be useful yet.",
    "not validated": "The run was not validated.",
    "diverged": "The run DIVERGED; its weights are useless.",
}


def judge(rows: Rows, run: Mapping[str, object], *, broken: Sequence[str] = ()) -> RunVerdict:
    """Judge a run by what it logged.

    Args:
        rows: of ``metrics.jsonl``.
        run: ``run.json``.
        broken: names of weights that are not finite or absurdly large.
    """
    faults = [f"{len(broken)} tensors have numbers beyond {ABSURD:,.0f} ({broken[0]})."] if broken else []
    faults += _skipped(rows, run)
    validations = [row for row in rows if "heldout_mlm_loss" in row]
    if validations:
        faults += _worse_than_chance(validations[-1], run)
    if faults:
        return RunVerdict(kind="diverged", reasons=tuple(faults))
    if not validations:
        return RunVerdict(kind="not validated", reasons=("There was no held-out text to validate on.",))
    good, bad = _against_baselines(validations[-1], run)
    rise = _since_the_lowest(rows)
    kind: Kind = "not yet" if bad else "past its best" if rise else "trained"
    return RunVerdict(kind=kind, reasons=(*bad, *rise, *good))


def _skipped(rows: Rows, run: JsonMapping) -> list[str]:
    done = max((row["step"] for row in rows), default=0)
    sums = [
        sum(row[name] or 0 for row in rows if name in row)
        for name in {name for row in rows for name in row if name.endswith("_skipped_steps")}
    ]
    skipped = int(max(sums, default=0))
    allowed = SCALER_STEPS if run["config"].get("precision") in ("fp16", "auto") else 0
    if skipped <= max(allowed, MAX_SKIPPED_SHARE * done):
        return []
    return [f"{skipped} of {done} steps were skipped, because their gradients were not finite."]


def _worse_than_chance(row: JsonMapping, run: JsonMapping) -> list[str]:
    loss, vocabulary = row["heldout_mlm_loss"], run.get("vocabulary")
    if loss is None or row.get("heldout_rtd_loss", 0.0) is None:
        return ["The loss on held-out text is not a finite number."]
    if vocabulary and loss > np.log(vocabulary) + _MARGIN:
        return [
            f"The generator's loss on held-out text is {loss:.2f} nats per token: worse than "
            f"random guessing among all {vocabulary:,} tokens ({np.log(vocabulary):.2f})."
        ]
    return []


def _since_the_lowest(rows: Rows) -> list[str]:
    """Say so where the loss on held-out text has risen, and what the training loss did meanwhile."""
    heldout, training = (
        {row["step"]: row[name] for row in rows if row.get(name) is not None}
        for name in ("heldout_mlm_loss", "mlm_loss")
    )
    last, best = max(heldout), min(heldout, key=lambda step: heldout[step])
    if heldout[last] <= heldout[best] + _RISE:
        return []
    text = (
        f"The loss on held-out text was lowest at step {best:,} ({heldout[best]:.2f} nats per token) and has "
        f"risen to {heldout[last]:.2f} since"
    )
    before = [loss for step, loss in training.items() if step <= best]
    after = [loss for step, loss in training.items() if step > best]
    if not before or not after:
        return [f"{text}."]
    if after[-1] < before[-1]:
        return [
            f"{text}, while that of training fell from {before[-1]:.2f} to {after[-1]:.2f}: "
            "too little text for so many steps, or text at the end that differs from the "
            "held-out text."
        ]
    return [f"{text}, and that of training from {before[-1]:.2f} to {after[-1]:.2f}: lower learning_rate."]


def _against_baselines(row: JsonMapping, run: JsonMapping) -> tuple[list[str], list[str]]:
    """What is better than its baseline, and what is not."""
    good: list[str] = []
    bad: list[str] = []
    frequencies = run.get("word_frequency_loss")
    if frequencies is not None:
        loss = row["heldout_mlm_loss"]
        name = "generator" if "heldout_rtd_f1" in row else "model"
        text = (
            f"The {name}'s loss on held-out text is {loss:.2f} nats per token; predicting "
            f"word frequencies alone gives {frequencies:.2f}."
        )
        (good if loss < frequencies - _MARGIN else bad).append(text)
    if "heldout_rtd_accuracy" in row:
        accuracy, original = row["heldout_rtd_accuracy"], row["heldout_rtd_accuracy_all_original"]
        says = "The discriminator"
        if accuracy <= original + _DETECTION_MARGIN and row.get("heldout_rtd_recall", 1.0) < _SELDOM:
            says = "The discriminator predicts original almost everywhere: it"
        text = (
            f"{says} classifies {accuracy:.1%} of held-out tokens correctly (F1 of replaced ones "
            f"{row['heldout_rtd_f1']:.2f}); predicting original everywhere is correct for {original:.1%}."
        )
        (good if accuracy > original + _DETECTION_MARGIN else bad).append(text)
    return good, bad


def broken_weights(models: Iterable[torch.nn.Module | None]) -> list[str]:
    """Name the weights that are not finite or larger than any sound training leaves."""
    return [
        name
        for model in models
        if model is not None
        for name, tensor in model.state_dict().items()
        if is_absurd(local(tensor.detach()))
    ]


def word_frequency_loss(train: TokenShards, heldout: TokenShards) -> float | None:
    """Cross-entropy of held-out tokens under their frequency in training, in nats per token.

    What a model has that only knows which words are frequent. The first 20 million tokens are counted, and
    one is added to each count.

    Returns:
        None without held-out text.
    """
    seen, wanted = (_counts(shards) for shards in (train, heldout))
    if not wanted.sum():
        return None
    log_shares = np.log((seen + 1.0) / (seen.sum() + len(seen)))
    return float(-(wanted * log_shares).sum() / wanted.sum())


def _counts(shards: TokenShards) -> np.ndarray:
    counts = np.zeros(shards.vocab_size, dtype=np.int64)
    left = _COUNTED_TOKENS
    for shard in shards.shards:
        tokens = shard.tokens()[:left]
        counts += np.bincount(tokens, minlength=shards.vocab_size)
        left -= len(tokens)
        if left <= 0:
            break
    return counts
