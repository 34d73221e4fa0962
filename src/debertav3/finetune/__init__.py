"""One encoder, many tasks: fine-tuning on the Hugging Face Trainer.

``debertav3.finetune(...)`` trains: calling this package calls :func:`debertav3.api.training.finetune`.
"""

import importlib
import sys
from collections.abc import Callable
from types import ModuleType

from ..errors import MissingExtraError


class _Callable(ModuleType):
    """A package that is a function, too.

    Python binds the name ``debertav3.finetune`` to this package as soon as a module in it is imported, so a
    function of that name beside it would be there or not, depending on what was imported before.
    """

    def __call__(self, *args: object, **settings: object) -> object:
        try:
            return self._function(*args, **settings)
        except ModuleNotFoundError as error:
            missing = MissingExtraError.of(error, feature="debertav3.finetune", extra="train")
            if missing is None:
                raise
            raise missing from error

    @property
    def __wrapped__(self) -> Callable[..., object]:
        """What ``inspect.signature`` and IPython's ``?`` show."""
        return self._function

    @property
    def _function(self) -> Callable[..., object]:
        # Imported when called: the function opens what it has trained, and so stands above this package.
        return importlib.import_module("debertav3.api.training").finetune


sys.modules[__name__].__class__ = _Callable
