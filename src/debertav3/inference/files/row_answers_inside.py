"""Tasks over rows of files that point into a text: entities, answers, masked words, replaced words."""

from collections.abc import Sequence
from typing import Any

from ...data.probabilities import LIKELY
from ...errors import UserError
from ...tasks.annotations import ENTITIES, TEXT
from ...tasks.annotations.format import Marked
from ...tasks.annotations.marks import Mark
from ...tasks.columns import QUESTION_CONTEXT_COLUMNS, actual_name
from ...tasks.metrics import tag_entities
from ...tasks.rows import Row, is_missing, structured, words_in
from ...tasks.scorers import (
    AnswerScorer,
    EntityScorer,
    Scorer,
    SetScorer,
)
from ...tasks.squad_answers import ANSWERS, answers_in
from ...tasks.tagging import (
    TAGS_COLUMNS,
    WORDS_COLUMNS,
    given_entities,
    given_tags,
    is_marked_text,
    renamed_tag,
    tags_in,
    text_with_tags,
    usual_tags,
)
from ...tasks.understanding import shown_spans, shown_words
from ...tasks.words import join_words, split_words
from ..entities import WORD_AGGREGATIONS
from .file_task import NO_TEXT, CheckedRow, FileTask, Result, length_of


class NERTask(FileTask):
    """text, or words; entities with their characters, or a tag for each word."""

    name = "ner"
    label_columns = TAGS_COLUMNS

    def make_scorer(self) -> Scorer:
        """Whole entities."""
        return EntityScorer()

    def read(self, row: Row) -> CheckedRow:
        """See `FileTask.read`."""
        columns, fields = self.options.columns, row.fields
        if is_marked_text(row):
            return self._marked(row)
        said = actual_name(fields, columns.text, is_said=columns.is_text_asked) if columns.text else None
        own = [] if said is None else [said]
        names = own if columns.is_text_asked else [*own, *WORDS_COLUMNS]
        column = next((name for name in names if not is_missing(fields.get(name))), None)
        labels = columns.labels(self.label_columns)
        if columns.is_label_asked:
            labels = [actual_name(fields, name, is_said=True) or name for name in labels]
        if column is None and not columns.is_text_asked:
            column = text_with_tags(row, labels)
        is_words = column in WORDS_COLUMNS or isinstance(structured(fields.get(str(column))), list)
        if column is None or not (is_words or _are_tags(row, labels)):
            texts, gold = self.texts(row), self.gold(row)
            entities = None if gold is None else given_entities(gold, kind_field="entity_group")
            return NO_TEXT if texts is None else CheckedRow(texts[0], entities, len(texts[0]))
        if self.options.aggregation not in WORD_AGGREGATIONS:
            raise UserError(
                f"{row.place}: rows of words need --aggregation {', '.join(WORD_AGGREGATIONS)}; "
                f"got {self.options.aggregation}."
            )
        words = words_in(row, column)
        self.use(("words",), (column,))
        text = join_words(words)[0]
        found = given_tags(row, labels, count=len(words), tag_names=self.options.reading.tag_names)
        tags = None
        if found is not None:
            self.use(("tags",), found[:1])
            tags = [renamed_tag(tag, self.options.label_map) for tag in found[1]]
        return CheckedRow(words, tags, len(text)) if text.strip() else NO_TEXT

    def _marked(self, row: Row) -> CheckedRow:
        """A text of an annotation tool; without gold entities if nobody has annotated it."""
        text, column = row.fields[TEXT], self.options.columns.text
        if self.options.columns.is_text_asked and column in row.fields and column != TEXT:
            raise UserError(
                f"{row.place}: the entities are marked in another field than {column!r}, which --text-column "
                "names. Leave the option out."
            )
        self.use(("text", "entities"), (TEXT, ENTITIES))
        marks = row.fields[ENTITIES]
        named = self.options.label_map
        gold = None
        if marks is not None:
            gold = [(one["start"], one["end"], named.get(one["label"], one["label"])) for one in marks]
        return CheckedRow(text, gold, len(text)) if text.strip() else NO_TEXT

    def label_kind(self) -> str:
        """Entities, or tags of words."""
        return "entities"

    def shown(self, example: CheckedRow) -> str:
        """The text or the words, with the entities marked."""
        if example.inputs is None:
            return "(no text: no answer)"
        if isinstance(example.inputs, str):
            return shown_spans(example.inputs, example.gold or ())
        return shown_words(example.inputs, example.gold)

    def marked(self, row: Row, prediction: Any, scores: Any) -> Marked | None:
        """See `FileTask.marked`."""
        given = self.read(row).inputs
        if given is None:
            return None
        if isinstance(given, str):
            text, words = given, split_words(given)
            marks = [Mark(one["start"], one["end"], one["entity_group"]) for one in prediction]
            sure = list(scores)
        else:
            text, words = join_words(given)
            found = tag_entities(prediction)
            marks = [Mark(words[first][0], words[stop - 1][1], kind) for first, stop, kind in found]
            sure = [sum(scores[first:stop]) / (stop - first) for first, stop, _ in found]
        others = {
            name if name != TEXT else f"row_{TEXT}": value
            for name, value in row.fields.items()
            if isinstance(value, int | float | str) and value != text and name not in self.label_columns
        }
        return Marked(text, marks, sure, words, others)

    def answer(self, examples: Sequence[CheckedRow]) -> list[Result]:
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
                results.append(Result(tags, [one["score"] for one in tagged], tags))
        return results


