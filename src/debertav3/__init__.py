"""DeBERTaV3, whole: models, pre-training, fine-tuning and fast answers.

Names are imported on first use: ``import debertav3`` is instant, and light backends never load torch.
"""

import importlib
from typing import TYPE_CHECKING

from .version import __version__

if TYPE_CHECKING:  # the same names for type checkers and editors, which cannot see __getattr__
    from .api.classifier import Classifier as Classifier
    from .api.training import finetune as finetune
    from .errors import UserError as UserError
    from .inference.predictor import Predictor as Predictor
    from .models import DebertaV2ForMaskedLM as DebertaV2ForMaskedLM
    from .models import DebertaV2ForMultipleChoice as DebertaV2ForMultipleChoice
    from .models import DebertaV2ForQuestionAnswering as DebertaV2ForQuestionAnswering
    from .models import DebertaV2ForReplacedTokenDetection as DebertaV2ForReplacedTokenDetection
    from .models import DebertaV2ForSequenceClassification as DebertaV2ForSequenceClassification
    from .models import DebertaV2ForTokenClassification as DebertaV2ForTokenClassification
    from .models import DebertaV2Model as DebertaV2Model
    from .models.auto_classes import register_auto_classes as register_auto_classes
    from .tokenization import DebertaV3Tokenizer as DebertaV3Tokenizer

_MODULES = {
    "Classifier": ".api.classifier",
    "DebertaV2ForMaskedLM": ".models",
    "DebertaV2ForMultipleChoice": ".models",
    "DebertaV2ForQuestionAnswering": ".models",
    "DebertaV2ForReplacedTokenDetection": ".models",
    "DebertaV2ForSequenceClassification": ".models",
    "DebertaV2ForTokenClassification": ".models",
    "DebertaV2Model": ".models",
    "DebertaV3Tokenizer": ".tokenization",
    "Predictor": ".inference.predictor",
    "UserError": ".errors",
    "finetune": ".api.training",
    "register_auto_classes": ".models.auto_classes",
}
__all__ = [
    "Classifier",
    "DebertaV2ForMaskedLM",
    "DebertaV2ForMultipleChoice",
    "DebertaV2ForQuestionAnswering",
    "DebertaV2ForReplacedTokenDetection",
    "DebertaV2ForSequenceClassification",
    "DebertaV2ForTokenClassification",
    "DebertaV2Model",
    "DebertaV3Tokenizer",
    "Predictor",
    "UserError",
    "__version__",
    "finetune",
    "register_auto_classes",
]

if not TYPE_CHECKING:  # else every misspelled name would have the type Any

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            return getattr(importlib.import_module(_MODULES[name], __name__), name)
        except ModuleNotFoundError as error:
            from .errors import MissingExtraError

            missing = MissingExtraError.of(error, feature=f"debertav3.{name}")
            if missing is None:
                raise
            raise missing from error


def __dir__() -> list[str]:
    return __all__
