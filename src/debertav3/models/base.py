"""The base class of all models, and the encoder itself."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DebertaV2Config, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils.generic import can_return_tuple

from ..cpu.attention import BACKENDS as CPU_BACKENDS
from ..cpu.linear import refuse_to_save
from ..errors import UserError
from ..files import write_text
from ..gpu.flash_attention import FLASH
from ..gpu.unpadding import unpad
from ..layers.attention import DisentangledSelfAttention, is_watched
from ..layers.attention_backends import AttentionBackend, named
from ..layers.config import EncoderConfig
from ..layers.embeddings import Embeddings, Perturbation, absolute_positions
from ..layers.encoder import Encoder, Layer
from ..layers.heads import LegacyPredictions, MaskedLMHead
from ..layers.masks import AttentionMasks

BACKENDS: tuple[AttentionBackend, ...] = (FLASH, *CPU_BACKENDS)
"""What computes attention in our models, the preferred ones first: on a GPU, on a CPU, everywhere."""

# What official pre-training files contain in addition to the encoder; a head may leave it unread.
_PRETRAINING_KEYS = [r"position_embeddings", r"lm_predictions\.", r"mask_predictions\.", r"\._weight$"]


class CheckpointedLayer(GradientCheckpointingLayer, Layer):
    """A layer that forgets its inner activations when transformers' gradient checkpointing is on."""


