"""Tasks over rows of files that judge whole texts, and the list of all tasks.

A task says what it reads in a row, which `Predictor` method answers, and what comes back.
`row_answers_inside` has those that point into a text.
"""

from collections.abc import Mapping, Sequence

from ...data.probabilities import LIKELY
from ...errors import UserError
from ...tasks.choice_forms import LABEL_COLUMNS as CHOICE_LABELS
from ...tasks.choice_forms import choice_number, read_choices
from ...tasks.columns import PAIR_COLUMNS, SENTENCE_COLUMNS, TEXT_COLUMNS, texts_of
from ...tasks.glue import NLI_LABEL_COLUMNS
from ...tasks.labels import (
    LABEL_COLUMNS,
    find_label,
    likeliest,
    nli_label,
    number,
    refuse_spans,
    relevance,
    right_indices,
    several,
    several_known,
)
from ...tasks.rows import Row, is_missing, list_in
from ...tasks.scorers import (
    ChoiceScorer,
    LabelScorer,
    NLIScorer,
    RankScorer,
    Relevance,
    Scorer,
    SetScorer,
    ValueScorer,
)
from ...tasks.understanding import listed_labels, shown_row
from .file_task import NO_TEXT, AnswerOptions, CheckedRow, FileTask, Result, length_of
from .row_answers_inside import FillMaskTask, NERTask, QATask, RTDTask

__all__ = ["FILE_TASKS", "AnswerOptions", "CheckedRow", "FileTask", "Result"]


class NLITask(FileTask):
    """premise and hypothesis; one label."""

    name = "nli"
    text_columns = PAIR_COLUMNS
    label_columns = NLI_LABEL_COLUMNS
    column_options = ("--text-column", "--pair-column", "--label-column")

    def label_kind(self) -> str:
        """One of the model's."""
        return f"one of {listed_labels(self.predictor.nli_columns.names)}"

    def make_scorer(self) -> Scorer:
        """Labels by name, two-way where one side is."""
        return NLIScorer(self.predictor.nli_columns.names)

    def read(self, row: Row) -> CheckedRow:
        """See `FileTask.read`."""
        pair, gold = self.texts(row), self.gold(row)
        names = self.predictor.nli_columns.names
        label = None if gold is None else nli_label(likeliest(row, gold), names)
        return NO_TEXT if pair is None else CheckedRow(pair, label, length_of(pair))

    def answer(self, examples: Sequence[CheckedRow]) -> list[Result]:
        """The likeliest label and the probabilities of all."""
        results = []
        for scores in self.predictor.nli([example.inputs for example in examples]):
            best = max(scores, key=lambda name: scores[name])
            results.append(Result(best, scores, best))
        return results


class ClassifyTask(FileTask):
    """A text or a pair; a label, several, or a number, as the head has them."""

    name = "classify"
    text_columns = TEXT_COLUMNS
    column_options = ("--text-column", "--pair-column", "--label-column")

    def make_scorer(self) -> Scorer:
        """By the kind of head."""
        if self._is_regression:
            return ValueScorer()
        labels = self.predictor.labels
        return SetScorer(labels) if self._is_multi_label else LabelScorer(labels)

    @property
    def _is_multi_label(self) -> bool:
        return self.predictor.is_multi_label

    @property
    def _is_regression(self) -> bool:
        return len(self.predictor.labels) == 1 and not self._is_multi_label

    def read(self, row: Row) -> CheckedRow:
        """See `FileTask.read`."""
        texts = self.texts(row)
        if texts is None:
            return NO_TEXT
        return CheckedRow(texts if len(texts) == 2 else texts[0], self._gold(row), length_of(texts))

    def _gold(self, row: Row) -> object:
        labels = self.predictor.labels
        if self._is_regression:
            gold = self.gold(row, marks=())
            return None if gold is None else number(gold, what="label")
        if self._is_multi_label:
            cell = self.label_cell(row, is_renamed=False)
            if is_missing(cell) and not isinstance(cell, str):
                return None
            return sorted(
                {labels[one] for one in several_known(cell, labels, label_map=self.options.label_map)}
            )
        gold = self.gold(row, known=labels)
        if gold is None:
            return None
        refuse_spans(gold, place=row.place)
        gold = likeliest(row, gold)
        if self.trained is not None and (named := self.trained.task_label(gold)) in labels:
            return named  # another spelling of the task's own
        return labels[find_label(gold, labels)]

    def label_kind(self) -> str:
        """By the kind of head."""
        if self._is_regression:
            return "a number"
        kind = "several of" if self._is_multi_label else "one of"
        return f"{kind} {listed_labels(self.predictor.labels)}"

    def answer(self, examples: Sequence[CheckedRow]) -> list[Result]:
        """The likeliest label, the likely labels, or the number."""
        results = []
        for one in self.predictor.classify([example.inputs for example in examples]):
            prediction: object = one["score"] if self._is_regression else one["label"]
            if self._is_multi_label:
                holds = self.predictor.probabilities.threshold
                prediction = [name for name, score in one["scores"].items() if score >= holds(name)]
            results.append(Result(prediction, one["scores"], prediction))
        return results


