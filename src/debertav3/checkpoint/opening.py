"""``open_model``: how inference and fine-tuning open a checkpoint. Strict, and in a chosen dtype.

Our classes' ``from_pretrained`` opens the same files; it warns where this function refuses.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import torch
from transformers import DebertaV2Config, PreTrainedModel

from ..errors import UserError
from ..files.model_folder import ModelFolder
from ..heads import MASKED_LM
from ..json_types import JsonMapping, JsonObject
from ..layers.config import EncoderConfig
from ..models import DebertaV2ForMaskedLM
from . import files, keys
from .configuration import build_config
from .folder import Checkpoint
from .quiet import quiet_transformers
from .weights import Int8Weight, Weights

logger = logging.getLogger(__name__)

Model = TypeVar("Model", bound=PreTrainedModel)


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What became of the tensors of a checkpoint, by their official names."""

    stored_dtypes: dict[str, int]
    """How many numbers are stored in each dtype."""
    fresh: tuple[str, ...]
    """Given random weights: missing from the file, or stored with another shape or other labels."""
    unused: tuple[str, ...]
    """In the file and of no use to this model, such as another head."""
    stale: tuple[str, ...]
    """Read, but one training step behind: see :func:`debertav3.checkpoint.keys.stale_keys`."""
    int8: tuple[str, ...] = ()
    """Read as the fp32 numbers that int8 weights mean; `restore_int8` takes the integers themselves."""


