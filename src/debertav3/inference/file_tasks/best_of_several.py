"""Tasks whose answer is the best of several texts: those that answer a query, and multiple choice."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from ...data import choices
from .. import rows
from ..columns import LABEL_FIELDS
from ..rows import Example, Fields
from ..scoring import ChoiceScorer, RankScorer, Relevance, Scorer
from .task import FileTask, Result


class RerankTask(FileTask):
    """query and texts, or one of them in each row; the places of the texts, best first, or the score."""

    name = "rerank"
    text_fields = (("query", "text"),)
    label_fields = (*LABEL_FIELDS, "relevance")
    column_options = ("--text-column", "--pair-column", "--label-column")

    def make_scorer(self) -> Scorer:
        """How high the right texts stand."""
        return RankScorer()

    def read(self, fields: Fields) -> Example:
        """See `FileTask.read`."""
        gold = self.gold(fields)
        if "texts" in fields and "query" in fields and not self.options.columns.is_text_asked:
            (query,), texts = rows.texts_of(fields, [("query",)]), rows.text_list(fields, "texts")
            truth: Any = None if gold is None else rows.right_places(gold, count=len(texts))
            return Example((query, texts), truth, len(query) * len(texts) + rows.length_of(texts))
        names = self.options.columns.texts(self.text_fields)
        if not self.options.columns.is_text_asked:
            names.append(("query", "texts"))  # for the message; such rows are read above
        query, text = rows.texts_of(fields, names, options=self.column_options[:2])
        truth = None if gold is None else Relevance(query, rows.relevance(gold))
        return Example((query, text), truth, len(query) + len(text))

    def answer(self, examples: Sequence[Example]) -> list[Result]:
        """The ranking, and each text's score in the order of the row; of a single text its score."""
        given = [example.inputs for example in examples]
        rankings = self.predictor.rerank(
            [query for query, _ in given],
            [[texts] if isinstance(texts, str) else texts for _, texts in given],
        )
        results = []
        for (_, texts), ranked in zip(given, rankings, strict=True):
            order = [one["index"] for one in ranked]
            scores = [one["score"] for one in sorted(ranked, key=lambda one: one["index"])]
            prediction: Any = scores[0] if isinstance(texts, str) else order
            results.append(Result(prediction, scores, prediction))
        return results


class _Row(NamedTuple):
    """A row for `data.choices`; the caller names file and line."""

    place: str
    fields: Fields


class ChoiceTask(FileTask):
    """A context or question, or both, and choices; the place of the best."""

    name = "choice"
    text_fields = ()
    label_fields = choices.LABEL_FIELDS
    column_options = ("--label-column",)

    def make_scorer(self) -> Scorer:
        """The share of right choices."""
        return ChoiceScorer()

    def read(self, fields: Fields) -> Example:
        """See `FileTask.read`."""
        row = _Row("the row", fields)
        form = choices.form_of(fields, trained=self.options.trained_task)
        context, texts = form.prompt(row)
        rows.check_texts(texts, what="choice")
        gold = self.gold(fields)
        truth = None
        if gold is not None:
            names = choices.choice_names(row, len(texts))
            truth = choices.choice_number(row, gold, len(texts), names=names)
        length = len(context) * len(texts) + rows.length_of(texts)
        return Example((context, texts, form.options(row)), truth, length)

    def answer(self, examples: Sequence[Example]) -> list[Result]:
        """The place of the best choice; its text, and the probabilities of all."""
        found = self.predictor.choose(
            [example.inputs[0] for example in examples], [example.inputs[1] for example in examples]
        )
        results = []
        for example, one in zip(examples, found, strict=True):
            scores = {"text": example.inputs[2][one["index"]], "probabilities": one["scores"]}
            results.append(Result(one["index"], scores, one["index"]))
        return results
