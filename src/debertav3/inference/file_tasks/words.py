"""Tasks whose answer lies in the words of a text: entities, answers, masked words, replaced words."""

from collections.abc import Sequence

from ...data.scores import tag_entities
from .. import rows
from ..columns import LABEL_FIELDS
from ..rows import Example, Fields
from ..scoring import AnswerScorer, EntityScorer, Scorer, SetScorer
from ..words import join_words
from .task import LIKELY, FileTask, Result


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
    column_options = ("--text-column", "--pair-column")

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