def _are_tags(row: Row, names: Sequence[str]) -> bool:
    """Whether a label is a tag for each word: the words are a text with white space between them then."""
    column = next((name for name in names if not is_missing(row.fields.get(name))), None)
    value = None if column is None else structured(row.fields[column])
    if column is None or not isinstance(value, str | list) or not value:
        return False
    if isinstance(value, list) and not all(isinstance(tag, str) for tag in value):
        return False
    is_list = isinstance(value, list)
    return is_list or all(tag == "O" or tag[1:2] == "-" for tag in usual_tags(tags_in(row, column)))


class QATask(FileTask):
    """question and context; the answer, empty where there is none."""

    name = "qa"
    text_columns = QUESTION_CONTEXT_COLUMNS
    text_roles = ("question", "context")
    column_options = ("--text-column", "--pair-column", "--label-column")

    def label_kind(self) -> str:
        """Whether there is one."""
        return "answers"

    def make_scorer(self) -> Scorer:
        """SQuAD's."""
        return AnswerScorer()

    def read(self, row: Row) -> CheckedRow:
        """See `FileTask.read`."""
        pair = self.texts(row)
        if pair is None:
            return NO_TEXT
        columns = self.options.columns
        found = answers_in(row, columns.label or ANSWERS, is_said=columns.is_label_asked)
        if found is None:
            return CheckedRow(pair, None, length_of(pair))
        name, answers = found
        self.use(("answers",), (name,))
        return CheckedRow(pair, [one.text.strip() for one in answers] or [""], length_of(pair))

    def answer(self, examples: Sequence[CheckedRow]) -> list[Result]:
        """The answer, and its position and probabilities."""
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

    def read(self, row: Row) -> CheckedRow:
        """See `FileTask.read`."""
        texts, gold = self.texts(row), self.gold(row, marks=())
        if texts is None:
            return NO_TEXT
        self.predictor.engine.inputs.masked(
            list(texts)
        )  # a row without a mask is refused before anything is computed
        words = None if gold is None else gold if isinstance(gold, list) else [gold]
        return CheckedRow(texts[0], None if words is None else _numbered(words), len(texts[0]))

    def answer(self, examples: Sequence[CheckedRow]) -> list[Result]:
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
            results.append(Result(best, scores, _numbered(best)))
        return results


def _numbered(words: Sequence[object]) -> list[str]:
    return [f"{index} {word}" for index, word in enumerate(words)]


class RTDTask(FileTask):
    """text; the words that look wrong."""

    name = "rtd"

    def make_scorer(self) -> Scorer:
        """Whole words."""
        return EntityScorer()

    def read(self, row: Row) -> CheckedRow:
        """See `FileTask.read`."""
        texts, gold = self.texts(row), self.gold(row)
        words = None if gold is None else given_entities(gold, kind_field=None)
        return NO_TEXT if texts is None else CheckedRow(texts[0], words, len(texts[0]))

    def answer(self, examples: Sequence[CheckedRow]) -> list[Result]:
        """The likely replaced words, and every word's probability."""
        results = []
        for words in self.predictor.rtd([example.inputs for example in examples]):
            wrong = [word for word in words if word["score"] >= LIKELY]
            scored = [(word["start"], word["end"], "word") for word in wrong]
            results.append(Result(wrong, [word["score"] for word in words], scored))
        return results
