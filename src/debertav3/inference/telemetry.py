"""No package that inference imports reports to its makers over the network."""

import contextlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import cast

_REPORTER = "openvino_telemetry"


@contextlib.contextmanager
def without_telemetry() -> Iterator[None]:
    """Import OpenVINO or NNCF within: they find no package to report with, and keep their own stub."""
    before = sys.modules.get(_REPORTER)
    sys.modules[_REPORTER] = cast(ModuleType, None)  # what Python documents for "cannot be imported"
    try:
        yield
    finally:
        if before is None:
            del sys.modules[_REPORTER]
        else:
            sys.modules[_REPORTER] = before
