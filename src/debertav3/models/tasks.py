"""Task heads: sequence classification, token classification, question answering, multiple choice.

All ``forward`` methods take the inputs of ``DebertaV2Model.forward``; keyword arguments that they do not name
are passed on to it.
"""

from torch import Tensor, nn
from transformers import DebertaV2Config
from transformers.modeling_outputs import (
    MultipleChoiceModelOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from transformers.utils.generic import can_return_tuple

from ..errors import UserError
from ..layers.heads import ContextPooler
from .base import DebertaV2Model, DebertaV2PreTrainedModel, sizes_of
from .head_losses import (
    IGNORED,
    binary_cross_entropy,
    cross_entropy,
    inside,
    soft_cross_entropy,
    squared_error,
)


class DebertaV2ForSequenceClassification(DebertaV2PreTrainedModel):
    """A label, several labels or a number for a text or a pair of texts."""

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__(config)
        self.num_labels = len(config.id2label or {})
        self.deberta = DebertaV2Model(config)
        sizes = self.deberta.encoder_config
        self.pooler = ContextPooler(sizes)
        self.dropout = nn.Dropout(sizes.cls_dropout)
        self.classifier = nn.Linear(sizes.pooler_hidden_size, self.num_labels)
        self.post_init()

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
    ) -> SequenceClassifierOutput:
        """Classify; inputs as ``DebertaV2Model.forward``.

        - labels: ``(B,)`` class numbers or, with one label, numbers to predict; ``(B, num_labels)`` shares of
          each class or, with ``problem_type`` "multi_label_classification", 0 or 1 for each. Negative class
          numbers and negative marks of several labels do not count.

        Returns:
            ``logits`` ``(B, num_labels)``, and ``loss``, the mean over examples, if labels are given.

        Raises:
            UserError: if numbers to predict do not have the shape of the logits.
        """
        outputs = self.deberta(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            inputs_embeds,
            return_dict=True,
            first_token_suffices=True,
            **kwargs,
        )
        logits = self.classifier(self.dropout(self.pooler(outputs.last_hidden_state)))
        loss = None if labels is None else self._loss(logits, labels)
        return SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        kind = self.config.problem_type
        if kind is None:
            is_class_number = labels.dim() == 1 or labels.shape[-1] == 1
            kind = "regression" if self.num_labels == 1 else "single_label_classification"
            if kind == "single_label_classification" and not is_class_number:
                return soft_cross_entropy(logits, labels)
        if kind == "regression":
            is_one_each = self.num_labels == 1 and labels.numel() == logits.numel()
            if labels.shape != logits.shape and not is_one_each:
                raise UserError(
                    f"labels have shape {tuple(labels.shape)}; need {tuple(logits.shape)}, "
                    "a number for each output"
                )
            return squared_error(logits, labels.reshape(logits.shape))
        if kind == "multi_label_classification":
            return binary_cross_entropy(logits, labels)
        return cross_entropy(logits, labels.long().view(-1))


class DebertaV2ForTokenClassification(DebertaV2PreTrainedModel):
    """A label for every token."""

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__(config)
        self.num_labels = len(config.id2label or {})
        self.deberta = DebertaV2Model(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.classifier = nn.Linear(config.hidden_size, self.num_labels)
        self.post_init()

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
    ) -> TokenClassifierOutput:
        """Label tokens; inputs as ``DebertaV2Model.forward``.

        - labels: ``(B, L)`` int64, -100 for tokens that do not count.

        Returns:
            ``logits`` ``(B, L, num_labels)``, and ``loss``, the mean over counted tokens, if labels are
            given.
        """
        outputs = self.deberta(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            inputs_embeds,
            return_dict=True,
            reads_padding=False if labels is None else labels != IGNORED,  # a label on padding counts
            **kwargs,
        )
        logits = self.classifier(self.dropout(outputs.last_hidden_state))
        loss = None if labels is None else cross_entropy(logits.view(-1, self.num_labels), labels.view(-1))
        return TokenClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


class DebertaV2ForQuestionAnswering(DebertaV2PreTrainedModel):
    """The start and the end of an answer.

    Raises:
        UserError: unless the config has exactly two labels.
    """

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__(config)
        self.num_labels = len(config.id2label or {})
        if self.num_labels != 2:
            raise UserError(
                f"question answering has two outputs, start and end; the config has {self.num_labels} "
                "labels: give num_labels=2"
            )
        self.deberta = DebertaV2Model(config)
        self.qa_outputs = nn.Linear(config.hidden_size, self.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        **kwargs: object,
    ) -> QuestionAnsweringModelOutput:
        """Score every token as start and as end; inputs as ``DebertaV2Model.forward``.

        - start_positions: ``(B,)`` int64; positions outside the text do not count.
        - end_positions: ``(B,)`` int64.

        Returns:
            ``start_logits`` and ``end_logits``, ``(B, L)`` each, and ``loss``, the mean of both, if
            positions are given.
        """
        outputs = self.deberta(
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, return_dict=True, **kwargs
        )
        start_logits, end_logits = self.qa_outputs(outputs.last_hidden_state).unbind(-1)
        loss = None
        if start_positions is not None and end_positions is not None:
            losses = [
                cross_entropy(logits, inside(positions.view(-1), logits.shape[1]))
                for logits, positions in ((start_logits, start_positions), (end_logits, end_positions))
            ]
            loss = (losses[0] + losses[1]) / 2
        return QuestionAnsweringModelOutput(
            loss=loss,
            start_logits=start_logits.contiguous(),
            end_logits=end_logits.contiguous(),
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


class DebertaV2ForMultipleChoice(DebertaV2PreTrainedModel):
    """The best of several continuations."""

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__(config)
        self.deberta = DebertaV2Model(config)
        sizes = self.deberta.encoder_config
        self.pooler = ContextPooler(sizes)
        self.dropout = nn.Dropout(sizes.cls_dropout)
        self.classifier = nn.Linear(sizes.pooler_hidden_size, 1)
        self.post_init()

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
    ) -> MultipleChoiceModelOutput:
        """Score choices; inputs as ``DebertaV2Model.forward`` with one more dimension, C choices.

        - input_ids: ``(B, C, L)`` int64.
        - attention_mask: ``(B, C, L)``.
        - token_type_ids: ``(B, C, L)`` int64.
        - position_ids: ``(B, C, L)`` int64.
        - inputs_embeds: ``(B, C, L, embedding_size)``.
        - labels: ``(B,)`` int64, the index of the correct choice.

        Returns:
            ``logits`` ``(B, C)``, and ``loss``, the mean over examples, if labels are given.
        """
        num_choices = sizes_of(input_ids, inputs_embeds, "batch", "choices", "tokens")[1]
        flat = [
            None if x is None else x.flatten(0, 1)
            for x in (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        ]
        outputs = self.deberta(*flat, return_dict=True, first_token_suffices=True, **kwargs)
        logits = self.classifier(self.dropout(self.pooler(outputs.last_hidden_state))).view(-1, num_choices)
        return MultipleChoiceModelOutput(
            loss=None if labels is None else cross_entropy(logits, labels),
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
