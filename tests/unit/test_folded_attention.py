"""Folded attention, which graphs are made of, computes what the model computes: every layout and length."""

import copy
from typing import Any

import pytest
import torch

from debertav3 import models
from debertav3.layers.folded_attention import FoldedSelfAttention, fold_attention
from helpers import VARIANTS, random_batch, tiny_config

HEADS = (
    "DebertaV2ForSequenceClassification",
    "DebertaV2ForTokenClassification",
    "DebertaV2ForQuestionAnswering",
    "DebertaV2ForMaskedLM",
    "DebertaV2ForReplacedTokenDetection",
)


def pair(name: str, by_head: bool = False, **changes: Any) -> tuple[torch.nn.Module, torch.nn.Module]:
    """A model in float64, so that only a wrong formula differs, and its folded copy."""
    torch.manual_seed(0)
    config = tiny_config(**changes)
    config.pooler_hidden_size = config.hidden_size
    model = getattr(models, name)(config).double().eval()
    folded = copy.deepcopy(model)
    fold_attention(folded, by_head=by_head)
    return model, folded


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_layout_folds(variant: str) -> None:
    changes = VARIANTS[variant]
    model, folded = pair("DebertaV2Model", **changes)
    assert sum(isinstance(module, FoldedSelfAttention) for module in folded.modules()) == 2
    for lengths in ((1,), (2, 1), (24, 9, 3)):
        batch = random_batch(lengths, types=changes.get("type_vocab_size", 0))
        real = batch["attention_mask"].bool()
        with torch.inference_mode():
            want, got = (one(**batch).last_hidden_state[real] for one in (model, folded))
        torch.testing.assert_close(got, want, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("by_head", [False, True])
@pytest.mark.parametrize("name", HEADS)
def test_every_head_folds_beyond_the_farthest_offset(name: str, by_head: bool) -> None:
    model, folded = pair(
        name, by_head, max_position_embeddings=80, max_relative_positions=24, position_biased_input=False
    )
    batch = random_batch((70, 31))
    real = batch["attention_mask"].bool()
    with torch.inference_mode():
        outputs = [one(**batch) for one in (model, folded)]
    for key, want in outputs[0].items():
        got = outputs[1][key]
        if want.shape[:2] == real.shape:
            want, got = want[real], got[real]
        torch.testing.assert_close(got, want, atol=1e-10, rtol=1e-10)
