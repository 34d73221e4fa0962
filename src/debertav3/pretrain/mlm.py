"""Masked language modelling with the enhanced mask decoder, computed only where a loss needs it.

DeBERTa, arXiv:2006.03654, section 3.2; official file ``apps/models/masked_language_model.py``. The generator
of replaced token detection trains so too. Two things that no loss needs are not computed: the last layer's
ordinary output, and vocabulary logits at places that are not masked.

Shape letters: B batch, L tokens, D hidden size, V vocabulary, M masked tokens of the batch.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.encoder import AttentionMasks
from ..layers.heads import EnhancedMaskDecoder
from ..models import DebertaV2ForMaskedLM
from .batches import MaskedBatch


class MaskedLanguageModel(nn.Module):
    """Predicts the masked tokens of a batch.

    Args:
        model: encoder, position table and official head.
    """

    def __init__(self, model: DebertaV2ForMaskedLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: MaskedBatch) -> Tensor:
        """Logits at the masked places, ``(M, V)`` in fp32."""
        deberta = self.model.deberta
        masks = AttentionMasks.read(batch.pairs)
        embedded = deberta.embeddings(
            input_ids=batch.input_ids, position_ids=batch.position_ids, mask=masks.padding
        )
        before_last = len(deberta.encoder.layer) - 1
        states = deberta.encoder(embedded, masks, num_layers=before_last).last_hidden_state
        decode = EnhancedMaskDecoder(deberta.encoder, deberta.embeddings.position_embeddings)
        states_MD = decode(states, masks, batch.position_ids).flatten(0, 1)[batch.positions]
        logits_MV: Tensor = self.model.lm_predictions(states_MD, deberta.embeddings.word_embeddings.weight)
        return logits_MV.float()


def masked_loss(logits_MV: Tensor, targets_M: Tensor) -> Tensor:
    """Cross-entropy summed over masked tokens; the caller divides by those of the whole optimiser step."""
    return F.cross_entropy(logits_MV, targets_M, reduction="sum")


@torch.no_grad()
def masked_counts(logits_MV: Tensor, targets_M: Tensor, loss: Tensor) -> dict[str, Tensor]:
    """Sums for the log: masked tokens, those guessed right, and their loss."""
    return {
        "masked": torch.tensor(targets_M.numel(), device=loss.device),
        "generator_correct": (logits_MV.argmax(-1) == targets_M).sum(),
        "mlm_loss_sum": loss.detach(),
    }
