"""The names that tensors have in official, transformers' and our own files, and what they tell.

Facts: microsoft/DeBERTa ``apps/models/*.py``, ``apps/tasks/rtd_task.py`` and the released files. A V3 file
holds ``deberta.*`` (encoder, word and position embeddings), ``mask_predictions.*`` (replaced-token head) and,
in some, ``lm_predictions.lm_head.*`` and ``deberta.embeddings.{word,position}_embeddings._weight``, the Δ of
gradient-disentangled embedding sharing (DeBERTaV3, arXiv:2111.09543, section 3.3).
"""

import re
from collections.abc import Iterable

from ..heads import HEADS, MULTIPLE_CHOICE, SEQUENCE, SPANS, TOKENS

BODY = "deberta."
TABLES = ("word_embeddings", "position_embeddings")
"""The embeddings that generator and discriminator share."""


def table_key(table: str) -> str:
    """The name of an embedding's weights; in a discriminator E_D, in a generator E_G."""
    return f"{BODY}embeddings.{table}.weight"


def delta_key(table: str) -> str:
    """The name of the Δ that a discriminator adds to the generator's embedding."""
    return f"{BODY}embeddings.{table}._weight"


LEGACY = "legacy-"
"""Before a head's name: its tensors are in transformers' older form."""

HEAD_PREFIXES: dict[str, tuple[str, ...]] = {
    name: prefixes
    for head in HEADS
    for name, prefixes in ((head.name, head.keys), (LEGACY + head.name, head.legacy_keys))
    if prefixes
}
"""How the names of each head's tensors begin."""

TIED = {
    "cls.predictions.decoder.weight": table_key("word_embeddings"),
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
"""Tensors that only repeat another one, by which they are written twice in a plain state dict."""

KNOWN_PARTS = {prefix.split(".")[0] for prefixes in HEAD_PREFIXES.values() for prefix in prefixes} | {"cls"}
"""First parts of the names of every head's tensors."""

_LOSSES = re.compile(r"^(loss|criterion)", re.IGNORECASE)
"""Weights of classes in a loss, which some training scripts save with the model."""

_WRAPPERS = re.compile(r"^(?:module\.|_orig_mod\.|model\.)+")
"""Left by DistributedDataParallel, torch.compile and classes around a model, one in another."""

_RENAMED = (
    (re.compile(r"^bert\."), BODY),  # the first official files
    (re.compile(r"^(embeddings|encoder)\."), BODY + r"\1."),  # a bare encoder
    (
        re.compile(r"^mask_predictions\.classifer\."),
        "mask_predictions.classifier.",
    ),  # the first official head
    (re.compile(r"LayerNorm\.gamma$"), "LayerNorm.weight"),
    (re.compile(r"LayerNorm\.beta$"), "LayerNorm.bias"),
)
LAYER = re.compile(rf"^{re.escape(BODY)}encoder\.layer\.(\d{{1,6}})\.")
"""A tensor of an encoder layer; group 1 is the layer's number."""

_V1 = re.compile(r"attention\.self\.(in_proj\.|q_bias$|v_bias$|pos_proj\.|pos_q_proj\.)")


def official_name(name: str) -> str:
    """Return the name that a tensor has in today's official files and in our models."""
    name = _WRAPPERS.sub("", name)
    for pattern, replacement in _RENAMED:
        name = pattern.sub(replacement, name)
    return name


def is_v1(name: str) -> bool:
    """Whether only DeBERTa v1 has a tensor of this name."""
    return _V1.search(name) is not None


def heads_of(names: Iterable[str]) -> list[str]:
    """Return the heads whose tensors are among ``names``; both pooled heads are named by the first."""
    names = list(names)

    def has(prefix: str) -> bool:
        return any(name.startswith(prefix) for name in names)

    heads = [head for head, prefixes in HEAD_PREFIXES.items() if all(has(prefix) for prefix in prefixes)]
    if SEQUENCE in heads:
        heads = [head for head in heads if head not in (MULTIPLE_CHOICE, TOKENS)]
    return heads


def told_by_names(names: Iterable[str]) -> str | None:
    """Return the fine-tuned head that tensors tell by their names; None for another or none.

    Multiple choice has the tensors of a classifier of texts, and a pre-training checkpoint may hold two
    heads.
    """
    found = [head for head in heads_of(names) if head in (SEQUENCE, TOKENS, SPANS)]
    return found[0] if len(found) == 1 else None


def count_layers(names: Iterable[str]) -> int:
    """Return how many encoder layers there are tensors for, from layer 0 to the first that is absent."""
    present = {match.group(1) for match in map(LAYER.match, names) if match}
    count = 0
    while str(count) in present:
        count += 1
    return count


def stale_keys(names: Iterable[str]) -> list[str]:
    """Return the embeddings that official training left one step behind: ``weight`` beside a ``_weight``.

    The official code writes ``weight`` = E_G + Δ in a forward pass, so a saved one misses the last update.
    """
    given = set(names)
    return [table_key(table) for table in TABLES if {table_key(table), delta_key(table)} <= given]


def is_expendable(name: str) -> bool:
    """Whether an encoder or another head may leave this tensor unread: only pre-training needs it."""
    return (
        name in {delta_key(table) for table in TABLES}
        or name in {table_key("position_embeddings"), f"{BODY}embeddings.position_ids"}
        or not name.startswith(BODY)
    )


def foreign_parts(stored: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """Return tensors that a head has and the wanted one does not know: its outputs would be others.

    Such as ``proj`` before the classifier of microsoft/DeBERTa's own NER models. Another known head beside
    the wanted one is none of them.

    Args:
        stored: tensors by their official names.
        wanted: names of the model's tensors; without a head nothing is foreign.
    """
    wanted = set(wanted)
    parts = {name.split(".")[0] for name in wanted if not name.startswith(BODY)}
    if not parts:
        return []
    return sorted(
        name
        for name in stored
        if name not in wanted
        and not name.startswith(BODY)
        and (name.split(".")[0] in parts or name.split(".")[0] not in KNOWN_PARTS)
        and not _LOSSES.match(name)
    )


def has_only_delta(names: Iterable[str]) -> bool:
    """Whether the word embeddings are stored as Δ alone, from which they cannot be restored."""
    given = set(names)
    return delta_key("word_embeddings") in given and table_key("word_embeddings") not in given
