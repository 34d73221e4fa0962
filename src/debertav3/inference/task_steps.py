"""Tasks as steps: texts to encoder inputs, then logits to answers; the caller runs the encoder in between.

`Predictor` runs one call at a time; the server runs several at once, so that inputs of many requests share
batches. Both give the same answers. Every task takes a batch and answers in its order.
"""

from collections.abc import Iterable, Sequence
from math import isnan
from numbers import Real

import numpy as np

from ..errors import UserError, whole_number
from ..tasks.labels import ENTAILMENT
from ..tasks.words import join_words, split_words
from . import answers
from .answers import Answer, Chosen, Classification, Filled, Ranked, SuspectWord, ZeroShotScores
from .engine import Engine, Steps
from .entities import Entity, TaggedText, TokenTag, WordTag, check_aggregation, find_entities, tag_tokens
from .entities import tag_words as tags_of_words
from .inputs import (
    WHOLE,
    WINDOW_OVERLAP,
    Cut,
    Text,
    check_pair,
    check_text,
    check_texts,
    groups_of,
    labels_per_text,
    shortened,
)
from .output_labels import NLIColumns, check_different, is_nli, nli_columns, relevance_column

TEMPLATE = "This example is {}."
"""The hypothesis of zero-shot classification; ``{}`` stands for the label."""


def check_template(template: object) -> None:
    """Refuse a template that does not contain ``{}`` exactly once.

    Raises:
        UserError: if it does not.
    """
    if not isinstance(template, str) or template.count("{}") != 1:
        raise UserError(f"the template must contain {{}} once, for the label; got {template!r}.")


