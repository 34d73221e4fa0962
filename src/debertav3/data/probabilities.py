"""Temperature and thresholds of a fine-tuned model, in ``probabilities.json`` beside its weights.

The weights and their logits stay as they were trained. Readers of the file divide the logits by the
temperature before they become probabilities (Guo et al. 2017, arXiv:1706.04599).
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..contents import PROBABILITIES
from ..errors import UserError
from ..files import read_json_object, write_json

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


def read_probabilities(model: str | Path) -> Probabilities:
    """Read the file of a model's folder, or of its copy from the Hub; without one nothing is changed.

    Raises:
        UserError: if the file is damaged.
    """
    path = Path(model) / PROBABILITIES
    if not Path(model).is_dir():
        path = _cached(str(model)) or path
    if not path.is_file():
        return Probabilities()
    content = read_json_object(path)
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


def _cached(name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, PROBABILITIES)
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None
