"""Contract: sizes come out as published, and every count from a configuration equals the real module's."""

import subprocess
import sys
from pathlib import Path

import pytest

from debertav3.errors import UserError
from debertav3.sizes import (
    PUBLISHED,
    SIZES,
    config_for,
    count_parameters,
    count_released,
    flops_per_token,
    raw_config,
)

TINY = {
    **SIZES["nano"],
    "vocab_size": 99,
    "hidden_size": 48,
    "pooler_hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 56,
    "max_position_embeddings": 32,
    "position_buckets": 8,
}
VARIANTS = {
    "v3": {},
    "no-relative-attention": {"relative_attention": False, "position_biased_input": True},
    "no-buckets": {"position_buckets": -1},
    "own-distance": {"position_buckets": -1, "max_relative_positions": 20},
    "separate-position-keys": {"share_att_key": False},
    "c2p-only": {"share_att_key": False, "pos_att_type": ["c2p"]},
    "types-and-narrow-embedding": {"type_vocab_size": 2, "embedding_size": 24, "position_biased_input": True},
    "no-table-norm": {"norm_rel_ebd": "none"},
    "convolution": {"conv_kernel_size": 3, "conv_act": "gelu"},
    "grouped-convolution": {"conv_kernel_size": 5, "conv_groups": 2},
    "explicit-head-width": {"attention_head_size": 12},
}
HEAD_CLASSES = {
    "sequence-classification": "DebertaV2ForSequenceClassification",
    "multiple-choice": "DebertaV2ForMultipleChoice",
    "token-classification": "DebertaV2ForTokenClassification",
    "question-answering": "DebertaV2ForQuestionAnswering",
    "masked-lm": "DebertaV2ForMaskedLM",
    "replaced-token-detection": "DebertaV2ForReplacedTokenDetection",
}


@pytest.mark.parametrize("size", ["xsmall", "small", "base", "large"])
def test_released_v3_backbones_round_to_the_published_figures(size: str) -> None:
    count = count_released(SIZES[size])
    assert round(count.backbone / 1e6) == PUBLISHED[size].backbone


@pytest.mark.parametrize("size", ["small", "base", "large"])
def test_v3_embeddings_round_to_the_published_figures(size: str) -> None:
    assert round(count_released(SIZES[size]).word_embeddings / 1e6) == PUBLISHED[size].embedding


def test_xsmall_is_22_million_and_its_card_says_48_million_for_49_190_400() -> None:
    count = count_released(SIZES["xsmall"])
    assert (count.backbone, count.word_embeddings) == (21_837_313, 128_100 * 384)
    assert (PUBLISHED["xsmall"].backbone, PUBLISHED["xsmall"].embedding) == (22, 48)


@pytest.mark.parametrize("size", list(SIZES))
def test_presets_have_transformers_parameter_count(size: str) -> None:
    import torch
    import transformers

    with torch.device("meta"):
        model = transformers.DebertaV2Model(config_for(size))
    assert count_parameters(SIZES[size]).total == sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize("change", VARIANTS.values(), ids=list(VARIANTS))
def test_every_variant_has_transformers_parameter_count(change: dict) -> None:
    import torch
    import transformers

    raw = {**TINY, **change}
    with torch.device("meta"):
        model = transformers.DebertaV2Model(transformers.DebertaV2Config(**raw))
    assert count_parameters(raw).total == sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize(("head", "name"), HEAD_CLASSES.items(), ids=list(HEAD_CLASSES))
def test_every_head_has_our_models_parameter_count(head: str, name: str) -> None:
    import torch
    import transformers

    from debertav3 import models

    num_labels = 2 if head == "question-answering" else 5
    for change in VARIANTS.values():
        raw = {**TINY, **change}
        if head == "masked-lm" and "embedding_size" in change:
            continue  # the enhanced mask decoder adds positions to hidden states, so it needs equal widths
        with torch.device("meta"):
            model = getattr(models, name)(transformers.DebertaV2Config(**raw, num_labels=num_labels))
        count = count_parameters(raw, head=head, num_labels=num_labels)
        assert count.total == sum(weight.numel() for weight in model.parameters())


def test_flops_are_twice_the_multiplications_of_a_model_small_enough_to_count_by_hand() -> None:
    raw = {**TINY, "num_hidden_layers": 1}
    linear = 4 * 48 * 48 + 2 * 48 * 56
    content = 2 * 3 * 48  # scores and values over 3 tokens
    position = 2 * 5 * 48  # c2p and p2c over the 5 offsets -2..2
    assert flops_per_token(raw, length=3) == 2 * (linear + content + position)
    # Beyond 8 tokens no more than the 16 rows of the table can be met.
    assert flops_per_token(raw, length=100) == 2 * (linear + 2 * 100 * 48 + 2 * 16 * 48)


def test_unknown_size_names_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean 'xsmall'"):
        raw_config("xsmal")


def test_raw_config_is_a_copy_and_keeps_the_pooler_as_wide_as_the_model() -> None:
    raw = raw_config("nano", hidden_size=96)
    assert raw["pooler_hidden_size"] == 96
    assert SIZES["nano"]["hidden_size"] == 192


def test_sizes_import_neither_torch_nor_transformers() -> None:
    code = "import sys, debertav3.sizes; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_table_of_the_documents_is_counted_not_written(repository: Path) -> None:
    text = (repository / "docs" / "checkpoints.md").read_text(encoding="utf-8")
    rows = {cells[0]: cells for line in text.splitlines() if (cells := line.strip("| ").split(" | "))}
    for size, raw in SIZES.items():
        head = "masked-lm" if "conv_kernel_size" in raw else "replaced-token-detection"
        count = count_parameters(raw, head=head)
        shown = [int(cell.replace(",", "")) for cell in rows[size][1:7]]
        assert shown == [
            raw["num_hidden_layers"],
            raw["hidden_size"],
            raw["num_attention_heads"],
            count_parameters(raw).backbone,
            count.backbone,
            count.word_embeddings,
        ]


def test_a_configuration_means_the_same_to_the_counts_as_to_the_model() -> None:
    """One reading: what the layers refuse is not counted, and what they ignore is not counted either."""
    with pytest.raises(UserError, match="p2p"):
        count_parameters({**TINY, "pos_att_type": ["p2p"]})
    with pytest.raises(UserError, match="did you mean 'hidden_size'"):
        count_parameters(
            {**{key: value for key, value in TINY.items() if key != "hidden_size"}, "hiden_size": 9}
        )
    with_norm = count_parameters({**TINY, "norm_rel_ebd": "layer_norm"}).total
    assert count_parameters({**TINY, "norm_rel_ebd": "no_layer_norm"}).total == with_norm - 2 * 48
