"""The checkpoint doctor: what a checkpoint is, whether it is sound, and what to do about each fault."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from ..errors import UserError
from ..files.model_folder import GENERATOR, GENERATOR_BESIDE
from ..heads import ENCODER, MULTIPLE_CHOICE, SEQUENCE, heads_in
from ..json_types import JsonMapping
from ..layers.config import EncoderConfig
from ..models import class_of
from ..sizes import size_of
from . import files, keys
from .configuration import build_config
from .diagnosis import Diagnosis, Fault
from .folder import Checkpoint
from .opening import expected_shapes, has_default_names
from .sanity import ABSURD, is_absurd, look_at_table, looks_untrained, row_zero_ratio
from .weights import Weights

NLI_NAMES = {"entailment", "neutral", "contradiction"}


def examine(checkpoint: str | Path | Checkpoint) -> Diagnosis:
    """Examine a checkpoint, its folder, or a Hub name.

    Raises:
        UserError: if there is no checkpoint, or its configuration or weights cannot be read at all.
    """
    checkpoint = Checkpoint.open(checkpoint)
    if _is_v1(checkpoint):
        return _v1(checkpoint.name)
    raw, weights = checkpoint.config, checkpoint.weights
    diagnosis = Diagnosis(
        path=checkpoint.name,
        family=family_of(raw),
        size=size_of(raw),
        heads=keys.heads_of(weights.stored),
        parameters=sum(tensor.size for tensor in weights.stored.values()),
        dtypes=weights.dtypes,
        stale=keys.stale_keys(weights.stored),
    )
    _examine_keys(diagnosis, raw, weights)
    _examine_labels(diagnosis, raw, weights.stored)
    _examine_numbers(diagnosis, raw, weights)
    _examine_tokenizer(diagnosis, checkpoint)
    _add_notes(diagnosis)
    return diagnosis


def family_of(raw: Mapping[str, object]) -> str:
    """Return the layout that a checked configuration describes."""
    config = EncoderConfig.from_dict(raw)
    if config.conv_kernel_size:
        return "DeBERTa V2 (with convolution)"
    buckets_and_norm = config.num_buckets > 0 and config.normalizes_relative_table
    if (
        buckets_and_norm
        and config.position_terms == 2
        and not (config.position_projections or config.position_biased_input)
    ):
        return "DeBERTaV3"
    return "variant of DeBERTa V2"


def _is_v1(checkpoint: Checkpoint) -> bool:
    folder = checkpoint.folder
    return folder.has("config.json") and folder.json("config.json").get("model_type") == "deberta"


def _v1(path: str) -> Diagnosis:
    return Diagnosis(
        path=path,
        family="DeBERTa v1",
        size=None,
        faults=[
            Fault(
                "DeBERTa v1 has other layers and another tokenizer than V2 and V3",
                "open it with transformers.AutoModel, or use a V2 or V3 checkpoint",
            )
        ],
    )


def _examine_keys(diagnosis: Diagnosis, raw: Mapping[str, object], weights: Weights) -> None:
    stored = weights.stored
    wanted = _wanted_shapes(diagnosis, raw, stored)
    adds_positions = EncoderConfig.from_dict(raw).position_biased_input
    optional = None if adds_positions else keys.table_key("position_embeddings")
    diagnosis.missing = sorted(name for name in wanted if name not in stored and name != optional)
    diagnosis.unexpected = sorted(
        name
        for name in stored
        if name not in wanted
        and not (name.startswith(keys.BODY) and keys.is_expendable(name))
        and not weights.repeats(name)
    )
    other_shape = sorted(n for n in wanted if n in stored and stored[n].shape != wanted[n])
    if keys.has_only_delta(stored):
        diagnosis.add_fault(
            f"only the difference {keys.delta_key('word_embeddings')} to a generator's word embeddings "
            "is stored, so other loaders start with random embeddings",
            f"use the complete file, or add the generator ({GENERATOR}/ or "
            f"{' or '.join(GENERATOR_BESIDE)}) and continue from it with debertav3 pretrain --from",
        )
    elif diagnosis.missing:
        diagnosis.add_fault(
            f"{len(diagnosis.missing)} tensors are missing: {_some(diagnosis.missing)}",
            "download the checkpoint again, or correct config.json if it describes another model",
        )
    if diagnosis.unexpected:
        diagnosis.add_fault(
            f"{len(diagnosis.unexpected)} tensors are unexpected: {_some(diagnosis.unexpected)}",
            "correct config.json if it describes another model; otherwise they are ignored, remove them",
        )
    for name in other_shape:
        diagnosis.add_fault(
            f"{name} has shape {list(stored[name].shape)}, and config.json makes it {list(wanted[name])}",
            "correct config.json: the weights show what was trained",
        )


def _wanted_shapes(
    diagnosis: Diagnosis, raw: Mapping[str, object], stored: Mapping[str, files.StoredTensor]
) -> dict[str, tuple[int, ...]]:
    """The tensors that the configured encoder and the heads found should have."""
    layers, configured = keys.count_layers(stored), EncoderConfig.from_dict(raw).num_hidden_layers
    if layers != configured:
        diagnosis.add_fault(
            f"config.json says num_hidden_layers = {configured}, the weights have {layers}",
            "correct config.json, or download the weights again",
        )
    # The layers that are there: a configuration may claim any number.
    config = build_config({**raw, "num_hidden_layers": max(layers, 1)})
    wanted: dict[str, tuple[int, ...]] = {}
    for head in diagnosis.heads or [ENCODER]:
        arguments = {"has_legacy_head": True} if head.startswith(keys.LEGACY) else {}
        wanted |= expected_shapes(class_of(head.removeprefix(keys.LEGACY)), config, **arguments)
    return wanted


def _examine_labels(diagnosis: Diagnosis, raw: JsonMapping, stored: Mapping[str, files.StoredTensor]) -> None:
    declared = [head.name for head in heads_in(raw.get("architectures"))]
    pooled = {SEQUENCE, MULTIPLE_CHOICE}
    found = {*diagnosis.heads, ENCODER, *(pooled if pooled & {*diagnosis.heads} else ())}
    for head in declared:
        if head not in found and keys.LEGACY + head not in found:
            diagnosis.add_fault(
                f"config.json says the head is {head}, and the weights have none",
                "use the original file, or fine-tune: a new head predicts at random",
            )
    classifier = stored.get("classifier.weight")
    if classifier is None or len(classifier.shape) != 2 or MULTIPLE_CHOICE in declared:
        return
    names = raw.get("id2label")
    if names is None and classifier.shape[0] != 1:
        names = {number: f"LABEL_{number}" for number in range(classifier.shape[0])}
    if names is None:
        return
    diagnosis.labels = [names[number] for number in sorted(names)]
    if len(set(diagnosis.labels)) < len(diagnosis.labels):
        twice = next(name for name in diagnosis.labels if diagnosis.labels.count(name) > 1)
        diagnosis.add_fault(
            f"two classes are called {twice!r}: an answer does not say which it means",
            "give each a name of its own in id2label of config.json, or give --labels",
        )
    if len(names) > 1 and has_default_names(names):
        diagnosis.add_fault(
            f"the {len(names)} classes have no names ({_some(diagnosis.labels)}): their order is unknown",
            'write them into config.json as id2label, e.g. {"0": "entailment", ...}, or give --labels',
        )


def _examine_numbers(diagnosis: Diagnosis, raw: JsonMapping, weights: Weights) -> None:
    initial = raw.get("initializer_range", 0.02) or 0.02
    groups: dict[str, dict[str, torch.Tensor]] = {}
    broken, absurd = [], []
    for name in weights.stored:
        tensor = weights.read([name])[name]
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            broken.append(name)
        elif is_absurd(tensor):
            absurd.append(name)
        is_table = tensor.dim() == 2 and tensor.numel() > 0
        if is_table and name == keys.table_key("word_embeddings"):
            diagnosis.embeddings = look_at_table(tensor, initializer_range=initial)
        elif is_table and name == f"{keys.BODY}encoder.rel_embeddings.weight":
            diagnosis.relative_row_zero = row_zero_ratio(tensor)
        if group := _trained_together(name):
            groups.setdefault(group, {})[name] = tensor
    if broken:
        diagnosis.add_fault(
            f"NaN or infinite numbers in {len(broken)} tensors: {_some(broken)}",
            "training diverged or the precision of the file is too low; use an earlier checkpoint",
        )
    if absurd:
        diagnosis.add_fault(
            f"values beyond {ABSURD:,.0f} in {len(absurd)} tensors: {_some(absurd)}",
            "training diverged: use an earlier checkpoint, or train again with a lower learning rate",
        )
    diagnosis.untrained = sorted(
        group for group, tensors in groups.items() if looks_untrained(tensors, initializer_range=initial)
    )
    if diagnosis.untrained:
        diagnosis.add_fault(
            f"{' and '.join(diagnosis.untrained)} look untrained: biases are 0, weights as "
            "freshly initialized",
            "fine-tune before predicting; untrained weights predict at random",
        )
    _examine_embeddings(diagnosis)


def _trained_together(name: str) -> str | None:
    """The part of the model that a tensor belongs to, where that part can look untrained."""
    if match := keys.LAYER.match(name):
        return "encoder" if match.group(1) == "0" else None
    part = name.split(".")[0]
    return part if part in _HEAD_PARTS else None


_HEAD_PARTS = {prefix.split(".")[0] for prefixes in keys.HEAD_PREFIXES.values() for prefix in prefixes}


def _examine_embeddings(diagnosis: Diagnosis) -> None:
    look = diagnosis.embeddings
    if look is None:
        return
    if look.looks_random:
        diagnosis.add_fault(
            f"the word embeddings look random: standard deviation {look.std:.4f} as at "
            "initialization, rows of equal norm, average cosine 0",
            "the embeddings were lost (perhaps stored as _weight only); use the original file",
        )
    zero = [row for row in look.zero_rows if row != 0]  # row 0 is [PAD], which many loaders keep at zero
    if len(zero) > look.rows // 10:
        diagnosis.add_fault(
            f"{len(zero):,} of {look.rows:,} word embeddings are all zero",
            "the embeddings were lost; use the original file",
        )
    elif zero:
        diagnosis.notes.append(f"{len(zero):,} word embeddings other than [PAD] are all zero (unused rows?)")


def _examine_tokenizer(diagnosis: Diagnosis, checkpoint: Checkpoint) -> None:
    raw, folder = checkpoint.config, checkpoint.folder
    try:
        tokenizer = checkpoint.tokenizer
    except UserError as error:
        diagnosis.add_fault(
            f"no usable tokenizer: {error}",
            "copy spm.model and tokenizer_config.json from the checkpoint's origin into the folder",
        )
        return
    diagnosis.tokenizer = next(n for n in ("spm.model", "tokenizer.json") if folder.has(n))
    diagnosis.tokenizer_size = len(tokenizer)
    vocab_size = EncoderConfig.from_dict(raw).vocab_size
    if len(tokenizer) > vocab_size:
        diagnosis.add_fault(
            f"the tokenizer has {len(tokenizer):,} ids and the model {vocab_size:,} embeddings",
            "use the tokenizer that the model was trained with",
        )
    elif len(tokenizer) < vocab_size:
        diagnosis.notes.append(f"{vocab_size - len(tokenizer):,} embeddings are beyond the tokenizer's ids")
    pad = raw.get("pad_token_id", 0)
    if pad is not None and tokenizer.pad_token_id != pad:
        diagnosis.add_fault(
            f"[PAD] is {tokenizer.pad_token_id} in the tokenizer and {pad} in config.json",
            "correct pad_token_id in config.json, or use the tokenizer that the model was trained with",
        )


def _add_notes(diagnosis: Diagnosis) -> None:
    for name in diagnosis.stale:
        diagnosis.notes.append(f"{name} is stored next to its delta _weight, and is one training step older")
    halves = {"F16", "BF16"} & diagnosis.dtypes.keys()
    if halves:
        diagnosis.notes.append("stored in half precision; loaded in fp32 unless another dtype is requested")
    labels = [name.lower() for name in diagnosis.labels or ()]
    if set(labels) == NLI_NAMES:
        diagnosis.notes.append(f"NLI label order: {', '.join(labels)}")
    ratio = diagnosis.relative_row_zero
    if ratio is not None and not 0.5 < ratio < 2:
        diagnosis.notes.append(
            f"row 0 of the relative table has {ratio:.2f} of the usual norm; training never "
            "uses it, so keep long_inputs at clamp for texts beyond the trained length"
        )


def _some(names: Iterable[str], limit: int = 3) -> str:
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
