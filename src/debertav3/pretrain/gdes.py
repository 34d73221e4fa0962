"""How the discriminator's embeddings hang on the generator's.

DeBERTaV3, arXiv:2111.09543, sections 3.2 and 3.3.

- GDES, gradient-disentangled embedding sharing: ``E_D = stop_gradient(E_G) + delta`` with ``delta`` starting
  at zero. The discriminator reads what the generator learns, and its own loss trains ``delta`` only.
- NES, no embedding sharing: two tables.
- ES, embedding sharing: one table, trained by both losses.

Official file: ``apps/tasks/rtd_task.py``, which deletes and re-registers the weight before every forward
pass, so that the saved sum is one step old. Here the sum is computed where it is read, and is never stale.
"""

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..cpu.table_memory import TableMemory, look_up
from ..errors import UserError
from ..layers.embeddings import Embeddings
from .sharding import whole

Sharing = Literal["gdes", "nes", "es"]
SHARINGS: tuple[str, ...] = get_args(Sharing)
TABLES = ("word_embeddings", "position_embeddings")
"""Official: words and absolute positions are tied; the relative table and the LayerNorms are not."""


class _TiedEmbedding(nn.Module):
    """An embedding that reads the table of the generator's.

    Args:
        generator: the generator's embedding. The module is kept, not its weight: wrappers may swap the
            weight.
    """

    def __init__(self, generator: nn.Embedding) -> None:
        super().__init__()
        self.num_embeddings = generator.num_embeddings
        self.embedding_dim = generator.embedding_dim
        self.padding_idx = generator.padding_idx
        self._generator = (generator,)  # in a tuple: a reference, so not saved, moved or trained twice

    @property
    def generator_weight(self) -> Tensor:
        """The generator's table, ``(V, D)``."""
        return self._generator[0].weight

    def detached_generator_weight(self) -> Tensor:
        """The same without a way back, gathered where it is spread over processes."""
        return whole(self.generator_weight.detach())


class SharedEmbedding(_TiedEmbedding):
    """ES: the generator's own table; the discriminator's loss trains it too."""

    def forward(self, input_ids: Tensor) -> Tensor:
        """Embed ``(B, L)`` token ids as ``(B, L, D)``."""
        return F.embedding(input_ids, self.generator_weight, padding_idx=self.padding_idx)

    def merged_weight(self) -> Tensor:
        """The table of the finished encoder, ``(V, D)``."""
        return self.detached_generator_weight()


class GDESEmbedding(_TiedEmbedding):
    """GDES: the generator's table, which this module's loss cannot train, plus ``delta``.

    The parameter has the official name ``_weight``; it starts at zero.
    """

    def __init__(self, generator: nn.Embedding) -> None:
        super().__init__(generator)
        self._weight = nn.Parameter(torch.zeros_like(generator.weight))
        self.table_memory: TableMemory | None = None
        """For the gradient of delta; None for autograd's own."""

    def forward(self, input_ids: Tensor) -> Tensor:
        """Embed ``(B, L)`` token ids as ``(B, L, D)``."""
        shared = F.embedding(input_ids, self.detached_generator_weight())
        return shared + look_up(input_ids, self._weight, self.padding_idx, self.table_memory)

    @torch.no_grad()
    def merged_weight(self) -> Tensor:
        """The table of the finished encoder, ``E_G + delta``, ``(V, D)``."""
        return self.detached_generator_weight() + whole(self._weight)


def share_embeddings(discriminator: Embeddings, generator: Embeddings, sharing: str) -> None:
    """Tie the discriminator's word and position tables to the generator's.

    Args:
        discriminator: its embeddings are replaced, and what they held is lost (except under NES).
        generator: its embeddings are read.
        sharing: ``"gdes"``, ``"nes"`` or ``"es"``.

    Raises:
        UserError: if the sharing is not known or the tables differ in shape.
    """
    if sharing not in SHARINGS:
        raise UserError(f"sharing must be one of {', '.join(SHARINGS)}; got {sharing!r}")
    for name in TABLES:
        own, other = getattr(discriminator, name), getattr(generator, name)
        if own.weight.shape != other.weight.shape:
            raise UserError(
                f"{name} cannot be shared: the generator has {tuple(other.weight.shape)}, the discriminator "
                f"{tuple(own.weight.shape)}. Give both the same vocabulary, width and positions, or use nes"
            )
        if sharing == "gdes":
            setattr(discriminator, name, GDESEmbedding(other))
        elif sharing == "es":
            setattr(discriminator, name, SharedEmbedding(other))
    if not discriminator.position_biased_input:
        # V3's discriminator never reads absolute positions: no gradient comes, and DDP must not wait for one.
        discriminator.position_embeddings.requires_grad_(False)


def merged_tables(discriminator: Embeddings) -> dict[str, Tensor]:
    """The finished tables by name, as an ordinary checkpoint holds them: ``(V, D)`` each."""
    tables = {}
    for name in TABLES:
        module = getattr(discriminator, name)
        tables[name] = (
            module.merged_weight()
            if isinstance(module, GDESEmbedding | SharedEmbedding)
            else whole(module.weight.detach())
        )
    return tables
