"""Tiny random models of our classes, saved with nano's tokenizer: real checkpoint folders in milliseconds."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import debertav3
from debertav3 import DebertaV3Tokenizer, Predictor
from debertav3.checkpoint.folder import Checkpoint
from debertav3.checkpoint.opening import open_model
from debertav3.models import class_of

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


class ModelFolders:
    """Saves a tiny random model of a class and returns its folder, the same one for the same settings."""

    def __init__(self, nano: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.tokenizer = DebertaV3Tokenizer.from_pretrained(nano)
        self.tmp_path_factory = tmp_path_factory
        self.made: dict[str, Path] = {}

    def __call__(self, class_name: str, **config: Any) -> Path:
        key = f"{class_name} {sorted(config.items())}"
        if key not in self.made:
            model = tiny_model(getattr(debertav3, class_name), self.tokenizer, **config)
            self.made[key] = save(model, self.tokenizer, self.tmp_path_factory.mktemp("model"))
        return self.made[key]


def model_of(predictor: Predictor) -> Any:
    """The checkpoint of a predictor as a model in torch, whatever backend it runs on."""
    assert predictor.checkpoint is not None
    return _opened(predictor.checkpoint.path, predictor.engine.backend.head)


@functools.cache
def _opened(folder: Path, head: str) -> Any:
    return open_model(Checkpoint.open(folder), head=class_of(head)).model.eval()


def plain(predictor: Predictor, *texts: str, name: str = "logits") -> np.ndarray:
    """Logits of the predictor's checkpoint in torch, from one input that the tokenizer laid out itself."""
    inputs = predictor.engine.tokenizer(*texts, truncation=True, max_length=64, return_tensors="np")
    with torch.inference_mode():
        output = model_of(predictor)(**{key: torch.from_numpy(value) for key, value in inputs.items()})
    return getattr(output, name)[0].numpy()


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis, written plainly."""
    return np.exp(logits.astype(np.float64)) / np.exp(logits.astype(np.float64)).sum(axis=-1, keepdims=True)


def assert_same(first: Any, second: Any) -> None:
    """Equal keys, texts and places, numbers within 1e-6."""
    if isinstance(first, dict):
        assert list(first) == list(second)
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, list):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    elif isinstance(first, float):
        assert first == pytest.approx(second, abs=1e-6)
    else:
        assert first == second
