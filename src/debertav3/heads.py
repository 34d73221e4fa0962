"""The heads that a model may have: one row each, read by everything that opens, trains, exports or answers.

Standard library only. To add a head, add a row here, its class in ``models/`` and its parameters in
``sizes.py``; tests/unit/test_head_table.py checks that each row's class exists, opens and exports.
"""

from dataclasses import dataclass
from typing import Final, Literal

ENCODER: Final = "encoder"
SEQUENCE: Final = "sequence-classification"
MULTIPLE_CHOICE: Final = "multiple-choice"
TOKENS: Final = "token-classification"
SPANS: Final = "question-answering"
MASKED_LM: Final = "masked-lm"
REPLACED_TOKENS: Final = "replaced-token-detection"

HeadName = Literal[
    "encoder",
    "sequence-classification",
    "multiple-choice",
    "token-classification",
    "question-answering",
    "masked-lm",
    "replaced-token-detection",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """What a model predicts with, and how checkpoints, transformers, the Hub and our commands call it."""

    name: HeadName
    class_name: str
    """Our class, which is also what ``architectures`` of a ``config.json`` holds."""
    keys: tuple[str, ...]
    """First parts of the names of its tensors in a checkpoint."""
    legacy_keys: tuple[str, ...] = ()
    """The same in files of transformers' older form; the class then takes ``has_legacy_head=True``."""
    auto_classes: tuple[str, ...] = ()
    """transformers' Auto classes that build it, the one for users first."""
    pipeline_tag: str | None = None
    """The Hub's name of what it does, for model cards."""
    tasks: tuple[str, ...] = ()
    """Tasks of ``debertav3 predict`` that it answers, first the one for data of no particular form."""
    outputs: tuple[str, ...] = ("logits",)
    """Names of the tensors that it computes."""
    outputs_per: Literal["text", "token", "mask"]
    """What one row of an output belongs to."""
    default_labels: tuple[str, ...] = ()
    """Names of its outputs in a ``config.json`` where a task has no labels."""
    is_pretrained: bool = False
    """Whether pre-training makes it; such checkpoints may hold two heads and often name none."""


HEADS = (
    Head(
        name=ENCODER,
        class_name="DebertaV2Model",
        keys=(),
        auto_classes=("AutoModel", "AutoModelForTextEncoding"),
        pipeline_tag="feature-extraction",
        outputs=("last_hidden_state",),
        outputs_per="token",
    ),
    Head(
        name=SEQUENCE,
        class_name="DebertaV2ForSequenceClassification",
        keys=("pooler.", "classifier."),
        auto_classes=("AutoModelForSequenceClassification",),
        pipeline_tag="text-classification",
        tasks=("classify", "nli", "zero-shot", "rerank"),
        outputs_per="text",
        default_labels=("score",),
    ),
    Head(
        name=MULTIPLE_CHOICE,
        class_name="DebertaV2ForMultipleChoice",
        keys=("pooler.", "classifier."),
        auto_classes=("AutoModelForMultipleChoice",),
        pipeline_tag="multiple-choice",
        tasks=("choice",),
        outputs_per="text",
        default_labels=("score",),
    ),
    Head(
        name=TOKENS,
        class_name="DebertaV2ForTokenClassification",
        keys=("classifier.",),
        auto_classes=("AutoModelForTokenClassification",),
        pipeline_tag="token-classification",
        tasks=("ner",),
        outputs_per="token",
    ),
    Head(
        name=SPANS,
        class_name="DebertaV2ForQuestionAnswering",
        keys=("qa_outputs.",),
        auto_classes=("AutoModelForQuestionAnswering",),
        pipeline_tag="question-answering",
        tasks=("qa",),
        outputs=("start_logits", "end_logits"),
        outputs_per="token",
        default_labels=("start", "end"),
    ),
    Head(
        name=MASKED_LM,
        class_name="DebertaV2ForMaskedLM",
        keys=("lm_predictions.",),
        legacy_keys=("cls.predictions.",),
        auto_classes=("AutoModelForMaskedLM", "AutoModelForPreTraining"),
        pipeline_tag="fill-mask",
        tasks=("fill-mask",),
        outputs_per="mask",
        is_pretrained=True,
    ),
    Head(
        name=REPLACED_TOKENS,
        class_name="DebertaV2ForReplacedTokenDetection",
        keys=("mask_predictions.",),
        tasks=("rtd",),
        outputs_per="token",
        is_pretrained=True,
    ),
)

BY_NAME: dict[str, Head] = {head.name: head for head in HEADS}
BY_CLASS: dict[str, Head] = {head.class_name: head for head in HEADS}
BY_TASK: dict[str, Head] = {task: head for head in HEADS for task in head.tasks}


def heads_in(architectures: object) -> list[Head]:
    """Return the heads that ``architectures`` of a ``config.json`` names, unknown classes left out."""
    names = architectures if isinstance(architectures, list) else []
    return [BY_CLASS[name] for name in names if isinstance(name, str) and name in BY_CLASS]
