"""Which parameters learn, and how fast: frozen parts, LoRA, learning rates that fall from layer to layer."""

import re
from collections.abc import Collection
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from ..errors import MissingExtraError
from ..models import DebertaV2PreTrainedModel
from .config import FinetuneConfig
from .start import check_frozen, check_lora

_LAYER = re.compile(r"\.layers?\.(\d+)\.")
_EMBEDDINGS = re.compile(r"(^|\.)(embeddings|word_embedding)\.")
_LORA_TARGETS = {
    # The projections of queries and values, as in LoRA's own experiments (arXiv:2106.09685, section 4.2).
    "deberta-v2": ["query_proj", "value_proj"],
    "deberta": ["in_proj"],
    "xlnet": ["layer_1", "layer_2"],  # its attention keeps bare matrices, which LoRA cannot wrap
}
_LORA_DEFAULT_TARGETS = ["query", "value"]
_HEAD_PARTS = ("pooler", "classifier", "qa_outputs", "sequence_summary", "logits_proj")


def freeze(model: PreTrainedModel, config: FinetuneConfig) -> None:
    """Stop the learning of the embeddings and of the first layers, as the settings say.

    Raises:
        UserError: if more layers are to be frozen than the model has.
    """
    check_frozen(config, model.config.num_hidden_layers)
    for name, parameter in model.named_parameters():
        layer = _LAYER.search(name)
        if layer is None:
            is_frozen = config.regularization.freeze_embeddings and _EMBEDDINGS.search(name) is not None
        else:
            is_frozen = int(layer[1]) < config.regularization.freeze_layers
        if is_frozen:
            parameter.requires_grad_(False)


def add_lora(model: PreTrainedModel, config: FinetuneConfig) -> Any:
    """Wrap the model so that only low-rank changes of its attention, and its head, learn.

    In layers that ``freeze_layers`` names nothing learns.

    Raises:
        MissingExtraError: without the package peft.
        UserError: for a model from scratch, which has nothing that small changes could build on.
    """
    check_lora(config)
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingExtraError(feature="--lora", package="peft", extra="peft") from error
    kind = str(model.config.model_type)
    heads = [name for name, _ in model.named_children() if name in _HEAD_PARTS]
    wrapped: Any = get_peft_model(
        model,
        LoraConfig(
            r=config.lora.rank,
            lora_alpha=2 * config.lora.rank,
            lora_dropout=config.lora.dropout,
            target_modules=_LORA_TARGETS.get(kind, _LORA_DEFAULT_TARGETS),
            modules_to_save=heads,
        ),
    )
    # peft takes the name from the model, which was not opened by name; saving looks there for a config.json.
    wrapped.peft_config["default"].base_model_name_or_path = config.model
    freeze(wrapped, config)
    return wrapped


def merged(model: Any) -> PreTrainedModel:
    """Return the plain model, LoRA's changes added into its weights."""
    if isinstance(model, PreTrainedModel):
        return model
    plain: PreTrainedModel = model.merge_and_unload()
    return plain


def uses_every_parameter(model: PreTrainedModel) -> bool:
    """Whether each parameter that learns surely has a part in each loss, so that none need be searched for.

    Our models freeze what they never read. Frozen parts and LoRA do not change the answer. Of other families
    it is not known: XLNet's mask embedding is idle here.
    """
    return isinstance(model, DebertaV2PreTrainedModel)


def parameter_groups(
    model: nn.Module, decayed: Collection[str], matrices: Collection[int], *, config: FinetuneConfig
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return groups for Muon and groups for AdamW, one for each learning rate and weight decay.

    The head learns at ``learning_rate``, each layer at ``layer_decay`` times the rate of the next above,
    the embeddings lowest (ULMFiT, arXiv:1801.06146; ELECTRA, arXiv:2003.10555, appendix B).

    Args:
        model: whose trainable parameters are grouped.
        decayed: names of parameters under weight decay.
        matrices: ``id`` of those that Muon trains.
        config: with ``learning_rate``, ``layer_decay`` and ``weight_decay``.
    """
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    parameters = dict(model.named_parameters())
    layers = {name: int(match[1]) for name in parameters if (match := _LAYER.search(name))}
    depth = max(layers.values(), default=-1) + 1
    groups: dict[tuple[int, bool, bool], list[nn.Parameter]] = {}
    for name in names:
        below_head = depth - layers[name] if name in layers else 0
        if name not in layers and _is_body(name):
            below_head = depth + 1
        key = (below_head, name in decayed, id(parameters[name]) in matrices)
        groups.setdefault(key, []).append(parameters[name])
    muon: list[dict[str, Any]] = []
    adamw: list[dict[str, Any]] = []
    for (below_head, is_decayed, is_matrix), members in sorted(groups.items(), key=lambda item: item[0]):
        group = {
            "params": members,
            "lr": config.optimizer.learning_rate * config.optimizer.layer_decay**below_head,
            "weight_decay": config.optimizer.weight_decay if is_decayed else 0.0,
        }
        (muon if is_matrix else adamw).append(group)
    return muon, adamw


def _is_body(name: str) -> bool:
    """Whether a parameter outside the layers belongs to the encoder: embeddings, relative table."""
    return not any(part in name.split(".") for part in _HEAD_PARTS)
