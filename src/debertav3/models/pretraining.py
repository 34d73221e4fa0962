"""Pre-training heads: masked language modelling and replaced token detection."""

import logging
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DebertaV2Config
from transformers.modeling_outputs import BaseModelOutput, MaskedLMOutput, ModelOutput
from transformers.utils.generic import can_return_tuple

from ..layers.heads import LegacyMaskedLMHead, MaskedLMPredictions, ReplacedTokenHead
from ..layers.mask_decoder import EnhancedMaskDecoder
from ..layers.masks import AttentionMasks
from .base import DebertaV2Model, DebertaV2PreTrainedModel, chosen
from .head_losses import IGNORED, binary_cross_entropy, cross_entropy

logger = logging.getLogger(__name__)


class DebertaV2ForMaskedLM(DebertaV2PreTrainedModel):
    """Masked language model with the enhanced mask decoder.

    The head is the official one (``lm_predictions.*``). Files with transformers' original head
    (``cls.*``) are loaded with that head, and files without absolute positions without the enhanced mask
    decoder; both are logged.

    Args:
        config: transformers' own config. Its ``legacy`` is set from ``has_legacy_head`` and never read
            (transformers' default is True even for official files, which have the official head).
        has_legacy_head: whether to build transformers' original head.
    """

    def __init__(self, config: DebertaV2Config, *, has_legacy_head: bool = False) -> None:
        super().__init__(config)
        config.legacy = has_legacy_head
        self.has_legacy_head = has_legacy_head
        self.deberta = DebertaV2Model(config, keeps_positions=not has_legacy_head)
        sizes = self.deberta.encoder_config
        # V1 and V2 models that add positions to the input have no enhanced mask decoder (official code).
        self.uses_enhanced_mask_decoder = not (has_legacy_head or config.position_biased_input)
        if has_legacy_head:
            self.cls = LegacyMaskedLMHead(sizes)
            self._tied_weights_keys = {
                "cls.predictions.decoder.bias": "cls.predictions.bias",
                "cls.predictions.decoder.weight": "deberta.embeddings.word_embeddings.weight",
            }
        else:
            self.lm_predictions = MaskedLMPredictions(sizes)
        self.post_init()

    @classmethod
    def from_pretrained(cls, *args: object, output_loading_info: bool = False, **kwargs: object) -> Any:
        """Load a checkpoint with the head that it contains, the official one of two."""
        opened: Any = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        model, info = opened
        head = {key for key in model.state_dict() if key.startswith("lm_predictions.")}
        if head <= set(info["missing_keys"]) and any(
            key.startswith("cls.predictions.") for key in info["unexpected_keys"]
        ):
            logger.warning(
                "the masked LM head is transformers' original one (cls.predictions), without a mask decoder"
            )
            return cls.from_pretrained(
                *args, output_loading_info=output_loading_info, has_legacy_head=True, **kwargs
            )
        if model.uses_enhanced_mask_decoder and any(
            "position_embeddings" in key for key in info["missing_keys"]
        ):
            logger.warning(
                "no absolute position embeddings in the file: predicting without the enhanced mask decoder"
            )
            model.uses_enhanced_mask_decoder = False
            del model.deberta.embeddings.position_embeddings
        return (model, info) if output_loading_info else model

    def get_output_embeddings(self) -> nn.Module | None:
        """The output projection; a module of its own only in the legacy head."""
        return self.cls.predictions.decoder if self.has_legacy_head else None

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        """Replace the legacy head's projection; the official head uses the word embeddings."""
        if self.has_legacy_head:
            self.cls.predictions.decoder = new_embeddings
            self.cls.predictions.bias = new_embeddings.bias

    def resize_token_embeddings(
        self,
        new_num_tokens: int | None = None,
        pad_to_multiple_of: int | None = None,
        mean_resizing: bool = True,
    ) -> nn.Embedding:
        """Resize the vocabulary and with it the official head's bias; new words get bias 0."""
        embeddings = super().resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)
        if not self.has_legacy_head:
            head, size = self.lm_predictions.lm_head, embeddings.num_embeddings
            if len(head.bias) != size:
                kept = head.bias.detach()[:size]
                head.bias = nn.Parameter(F.pad(kept, (0, size - len(kept))), head.bias.requires_grad)
        return embeddings

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        masked_positions: Tensor | None = None,
        **kwargs: object,
    ) -> MaskedLMOutput:
        """Predict masked words; inputs as for ``DebertaV2Model.forward``.

        - labels: ``(B, L)`` int64, -100 for tokens to ignore.
        - masked_positions: ``(B, M)`` int64, the only tokens to predict; logits are computed for these alone.
          ``labels`` are then ``(B, M)``.

        Returns:
            ``logits`` ``(B, L, V)``, or ``(B, M, V)`` with ``masked_positions``, and ``loss``, the mean over
            tokens that are not ignored, if labels are given.
        """
        outputs, states = self._states(
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, **kwargs
        )
        if masked_positions is not None:
            states = states.gather(1, masked_positions.unsqueeze(-1).expand(-1, -1, states.shape[-1]))
        words = self.deberta.embeddings.word_embeddings.weight
        logits = self.cls(states) if self.has_legacy_head else self.lm_predictions(states, words)
        loss = None if labels is None else cross_entropy(logits.view(-1, logits.shape[-1]), labels.view(-1))
        return MaskedLMOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )

    def _states(self, *inputs: Tensor | None, **kwargs: Any) -> tuple[BaseModelOutput, Tensor]:
        """The encoder's outputs and the ``(B, L, D)`` states that the head reads."""
        if not self.uses_enhanced_mask_decoder:
            outputs = self.deberta(*inputs, return_dict=True, **kwargs)
            return outputs, outputs.last_hidden_state
        wants_all = chosen(kwargs.pop("output_hidden_states", None), self.config.output_hidden_states)
        wants_weights = chosen(kwargs.get("output_attentions"), self.config.output_attentions)
        num_layers = None if wants_all or wants_weights else len(self.deberta.encoder.layer) - 1
        outputs = self.deberta(
            *inputs,
            output_hidden_states=num_layers is None,
            num_layers=num_layers,
            return_dict=True,
            **kwargs,
        )
        before_last = outputs.last_hidden_state if num_layers is not None else outputs.hidden_states[-2]
        if not wants_all:
            outputs.hidden_states = None
        _, attention_mask, _, position_ids, _ = inputs
        decoder = EnhancedMaskDecoder(self.deberta.encoder, self.deberta.embeddings.position_embeddings)
        return outputs, decoder(before_last, AttentionMasks.read(attention_mask), position_ids)


