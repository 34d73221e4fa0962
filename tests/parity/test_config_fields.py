"""Every field of ``config.json`` that transformers reads gives equal outputs, or is refused by name."""

import dataclasses
import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers.models.deberta_v2 import modeling_deberta_v2

from debertav3 import models
from debertav3.checkpoint import open_model
from debertav3.errors import UserError

BASE = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
    "relative_attention": True,
    "position_buckets": 8,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "initializer_range": 0.3,
    "pooler_hidden_size": 16,
    "id2label": {0: "a", 1: "b", 2: "c"},
}

# Fields that change outputs: another value for each. Stock is built and saved with it, and ours must agree.
HONOURED: dict[str, Any] = {
    "vocab_size": 70,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 20,
    "hidden_act": "relu",
    "max_position_embeddings": 40,
    "type_vocab_size": 2,
    "layer_norm_eps": 0.1,
    "relative_attention": False,
    "max_relative_positions": 24,
    "position_buckets": -1,
    "position_biased_input": True,
    "pos_att_type": "c2p",
    "share_att_key": False,
    "norm_rel_ebd": "none",
    "pooler_hidden_act": "tanh",
    "embedding_size": 12,
    "conv_kernel_size": 3,
    "conv_groups": 2,
    "conv_act": "relu",
    "num_labels": 5,
    "id2label": {0: "x", 1: "y"},
    "pad_token_id": 5,
}
REFUSED: dict[str, Any] = {
    "attention_head_size": 4,
    "pooler_hidden_size": 8,
    "architectures": "DebertaV2ForSequenceClassification",
    "problem_type": "ranking",
    "legacy": "yes",
    "tie_word_embeddings": 1,
    "bos_token_id": "x",
    "eos_token_id": "x",
    "hidden_dropout_prob": 1.5,
    "attention_probs_dropout_prob": -0.1,
    "pooler_dropout": 2,
    "cls_dropout": 1.0,
    "quantization_config": {"bits": 4},
    "pruned_heads": {"0": [1]},
    "auto_map": {"AutoModel": "x.Y"},
    "pooling": {"hidden_act": "tanh"},
    "hidden_act": "swish2",
    "vocab_size": 61,
}
# No effect on the numbers of an opened model: how outputs are given, how it was made, or training alone.
WITHOUT_EFFECT = {
    "transformers_version",
    "output_hidden_states",
    "output_attentions",
    "return_dict",
    "dtype",
    "chunk_size_feed_forward",
    "is_encoder_decoder",
    "label2id",
    "initializer_range",
}


def test_every_field_that_transformers_reads_is_in_a_table() -> None:
    fields = {field.name for field in dataclasses.fields(transformers.DebertaV2Config)}
    source = inspect.getsource(modeling_deberta_v2)
    read = set(re.findall(r'getattr\((?:self\.)?config, "(\w+)"', source))
    read |= set(re.findall(r"\bconfig\.([a-z]\w*)\b", source)) - {"_attn_implementation"}
    known = HONOURED.keys() | REFUSED.keys() | WITHOUT_EFFECT
    assert (fields | read) - known == set()


def save_stock(folder: Path, **fields: Any) -> Any:
    torch.manual_seed(0)
    config = transformers.DebertaV2Config(**(BASE | fields))
    for name, value in fields.items():  # transformers keeps what it does not declare as attributes
        setattr(config, name, value)
    model = transformers.DebertaV2ForSequenceClassification(config).eval()
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("field", HONOURED)
def test_a_field_is_honoured(field: str, tmp_path: Path) -> None:
    fields = {field: HONOURED[field]}
    if field == "num_labels":
        fields = {"id2label": {number: f"LABEL_{number}" for number in range(5)}}
    if field == "hidden_size":
        fields["pooler_hidden_size"] = HONOURED[field]
    if field.startswith("conv_"):
        fields = {"conv_kernel_size": 3} | fields
    stock = save_stock(tmp_path, **fields)
    ours = open_model(tmp_path, head=models.DebertaV2ForSequenceClassification).model
    batch = {
        "input_ids": torch.randint(6, 60, (2, 20), generator=torch.Generator().manual_seed(1)),
        "attention_mask": torch.ones(2, 20, dtype=torch.long),
        "token_type_ids": torch.tensor([[0] * 10 + [1] * 10] * 2) * bool(fields.get("type_vocab_size")),
    }
    batch["attention_mask"][1, 15:] = 0
    with torch.no_grad():
        torch.testing.assert_close(ours(**batch).logits, stock(**batch).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("field", REFUSED)
def test_a_field_is_refused_by_name(field: str, tmp_path: Path) -> None:
    save_stock(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: REFUSED[field]}))
    with pytest.raises(UserError, match=field) as caught:
        open_model(tmp_path, head=models.DebertaV2ForSequenceClassification)
    assert "\n" not in str(caught.value)
