"""Checks that the tensors in a file are those that the model needs. No torch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..errors import UserError
from ..files.model_folder import ModelFolder
from ..layers.config import EncoderConfig
from . import files, keys
from .weights import Weights


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What became of the tensors of a checkpoint, by their official names."""

    stored_dtypes: dict[str, int]
    """How many numbers are stored in each dtype."""
    fresh: tuple[str, ...]
    """Given random weights: missing from the file, or stored with another shape or other labels."""
    unused: tuple[str, ...]
    """In the file, but not needed by this model, such as another head."""
    stale: tuple[str, ...]
    """Read, but one training step behind: see :func:`debertav3.checkpoint.keys.stale_keys`."""
    int8: tuple[str, ...] = ()
    """Int8 weights, read as the fp32 numbers they stand for; `restore_int8` takes the integers themselves."""


def check_body(
    folder: ModelFolder,
    raw: Mapping[str, object],
    stored: Mapping[str, files.StoredTensor],
    *,
    delta_suffices: bool = False,
) -> None:
    """Check that the configuration describes these tensors, before memory is allocated for what it says.

    Args:
        folder: for the message.
        raw: a checked configuration.
        stored: tensors by their official names.
        delta_suffices: whether Δ is enough in place of the word embeddings, as beside a generator.

    Raises:
        UserError: if the number of layers or the size of the word embeddings differ, only Δ is stored, or
            absolute positions are to be added to the input and are not stored.
    """
    config = EncoderConfig.from_dict(raw)
    only_delta = keys.has_only_delta(stored)
    if only_delta and not delta_suffices:
        raise UserError(
            f"{folder} holds only the difference {keys.delta_key('word_embeddings')} to a generator's word "
            "embeddings, not the embeddings themselves: use a complete checkpoint, or add the generator's"
        )
    key = keys.delta_key if only_delta else keys.table_key
    words = stored.get(key("word_embeddings"))
    if words is None:
        raise UserError(f"{folder} has no word embeddings: these are not the weights of a DeBERTa model")
    if words.shape != (config.vocab_size, config.embedding_size):
        raise UserError(
            f"{folder}: config.json says {config.vocab_size} words of {config.embedding_size} numbers; the "
            f"weights have {' of '.join(map(str, words.shape))}; correct vocab_size and hidden_size"
        )
    if (layers := keys.count_layers(stored)) != config.num_hidden_layers:
        raise UserError(
            f"{folder}: config.json says num_hidden_layers = {config.num_hidden_layers}, the weights have "
            f"{layers} layers"
        )
    positions = keys.table_key("position_embeddings")
    is_known = positions in stored or (delta_suffices and keys.delta_key("position_embeddings") in stored)
    if config.position_biased_input and not is_known:
        raise UserError(
            f"{folder}: config.json says position_biased_input = true (the default where it is missing), and "
            f"the weights have no {positions}: set it to false, as in V3, or use the right weights"
        )


def compare(
    folder: ModelFolder,
    weights: Weights,
    wanted: Mapping[str, tuple[int, ...]],
    *,
    head_name: str,
    new_head: bool,
    relabelled: bool,
) -> tuple[set[str], LoadReport]:
    """Find the tensors to read for a model.

    Args:
        folder: for messages.
        weights: the checkpoint's.
        wanted: shapes of the model's tensors by their official names.
        head_name: the model's class, for messages.
        new_head: whether to initialize the head if the file has none that fits.
        relabelled: whether other labels are wanted than those in the file.

    Returns:
        Names of the tensors to read, and the report.

    Raises:
        UserError: if the model would differ from what the file holds.
    """
    stored = weights.stored
    usable = {name for name in wanted if name in stored and stored[name].shape == wanted[name]}
    for name in usable:
        if stored[name].dtype not in ("F64", "F32", "F16", "BF16") and name not in weights.scales:
            raise UserError(f"{folder}: {name} is stored as {stored[name].dtype}; need floating point")
    check_encoder(folder, wanted, stored)
    fresh = {name for name in wanted if not name.startswith(keys.BODY) and name not in usable}
    modules = {name.split(".")[0] for name in fresh}  # a head is fresh as a whole, or not at all
    if relabelled or _has_pooler(stored) != _has_pooler(wanted):  # a classifier of texts does not fit tokens
        modules.add("classifier")
    if foreign := [name for name in keys.foreign_parts(stored, wanted) if not weights.repeats(name)]:
        if not new_head:
            raise UserError(
                f"{folder}: {some_of(foreign)} belong to its head, and {head_name} has no such weights: "
                "its predictions would be wrong. Use the code that trained it, or "
                "fine-tune it here"
            )
        modules |= {name.split(".")[0] for name in wanted if not name.startswith(keys.BODY)}
    fresh |= {name for name in wanted if name.split(".")[0] in modules}
    if fresh and not new_head:
        found = ", ".join(keys.heads_of(stored)) or "no head, only an encoder"
        raise UserError(
            f"{folder} cannot predict with this head: it has {found}, but not {some_of(sorted(fresh))}; "
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
    """Check that the stored encoder is the wanted one, tensor by tensor; heads are not checked.

    Raises:
        UserError: if a tensor is missing, has another shape, or is not part of the wanted encoder.
    """
    # Without it there is no enhanced mask decoder; `check_body` has seen whether the input needs it.
    optional = keys.table_key("position_embeddings")
    missing = [
        name
        for name in sorted(wanted)
        if name.startswith(keys.BODY)
        and (stored[name].shape != wanted[name] if name in stored else name != optional)
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
        parts.append(f"the weights have no {some_of(missing)}")
    if surplus:
        parts.append(f"config.json does not allow {some_of(surplus)}")
    return f"{' and '.join(parts)}: config.json and weights belong to different models"


def some_of(names: list[str] | tuple[str, ...], limit: int = 3) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
