"""The models under transformers' names: signature, loss and output classes; the maths is in ``layers/``.

Class and parameter names equal the checkpoints', and the config is transformers' own, so ``from_pretrained``,
``save_pretrained``, ``Trainer``, ``pipeline`` and PEFT work as they are, and every file opens on both sides.
"""

from transformers import PreTrainedModel

from ..heads import BY_NAME
from .base import DebertaV2Model, DebertaV2PreTrainedModel
from .pretraining import (
    DebertaV2ForMaskedLM,
    DebertaV2ForReplacedTokenDetection,
    ReplacedTokenDetectionOutput,
)
from .tasks import (
    DebertaV2ForMultipleChoice,
    DebertaV2ForQuestionAnswering,
    DebertaV2ForSequenceClassification,
    DebertaV2ForTokenClassification,
)

__all__ = [
    "DebertaV2ForMaskedLM",
    "DebertaV2ForMultipleChoice",
    "DebertaV2ForQuestionAnswering",
    "DebertaV2ForReplacedTokenDetection",
    "DebertaV2ForSequenceClassification",
    "DebertaV2ForTokenClassification",
    "DebertaV2Model",
    "DebertaV2PreTrainedModel",
    "ReplacedTokenDetectionOutput",
    "class_of",
]


def class_of(head: str) -> type[PreTrainedModel]:
    """Return the class of a head, by its name in ``heads.py``."""
    found: type[PreTrainedModel] = globals()[BY_NAME[head].class_name]
    return found
