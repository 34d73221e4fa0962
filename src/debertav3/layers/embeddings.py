"""Input embeddings: words, absolute positions, token types (official file ``deberta/bert.py``).

Shape letters: B batch, L tokens, D hidden size.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError
from .config import EncoderConfig, check_token_types
from .relative_position import may_read

Perturbation = Callable[[Tensor], Tensor]
"""SiFT's way in: takes normalized embeddings, ``(B, L, D)``, and returns what the LayerNorm shall see."""


class Embeddings(nn.Module):
    """What the first layer reads.

    Args:
        config: sizes and which parts there are.
        keeps_positions: whether to have the absolute position table although it is not added to the input:
            the enhanced mask decoder reads it, and official pre-training checkpoints always carry it.
    """

    def __init__(self, config: EncoderConfig, *, keeps_positions: bool = False) -> None:
        super().__init__()
        size, width = config.embedding_size, config.hidden_size
        self.word_embeddings = nn.Embedding(config.vocab_size, size, padding_idx=config.pad_token_id)
        self.position_biased_input = config.position_biased_input
        if config.position_biased_input or keeps_positions:
            self.position_embeddings = nn.Embedding(config.max_position_embeddings, size)
        self.has_token_types = config.type_vocab_size > 0
        if self.has_token_types:
            self.token_type_embeddings = nn.Embedding(config.type_vocab_size, size)
        self.embed_proj = nn.Linear(size, width, bias=False) if size != width else None
        self.LayerNorm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        mask: Tensor | None = None,
        perturbation: Perturbation | None = None,
    ) -> Tensor:
        """Embed tokens.

        Args:
            input_ids: ``(B, L)`` int64; or give ``inputs_embeds``.
            inputs_embeds: ``(B, L, embedding_size)`` in place of the word look-up.
            token_type_ids: ``(B, L)`` int64; None means type 0 everywhere.
            position_ids: ``(B, L)`` or ``(1, L)`` int64; None means 0 .. L-1.
            mask: ``(B, L)`` bool, True for real tokens; padding becomes zero.
            perturbation: SiFT's (``finetuning/sift.py``); the embeddings are normalized before it.

        Returns:
            ``(B, L, D)``.

        Raises:
            UserError: for more tokens than there are absolute positions, where these are added to the input,
                and on a CPU for a token type that the model does not have.
        """
        x = self.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        if self.position_biased_input:
            if position_ids is None:
                position_ids = absolute_positions(x.shape[1], self.position_embeddings, x.device)
            x = x + self.position_embeddings(position_ids)
        if self.has_token_types:
            if token_type_ids is None:
                token_type_ids = torch.zeros(x.shape[:2], dtype=torch.int64, device=x.device)
            self._check_types(token_type_ids)
            x = x + self.token_type_embeddings(token_type_ids)
        if self.embed_proj is not None:
            x = self.embed_proj(x)
        if perturbation is not None:
            x = perturbation(F.layer_norm(x, x.shape[-1:], eps=1e-7))  # official sift.py: no weight, no bias
        x = self.LayerNorm(x)
        if mask is not None:
            x = x * mask.unsqueeze(-1).to(x.dtype)
        embedded: Tensor = self.dropout(x)
        return embedded

    def _check_types(self, token_type_ids: Tensor) -> None:
        """Only on a CPU: elsewhere reading the numbers takes time, and the device itself refuses them."""
        if token_type_ids.device.type == "cpu" and may_read(token_type_ids) and token_type_ids.numel():
            lowest, highest = (int(x) for x in token_type_ids.aminmax())
            check_token_types(lowest, highest, available=self.token_type_embeddings.num_embeddings)


def absolute_positions(length: int, position_embeddings: nn.Embedding, device: torch.device) -> Tensor:
    """The positions 0 .. L-1, ``(1, L)`` int64.

    Args:
        length: L, in tokens.
        position_embeddings: the table that is to be read.
        device: where the states are; the table may be offloaded.

    Raises:
        UserError: if the table has fewer.
    """
    available = position_embeddings.num_embeddings
    if length > available:
        raise UserError(
            f"the model has {available} absolute positions; got {length} tokens: shorten the text"
        )
    return torch.arange(length, dtype=torch.int64, device=device)[None]