@dataclass(frozen=True, slots=True)
class OpenedModel(Generic[Model]):
    """A model in evaluation mode, and the report of its loading."""

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
    """Open a checkpoint as one of our models, on the CPU and in evaluation mode.

    Args:
        checkpoint: a checkpoint, its folder, or a Hub name.
        head: the class to open it as, e.g. ``DebertaV2ForSequenceClassification``.
        dtype: of the model's weights, whatever dtype they are stored in.
        new_head: whether the head may be initialised where the file has none that fits, for training. For
            prediction leave it off: a missing head is then an error.
        keeps_int8: whether to return what is stored in int8 too, for `restore_int8`.
        config_overrides: keys of the configuration to replace, e.g. ``id2label``.

    Raises:
        UserError: if the folder is no checkpoint, is damaged, describes another model than it holds, has no
            body or, unless ``new_head``, no head of this kind.
    """
    checkpoint = Checkpoint.open(checkpoint)
    folder, raw, weights = checkpoint.folder, checkpoint.config, checkpoint.weights
    check_body(folder, raw, weights.stored)
    config = build_config(raw, **config_overrides)
    arguments = _head_arguments(head, weights.stored)
    wanted = expected_shapes(head, config, **arguments)
    relabelled = new_head and _relabelled(raw, config)
    usable, report = _compare(folder, weights, wanted, head=head, new_head=new_head, relabelled=relabelled)
    state, int8 = weights.read_with_int8(usable)
    weights.forget()
    if not any(name.startswith(keys.BODY) for name in wanted):  # a bare encoder has no prefix
        state = {name.removeprefix(keys.BODY): tensor for name, tensor in state.items()}
    with quiet_transformers():
        model = head.from_pretrained(None, config=config, state_dict=state, dtype=dtype, **arguments)
    if report.fresh:
        logger.info(
            "%s: %d tensors start from random weights: %s", folder, len(report.fresh), _some(report.fresh)
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


def check_body(
    folder: ModelFolder,
    raw: Mapping[str, object],
    stored: Mapping[str, files.StoredTensor],
    *,
    delta_suffices: bool = False,
) -> None:
    """Check that the configuration describes these tensors, before any memory is taken on its word.

    Args:
        folder: for the message.
        raw: a checked configuration.
        stored: tensors by their official names.
        delta_suffices: whether Δ may stand for the word embeddings, as beside a generator.

    Raises:
        UserError: if the number of layers or the size of the word embeddings differ, or only Δ is stored.
    """
    config = EncoderConfig.from_dict(raw)
    only_delta = keys.has_only_delta(stored)
    if only_delta and not delta_suffices:
        raise UserError(
            f"{folder} holds only the difference {keys.delta_key('word_embeddings')} to a generator's word "
            "embeddings, not the embeddings themselves: use a complete file, or add the generator's"
        )
    key = keys.delta_key if only_delta else keys.table_key
    words = stored.get(key("word_embeddings"))
    if words is None:
        raise UserError(f"{folder} has no word embeddings: its weights are not those of a DeBERTa model")
    if words.shape != (config.vocab_size, config.embedding_size):
        raise UserError(
            f"{folder}: config.json says {config.vocab_size} words of {config.embedding_size} numbers, the "
            f"weights have {' of '.join(map(str, words.shape))}; correct vocab_size and hidden_size"
        )
    if (layers := keys.count_layers(stored)) != config.num_hidden_layers:
        raise UserError(
            f"{folder}: config.json says num_hidden_layers = {config.num_hidden_layers}, the weights have "
            f"{layers} layers"
        )


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


def _compare(
    folder: ModelFolder,
    weights: Weights,
    wanted: Mapping[str, tuple[int, ...]],
    *,
    head: type[PreTrainedModel],
    new_head: bool,
    relabelled: bool,
) -> tuple[set[str], LoadReport]:
    """Return the tensors to read, and the report; raise where the model would not be what the file holds."""
    stored = weights.stored
    usable = {name for name in wanted if name in stored and stored[name].shape == wanted[name]}
    for name in usable:
        if stored[name].dtype not in ("F64", "F32", "F16", "BF16") and name not in weights.scales:
            raise UserError(f"{folder}: {name} is stored as {stored[name].dtype}; need real numbers")
    check_encoder(folder, wanted, stored)
    fresh = {name for name in wanted if not name.startswith(keys.BODY) and name not in usable}
    modules = {name.split(".")[0] for name in fresh}  # half a head is no head
    if relabelled or _has_pooler(stored) != _has_pooler(wanted):  # a classifier of texts is none of tokens
        modules.add("classifier")
    if foreign := keys.foreign_parts(stored, wanted):
        if not new_head:
            raise UserError(
                f"{folder}: {_some(foreign)} belong to its head, and {head.__name__} has no such weights: "
                "it would answer otherwise than it was trained to. Use the code that trained it, or "
                "fine-tune it here"
            )
        modules |= {name.split(".")[0] for name in wanted if not name.startswith(keys.BODY)}
    fresh |= {name for name in wanted if name.split(".")[0] in modules}
    if fresh and not new_head:
        found = ", ".join(keys.heads_of(stored)) or "no head, only an encoder"
        raise UserError(
            f"{folder} cannot predict with this head: it has {found}, and lacks {_some(sorted(fresh))}; "
            "fine-tune it first, or choose a checkpoint that was"
        )
    report = LoadReport(
        stored_dtypes=weights.dtypes,
        fresh=tuple(sorted(fresh)),
        unused=tuple(sorted(stored.keys() - wanted.keys())),
        stale=tuple(name for name in keys.stale_keys(stored) if name in usable),
        int8=tuple(name for name in weights.scales if name in usable),
    )
    return usable - fresh, report


def check_encoder(
    folder: ModelFolder, wanted: Mapping[str, tuple[int, ...]], stored: Mapping[str, files.StoredTensor]
) -> None:
    """Check that the stored encoder is the wanted one, tensor by tensor; heads are not looked at.

    Raises:
        UserError: if a tensor is missing, has another shape, or has no place in the wanted encoder.
    """
    optional = keys.table_key("position_embeddings")  # read by the enhanced mask decoder alone
    missing = [
        name
        for name in sorted(wanted)
        if name.startswith(keys.BODY)
        and name != optional
        and (name not in stored or stored[name].shape != wanted[name])
    ]
    surplus = [
        name
        for name in sorted(stored.keys() - wanted.keys())
        if not keys.is_expendable(name) and name != keys.table_key("word_embeddings")
    ]
    if missing or surplus:
        raise UserError(f"{folder}: {_disagreement(missing, surplus, stored, wanted)}")


def _has_pooler(names: Iterable[str]) -> bool:
    return any(name.startswith("pooler.") for name in names)


def _disagreement(
    missing: list[str],
    surplus: list[str],
    stored: Mapping[str, files.StoredTensor],
    wanted: Mapping[str, tuple[int, ...]],
) -> str:
    """Say in one line how the encoder in the file differs from the one that the configuration describes."""
    other_shape = [name for name in missing if name in stored]
    if other_shape:
        name = other_shape[0]
        return f"{name} has shape {list(stored[name].shape)}, and config.json makes it {list(wanted[name])}"
    parts = []
    if missing:
        parts.append(f"the weights lack {_some(missing)}")
    if surplus:
        parts.append(f"config.json has no place for {_some(surplus)}")
    return f"{' and '.join(parts)}: config.json and weights are not of the same model"


def _some(names: list[str] | tuple[str, ...], limit: int = 3) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
