"""The tasks over rows of files: what a row must hold, what comes back, how it is scored.

A task here reads rows, asks the `Predictor`, and says which scorer compares the answers with the truth.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from ..data import choices
from ..data.scores import tag_entities
from ..errors import UserError
from . import rows
from .columns import LABEL_FIELDS, Columns
from .labels import find_label
from .predictor import TEMPLATE, Predictor
from .rows import Example, Fields
from .scoring import (
    AnswerScorer,
    ChoiceScorer,
    EntityScorer,
    LabelScorer,
    NLIScorer,
    RankScorer,
    Relevance,
    Scorer,
    SetScorer,
    ValueScorer,
)
from .words import join_words

LIKELY = 0.5
"""From which probability on a label of several, or a word as replaced, is told."""


@dataclass(frozen=True, kw_only=True)
class AnswerOptions:
    """What can be asked of a task besides the input; each task reads its own."""

    candidate_labels: tuple[str, ...] | None = None
    """zero-shot: labels of rows that bring none."""
    template: str = TEMPLATE
    """zero-shot: the hypothesis."""
    multi_label: bool = False
    """zero-shot: whether several labels may hold."""
    aggregation: str = "first"
    """ner: one of `entities.AGGREGATIONS`."""
    top_k: int = 5
    """fill-mask: candidates for each mask."""
    n_best: int = 1
    """qa: candidates for each question."""
    null_threshold: float | None = 0.0
    """qa: by how many logits "no answer" must lead; None always answers."""
    columns: Columns = field(default_factory=Columns)
    """Names of columns besides the usual ones."""
    trained_task: str | None = None
    """choice: the task that the model was trained on, in whose form rows of several forms are read."""


class Result(NamedTuple):
    """What one row gets."""

    prediction: Any
    scores: Any
    scored: Any
    """The prediction in the form of the scorer."""


class FileTask(ABC):
    """One task over rows.

    Args:
        predictor: what answers.
        options: what is asked.
    """

    name: ClassVar[str]
    """What the command line calls it."""
    text_fields: ClassVar[Sequence[tuple[str, ...]]] = (("text",),)
    """The usual names of its text or texts; the first that a row has all of are read."""
    label_fields: ClassVar[Sequence[str]] = LABEL_FIELDS
    """The usual names of the truth."""
    column_options: ClassVar[tuple[str, ...]] = ("--text", "--label")
    """Options by which the user names other columns."""

    def __init__(self, predictor: Predictor, options: AnswerOptions) -> None:
        self.predictor = predictor
        self.options = options
        self.scorer: Scorer = self.make_scorer()

    @abstractmethod
    def make_scorer(self) -> Scorer:
        """What compares answers with the truth."""

    @abstractmethod
    def read(self, fields: Fields) -> Example:
        """Check one row.

        Raises:
            UserError: naming the field that is wrong; the caller adds file and line.
        """

    @abstractmethod
    def answer(self, examples: Sequence[Example]) -> list[Result]:
        """Answer many rows, in their order."""

    def texts(self, fields: Fields) -> tuple[str, ...]:
        """The text or texts of a row.

        Raises:
            UserError: if one is missing, no text or empty.
        """
        options = [option for option in self.column_options if option != "--label"]
        return rows.texts_of(fields, self.options.columns.texts(self.text_fields), options=options)

    def gold(self, fields: Fields, **how: Any) -> Any:
        """The label of a row as it stands, or None: see `rows.gold_of`."""
        return rows.gold_of(fields, self.options.columns.labels(self.label_fields), **how)


class NLITask(FileTask):
    """premise and hypothesis; one label."""

    name = "nli"
    text_fields = rows.PAIR_FIELDS
    column_options = ("--text", "--pair", "--label")

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
    column_options = ("--text", "--pair", "--label")

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


class RerankTask(FileTask):
    """query and texts, or one of them in each row; the places of the texts, best first, or the score."""

    name = "rerank"
    text_fields = (("query", "text"),)
    label_fields = (*LABEL_FIELDS, "relevance")
    column_options = ("--text", "--pair", "--label")

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
        choices = self.options.columns.texts(self.text_fields)
        if not self.options.columns.is_text_asked:
            choices.append(("query", "texts"))  # for the message; such rows are read above
        query, text = rows.texts_of(fields, choices, options=self.column_options[:2])
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


class NERTask(FileTask):
    """text, or words; entities with their characters, or a tag for each word."""

    name = "ner"
    words_fields = ("tokens", "words")
    label_fields = (*LABEL_FIELDS, "ner_tags", "tags", "labels")

    def make_scorer(self) -> Scorer:
        """Whole entities."""
        return EntityScorer()

    def read(self, fields: Fields) -> Example:
        """See `FileTask.read`."""
        columns = self.options.columns
        own = [str(columns.text)] if columns.text in fields else []
        names = own if columns.is_text_asked else [*own, *self.words_fields]
        field = next((name for name in names if name in fields), None)
        is_words = field in self.words_fields or isinstance(fields.get(str(field)), list)
        if field is None or not is_words:
            (text,), gold = self.texts(fields), self.gold(fields)
            truth = None if gold is None else rows.entity_list(gold, kind_field="entity_group")
            return Example(text, truth, len(text))
        words = rows.words_of(fields[field], what=f"field {field!r}")
        text = rows.check_text(join_words(words)[0], what=f"field {field!r}")
        gold = rows.tags_of(fields, columns.labels(self.label_fields))
        truth = None if gold is None else tag_entities(rows.tag_list(gold, count=len(words)))
        return Example(words, truth, len(text))

    def answer(self, examples: Sequence[Example]) -> list[Result]:
        """Entities of texts, tags of tokens."""
        texts = [example.inputs for example in examples if isinstance(example.inputs, str)]
        word_lists = [example.inputs for example in examples if not isinstance(example.inputs, str)]
        of_texts = iter(self.predictor.ner(texts, aggregation=self.options.aggregation))
        of_words = iter(
            self.predictor.tag(word_lists, aggregation=self.options.aggregation) if word_lists else []
        )
        results = []
        for example in examples:
            if isinstance(example.inputs, str):
                entities = next(of_texts)
                scored = [(one["start"], one["end"], one["entity_group"]) for one in entities]
                results.append(Result(entities, [one["score"] for one in entities], scored))
            else:
                tagged = next(of_words)
                tags = [one["entity"] for one in tagged]
                results.append(Result(tags, [one["score"] for one in tagged], tag_entities(tags)))
        return results


class QATask(FileTask):
    """question and context; the answer, empty where there is none."""

    name = "qa"
    text_fields = (("question", "context"),)
    column_options = ("--text", "--pair")

    def make_scorer(self) -> Scorer:
        """SQuAD's."""
        return AnswerScorer()

    def read(self, fields: Fields) -> Example:
        """See `FileTask.read`."""
        pair = self.texts(fields)
        return Example(pair, rows.gold_answers(fields), rows.length_of(pair))

    def answer(self, examples: Sequence[Example]) -> list[Result]:
        """The answer, and its place and probabilities."""
        found = self.predictor.qa(
            [example.inputs[0] for example in examples],
            [example.inputs[1] for example in examples],
            n_best=self.options.n_best,
            null_threshold=self.options.null_threshold,
        )
        results = []
        for one in found:
            scores = {key: value for key, value in one.items() if key != "answer"}
            results.append(Result(one["answer"], scores, one["answer"]))
        return results


