"""Checkpoints: opened strictly, saved whole, examined, and carried through pre-training without loss.

``folder`` has `Checkpoint`, which is opened once and passed down. ``files`` reads a folder as hostile input,
``configuration`` its ``config.json``, ``keys`` knows the official names, ``opening`` and ``saving`` are the
two ways in and out, ``pretrained`` holds generator, discriminator and the delta between their embeddings, and
``doctor`` says what a checkpoint is and what is wrong with it.

Names are imported on first use, so that ``files`` finds and refuses folders before torch is loaded.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .agreement import LoadReport
    from .folder import Checkpoint
    from .opening import OpenedModel, open_model
    from .pretrained import PretrainedTrio, SharedTable, open_trio, save_trio, trained_trio
    from .saving import save_model

_MODULES = {
    "Checkpoint": ".folder",
    "LoadReport": ".agreement",
    "OpenedModel": ".opening",
    "PretrainedTrio": ".pretrained",
    "SharedTable": ".pretrained",
    "open_model": ".opening",
    "open_trio": ".pretrained",
    "save_model": ".saving",
    "save_trio": ".pretrained",
    "trained_trio": ".pretrained",
}

__all__ = [
    "Checkpoint",
    "LoadReport",
    "OpenedModel",
    "PretrainedTrio",
    "SharedTable",
    "open_model",
    "open_trio",
    "save_model",
    "save_trio",
    "trained_trio",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
