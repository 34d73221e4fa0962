"""``register_auto_classes``: make other libraries use our models, for as long as the caller wants.

It must be called explicitly; importing changes nothing. It changes two things, in this process only: the
tables behind transformers' Auto classes, and the names ``transformers.DebertaV2...`` that GLiNER imports
directly.
"""

import logging
import sys
import threading
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


class _Replacement:
    """What is changed in transformers: once for the process, however many registrations there are."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._registrations = 0
        self._replaced: list[tuple[dict[object, object], object]] = []
        self._stock: dict[str, object] = {}

    def begin(self) -> None:
        """One registration more; see `AutoClassRegistration` for the error."""
        with self._lock:
            self._replace()
            if wrong := _not_ours():
                if not self._registrations:
                    self._restore()
                raise UserError(
                    f"transformers {transformers.__version__} still builds its own class for "
                    f"{', '.join(wrong)}. Install a version that debertav3 supports (its package metadata "
                    "names them)."
                )
            self._registrations += 1

    def end(self) -> None:
        """One registration less; the last one restores what was there before the first."""
        with self._lock:
            self._registrations -= 1
            if not self._registrations:
                self._restore()

    def _replace(self) -> None:
        """Put ours in every place that has them not yet: transformers may have been reloaded."""
        for auto_name, class_name in AUTO_CLASSES.items():
            # Not `mapping.register`: transformers 5.14 to 5.18 ignore it for a config class of their own.
            extra = getattr(transformers, auto_name)._model_mapping._extra_content
            ours, before = getattr(models, class_name), extra.get(transformers.DebertaV2Config)
            if before is not ours:
                self._replaced.append((extra, before))
                extra[transformers.DebertaV2Config] = ours
        for class_name in sorted(set(AUTO_CLASSES.values())):
            ours, found = getattr(models, class_name), getattr(sys.modules["transformers"], class_name)
            if found is not ours:
                self._stock[class_name] = found
            for module in _importable():
                if getattr(module, class_name, None) is self._stock.get(class_name, ours):
                    setattr(module, class_name, ours)

    def _restore(self) -> None:
        for extra, before in reversed(self._replaced):
            if before is None:
                extra.pop(transformers.DebertaV2Config, None)
            else:
                extra[transformers.DebertaV2Config] = before
        for name, stock in self._stock.items():
            for module in _importable():
                if getattr(module, name, None) is getattr(models, name):
                    setattr(module, name, stock)
        self._replaced.clear()
        self._stock.clear()


_REPLACEMENT = _Replacement()


class AutoClassRegistration:
    """Our classes in place of transformers' own, until `undo` or the end of the ``with`` block.

    Of several registrations the last that ends restores transformers' own, in whatever order they end.
    Models built in the meantime keep their class.

    Raises:
        UserError: if this version of transformers still builds its own classes; nothing is changed then.
    """

    def __init__(self) -> None:
        self._is_active = False
        _REPLACEMENT.begin()
        self._is_active = True
        logger.info("transformers' Auto classes now build debertav3's models for deberta-v2 checkpoints")

    def undo(self) -> None:
        """End this registration; a second call does nothing."""
        if self._is_active:
            self._is_active = False
            _REPLACEMENT.end()

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
