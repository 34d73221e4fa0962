"""EncoderConfig accepts all that ``DebertaV2Config`` can describe, and refuses what no layer computes."""

import json
from typing import Any

import pytest
from transformers import DebertaV2Config

from debertav3.errors import UserError
from debertav3.layers.activations import ACTIVATION
from debertav3.layers.config import ACTIVATIONS, MATHS_KEYS, EncoderConfig
from debertav3.models import DebertaV2ForQuestionAnswering, DebertaV2ForSequenceClassification, DebertaV2Model
from debertav3.models.base import read_encoder_config
from helpers import TINY, VARIANTS, tiny_config


def test_missing_keys_mean_what_transformers_means() -> None:
    plain, filled_in = EncoderConfig.from_dict({}), EncoderConfig.from_dict(DebertaV2Config().to_dict())
    assert plain == filled_in


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_read_alike_from_object_and_file(variant: str) -> None:
    config = tiny_config(**VARIANTS[variant])
    from_object = read_encoder_config(config)
    assert EncoderConfig.from_dict(json.loads(config.to_json_string())) == from_object


@pytest.mark.parametrize("key", ["hidden_size", "num_attention_heads", "vocab_size"])
@pytest.mark.parametrize("value", [0, -4])
def test_sizes_are_positive(key: str, value: int) -> None:
    with pytest.raises(UserError, match=f"config: {key} is {value}; need at least 1"):
        EncoderConfig.from_dict({**TINY, key: value})


def test_sentinels_are_resolved() -> None:
    config = EncoderConfig.from_dict({**TINY, "max_relative_positions": -1, "pooler_hidden_size": None})
    assert (config.max_distance, config.span, config.num_buckets) == (32, 8, 8)
    assert (config.embedding_size, config.pooler_hidden_size, config.cls_dropout) == (48, 48, 0.0)
    plain = EncoderConfig.from_dict({**TINY, "position_buckets": -1, "max_relative_positions": 20})
    assert (plain.max_distance, plain.span, plain.num_buckets) == (20, 20, 0)
    assert EncoderConfig.from_dict({**TINY, "cls_dropout": 0}).cls_dropout == 0
    assert EncoderConfig.from_dict({**TINY, "hidden_dropout_prob": 0.3}).cls_dropout == 0.3


@pytest.mark.parametrize("written", ["p2c|c2p", "C2P | p2c", ["c2p", "p2c"], ("p2c", "c2p")])
def test_position_terms_as_string_or_list(written: Any) -> None:
    config = EncoderConfig.from_dict({**TINY, "pos_att_type": written})
    assert config.has_c2p and config.has_p2c and config.score_terms == 3


@pytest.mark.parametrize("written", [None, [], "", "none", "None"])
def test_no_position_terms(written: Any) -> None:
    config = EncoderConfig.from_dict({**TINY, "pos_att_type": written})
    assert config.score_terms == 1 and not config.has_relative_scores


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "position-to-position": ({"pos_att_type": ["c2p", "p2p"]}, "p2p"),
    "unknown-term": ({"pos_att_type": "c2c"}, "c2c"),
    "heads": ({"num_attention_heads": 5}, "multiple of num_attention_heads"),
    "head-size": ({"attention_head_size": 11}, "attention_head_size"),
    "activation": ({"hidden_act": "mish"}, "hidden_act is 'mish'"),
    "conv-activation": ({"conv_act": "Tanh"}, "conv_act is 'Tanh'"),
    "even-kernel": ({"conv_kernel_size": 4}, "odd"),
    "long-inputs": ({"long_inputs": "official"}, "long_inputs is 'official'"),
    "one-bucket": ({"position_buckets": 1}, "at least 2"),
    "no-room": ({"position_buckets": 62, "long_inputs": "transformers"}, "no room"),
    "number-as-text": ({"hidden_size": "48"}, "hidden_size is '48'; need a whole number"),
    "bool-as-number": ({"share_att_key": 1}, "share_att_key is 1; need true or false"),
    "number-as-bool": ({"num_hidden_layers": True}, "num_hidden_layers is True"),
    "eps-as-text": ({"layer_norm_eps": "1e-7"}, "layer_norm_eps"),
    "terms-as-number": ({"pos_att_type": 3}, "pos_att_type is 3"),
    "norm-as-list": ({"norm_rel_ebd": ["layer_norm"]}, "norm_rel_ebd"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_with_one_clear_line(case: str) -> None:
    changes, part = REFUSED[case]
    with pytest.raises(UserError) as error:
        EncoderConfig.from_dict({**TINY, **changes})
    assert part in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("key", sorted(MATHS_KEYS - {"embedding_size", "conv_act", "legacy"}))
def test_a_misspelled_key_is_refused_in_a_file_and_in_an_object(key: str) -> None:
    """transformers' config would keep the right key at its default, and the model would change silently."""
    wrong = key + "s" if not key.endswith("s") else key[:-1]
    content = {k: v for k, v in TINY.items() if k != key}
    with pytest.raises(UserError, match=f"{wrong}.*did you mean '{key}'"):
        EncoderConfig.from_dict({**content, wrong: 1})
    with pytest.raises(UserError, match=f"{wrong}.*did you mean '{key}'"):
        DebertaV2Model(DebertaV2Config(**content, **{wrong: 1}))


def test_foreign_keys_are_left_alone() -> None:
    EncoderConfig.from_dict({**TINY, "summary_type": "first", "torch_dtype": "float16", "my_note": "x"})
    DebertaV2Model(tiny_config(my_note="x", layer_norm_epsilon=1e-5, layer_norm_eps=1e-5))


def test_heads_refuse_what_they_cannot_read() -> None:
    with pytest.raises(UserError, match="pooler_hidden_size is 32"):
        DebertaV2ForSequenceClassification(tiny_config(pooler_hidden_size=32))
    with pytest.raises(UserError, match="the config has 3 labels"):
        DebertaV2ForQuestionAnswering(tiny_config(num_labels=3))


def test_is_frozen() -> None:
    with pytest.raises(AttributeError):
        EncoderConfig.from_dict(TINY).hidden_size = 3  # type: ignore[misc]


def test_the_named_activations_are_those_that_there_are() -> None:
    assert tuple(ACTIVATION) == ACTIVATIONS
