"""Other families as baselines, by transformers' own classes: BERT, RoBERTa, XLNet, ELECTRA, DeBERTa v1."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

from ..errors import UserError
from ..heads import BY_NAME, SPANS, TOKENS, HeadName
from ..tasks.spans import ContextWindow, token_windows
from .batches import Tokenizer
from .config import FinetuneConfig

_DROPOUTS = {
    # Setting: what the families call it.
    "classifier_dropout": ("classifier_dropout", "summary_last_dropout", "cls_dropout"),
    "hidden_dropout": ("hidden_dropout_prob", "dropout"),
    "attention_dropout": ("attention_probs_dropout_prob", "dropout"),
}
_PREFIX_SPACE = ("roberta", "deberta", "xlm-roberta")
"""Families whose byte-level tokenizers need a space to read a word of a list as within a sentence."""


def open_tokenizer(name: str, family: str, *, head: HeadName) -> Tokenizer:
    """Open a family's own tokenizer.

    Raises:
        UserError: if there is none.
    """
    options = {"add_prefix_space": True} if head == TOKENS and family in _PREFIX_SPACE else {}
    try:
        tokenizer: Any = transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=False, **options)
    except (OSError, ValueError) as error:
        raise UserError(f"tokenizer {name} cannot be opened: {' '.join(str(error).split())[:200]}") from error
    if len(tokenizer) <= len(set(tokenizer.all_special_tokens)):  # what transformers 5 makes of no files
        raise UserError(
            f"{name} contains no vocabulary, so it has no tokenizer. Name a folder or model "
            "that has one: --tokenizer X"
        )
    if head == SPANS:
        tokenizer.padding_side = "right"  # so that places count from the left in every batch
    return tokenizer


def open_model(
    config: FinetuneConfig, family: str, *, head: HeadName, keys: dict[str, object]
) -> PreTrainedModel:
    """Open a checkpoint by transformers' class for the head, in fp32.

    Args:
        config: the run.
        family: a `Start`'s.
        head: which head.
        keys: labels and whatever else the task says about the configuration.

    Raises:
        UserError: if the family has no such head or no such dropout, or the checkpoint cannot be opened.
    """
    auto_class = getattr(transformers, BY_NAME[head].auto_classes[0])
    try:
        stored = transformers.AutoConfig.from_pretrained(config.model, trust_remote_code=False)
        if type(stored) not in auto_class._model_mapping:
            raise UserError(
                f"--model {config.model}: the family {family} has no {head} head in transformers, "
                f"and task {config.task} needs one. Choose a model of another family."
            )
        changed = dict(keys)
        for setting, names in _DROPOUTS.items():
            value = config.get(setting)
            if value is not None:
                changed[_known(stored, names, setting=setting, family=family)] = value
        model: PreTrainedModel = auto_class.from_pretrained(
            config.model,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            use_safetensors=None,
            trust_remote_code=False,
            **changed,
        )
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"--model {config.model} as {head}: {' '.join(str(error).split())[:300]}") from error
    return model


def check_length(model: PreTrainedModel, config: FinetuneConfig) -> None:
    """Assert that a model which numbers its positions has as many as ``max_length``.

    Raises:
        UserError: otherwise.
    """
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            # RoBERTa's positions start after its padding index.
            places = module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
            if config.data.max_length > places:
                raise UserError(
                    f"max_length={config.data.max_length}, but --model {config.model} has {places} "
                    f"positions. Add --set max_length={places}."
                )


def _known(stored: object, names: Sequence[str], *, setting: str, family: str) -> str:
    for name in names:
        if hasattr(stored, name):
            return name
    raise UserError(f"{setting} has no meaning for {family}; leave it out.")


@dataclass(frozen=True, kw_only=True)
class PairLayout:
    """How a tokenizer puts two texts together: what stands before, between and after them."""

    before: list[int]
    between: list[int]
    after: list[int]
    types: tuple[list[int], int, list[int], int, list[int]] | None
    """Token types of the five parts, those of the texts as one number; None if the model has none."""
    has_cls_last: bool
    """Whether [CLS], the place of "no answer", is the last token and not the first."""

    @classmethod
    def of(cls, tokenizer: "Tokenizer") -> "PairLayout":
        """Find a tokenizer's layout from a pair of short texts."""
        first, second = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("one", "two"))
        pair = tokenizer("one", "two")
        ids, kinds = pair["input_ids"], pair.get("token_type_ids")
        start = _find(ids, first, 0)
        middle = start + len(first)
        next_start = _find(ids, second, middle)
        end = next_start + len(second)
        types = None
        if kinds is not None:
            types = (kinds[:start], kinds[start], kinds[middle:next_start], kinds[next_start], kinds[end:])
        return cls(
            before=ids[:start],
            between=ids[middle:next_start],
            after=ids[end:],
            types=types,
            has_cls_last=ids[-1] == tokenizer.cls_token_id,
        )

    def windows(
        self, question: Sequence[int], context: Sequence[int], *, max_length: int, overlap: int
    ) -> list[ContextWindow]:
        """Lay a question and each part of a long context out, as ``tasks.spans.question_windows`` does."""
        question = list(question[: max_length // 2 - 2])
        head = [*self.before, *question, *self.between]
        size = max_length - len(head) - len(self.after)
        parts = token_windows(len(context), size=size, overlap=min(overlap, size // 2))
        return [
            ContextWindow(
                input_ids=[*head, *context[part], *self.after],
                token_type_ids=self._types(len(question), part.stop - part.start),
                prefix=len(head),
                first=part.start,
                size=part.stop - part.start,
            )
            for part in parts
        ]

    def _types(self, question: int, context: int) -> list[int]:
        if self.types is None:
            return []
        before, first, between, second, after = self.types
        return [*before, *[first] * question, *between, *[second] * context, *after]


def _find(ids: Sequence[int], part: Sequence[int], start: int) -> int:
    for place in range(start, len(ids) - len(part) + 1):
        if list(ids[place : place + len(part)]) == list(part):
            return place
    raise UserError("this tokenizer changes a text within a pair; question answering cannot use it.")
