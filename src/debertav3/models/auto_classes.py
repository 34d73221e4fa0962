"""``register_auto_classes``: make other libraries use our models, for as long as the caller wants.

It must be called explicitly; importing changes nothing. It changes two things, in this process only: the
tables behind transformers' Auto classes, and the names ``transformers.DebertaV2...`` that GLiNER imports
directly.
"""

import logging
import sys
from collections.abc import Iterator
from types import ModuleType, TracebackType
from typing import Self

import transformers

from .. import models
from ..errors import UserError
from ..heads import HEADS

logger = logging.getLogger(__name__)

AUTO_CLASSES = {auto_class: head.class_name for head in HEADS for auto_class in head.auto_classes}
"""What each of transformers' Auto classes builds for model type ``deberta-v2``."""

IMPORT_BY_NAME = ("gliner.modeling.encoder",)
"""Modules of other packages that bind ``transformers.DebertaV2Model`` when they are imported, which may be
before the registration or during it."""


class AutoClassRegistration:
    """Our classes in place of transformers' own, until `undo` or the end of the ``with`` block.

    Models built in the meantime keep their class.

    Raises:
        UserError: if this version of transformers still builds its own classes; nothing is changed then.
    """

    def __init__(self) -> None:
        self._replaced: list[tuple[dict[object, object], object]] = []
        self._is_active = True
        self._stock = {name: getattr(sys.modules["transformers"], name) for name in AUTO_CLASSES.values()}
        for auto_name, class_name in AUTO_CLASSES.items():
            # Not `mapping.register`: transformers 5.14 to 5.18 ignore it for a config class of their own.
            extra = getattr(transformers, auto_name)._model_mapping._extra_content
            self._replaced.append((extra, extra.get(transformers.DebertaV2Config)))
            extra[transformers.DebertaV2Config] = getattr(models, class_name)
        for class_name, stock in self._stock.items():
            for module in _importable():
                if getattr(module, class_name, None) is stock:
                    setattr(module, class_name, getattr(models, class_name))
        if wrong := _not_ours():
            self.undo()
            raise UserError(
                f"transformers {transformers.__version__} still builds its own class for {', '.join(wrong)}. "
                "Install a version that debertav3 supports (its package metadata names them)."
            )
        logger.info("transformers' Auto classes now build debertav3's models for deberta-v2 checkpoints")

    def undo(self) -> None:
        """Restore transformers' own classes; a second call does nothing."""
        if not self._is_active:
            return
        self._is_active = False
        for extra, before in self._replaced:
            if before is None:
                extra.pop(transformers.DebertaV2Config, None)
            else:
                extra[transformers.DebertaV2Config] = before
        for name, stock in self._stock.items():
            for module in _importable():
                if getattr(module, name, None) is getattr(models, name):
                    setattr(module, name, stock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.undo()


def _not_ours() -> list[str]:
    """The Auto classes and names that do not lead to our classes, as their own users look them up."""
    names = [
        auto_name
        for auto_name, class_name in AUTO_CLASSES.items()
        if getattr(transformers, auto_name)._model_mapping[transformers.DebertaV2Config]
        is not getattr(models, class_name)
    ]
    stock = sys.modules["transformers"]
    return names + [
        name
        for name in sorted(set(AUTO_CLASSES.values()))
        if getattr(stock, name) is not getattr(models, name)
    ]


def _importable() -> Iterator[ModuleType]:
    """The modules whose names we replace; looked up each time, since transformers may have been reloaded."""
    return (sys.modules[name] for name in ("transformers", *IMPORT_BY_NAME) if name in sys.modules)


def register_auto_classes() -> AutoClassRegistration:
    """Make transformers build this package's models wherever code asks for a DeBERTa-v2 or v3 model.

    ``AutoModel...from_pretrained`` and ``from_config``, and with them ``pipeline`` and sentence-transformers'
    ``CrossEncoder``, and ``from transformers import DebertaV2Model``, which is what GLiNER does. Outputs are
    the same, for inputs of up to 512 tokens (longer ones: ``long_inputs`` in docs/inference.md). Tokenizers
    are not changed. Every Auto class is checked after registering.

    Returns:
        The registration: to end it, call its ``undo()`` or use it in a ``with`` statement; otherwise it lasts
        until the process ends.

    Raises:
        UserError: if this version of transformers still builds its own classes.
    """
    return AutoClassRegistration()
