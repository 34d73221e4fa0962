"""Contract: the mask decoder at masked positions only equals the full one, forward and backward."""

import pytest
import torch
from transformers import DebertaV2Config

from debertav3.layers.mask_decoder import EnhancedMaskDecoder, decode_masked_positions
from debertav3.layers.masks import AttentionMasks
from debertav3.models import DebertaV2ForMaskedLM

CONFIG = {
    "vocab_size": 61, "hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 40,
    "max_position_embeddings": 32, "position_buckets": 8, "relative_attention": True, "share_att_key": True,
    "norm_rel_ebd": "layer_norm", "position_biased_input": False, "type_vocab_size": 0,
    "num_hidden_layers": 2, "initializer_range": 0.5, "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}  # fmt: skip
B, L = 3, 23


def masks_of(kind: str) -> AttentionMasks:
    if kind == "none":
        return AttentionMasks.read(None)
    lengths = torch.tensor([23, 9, 15])
    real = torch.arange(L) < lengths[:, None]
    if kind == "padding":
        return AttentionMasks.read(real)
    segments = torch.arange(L) // 7
    return AttentionMasks.read((segments[:, None] == segments[None]) & real[:, None, :])


@pytest.mark.parametrize("kind", ["none", "padding", "packed"])
@pytest.mark.parametrize("terms", [["p2c", "c2p"], ["c2p"], ["p2c"], []], ids=str)
@pytest.mark.parametrize("counts", [(4, 4, 4), (5, 1, 3), (0, 2, 0), (0, 0, 0)], ids=str)
def test_masked_positions_equal_full_decoder(kind: str, terms: list[str], counts: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model = DebertaV2ForMaskedLM(DebertaV2Config(**CONFIG, pos_att_type=terms)).double()
    encoder, table = model.deberta.encoder, model.deberta.embeddings.position_embeddings
    columns = [torch.randperm(9)[:count].sort().values + row * L for row, count in enumerate(counts)]
    positions = torch.cat(columns)
    position_ids = (torch.arange(L) % 7).expand(B, -1) if kind == "packed" else None
    states = torch.randn(B, L, 24, dtype=torch.float64)
    masks = masks_of(kind)

    def outcome(sparse: bool) -> list[torch.Tensor]:
        model.zero_grad()
        given = states.clone().requires_grad_()
        if sparse:
            picked = decode_masked_positions(encoder, table, given, masks, positions, position_ids)
        else:
            full = EnhancedMaskDecoder(encoder, table)(given, masks, position_ids)
            picked = full.flatten(0, 1)[positions]
        (picked * torch.linspace(-1, 1, picked.numel(), dtype=torch.float64).view_as(picked)).sum().backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        assert given.grad is not None
        return [picked.detach(), given.grad, *[g.clone() for g in gradients]]

    want, got = outcome(False), outcome(True)
    assert len(want) == len(got)
    for ours, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-10)