@dataclass
class ReplacedTokenDetectionOutput(ModelOutput):
    """What ``DebertaV2ForReplacedTokenDetection`` returns."""

    loss: Tensor | None = None
    """Mean over tokens that are not padding, if labels are given."""
    logits: Tensor | None = None
    """``(B, L)``, positive for "replaced"."""
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class DebertaV2ForReplacedTokenDetection(DebertaV2PreTrainedModel):
    """DeBERTaV3's discriminator, which detects replaced tokens, with its head (``mask_predictions.*``)."""

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__(config)
        self.deberta = DebertaV2Model(config, keeps_positions=True)
        self.mask_predictions = ReplacedTokenHead(self.deberta.encoder_config)
        self.post_init()

    def _unread(self) -> list[nn.Module]:
        """The files hold absolute positions, which only models that add them to the input use."""
        embeddings = self.deberta.embeddings
        return super()._unread() + (
            [] if embeddings.position_biased_input else [embeddings.position_embeddings]
        )

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: object,
    ) -> ReplacedTokenDetectionOutput:
        """Detect replaced tokens; inputs as for ``DebertaV2Model.forward``.

        Padding does not count in the loss.

        - labels: ``(B, L)``, 1 for replaced, 0 for original, negative for tokens to ignore.
        """
        outputs = self.deberta(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            inputs_embeds,
            return_dict=True,
            reads_padding=False,
            **kwargs,
        )
        logits = self.mask_predictions(outputs.last_hidden_state)
        loss = None
        if labels is not None:
            padding = AttentionMasks.read(attention_mask).padding
            counted = labels if padding is None else labels.masked_fill(~padding, IGNORED)
            loss = binary_cross_entropy(logits, counted)
        return ReplacedTokenDetectionOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )
