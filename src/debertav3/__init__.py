"""DeBERTaV3, whole: models, pre-training, fine-tuning and fast answers.

Names are imported on first use: ``import debertav3`` is instant, and light backends never load torch.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "DebertaV2Model": ".models",
    "DebertaV2ForSequenceClassification": ".models",
    "DebertaV2ForTokenClassification": ".models",
    "DebertaV2ForQuestionAnswering": ".models",
    "DebertaV2ForMultipleChoice": ".models",
    "DebertaV2ForMaskedLM": ".models",
    "DebertaV2ForReplacedTokenDetection": ".models",
    "DebertaV3Tokenizer": ".tokenization",
    "register_auto_classes": ".models.auto_classes",
    "Predictor": ".inference.predictor",
    "Classifier": ".api.classifier",
    "UserError": ".errors",
}

__all__ = sorted([*_PUBLIC, "finetune", "__version__"])


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        try:
            return getattr(importlib.import_module(_PUBLIC[name], __name__), name)
        except ModuleNotFoundError as error:
            from .errors import MissingExtraError

            missing = MissingExtraError.of(error, feature=f"debertav3.{name}")
            if missing is None:
                raise
            raise missing from error
    if name == "finetune":  # the package, which can be called: see there
        return importlib.import_module(".finetune", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
