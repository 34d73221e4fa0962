"""Checkpoints: opened strictly, saved whole, examined, and carried through pre-training without loss.

``files`` reads a folder as hostile input, ``configuration`` its ``config.json``, ``keys`` knows the official
names, ``opening`` and ``saving`` are the two ways in and out, ``pretrained`` holds generator, discriminator
and the delta between their embeddings, and ``doctor`` says what a checkpoint is and what is wrong with it.
"""

from .opening import LoadReport, OpenedModel, open_model
from .pretrained import PretrainedTrio, SharedTable, open_trio, save_trio, trained_trio
from .saving import save_model

__all__ = [
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
