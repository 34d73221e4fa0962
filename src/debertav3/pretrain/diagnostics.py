"""What the log says: figures of the paper and of people who ask whether a run is healthy."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ..layers.embeddings import Embeddings
from .gdes import GDESEmbedding, merged_tables
from .sharding import whole


@torch.no_grad()
def average_cosine(table: Tensor) -> float:
    """Average cosine similarity of two different rows of a ``(V, D)`` table; rows of zeros do not count.

    Exact, in one pass: the sum over all pairs of unit vectors is the squared length of their sum. Near 0
    words point every way; DeBERTaV3 (section 3.2) reports how replaced token detection pulls them together.
    """
    length = table.float().norm(dim=-1, keepdim=True)
    unit = (table.float() / length)[length.squeeze(-1) > 0]
    number = unit.shape[0]
    if number < 2:
        return 0.0
    return float((unit.double().sum(0).square().sum() - number) / (number * (number - 1)))


def embedding_cosines(generator: Embeddings, discriminator: Embeddings | None) -> dict[str, float]:
    """Average cosine similarity inside E_G, E_D and, under GDES, delta."""
    figures = {"cosine_generator": average_cosine(whole(generator.word_embeddings.weight))}
    if discriminator is not None:
        figures["cosine_discriminator"] = average_cosine(merged_tables(discriminator)["word_embeddings"])
        if isinstance(discriminator.word_embeddings, GDESEmbedding):
            figures["cosine_delta"] = average_cosine(whole(discriminator.word_embeddings._weight))
    return figures


def derived(sums: Mapping[str, float]) -> dict[str, float]:
    """Losses, rates and scores from sums over tokens; only what the sums allow."""
    figures: dict[str, float] = {}
    if masked := sums.get("masked"):
        figures["mlm_loss"] = sums["mlm_loss_sum"] / masked
        figures["generator_accuracy"] = sums["generator_correct"] / masked
    if real := sums.get("real"):
        replaced, said, found = sums["replaced"], sums["said_replaced"], sums["found"]
        figures["rtd_loss"] = sums["rtd_loss_sum"] / real
        figures["replaced_rate"] = replaced / real
        figures["rtd_accuracy"] = (real - said - replaced + 2 * found) / real
        # What saying "original" everywhere would score.
        figures["rtd_accuracy_all_original"] = 1 - replaced / real
        figures["rtd_precision"] = found / said if said else 0.0
        figures["rtd_recall"] = found / replaced if replaced else 0.0
        figures["rtd_f1"] = 2 * found / (said + replaced) if said + replaced else 0.0
    return figures
