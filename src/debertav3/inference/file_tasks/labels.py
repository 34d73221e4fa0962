"""Tasks whose answer is a label of a text or a pair, several labels, or a number."""

from collections.abc import Sequence
from typing import Any

from ...errors import UserError
from .. import rows
from ..labels import find_label
from ..rows import Example, Fields
from ..scoring import LabelScorer, NLIScorer, Scorer, SetScorer, ValueScorer
from .task import LIKELY, FileTask, Result


class NLITask(FileTask):
    """premise and hypothesis; one label."""

    name = "nli"
    text_fields = rows.PAIR_FIELDS
    column_options = ("--text-column", "--pair-column", "--label-column")

    def make_scorer(self) -> Scorer:
        """Labels by name, two-way where one side is."""
        return NLIScorer(self.predictor.nli_columns.names)

    def read(self, fields: Fields) -> Example:
        """See `FileTask.read`."""
        pair = self.texts(fields)
        gold = self.gold(fields)
        if self.options.columns.label in fields:
            gold = rows.from_text(gold)
        label = None if gold is None else rows.nli_label(gold, self.predictor.nli_columns.names)
        return Example(pair, label, rows.length_of(pair))

    def answer(self, examples: Sequence[Example]) -> list[Result]:
        """The likeliest label and the probabilities of all."""
        results = []
        for scores in self.predictor.nli([example.inputs for example in examples]):
            best = max(scores, key=lambda name: scores[name])
            results.append(Result(best, scores, best))
        return results


class ClassifyTask(FileTask):
    """A text or a pair; a label, several, or a number, as the head has them."""

    name = "classify"
    text_fields = rows.TEXT_FIELDS
    column_options = ("--text-column", "--pair-column", "--label-column")

    def make_scorer(self) -> Scorer:
        """By the kind of head."""
        if self._is_regression:
            return ValueScorer()
        return SetScorer() if self._is_multi_label else LabelScorer(self.predictor.labels)

    @property
    def _is_multi_label(self) -> bool:
        return self.predictor.is_multi_label

    @property
    def _is_regression(self) -> bool:
        return len(self.predictor.labels) == 1 and not self._is_multi_label

    def read(self, fields: Fields) -> Example:
        """See `FileTask.read`."""
        texts, labels = self.texts(fields), self.predictor.labels
        is_own = self.options.columns.label in fields  # where no number stands for "no label"
        gold = self.gold(fields, known=labels, is_number=is_own and self._is_regression)
        if gold is None and is_own and self._is_multi_label:
            gold = [] if fields[str(self.options.columns.label)] == "" else None
        truth: Any = None
        if gold is not None and self._is_regression:
            truth = rows.number(gold)
        elif gold is not None:
            truth = rows.label_set(gold, labels) if self._is_multi_label else self._label(gold)
        return Example(texts if len(texts) == 2 else texts[0], truth, rows.length_of(texts))

    def _label(self, gold: Any) -> str:
        names = self.predictor.labels
        return names[find_label(gold if gold in names else rows.from_text(gold), names)]

    def answer(self, examples: Sequence[Example]) -> list[Result]:
        """The likeliest label, the likely labels, or the number."""
        results = []
        for one in self.predictor.classify([example.inputs for example in examples]):
            prediction: Any = one["score"] if self._is_regression else one["label"]
            if self._is_multi_label:
                prediction = [name for name, score in one["scores"].items() if score >= LIKELY]
            results.append(Result(prediction, one["scores"], prediction))
        return results


class ZeroShotTask(FileTask):
    """text, and labels in the row or for all rows; the best label, or the likely ones."""

    name = "zero-shot"
    text_fields = (("text",), ("sentence",))

    def make_scorer(self) -> Scorer:
        """One label, or several."""
        return SetScorer() if self.options.multi_label else LabelScorer(self.options.candidate_labels or ())

    def read(self, fields: Fields) -> Example:
        """See `FileTask.read`."""
        (text,) = self.texts(fields)
        shared = self.options.candidate_labels
        is_own = "labels" in fields or shared is None
        labels = rows.text_list(fields, "labels") if is_own else list(shared or ())
        if len(set(labels)) < len(labels):
            raise UserError(f"labels must differ from each other; got {', '.join(labels)}.")
        gold = self.gold(fields)
        truth: Any = None
        if gold is not None:
            is_many = self.options.multi_label
            truth = rows.label_set(gold, labels) if is_many else labels[find_label(gold, labels)]
        return Example((text, labels), truth, len(labels) * len(text) + rows.length_of(labels))

    def answer(self, examples: Sequence[Example]) -> list[Result]:
        """The labels by score."""
        found = self.predictor.zero_shot(
            [example.inputs[0] for example in examples],
            [example.inputs[1] for example in examples],
            multi_label=self.options.multi_label,
            template=self.options.template,
        )
        results = []
        for one in found:
            scores = dict(zip(one["labels"], one["scores"], strict=True))
            likely = [label for label, score in scores.items() if score >= LIKELY]
            prediction = likely if self.options.multi_label else one["labels"][0]
            results.append(Result(prediction, scores, prediction))
        return results
