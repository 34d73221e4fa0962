"""Temperature and thresholds of a fine-tuned model, in ``probabilities.json`` beside its weights.

The weights and their logits stay as they were trained. Readers of the file divide the logits by the
temperature before they become probabilities (Guo et al. 2017, arXiv:1706.04599).
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..errors import UserError
from ..files import write_json
from ..files.model_content import PROBABILITIES
from ..files.model_folder import ModelFolder

LIKELY = 0.5
"""Probability from which a label holds, where several may and no threshold was fitted."""


@dataclass(frozen=True, kw_only=True)
class Probabilities:
    """How logits become probabilities, and probabilities decisions."""

    temperature: float = 1.0
    """Logits are divided by it: above 1 the model is less sure than its logits say."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Of each label, where several may hold: the probability from which it does."""

    def threshold(self, label: str) -> float:
        """The probability from which a label holds."""
        return self.thresholds.get(label, LIKELY)

    def write(self, folder: Path) -> None:
        """Write the file."""
        write_json(folder / PROBABILITIES, asdict(self))


def read_probabilities(folder: ModelFolder) -> Probabilities:
    """Read the file of a model's folder; without one nothing is changed.

    Raises:
        UserError: if the file is damaged.
    """
    if not folder.has(PROBABILITIES):
        return Probabilities()
    path, content = folder.file(PROBABILITIES), folder.json(PROBABILITIES)
    temperature, thresholds = content.get("temperature", 0), content.get("thresholds", {})
    if not _is_number(temperature) or not temperature > 0:
        raise UserError(
            f"{path}: temperature must be a number above 0; got {temperature!r}. Delete the file."
        )
    if not isinstance(thresholds, dict) or not all(
        _is_number(value) and 0 <= value <= 1 for value in thresholds.values()
    ):
        raise UserError(f"{path}: thresholds must be numbers from 0 to 1 by label. Delete the file.")
    return Probabilities(temperature=float(temperature), thresholds=thresholds)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
