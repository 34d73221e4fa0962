"""Masked language modelling with the enhanced mask decoder, computed only where a loss needs it.

DeBERTa, arXiv:2006.03654, section 3.2; official file ``apps/models/masked_language_model.py``. The generator
of replaced token detection trains so too. What no loss needs is not computed: the last layer's ordinary
output, the decoder and vocabulary logits at places that are not masked, and an array of all logits at once.
"""

import torch
from torch import Tensor, nn

from ..cpu.table_memory import TableMemory, look_up
from ..layers.attention import is_plain
from ..layers.mask_decoder import decode_masked_positions
from ..layers.masks import AttentionMasks
from ..models import DebertaV2ForMaskedLM
from .batches import MaskedBatch
from .vocabulary_loss import MaskedPredictions, predict_masked


class MaskedLanguageModel(nn.Module):
    """Predicts the masked tokens of a batch, and draws one for each.

    Args:
        model: encoder, position table and official head.
        temperature: of the draws.
    """

    def __init__(self, model: DebertaV2ForMaskedLM, temperature: float = 1.0) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.table_memory: TableMemory | None = None
        """For the gradient of the word embeddings; None for autograd's own."""

    def forward(self, batch: MaskedBatch) -> MaskedPredictions:
        """The summed loss, the drawn tokens, and how many were guessed right."""
        deberta = self.model.deberta
        masks = AttentionMasks.read(batch.pairs())
        words = deberta.embeddings.word_embeddings
        memory = self.table_memory if is_plain(words, nn.Embedding) else None
        embedded = deberta.embeddings(
            inputs_embeds=words(batch.input_ids)
            if memory is None
            else look_up(batch.input_ids, words.weight, words.padding_idx, memory),
            position_ids=batch.position_ids,
            mask=masks.padding,
        )
        before_last = len(deberta.encoder.layer) - 1
        states = deberta.encoder(embedded, masks, num_layers=before_last).last_hidden_state
        decoded = decode_masked_positions(
            deberta.encoder,
            deberta.embeddings.position_embeddings,
            states,
            masks,
            batch.positions,
            batch.position_ids,
        )
        head = self.model.lm_predictions.lm_head
        transformed = head.transform(decoded).to(_product_dtype(decoded))
        return predict_masked(
            transformed, words.weight, head.bias, batch.targets, batch.uniforms, self.temperature, memory
        )


def _product_dtype(x: Tensor) -> torch.dtype:
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def masked_counts(predictions: MaskedPredictions, batch: MaskedBatch) -> dict[str, Tensor]:
    """Sums for the log: masked tokens, those guessed right, and their loss."""
    return {
        "masked": torch.tensor(batch.num_masked, device=predictions.loss.device),
        "generator_correct": predictions.correct,
        "mlm_loss_sum": predictions.loss.detach(),
    }