class TaskSteps:
    """The tasks that one checkpoint answers.

    Arguments and errors are those of the `Predictor` method of the same name. ``cut`` says how inputs that
    are too long are shortened.

    Args:
        engine: texts to logits.
        labels: names of the head's outputs.
    """

    def __init__(self, engine: Engine, labels: Sequence[str]) -> None:
        self.engine = engine
        self.labels = list(labels)

    @property
    def nli_columns(self) -> NLIColumns:
        """Which output is entailment, and so on; raises `UserError` if the label names are unknown."""
        return nli_columns(self.labels, place=self.engine.place)

    @property
    def is_multi_label(self) -> bool:
        """Whether a text may have several of the head's labels."""
        return self.engine.backend.config.get("problem_type") == "multi_label_classification"

    @property
    def is_regression(self) -> bool:
        """Whether the head was trained to give numbers, one or several."""
        return self.engine.backend.config.get("problem_type") == "regression"

    def nli(self, pairs: Iterable[object], *, cut: Cut = WHOLE) -> Steps[list[dict[str, float]]]:
        """Probabilities of entailment, neutral and contradiction for each pair."""
        self.engine.require("nli")
        columns = self.nli_columns
        checked = [check_pair(pair, what=f"pair {number}") for number, pair in enumerate(pairs)]
        rows = yield from self.engine.sequences(checked, cut=cut)
        return [answers.nli_probabilities(row, columns) for row in rows]

    def classify(
        self, texts: Iterable[object], *, raw: bool = False, cut: Cut = WHOLE
    ) -> Steps[list[Classification]]:
        """The label of each text or pair.

        Args:
            texts: texts and pairs.
            raw: whether scores are the head's own logits instead of probabilities; those of a regression
                head always are.
            cut: see above.
        """
        self.engine.require("classify")
        check_different(self.labels, place=self.engine.place)
        checked: list[Text] = []
        for number, text in enumerate(texts):
            check = check_pair if isinstance(text, tuple | list) else check_text
            checked.append(check(text, what=f"text {number}"))
        rows = yield from self.engine.sequences(checked, cut=cut, raw=raw)
        return [self.classification(row, raw=raw) for row in rows]

    def classification(self, row: answers.FloatArray, *, raw: bool = False) -> Classification:
        """One row of the head's logits by name, in the form that suits the head; see `classify`."""
        return answers.classification(
            row, self.labels, is_multi_label=self.is_multi_label, raw=raw or self.is_regression
        )

    def zero_shot(
        self,
        texts: Iterable[object],
        labels: object,
        *,
        multi_label: bool = False,
        template: str = TEMPLATE,
        cut: Cut = WHOLE,
    ) -> Steps[list[ZeroShotScores]]:
        """The candidate labels of each text, ranked by entailment, best first."""
        self.engine.require("zero-shot")
        columns = self.nli_columns
        check_template(template)
        checked = check_texts(texts, what="text")
        candidates = labels_per_text(labels, num_texts=len(checked))
        pairs: list[Text] = [
            (text, template.replace("{}", label))
            for text, own in zip(checked, candidates, strict=True)
            for label in own
        ]
        logits = yield from self.engine.sequences(pairs, cut=cut)
        return [
            answers.zero_shot(rows, columns, text=text, labels=own, multi_label=multi_label)
            for text, own, rows in zip(checked, candidates, _parts(logits, candidates), strict=True)
        ]

    def rerank(
        self,
        queries: Iterable[object],
        texts: object,
        *,
        raw: bool = False,
        cut: Cut = WHOLE,
        text_tokens: int | None = None,
    ) -> Steps[list[list[Ranked]]]:
        """The texts of each query, best first.

        Args:
            queries: the queries.
            texts: a list of texts for each.
            raw: whether scores are the head's own logits instead of probabilities.
            cut: see above.
            text_tokens: most tokens of a text that the caller wants read; None reads it whole.
        """
        self.engine.require("rerank")
        is_entailment = is_nli(self.labels) or len(self.labels) > 2
        column = (
            self.nli_columns.column(ENTAILMENT)
            if is_entailment
            else relevance_column(self.labels, place=self.engine.place)
        )
        asked = check_texts(queries, what="query")
        given = groups_of(texts, count=len(asked), what="text", each="queries")
        groups = [check_texts(group, what=f"query {number}, text") for number, group in enumerate(given)]
        pairs: list[Text] = [
            (text, one) if is_entailment else (one, text)  # the text entails the query
            for one, group in zip(asked, groups, strict=True)
            for text in group
        ]
        cut = cut._replace(first=text_tokens) if is_entailment else cut._replace(second=text_tokens)
        logits = yield from self.engine.sequences(pairs, cut=cut, raw=raw)
        scores = answers.column_scores(logits, column, raw=raw) if pairs else np.empty(0)
        return [
            answers.ranking(own, group) for group, own in zip(groups, _parts(scores, groups), strict=True)
        ]

    def choose(self, contexts: Iterable[object], choices: object, *, cut: Cut = WHOLE) -> Steps[list[Chosen]]:
        """The best choice for each context."""
        self.engine.require("choice")
        checked = check_texts(contexts, what="context")
        given = groups_of(choices, count=len(checked), what="choice", each="contexts")
        if not all(given):
            raise UserError(f"a list of choices is empty in {shortened(given)}. Give each context choices.")
        groups = [check_texts(group, what=f"context {number}, choice") for number, group in enumerate(given)]
        pairs: list[Text] = [
            (one, choice) for one, group in zip(checked, groups, strict=True) for choice in group
        ]
        logits = (yield from self.engine.sequences(pairs, cut=cut)).reshape(-1)
        return [answers.chosen(own, group) for group, own in zip(groups, _parts(logits, groups), strict=True)]

    def ner(self, texts: Iterable[object], *, aggregation: str = "first") -> Steps[list[list[Entity]]]:
        """The entities of each text; texts may have any length."""
        check_aggregation(aggregation)
        tagged = yield from self._tagged(texts)
        return [find_entities(one, self.labels, aggregation=aggregation) for one in tagged]

    def tag_tokens(self, texts: Iterable[object]) -> Steps[list[list[TokenTag]]]:
        """The tag of every token of each text."""
        tagged = yield from self._tagged(texts)
        return [tag_tokens(one, self.labels) for one in tagged]

    def tag(self, groups: Sequence[Sequence[object]], *, aggregation: str) -> Steps[list[list[WordTag]]]:
        """The tag of every given word."""
        self.engine.require("ner")
        joined = [join_words(_words(words, number)) for number, words in enumerate(groups)]
        texts = check_texts([text for text, _ in joined], what="text")
        found = yield from self.engine.tokens(texts)
        return [
            tags_of_words(
                TaggedText(text, spans, offsets, answers.softmax(logits)),
                self.labels,
                aggregation=aggregation,
            )
            for (_, spans), (text, offsets, logits) in zip(joined, found, strict=True)
        ]

    def _tagged(self, texts: Iterable[object]) -> Steps[list[TaggedText]]:
        self.engine.require("ner")
        found = yield from self.engine.tokens(check_texts(texts, what="text"))
        return [
            TaggedText(text, split_words(text), offsets, answers.softmax(logits))
            for text, offsets, logits in found
        ]

    def qa(
        self,
        questions: Iterable[object],
        contexts: Iterable[object],
        *,
        n_best: int = 1,
        null_threshold: float | None = 0.0,
        max_answer_tokens: int = 30,
        overlap: int = WINDOW_OVERLAP,
    ) -> Steps[list[Answer]]:
        """The answer to each question in its context; contexts may have any length."""
        self.engine.require("qa")
        whole_number(n_best, name="n_best", least=1)
        whole_number(max_answer_tokens, name="max_answer_tokens", least=1)
        whole_number(overlap, name="overlap", least=0)
        if null_threshold is not None and (not isinstance(null_threshold, Real) or isnan(null_threshold)):
            raise UserError(f"null_threshold must be a number of logits, or None; got {null_threshold!r}.")
        asked = check_texts(questions, what="question")
        read = list(contexts)
        if len(read) != len(asked):
            raise UserError(f"got {len(asked)} questions and {len(read)} contexts; need one for each.")
        texts = check_texts(read, what="context")
        decodings = yield from self.engine.spans(
            asked, texts, n_best=n_best, max_answer_tokens=max_answer_tokens, overlap=overlap
        )
        return [
            answers.answer(decoding, text, null_threshold=null_threshold)
            for decoding, text in zip(decodings, texts, strict=True)
        ]

    def fill_mask(
        self, texts: Iterable[object], *, top_k: int = 5, targets: Sequence[str] = ()
    ) -> Steps[list[list[list[Filled]]]]:
        """Candidates for each mask of each text.

        Args:
            texts: the texts.
            top_k: how many candidates for each mask.
            targets: words to choose from, each a single token; None means the whole vocabulary.

        Raises:
            UserError: as `Predictor.fill_mask`, or if a target is not a single token.
        """
        self.engine.require("fill-mask")
        whole_number(top_k, name="top_k", least=1)
        checked = check_texts(texts, what="text")
        vocabulary = self.engine.inputs.vocabulary
        only = [self.engine.inputs.piece_of(word) for word in targets]

        def filled(
            text: str, masks: Sequence[tuple[int, int]], rows: answers.FloatArray
        ) -> list[list[Filled]]:
            return [
                answers.fill(row, vocabulary, top_k=top_k, before=text[:start], after=text[end:], only=only)
                for (start, end), row in zip(masks, rows, strict=True)
            ]

        return (yield from self.engine.masks(checked, filled))

    def rtd(self, texts: Iterable[object]) -> Steps[list[list[SuspectWord]]]:
        """Every word of each text, with the probability that it was replaced."""
        self.engine.require("rtd")
        found = yield from self.engine.tokens(check_texts(texts, what="text"))
        return [
            answers.suspect_words(
                answers.sigmoid(logits), offsets=offsets, words=split_words(text), text=text
            )
            for text, offsets, logits in found
        ]


def _parts(rows: answers.FloatArray, groups: Sequence[Sequence[str]]) -> list[answers.FloatArray]:
    """Split rows into parts with the lengths of the groups."""
    ends = np.cumsum([len(group) for group in groups])
    return [rows[end - len(group) : end] for group, end in zip(groups, ends, strict=True)]


def _words(words: Sequence[object], number: int) -> list[str]:
    """The words of a text; those without characters get no tokens, and the tag O."""
    if wrong := [one for one in words if not isinstance(one, str)]:
        raise UserError(f"text {number}: a word must be a text, got {type(wrong[0]).__name__}.")
    return [str(one) for one in words]
