"""Which backend was measured to be the fastest: remembered by machine, threads, versions and content."""

import hashlib
import importlib.util
import json

from ...checkpoint.folder import Checkpoint
from ...cpu.kernel.threads import num_threads
from ...cpu.machine import installed_version, machine_description
from ...files.user_cache import recall, remember
from ...version import __version__
from .exported import read_exported

_PACKAGES = ("numpy", "onnxruntime", "openvino", "torch")


def memory_key(checkpoint: Checkpoint, *, task: str | None, device: str, dtype: str) -> str:
    """What the speeds of a checkpoint's backends depend on, hashed.

    Of the content that is ``config.json`` and the manifests of the exports, which hold sums of their files:
    other weights of the same shapes take the same time.
    """
    about = [
        *machine_description(),
        f"{num_threads()} threads",
        f"debertav3 {__version__}",
        *(f"{name} {_version(name)}" for name in _PACKAGES),
        f"{task} {device} {dtype}",
        json.dumps(checkpoint.config, sort_keys=True, default=str),
        *(
            read_exported(one).manifest.to_json()
            for one in (checkpoint, *checkpoint.exports)
            if one.is_export
        ),
    ]
    return hashlib.sha256("\n".join(about).encode()).hexdigest()


def recall_fastest(key: str) -> str | None:
    """The name of the backend that was the fastest; None if none was measured."""
    found = recall(f"backends/{key}")
    return found.split()[0] if found and found.strip() else None


def remember_fastest(key: str, name: str, measured: str) -> None:
    """Keep a name, with the figures that it was chosen by."""
    remember(f"backends/{key}", f"{name}\n{measured}\n")


def _version(package: str) -> str:
    if importlib.util.find_spec(package) is None:
        return "missing"
    return installed_version(package)