class ZeroShotTask(FileTask):
    """text, and labels in the row or for all rows; the best label, or the likely ones."""

    name = "zero-shot"
    text_columns = SENTENCE_COLUMNS[::-1]

    def make_scorer(self) -> Scorer:
        """One label, or several."""
        names = self.options.candidate_labels or ()
        return SetScorer(names) if self.options.multi_label else LabelScorer(names)

    def read(self, row: Row) -> CheckedRow:
        """See `FileTask.read`."""
        texts = self.texts(row)
        if texts is None:
            return NO_TEXT
        shared = self.options.candidate_labels
        is_own = not is_missing(row.fields.get("labels")) or shared is None
        labels = list_in(row, ("labels",)) if is_own else list(shared or ())
        if len(set(labels)) < len(labels):
            raise UserError(f"labels must differ from each other; got {', '.join(labels)}.")
        gold = self.gold(row, known=labels)
        if gold is not None:
            is_many = self.options.multi_label
            names = [labels[find_label(one, labels)] for one in (several(gold) if is_many else [gold])]
            gold = names if is_many else names[0]
        return CheckedRow((texts[0], labels), gold, len(labels) * len(texts[0]) + length_of(labels))

    def answer(self, examples: Sequence[CheckedRow]) -> list[Result]:
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
    """query and texts, or one of them in each row; the indices of the texts, best first, or the score."""

    name = "rerank"
    text_columns = (("query", "text"), ("query", "passage"))
    label_columns = (*LABEL_COLUMNS, "relevance")
    column_options = ("--text-column", "--pair-column", "--label-column")

    def label_kind(self) -> str:
        """How well a text answers, or which texts are right."""
        return "a number, how well the text answers the query"

    def shown(self, example: CheckedRow) -> str:
        """Query and text, or texts, and what is right."""
        gold = example.gold.value if isinstance(example.gold, Relevance) else example.gold
        return super().shown(example._replace(gold=gold))

    def make_scorer(self) -> Scorer:
        """How high the right texts are."""
        return RankScorer()

    def read(self, row: Row) -> CheckedRow:
        """See `FileTask.read`."""
        gold, fields = self.gold(row), row.fields
        if (
            not is_missing(fields.get("texts"))
            and "query" in fields
            and not self.options.columns.is_text_asked
        ):
            query, texts = texts_of(row, [("query",)]), list_in(row, ("texts",))
            if query is None:
                return NO_TEXT
            right = None if gold is None else right_indices(gold, count=len(texts))
            return CheckedRow((query[0], texts), right, len(query[0]) * len(texts) + length_of(texts))
        names = self.options.columns.texts(self.text_columns)
        if not self.options.columns.is_text_asked:
            names.append(("query", "texts"))  # for the message; such rows are read above
        pair = self.texts_by(row, names)
        if pair is None:
            return NO_TEXT
        truth = None if gold is None else Relevance(pair[0], relevance(gold))
        return CheckedRow(pair, truth, length_of(pair))

    def answer(self, examples: Sequence[CheckedRow]) -> list[Result]:
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
            is_one = isinstance(texts, str)
            results.append(Result(scores[0] if is_one else order, scores, scores[0] if is_one else scores))
        return results


class ChooseTask(FileTask):
    """A context or question, or both, and choices; the index of the best."""

    name = "choice"
    text_columns = ()
    label_columns = CHOICE_LABELS
    column_options = ("--text-column", "--pair-column", "--label-column", "--choice-columns")

    def label_kind(self) -> str:
        """Which choice is right."""
        return "the right one of the choices"

    def shown(self, example: CheckedRow) -> str:
        """Context and choices, and the right one."""
        if example.inputs is None:
            return "(no text: no answer)"
        context, texts, _ = example.inputs
        return shown_row((context, *texts), None if example.gold is None else texts[example.gold])

    def make_scorer(self) -> Scorer:
        """The share of right choices."""
        return ChoiceScorer()

    def read(self, row: Row) -> CheckedRow:
        """See `FileTask.read`."""
        found = read_choices(row, trained=self.options.trained_task, columns=self.options.columns)
        self.use(tuple(found.roles), tuple(found.roles.values()))
        gold = self.gold(row, marks=("-1", ""))
        right = None if gold is None else choice_number(row.place, gold, found)
        length = len(found.context) * len(found.texts) + length_of(found.texts)
        return CheckedRow((found.context, found.texts, found.options), right, length)

    def answer(self, examples: Sequence[CheckedRow]) -> list[Result]:
        """The index of the best choice; its text, and the probabilities of all."""
        found = self.predictor.choose(
            [example.inputs[0] for example in examples], [example.inputs[1] for example in examples]
        )
        results = []
        for example, one in zip(examples, found, strict=True):
            scores = {"text": example.inputs[2][one["index"]], "probabilities": one["scores"]}
            results.append(Result(one["index"], scores, one["index"]))
        return results


_TASKS: tuple[type[FileTask], ...] = (
    NLITask,
    ClassifyTask,
    ZeroShotTask,
    RerankTask,
    NERTask,
    QATask,
    FillMaskTask,
    RTDTask,
    ChooseTask,
)
FILE_TASKS: Mapping[str, type[FileTask]] = {task.name: task for task in _TASKS}
"""Every task by name."""
