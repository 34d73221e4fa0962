"""The question-answering head: first and last token of an answer, over windows of long contexts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from ...tasks.example import Example
from ...tasks.metrics import answer_f1, exact_match
from ...tasks.spans import ContextWindow, SpanDecoding, answer_positions, decode_spans
from ...tasks.squad import Gold, SpanTask
from .. import losses, sift
from ..baselines import PairLayout
from ..batches import EncodedDataset, Tokenizer
from ..config import FinetuneConfig
from ..losses import LossFunction
from ..outcomes import Outcome
from ..sift import Divergence
from .objective import Objective

_ENCODE_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class WindowOrigin:
    """Where a window comes from."""

    example: int
    window: ContextWindow
    offsets: list[tuple[int, int]]
    """Characters of every token of the whole context."""
    null: int
    """Position of [CLS], which means "no answer"."""


class SpanObjective(Objective[SpanTask]):
    """First and last token of an answer, over windows of long contexts (see `tasks.spans`)."""

    def encode(
        self,
        examples: Sequence[Example],
        tokenizer: Tokenizer,
        *,
        labels: Sequence[str],
        config: FinetuneConfig,
    ) -> EncodedDataset:
        """Lay every question out over windows of its context; labels are positions of answers or [CLS]."""
        layout = PairLayout.of(tokenizer)
        features, origins = [], []
        for number, (question, context, offsets) in enumerate(_encoded_pairs(examples, tokenizer)):
            gold: Gold = examples[number].extra
            windows = layout.windows(
                question, context, max_length=config.data.max_length, overlap=config.data.window_overlap
            )
            for window in windows:
                null = len(window.input_ids) - 1 if layout.has_cls_last else 0
                positions = (null, null)
                if gold.start is not None:
                    end = gold.start + len(gold.answers[0])
                    found = answer_positions(window, offsets, start=gold.start, end=end)
                    positions = found if found != (0, 0) else positions
                feature = {"input_ids": window.input_ids, "labels": positions}
                if layout.types is not None:
                    feature["token_type_ids"] = window.token_type_ids
                features.append(feature)
                origins.append(WindowOrigin(number, window, offsets, null))
        return EncodedDataset(features, origins=origins, examples=examples)

    def loss(
        self, examples: Sequence[Example], *, labels: Sequence[str], config: FinetuneConfig
    ) -> LossFunction:
        """Cross entropy of first and last token."""
        return losses.span_loss

    @property
    def divergence(self) -> Divergence:
        """Between distributions over first and over last tokens."""
        return sift.span_divergence

    def decode(self, predictions: Any, dataset: EncodedDataset) -> list[SpanDecoding]:
        """The best spans of every example, over all its windows."""
        starts, ends = (np.array(part) for part in predictions[:2])
        rows: list[list[int]] = [[] for _ in dataset.examples]
        for row, origin in enumerate(dataset.origins):
            rows[origin.example].append(row)
            # The first token is never the context's, so it can hold what [CLS] says where that is last.
            starts[row, 0], ends[row, 0] = starts[row, origin.null], ends[row, origin.null]
        decoded = []
        for example, mine in zip(dataset.examples, rows, strict=True):
            mine.sort(key=lambda row: dataset.origins[row].window.first)
            decoded.append(
                decode_spans(
                    [dataset.origins[row].window for row in mine],
                    [starts[row] for row in mine],
                    [ends[row] for row in mine],
                    offsets=dataset.origins[mine[0]].offsets,
                    text=example.texts[1],
                )
            )
        return decoded

    def answers(
        self, predictions: object, dataset: EncodedDataset, *, labels: Sequence[str]
    ) -> list[tuple[int, object]]:
        """The best answer, or "" for none where that is likelier."""
        return [
            (number, self._answer(decoding, dataset.examples[number]))
            for number, decoding in enumerate(self.decode(predictions, dataset))
        ]

    def _answer(self, decoding: SpanDecoding, example: Example) -> str:
        if not decoding.has_answer(0.0 if self.task.has_unanswerable else None):
            return ""
        best = decoding.spans[0]
        return example.texts[1][best.start : best.end]

    def score(
        self, predictions: object, dataset: EncodedDataset, *, labels: Sequence[str]
    ) -> dict[str, float]:
        """Exact match and F1 of 100 as the official script, and the best threshold for "no answer"."""
        answers, leads = [], []
        for example, decoding in zip(dataset.examples, self.decode(predictions, dataset), strict=True):
            best = decoding.spans[0] if decoding.spans else None
            answers.append(example.texts[1][best.start : best.end] if best else "")
            leads.append(decoding.null_logit - best.logit if best else 0.0)
        return self.task.own_scores(dataset.examples, answers, leads=leads)

    def details(
        self, predictions: object, dataset: EncodedDataset, *, labels: Sequence[str]
    ) -> Mapping[str, object]:
        """Nothing else."""
        return {}

    def outcomes(
        self, predictions: object, dataset: EncodedDataset, *, labels: Sequence[str]
    ) -> list[Outcome]:
        """The best answer, or "" for none where that is likelier, with its probability."""
        sizes = {origin.example: len(origin.offsets) for origin in dataset.origins}
        found = []
        for number, decoding in enumerate(self.decode(predictions, dataset)):
            example = dataset.examples[number]
            answer = self._answer(decoding, example)
            gold: Gold = example.extra
            found.append(
                Outcome(
                    example=number,
                    gold=gold.answers[0] if gold.answers else "(no answer)",
                    predicted=answer or "(no answer)",
                    is_right=exact_match(answer, gold.answers) == 1,
                    confidence=decoding.spans[0].probability if answer else decoding.null_probability,
                    badness=1 - answer_f1(answer, gold.answers),
                    tokens=sizes[number],
                )
            )
        return found


def _encoded_pairs(
    examples: Sequence[Example], tokenizer: Tokenizer
) -> Iterator[tuple[list[int], list[int], list[tuple[int, int]]]]:
    """Ids of each question, ids of its context, and the characters of the context's tokens."""
    contexts: dict[str, tuple[list[int], list[tuple[int, int]]]] = {}
    with tqdm(total=len(examples), desc="encode", unit="row", leave=False) as bar:
        for start in range(0, len(examples), _ENCODE_AT_ONCE):
            part = examples[start : start + _ENCODE_AT_ONCE]
            new = list(
                dict.fromkeys(example.texts[1] for example in part if example.texts[1] not in contexts)
            )
            if new:
                encoded = tokenizer(new, add_special_tokens=False, return_offsets_mapping=True)
                for text, ids, offsets in zip(
                    new, encoded["input_ids"], encoded["offset_mapping"], strict=True
                ):
                    contexts[text] = list(ids), [(int(first), int(end)) for first, end in offsets]
            questions = tokenizer([example.texts[0] for example in part], add_special_tokens=False)[
                "input_ids"
            ]
            for question, example in zip(questions, part, strict=True):
                yield list(question), *contexts[example.texts[1]]
            bar.update(len(part))
