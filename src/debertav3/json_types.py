"""Names for parsed JSON, whose content is checked where it is read.

They say that a value comes from a file or goes into one; what the package computes with has types of its own.
"""

from collections.abc import Mapping
from typing import Any

Json = Any
"""Any JSON value: None, bool, int, float, str, list or object."""
JsonObject = dict[str, Json]
JsonMapping = Mapping[str, Json]
"""A JSON object that is only read."""
