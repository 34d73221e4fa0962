"""Heads on top of the encoder: pooler, masked LM, replaced token detection.

Official files: ``apps/models/masked_language_model.py``, ``apps/models/replaced_token_detection_model.py``,
``deberta/pooling.py``.

Shape letters: B batch, L tokens, D hidden size, V vocabulary, M masked tokens.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError
from .activations import ACTIVATION
from .config import EncoderConfig


class ContextPooler(nn.Module):
    """The text's vector: the first token's state, through a dense layer."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        if config.pooler_hidden_size != config.hidden_size:
            raise UserError(
                f"config: pooler_hidden_size is {config.pooler_hidden_size}; the pooler reads hidden states, "
                f"so it must be hidden_size ({config.hidden_size})"
            )
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.pooler_dropout)
        self.activation = ACTIVATION[config.pooler_hidden_act]

    def forward(self, hidden_states: Tensor) -> Tensor:
        """``(B, L, D)`` to ``(B, D)``."""
        return self.activation(self.dense(self.dropout(hidden_states[:, 0])))


class MaskedLMHead(nn.Module):
    """The official head, ``lm_predictions.lm_head``: a transform, then a product with the word embeddings."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.embedding_size)
        self.LayerNorm = nn.LayerNorm(config.embedding_size, eps=config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.activation = ACTIVATION[config.hidden_act]

    def forward(self, states: Tensor, word_embeddings: Tensor) -> Tensor:
        """``(..., D)`` states and ``(V, embedding_size)`` word embeddings to ``(..., V)`` logits.

        Pass only the masked tokens, ``(M, D)``, if only those are needed: this is the most expensive product
        of the model.
        """
        return F.linear(self.transform(states), word_embeddings, self.bias)

    def transform(self, states: Tensor) -> Tensor:
        """``(..., D)`` states to ``(..., embedding_size)``, to be multiplied by the word embeddings."""
        transformed: Tensor = self.LayerNorm(self.activation(self.dense(states)))
        return transformed


class MaskedLMPredictions(nn.Module):
    """Holds the official head under its checkpoint name."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.lm_head = MaskedLMHead(config)

    def forward(self, states: Tensor, word_embeddings: Tensor) -> Tensor:
        """See ``MaskedLMHead.forward``."""
        logits: Tensor = self.lm_head(states, word_embeddings)
        return logits


class LegacyTransform(nn.Module):
    """Dense, activation and LayerNorm of transformers' old masked LM head."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.embedding_size)
        self.LayerNorm = nn.LayerNorm(config.embedding_size, eps=config.layer_norm_eps)
        self.activation = ACTIVATION[config.hidden_act]

    def forward(self, states: Tensor) -> Tensor:
        """``(B, L, D)`` to ``(B, L, embedding_size)``."""
        transformed: Tensor = self.LayerNorm(self.activation(self.dense(states)))
        return transformed


class LegacyPredictions(nn.Module):
    """transformers' old head, ``cls.predictions``; in no official checkpoint is it trained."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.transform = LegacyTransform(config)
        self.decoder = nn.Linear(config.embedding_size, config.vocab_size)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, states: Tensor) -> Tensor:
        """``(B, L, D)`` to ``(B, L, V)`` logits."""
        logits: Tensor = self.decoder(self.transform(states))
        return logits


class LegacyMaskedLMHead(nn.Module):
    """Holds transformers' old head under its checkpoint name, so that such files still open."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.predictions = LegacyPredictions(config)

    def forward(self, states: Tensor) -> Tensor:
        """``(B, L, D)`` to ``(B, L, V)`` logits."""
        logits: Tensor = self.predictions(states)
        return logits


class ReplacedTokenHead(nn.Module):
    """RTD: predicts for each token whether it was replaced (DeBERTaV3, arXiv:2111.09543, section 3.1).

    Official keys: ``mask_predictions.*``. The first token's state is added to every token's; no dropout.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.classifier = nn.Linear(config.hidden_size, 1)
        self.activation = ACTIVATION[config.hidden_act]

    def forward(self, hidden_states: Tensor, context: Tensor | None = None) -> Tensor:
        """Logits, positive for "replaced".

        Args:
            hidden_states: ``(B, L, D)``.
            context: ``(B, L, D)``, the state of each token's own [CLS] for packed sequences; None for the
                first token's.

        Returns:
            ``(B, L)``.
        """
        context = hidden_states[:, :1] if context is None else context
        x = self.activation(self.dense(self.LayerNorm(hidden_states + context)))
        logits: Tensor = self.classifier(x)
        return logits.squeeze(-1)
