"""``open_model``: load a checkpoint for inference or fine-tuning, strictly and in a chosen dtype.

Our classes' ``from_pretrained`` loads the same files, but warns where this function refuses.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import torch
from transformers import DebertaV2Config, PreTrainedModel

from ..heads import MASKED_LM
from ..json_types import JsonMapping, JsonObject
from ..models import DebertaV2ForMaskedLM
from . import files, keys
from .agreement import LoadReport, check_body, compare, some_of
from .configuration import build_config
from .folder import Checkpoint
from .quiet import quiet_transformers
from .weights import Int8Weight

logger = logging.getLogger(__name__)

Model = TypeVar("Model", bound=PreTrainedModel)


@dataclass(frozen=True, slots=True)
class OpenedModel(Generic[Model]):
    """A model in evaluation mode, and a report on its loading."""

    model: Model
    report: LoadReport
    int8: Mapping[str, Int8Weight] = field(default_factory=dict)
    """Weights that the file stores in int8, by their official names, if they were to be kept."""


def open_model(
    checkpoint: str | Path | Checkpoint,
    *,
    head: type[Model],
    dtype: torch.dtype = torch.float32,
    new_head: bool = False,
    keeps_int8: bool = False,
    **config_overrides: object,
) -> OpenedModel[Model]:
    """Load a checkpoint as one of our models, on the CPU and in evaluation mode.

    Args:
        checkpoint: a checkpoint, its folder, or a Hub name.
        head: the class to open it as, e.g. ``DebertaV2ForSequenceClassification``.
        dtype: dtype of the model's weights, regardless of the stored dtype.
        new_head: for training: initialize the head if the file has none that fits. For
            prediction, leave it off: a missing head is then an error.
        keeps_int8: whether to return what is stored in int8 too, for `restore_int8`.
        config_overrides: keys of the configuration to replace, e.g. ``id2label``.

    Raises:
        UserError: if the folder is not a checkpoint, is damaged, contains weights that do not match its
            config, or has no encoder or, unless ``new_head``, no head of this kind.
    """
    checkpoint = Checkpoint.open(checkpoint)
    folder, raw, weights = checkpoint.folder, checkpoint.config, checkpoint.weights
    check_body(folder, raw, weights.stored)
    config = build_config(raw, **config_overrides)
    arguments = _head_arguments(head, weights.stored)
    wanted = expected_shapes(head, config, **arguments)
    relabelled = new_head and _relabelled(raw, config)
    usable, report = compare(
        folder, weights, wanted, head_name=head.__name__, new_head=new_head, relabelled=relabelled
    )
    state, int8 = weights.read_with_int8(usable)
    weights.forget()
    if not any(name.startswith(keys.BODY) for name in wanted):  # a bare encoder has no prefix
        state = {name.removeprefix(keys.BODY): tensor for name, tensor in state.items()}
    with quiet_transformers():
        model = head.from_pretrained(None, config=config, state_dict=state, dtype=dtype, **arguments)
    if report.fresh:
        logger.info(
            "%s: %d tensors are initialized randomly: %s", folder, len(report.fresh), some_of(report.fresh)
        )
    return OpenedModel(model, report, int8 if keeps_int8 else {})


def expected_shapes(
    head: type[PreTrainedModel], config: DebertaV2Config, **arguments: object
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a model's tensors without allocating them; tied ones are left out."""
    with torch.device("meta"):
        model = head(config, **arguments)
    tied = set(model.all_tied_weights_keys)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items() if name not in tied}
    if head.__name__ == "DebertaV2Model":
        shapes = {keys.BODY + name: shape for name, shape in shapes.items()}
    return shapes


def _head_arguments(head: type[PreTrainedModel], stored: Mapping[str, files.StoredTensor]) -> JsonObject:
    heads = keys.heads_of(stored)
    is_legacy = keys.LEGACY + MASKED_LM in heads and MASKED_LM not in heads
    return {"has_legacy_head": True} if is_legacy and issubclass(head, DebertaV2ForMaskedLM) else {}


def _relabelled(raw: JsonMapping, config: DebertaV2Config) -> bool:
    """Whether the file names its classes, and other ones or another order are asked for."""
    names = raw.get("id2label")
    return names is not None and not has_default_names(names) and names != config.id2label


def has_default_names(id2label: Mapping[int, str]) -> bool:
    """Whether the classes are called LABEL_0, LABEL_1, ..., which says nothing of what they mean."""
    return all(name == f"LABEL_{number}" for number, name in id2label.items())
