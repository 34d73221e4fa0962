"""Values of rows that say nothing."""

import math
from typing import Any


def is_missing(value: Any) -> bool:
    """Whether a value says nothing: null, white space, or the NaN by which pandas marks a gap."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and not value.strip())
