"""Replaced token detection, RTD: the generator writes plausible tokens, the discriminator finds them.

DeBERTaV3, arXiv:2111.09543, sections 3.1 to 3.3; official files ``apps/tasks/rtd_task.py``,
``apps/models/replaced_token_detection_model.py`` and ``training/trainer.py``.

- `TwoPhaseStep` is the official order: generator forward, backward and update; then the discriminator on the
  tokens that the generator had drawn before its update, reading the table as it is after it. Two optimizers,
  two clips.
- `JointStep` sums both losses, ``mlm + rtd_weight * rtd``, for one optimizer. Embedding sharing (ES) in the
  paper's sense needs it.

Deviation: the official default mode throws away the discriminator's gradient into the shared table under ES,
so its ES is not the paper's; here ES is refused in two phases (test_es_needs_the_joint_step). How tokens are
drawn: `vocabulary_loss`.

Shape letters: B batch, L tokens, M masked tokens of the batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..models import DebertaV2ForReplacedTokenDetection
from .batches import MaskedBatch
from .mlm import MaskedLanguageModel, masked_counts
from .optimization import StepEngine
from .vocabulary_loss import MaskedPredictions

Sums = dict[str, Tensor]


def add(sums: Sums, more: Mapping[str, Tensor]) -> None:
    """Add figures to running sums."""
    for name, value in more.items():
        sums[name] = sums[name] + value if name in sums else value


@dataclass(frozen=True, slots=True)
class CorruptedBatch:
    """What the discriminator reads.

    Attributes:
        input_ids: ``(B, L)`` int64, the original text with the drawn tokens at the masked places.
        replaced: ``(B, L)`` bool, True where a drawn token differs from the original.
        batch: where it came from.
    """

    input_ids: Tensor
    replaced: Tensor
    batch: MaskedBatch


def corrupt(batch: MaskedBatch, drawn_M: Tensor) -> CorruptedBatch:
    """Put drawn tokens into the original text; a token drawn right by chance is not "replaced"."""
    original = batch.filled_with(batch.targets)
    input_ids = batch.filled_with(drawn_M)
    return CorruptedBatch(input_ids, input_ids != original, batch)


class ReplacedTokenDetector(nn.Module):
    """Says of every token whether it was replaced.

    Args:
        model: encoder with its embeddings shared as wanted, and head.
    """

    def __init__(self, model: DebertaV2ForReplacedTokenDetection) -> None:
        super().__init__()
        self.model = model

    def forward(self, corrupted: CorruptedBatch) -> Tensor:
        """Logits, ``(B, L)``, at least in fp32, positive for "replaced"."""
        batch = corrupted.batch
        states = self.model.deberta(
            corrupted.input_ids, attention_mask=batch.pairs(), position_ids=batch.position_ids
        ).last_hidden_state
        context = None
        if batch.cls_places is not None:
            context = states.gather(1, batch.cls_places.unsqueeze(-1).expand_as(states))
        logits: Tensor = self.model.mask_predictions(states, context)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))


def detection_loss(logits: Tensor, corrupted: CorruptedBatch) -> Tensor:
    """Binary cross-entropy summed over all real tokens, [CLS] and [SEP] among them, as officially."""
    loss = F.binary_cross_entropy_with_logits(logits, corrupted.replaced.to(logits.dtype), reduction="none")
    real = corrupted.batch.real
    return loss.sum() if real is None else (loss * real).sum()


@torch.no_grad()
def detection_counts(logits: Tensor, corrupted: CorruptedBatch, loss: Tensor) -> Sums:
    """Sums for the log."""
    real = corrupted.batch.real
    said = logits > 0 if real is None else (logits > 0) & real
    replaced = corrupted.replaced
    return {
        "real": torch.tensor(corrupted.batch.num_real, device=logits.device),
        "replaced": replaced.sum(),
        "said_replaced": said.sum(),
        "found": (said & replaced).sum(),
        "rtd_loss_sum": loss.detach(),
    }


class JointNetworks(nn.Module):
    """Generator and discriminator as one module, for one optimizer."""

    def __init__(self, generator: MaskedLanguageModel, discriminator: ReplacedTokenDetector) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator

    def forward(self, batch: MaskedBatch) -> tuple[MaskedPredictions, CorruptedBatch, Tensor]:
        """The generator's predictions, the batch corrupted by its draws, and the discriminator's logits."""
        predictions = self.generator(batch)
        corrupted = corrupt(batch, predictions.drawn)
        return predictions, corrupted, self.discriminator(corrupted)


class MLMStep:
    """One optimizer step of masked language modelling (DeBERTa v1 and v2).

    Args:
        engine: model and optimizer; the model is a `MaskedLanguageModel`.
    """

    def __init__(self, engine: StepEngine) -> None:
        self.engines = {"generator": engine}

    def __call__(self, batches: Sequence[MaskedBatch], step: int) -> Sums:
        """Train on the micro-batches of this process; returns sums over them, and gradient norms."""
        engine = self.engines["generator"]
        masked = engine.total(sum(batch.num_masked for batch in batches))
        sums: Sums = {}
        for batch, scope in engine.accumulate(batches):
            with scope:
                predictions = engine.model(batch)
                engine.backward(predictions.loss / masked)
            add(sums, masked_counts(predictions, batch))
        return {**sums, **engine.update(step)}

    def evaluate(self, batch: MaskedBatch) -> Sums:
        """Sums over a held-out batch."""
        return masked_counts(self.engines["generator"].model(batch), batch)


class TwoPhaseStep:
    """The official step: the generator learns, then the discriminator on what the generator had drawn.

    Args:
        generator: its model is a `MaskedLanguageModel`.
        discriminator: its model is a `ReplacedTokenDetector`.
        rtd_weight: the paper's lambda. With an optimizer of its own it acts only through clipping and
            epsilon.
    """

    def __init__(self, generator: StepEngine, discriminator: StepEngine, *, rtd_weight: float) -> None:
        self.engines = {"generator": generator, "discriminator": discriminator}
        self.rtd_weight = rtd_weight

    def __call__(self, batches: Sequence[MaskedBatch], step: int) -> Sums:
        """Train on the micro-batches of this process; returns sums over them, and gradient norms."""
        sums: Sums = {}
        corrupted = self._generator_phase(batches, step, sums)
        self._discriminator_phase(corrupted, step, sums)
        return sums

    def evaluate(self, batch: MaskedBatch) -> Sums:
        """Sums over a held-out batch, with the same draws every time."""
        predictions = self.engines["generator"].model(batch)
        corrupted = corrupt(batch, predictions.drawn)
        return _both_counts(predictions, corrupted, self.engines["discriminator"].model(corrupted))

    def _generator_phase(self, batches: Sequence[MaskedBatch], step: int, sums: Sums) -> list[CorruptedBatch]:
        """Train the generator, and with it E_G; return the batches corrupted by what it drew before."""
        engine = self.engines["generator"]
        masked = engine.total(sum(batch.num_masked for batch in batches))
        corrupted = []
        for batch, scope in engine.accumulate(batches):
            with scope:
                predictions = engine.model(batch)
                engine.backward(predictions.loss / masked)
            corrupted.append(corrupt(batch, predictions.drawn))
            add(sums, masked_counts(predictions, batch))
        add(sums, engine.update(step))
        return corrupted

    def _discriminator_phase(self, corrupted: Sequence[CorruptedBatch], step: int, sums: Sums) -> None:
        """Train the discriminator and delta, never E_G."""
        engine = self.engines["discriminator"]
        real = engine.total(sum(one.batch.num_real for one in corrupted))
        for one, scope in engine.accumulate(corrupted):
            with scope:
                logits = engine.model(one)
                loss = detection_loss(logits, one)
                engine.backward(self.rtd_weight * loss / real)
            add(sums, detection_counts(logits, one, loss))
        add(sums, engine.update(step))


class JointStep:
    """Both losses at once, one optimizer: ``mlm_loss + rtd_weight * rtd_loss``.

    Args:
        engine: its model is a `JointNetworks`.
        rtd_weight: the paper's lambda.
    """

    def __init__(self, engine: StepEngine, *, rtd_weight: float) -> None:
        self.engines = {"joint": engine}
        self.rtd_weight = rtd_weight

    def __call__(self, batches: Sequence[MaskedBatch], step: int) -> Sums:
        """Train on the micro-batches of this process; returns sums over them, and gradient norms."""
        engine = self.engines["joint"]
        masked = engine.total(sum(batch.num_masked for batch in batches))
        real = engine.total(sum(batch.num_real for batch in batches))
        sums: Sums = {}
        for batch, scope in engine.accumulate(batches):
            with scope:
                predictions, corrupted, logits = engine.model(batch)
                rtd = detection_loss(logits, corrupted)
                engine.backward(predictions.loss / masked + self.rtd_weight * rtd / real)
            add(sums, masked_counts(predictions, batch))
            add(sums, detection_counts(logits, corrupted, rtd))
        return {**sums, **engine.update(step)}

    def evaluate(self, batch: MaskedBatch) -> Sums:
        """Sums over a held-out batch, with the same draws every time."""
        return _both_counts(*self.engines["joint"].model(batch))


def _both_counts(predictions: MaskedPredictions, corrupted: CorruptedBatch, logits: Tensor) -> Sums:
    return {
        **masked_counts(predictions, corrupted.batch),
        **detection_counts(logits, corrupted, detection_loss(logits, corrupted)),
    }