class FillMaskTask(FileTask):
    """text with [MASK]; the likeliest word for each mask."""

    name = "fill-mask"

    def make_scorer(self) -> Scorer:
        """The words of all masks together as one label."""
        return SetScorer()

    def read(self, fields: Fields) -> Example:
        """See `FileTask.read`."""
        (text,), gold = self.texts(fields), self.gold(fields)
        self.predictor.engine.inputs.masked([text])  # a row without mask is told of before any is computed
        words = gold if isinstance(gold, list) else [gold]
        truth = None if gold is None else [f"{place} {word}" for place, word in enumerate(words)]
        return Example(text, truth, len(text))

    def answer(self, examples: Sequence[Example]) -> list[Result]:
        """The best word of each mask, and the candidates."""
        results = []
        for masks in self.predictor.fill_mask(
            [example.inputs for example in examples], top_k=self.options.top_k
        ):
            best = [candidates[0]["token_str"] for candidates in masks]
            scores = [
                [{"token_str": one["token_str"], "score": one["score"]} for one in candidates]
                for candidates in masks
            ]
            results.append(Result(best, scores, [f"{place} {word}" for place, word in enumerate(best)]))
        return results


class RTDTask(FileTask):
    """text; the words that look wrong."""

    name = "rtd"

    def make_scorer(self) -> Scorer:
        """Whole words."""
        return EntityScorer()

    def read(self, fields: Fields) -> Example:
        """See `FileTask.read`."""
        (text,), gold = self.texts(fields), self.gold(fields)
        return Example(text, None if gold is None else rows.entity_list(gold, kind_field=None), len(text))

    def answer(self, examples: Sequence[Example]) -> list[Result]:
        """The likely replaced words, and every word's probability."""
        results = []
        for words in self.predictor.rtd([example.inputs for example in examples]):
            wrong = [word for word in words if word["score"] >= LIKELY]
            scored = [(word["start"], word["end"], "word") for word in wrong]
            results.append(Result(wrong, [word["score"] for word in words], scored))
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
    column_options = ("--label",)

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


FILE_TASKS: dict[str, type[FileTask]] = {
    task.name: task
    for task in (
        NLITask,
        ClassifyTask,
        ZeroShotTask,
        RerankTask,
        NERTask,
        QATask,
        FillMaskTask,
        RTDTask,
        ChoiceTask,
    )
}
"""Every task by name."""
