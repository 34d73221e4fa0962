"""Tiny random models of our classes, saved with nano's tokenizer: real checkpoint folders in milliseconds."""

from pathlib import Path
from typing import Any

import torch
import transformers

from debertav3 import DebertaV3Tokenizer

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": 64,
    "position_buckets": 16,
    "relative_attention": True,
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "type_vocab_size": 0,
    "pooler_hidden_size": 32,
    "initializer_range": 0.3,  # large, so that a wrong input cannot hide behind equal outputs
}


def tiny_model(model_class: Any, tokenizer: DebertaV3Tokenizer, *, seed: int = 0, **config: Any) -> Any:
    """A random model in evaluation mode; ``config`` goes on top of `TINY`."""
    torch.manual_seed(seed)
    settings = {**TINY, "vocab_size": len(tokenizer) + 3, **config}
    return model_class(transformers.DebertaV2Config(**settings)).eval()


def save(model: Any, tokenizer: DebertaV3Tokenizer, folder: Path) -> Path:
    """Write a checkpoint folder."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