class DebertaV2PreTrainedModel(PreTrainedModel):
    """Base class of all models: initial weights, attention backend, and a complete ``config.json``."""

    config_class = DebertaV2Config
    base_model_prefix = "deberta"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    # A loss is the mean of its own batch: the Trainer must divide it by the batches that it accumulates.
    accepts_loss_kwargs = False
    _no_split_modules = {"CheckpointedLayer"}  # noqa: RUF012 -- transformers: not a ClassVar
    _keys_to_ignore_on_load_unexpected = _PRETRAINING_KEYS

    def __init__(self, config: PreTrainedConfig, *args: object, **kwargs: object) -> None:
        super().__init__(config, *args, **kwargs)
        self._forget_default_attention()

    def post_init(self) -> None:
        """Initialize the weights, and freeze what no loss of this model can reach."""
        super().post_init()
        self._freeze_unread()

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Load a checkpoint as transformers does; it makes every parameter trainable, so freeze again."""
        opened: Any = super().from_pretrained(*args, **kwargs)
        (opened[0] if isinstance(opened, tuple) else opened)._freeze_unread()
        return opened

    def _unread(self) -> list[nn.Module]:
        """Modules that a checkpoint of this model holds and its forward pass never reads."""
        base = self.base_model
        if not isinstance(base, DebertaV2Model):  # someone else's subclass
            return []
        if base.encoder_config.has_relative_scores:
            return []
        tables = (getattr(base.encoder, name, None) for name in ("rel_embeddings", "LayerNorm"))
        return [module for module in tables if module is not None]

    def _freeze_unread(self) -> None:
        """DistributedDataParallel waits for a gradient of each parameter that asks for one."""
        for module in self._unread():
            module.requires_grad_(False)

    def _forget_default_attention(self) -> None:
        """Do not leave "sdpa", our default, in a config: transformers' own DeBERTa classes refuse it."""
        if self.config._attn_implementation == "sdpa":
            self.config._attn_implementation_internal = None

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Weights N(0, initializer_range), biases 0 (official ``deberta/bert.py``)."""
        super()._init_weights(module)
        if isinstance(module, MaskedLMHead | LegacyPredictions):
            init.zeros_(module.bias)

    def set_attention_backend(self, name: str) -> None:
        """Choose how attention is computed in every layer.

        Args:
            name: ``"auto"``, ``"sdpa"``, ``"strided"``, ``"eager"``, to train on a CPU ``"blockwise"``, for
                inference on one ``"fused"``, and on a GPU ``"flash"`` (extra ``gpu``); ``"auto"`` takes the
                last two by itself where it can;
                see ``layers/attention_backends.py``.

        Raises:
            UserError: if there is no such backend.
        """
        layers = [module for module in self.modules() if isinstance(module, DisentangledSelfAttention)]
        for backends in (BACKENDS, *(layer.backends for layer in layers)) if name != "auto" else ():
            named(backends, name)  # all are asked first: a packed layer has fewer
        for layer in layers:
            layer.backend = name

    def set_attn_implementation(
        self, attn_implementation: str | dict[str, str], *args: bool, **kwargs: bool
    ) -> None:
        """Transformers' switch: ``"eager"`` is the reference implementation, ``"sdpa"`` our choice."""
        super().set_attn_implementation(attn_implementation, *args, **kwargs)
        self.set_attention_backend("eager" if self.config._attn_implementation == "eager" else "auto")
        self._forget_default_attention()

    def save_pretrained(self, save_directory: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        """Save as transformers does, with a ``config.json`` that does not rely on a reader's defaults.

        Raises:
            UserError: if the model is packed for inference; nothing is written then.
        """
        refuse_to_save(self)
        super().save_pretrained(save_directory, *args, **kwargs)
        self._complete_saved_config(save_directory)

    def _upload_modified_files(
        self, working_dir: str | os.PathLike[str], *args: object, **kwargs: object
    ) -> object:
        """Where transformers uploads what it has just saved: ``config.json`` must be complete before."""
        self._complete_saved_config(working_dir)
        return super()._upload_modified_files(working_dir, *args, **kwargs)  # type: ignore[arg-type]

    def _complete_saved_config(self, folder: str | os.PathLike[str]) -> None:
        path = Path(folder) / "config.json"
        if path.is_file():  # in a distributed run one process saves
            write_text(path, json.dumps(complete_config(self.config), indent=2, sort_keys=True) + "\n")


def complete_config(config: PreTrainedConfig) -> dict[str, object]:
    """What a ``config.json`` holds that leaves nothing to its reader's defaults.

    transformers leaves out what equals its defaults, and does not declare the keys named here.
    """
    content = json.loads(config.to_json_string(use_diff=False))
    undeclared = {
        "pooler_hidden_size": content["hidden_size"],
        "position_buckets": -1,
        "norm_rel_ebd": "none",
        "share_att_key": False,
    }
    if names := content.get("id2label"):  # setting id2label on a config leaves label2id as it was
        content["label2id"] = {name: int(number) for number, name in names.items()}
    return undeclared | content


def read_encoder_config(config: PreTrainedConfig) -> EncoderConfig:
    """What the layers need of transformers' config.

    Raises:
        UserError: see ``EncoderConfig.from_dict``.
    """
    raw = config.to_dict()
    defaults = DebertaV2Config(hidden_size=raw["hidden_size"]).to_dict()  # others follow from it
    given = {key for key, value in raw.items() if key not in defaults or value != defaults[key]}
    return EncoderConfig.from_dict(raw, given=given)


class DebertaV2Model(DebertaV2PreTrainedModel):
    """The encoder: tokens in, one vector per token out.

    Args:
        config: transformers' own config.
        keeps_positions: whether to have the absolute position table although the input does not use it.
    """

    def __init__(self, config: DebertaV2Config, *, keeps_positions: bool = False) -> None:
        super().__init__(config)
        self.encoder_config = read_encoder_config(config)
        self.embeddings = Embeddings(self.encoder_config, keeps_positions=keeps_positions)
        self.encoder = Encoder(self.encoder_config, layer_class=CheckpointedLayer)
        for module in self.encoder.modules():
            if isinstance(module, DisentangledSelfAttention):
                module.backends = BACKENDS
        self.post_init()
        if config._attn_implementation == "eager":
            self.set_attention_backend("eager")

    def get_input_embeddings(self) -> nn.Module:
        """The word embeddings."""
        return self.embeddings.word_embeddings

    def set_input_embeddings(self, new_embeddings: nn.Module) -> None:
        """Replace the word embeddings."""
        self.embeddings.word_embeddings = new_embeddings  # type: ignore[assignment]

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        perturbation: Perturbation | None = None,
        num_layers: int | None = None,
        first_token_suffices: bool = False,
        reads_padding: bool | Tensor = True,
        **kwargs: object,
    ) -> BaseModelOutput:
        """Encode.

        Args:
            input_ids: ``(B, L)`` int64; or give ``inputs_embeds``.
            attention_mask: 0/1 or bool, ``(B, L)`` for padding or ``(B, L, L)`` for packed sequences; None
                for no padding.
            token_type_ids: ``(B, L)`` int64; read only by models that have token types.
            position_ids: ``(B, L)`` int64; read only by models that add absolute positions.
            inputs_embeds: ``(B, L, embedding_size)`` in place of ``input_ids``.
            output_attentions: whether to return the ``(B, N, L, L)`` attention weights of every layer.
            output_hidden_states: whether to return the embeddings and every layer's output.
            perturbation: of the embeddings, for SiFT.
            num_layers: how many layers to run; None for all.
            first_token_suffices: True if only the last hidden state of the first token is needed; only this
                may then be returned, ``(B, 1, D)``.
            reads_padding: whether the last hidden states at padding are needed; or ``(B, L)`` bool, True
                where they are needed. The others may be zero, and on a GPU the whole model may
                run on the real tokens alone.
            kwargs: accepted for compatibility with transformers, and ignored.

        Raises:
            UserError: unless exactly one of ``input_ids`` and ``inputs_embeds`` is given, for one of another
                shape, such as one text without a batch, or for a mask of another shape than theirs.
        """
        batch, length = sizes_of(input_ids, inputs_embeds, "batch", "tokens")
        AttentionMasks.check_shape(attention_mask, batch=batch, length=length)
        masks = AttentionMasks.read(attention_mask)
        hidden_states = chosen(output_hidden_states, self.config.output_hidden_states)
        attentions = chosen(output_attentions, self.config.output_attentions)
        first_token_suffices = first_token_suffices and not is_watched(self)
        inputs = {
            "input_ids": input_ids,
            "inputs_embeds": inputs_embeds,
            "token_type_ids": token_type_ids,
            "position_ids": position_ids,
        }
        unpadded = None
        if first_token_suffices:
            reads_padding = False
        if reads_padding is not True and not (hidden_states or attentions or perturbation):
            read = reads_padding if isinstance(reads_padding, Tensor) else None
            unpadded = unpad(self, self.encoder, masks, num_texts=batch, read=read)
        if unpadded is not None:
            masks = AttentionMasks(None, unpadded=unpadded)
            if self.embeddings.position_biased_input and position_ids is None:
                table = self.embeddings.position_embeddings
                inputs["position_ids"] = absolute_positions(length, table, unpadded.index_T.device)
            inputs = {name: None if x is None else unpadded.take(x) for name, x in inputs.items()}
        embedded = self.embeddings(**inputs, mask=masks.padding, perturbation=perturbation)
        output = self.encoder(
            embedded,
            masks,
            num_layers=num_layers,
            output_hidden_states=hidden_states,
            output_attentions=attentions,
            first_token_suffices=first_token_suffices,
        )
        last = output.last_hidden_state
        if unpadded is not None:
            last = unpadded.firsts_of(last) if first_token_suffices else unpadded.put_back(last)
        return BaseModelOutput(
            last_hidden_state=last,
            hidden_states=tuple(output.hidden_states) or None,
            attentions=tuple(output.attentions) or None,
        )


def sizes_of(input_ids: Tensor | None, inputs_embeds: Tensor | None, *dimensions: str) -> torch.Size:
    """The sizes of a model's input.

    Args:
        input_ids: of these dimensions.
        inputs_embeds: likewise, and ``embedding_size`` last.
        dimensions: what they are called.

    Raises:
        UserError: unless exactly one is given, with as many dimensions.
    """
    if (input_ids is None) == (inputs_embeds is None):
        raise UserError("give either input_ids or inputs_embeds, and not both")
    given: Tensor = inputs_embeds if input_ids is None else input_ids  # type: ignore[assignment]
    name, shape = "input_ids", dimensions
    if input_ids is None:
        name, shape = "inputs_embeds", (*dimensions, "embedding_size")
    if given.dim() != len(shape):
        raise UserError(f"{name} has shape {tuple(given.shape)}; need ({', '.join(shape)})")
    return given.shape[: len(dimensions)]


def chosen(asked: bool | None, default: bool | None) -> bool:
    """What the caller asked for, or the config's default."""
    return bool(default if asked is None else asked)
