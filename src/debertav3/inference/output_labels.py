"""The meaning of a head's outputs, always by name, never by position.

Public NLI checkpoints come in at least three orders (entailment first, in the middle, last), so a position
tells nothing.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import UserError
from ..json_types import JsonMapping
from ..tasks.labels import NLI_LABELS, TWO_WAY_LABELS, plain_label

_UNNAMED = re.compile(r"LABEL_\d+", re.IGNORECASE)


@dataclass(frozen=True)
class NLIColumns:
    """Which output of an NLI head is which."""

    names: tuple[str, ...]
    """`NLI_LABELS` or `TWO_WAY_LABELS`: always in this order."""
    columns: tuple[int, ...]
    """The output of each name."""

    @property
    def against(self) -> str:
        """The name that is the opposite of entailment: ``contradiction`` or ``not_entailment``."""
        return self.names[-1]

    def column(self, name: str) -> int:
        """The output called ``name``."""
        return self.columns[self.names.index(name)]


def label_names(config: JsonMapping) -> list[str]:
    """Names of a head's outputs, in order, from ``id2label`` in a ``config.json``."""
    named = {int(number): str(name) for number, name in (config.get("id2label") or {}).items()}
    count = config.get("num_labels") or len(named) or 2  # transformers' own default
    return [named.get(number, f"LABEL_{number}") for number in range(count)]


def given_labels(labels: Sequence[str], *, have: Sequence[str]) -> list[str]:
    """Check names that the user gives for a head's outputs.

    Args:
        labels: one name per output, in order.
        have: the names in the checkpoint.

    Raises:
        UserError: if these are not texts, their number is wrong, or one is empty or occurs twice.
    """
    given = [labels] if isinstance(labels, str) else list(labels)
    if isinstance(labels, str | Mapping) or not all(isinstance(label, str) for label in given):
        raise UserError(f"labels must be a list of names, one for each output in order; got {labels!r}.")
    names = [label.strip() for label in given]
    if len(names) != len(have):
        raise UserError(
            f"got {len(names)} labels ({', '.join(names)}); this head has {len(have)} outputs. "
            "Name each of them, in order."
        )
    if "" in names or len(set(names)) < len(names):
        raise UserError(f"labels must be different and not empty; got {', '.join(map(repr, names))}.")
    return names


def check_different(labels: Sequence[str], *, place: str) -> None:
    """Refuse a head with two outputs of one name, whose scores by name would be one too few.

    Raises:
        UserError: naming it.
    """
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if list(labels).count(label) > 1)
        raise UserError(
            f"{place} calls several of its {len(labels)} outputs {twice!r}. Give each a name of its own, "
            "in order: --labels, or labels=[...] in Python."
        )


def nli_columns(labels: Sequence[str], *, place: str) -> NLIColumns:
    """Find entailment, neutral and contradiction (or not_entailment) among a head's outputs.

    Args:
        labels: names of the outputs; case, spaces and hyphens do not matter.
        place: the checkpoint, for messages.

    Raises:
        UserError: if the names are unknown, such as ``LABEL_0``: a guessed order would give wrong answers.
    """
    plain = [plain_label(label) for label in labels]
    for names in (NLI_LABELS, TWO_WAY_LABELS):
        if sorted(plain) == sorted(names):
            return NLIColumns(names, tuple(plain.index(name) for name in names))
    kind = "does not name its labels" if is_unnamed(labels) else "is not an NLI head"
    raise UserError(
        f"{place} {kind}: got {', '.join(labels)}; need entailment, neutral, contradiction (or entailment, "
        "not_entailment). If you know the order, give it: --labels entailment,neutral,contradiction"
    )


_POSITIVE = {
    "relevant": ("irrelevant", "not_relevant", "non_relevant"),
    "positive": ("negative",),
    "yes": ("no",),
    "true": ("false",),
    "1": ("0",),
    "match": ("no_match", "not_match", "mismatch"),
    "duplicate": ("not_duplicate", "non_duplicate"),
    "paraphrase": ("not_paraphrase", "non_paraphrase"),
    "equivalent": ("not_equivalent", "non_equivalent"),
    "similar": ("dissimilar", "not_similar"),
    "answerable": ("unanswerable", "not_answerable"),
    "answer": ("no_answer", "not_answer"),
}
"""Names of the label for a relevant text, each with the names of its opposite."""


def relevance_column(labels: Sequence[str], *, place: str) -> int:
    """The output that ranks texts: the only one, or the positive one of two, by name.

    Args:
        labels: names of the outputs; case, spaces and hyphens do not matter.
        place: the checkpoint, for messages.

    Raises:
        UserError: if there is no such output.
    """
    if len(labels) == 1:
        return 0
    plain = [plain_label(label) for label in labels]
    for name, opposites in _POSITIVE.items():
        if len(plain) == 2 and name in plain and plain[1 - plain.index(name)] in opposites:
            return plain.index(name)
    raise UserError(
        f"{place} cannot rank: its labels are {', '.join(labels)}; need a head with one output, two labels "
        "such as relevant and not_relevant, or entailment, neutral, contradiction. If you "
        "know what the outputs mean, name them, such as --labels not_relevant,relevant"
    )


def is_nli(labels: Sequence[str]) -> bool:
    """Whether the names are those of an NLI head."""
    return sorted(map(plain_label, labels)) in (sorted(NLI_LABELS), sorted(TWO_WAY_LABELS))


def is_unnamed(labels: Sequence[str]) -> bool:
    """Whether the names are transformers' defaults for unnamed outputs."""
    return all(map(_UNNAMED.fullmatch, labels))
