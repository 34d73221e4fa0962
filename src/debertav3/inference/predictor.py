"""``Predictor``: text in, answers out. The one user API of inference; imports neither torch nor transformers.

Every method takes one input or a ``list``, and gives one answer or a list in the same order; a pair is a
``tuple``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, overload

import numpy as np

from ..errors import UserError
from ..tokenization import DebertaV3Tokenizer
from . import answers
from .answers import Answer, Chosen, Classification, Filled, Ranked, SuspectWord, ZeroShot
from .backends import Backend
from .choose_backend import BackendConfig, open_backend
from .engine import Engine
from .entities import (
    Entity,
    TaggedText,
    WordTag,
    check_aggregation,
    find_entities,
    tag_words,
)
from .inputs import WINDOW_OVERLAP, Text, check_pair, check_text, check_texts, labels_per_text, shortened
from .labels import NLIColumns, given_labels, label_names, nli_columns
from .words import join_words, split_words

TEMPLATE = "This example is {}."
"""The hypothesis of zero-shot classification; ``{}`` stands for the label."""


class Predictor:
    """One checkpoint, ready to answer.

    Args:
        tokenizer: the checkpoint's tokenizer.
        backend: what computes the logits.
        labels: names for the head's outputs in their order, in place of the checkpoint's own.
        max_length: most tokens of one input; None takes the checkpoint's.
        batch_tokens: most tokens of a batch, padding included; None takes the backend's.
        show_progress: a bar on stderr; None shows one on terminals for many inputs.
        place: what to call the checkpoint in messages.
    """

    def __init__(
        self,
        *,
        tokenizer: DebertaV3Tokenizer,
        backend: Backend,
        labels: Sequence[str] | None = None,
        max_length: int | None = None,
        batch_tokens: int | None = None,
        show_progress: bool | None = None,
        place: str = "this checkpoint",
    ) -> None:
        self.engine = Engine(
            tokenizer=tokenizer,
            backend=backend,
            max_length=max_length,
            batch_tokens=batch_tokens,
            show_progress=show_progress,
            place=place,
        )
        own = label_names(backend.config)
        self.labels = own if labels is None else given_labels(labels, have=own)

    @classmethod
    def from_pretrained(
        cls,
        path_or_name: str | Path,
        *,
        task: str | None = None,
        device: str = "auto",
        dtype: str | None = None,
        backend: str = "auto",
        labels: Sequence[str] | None = None,
        max_length: int | None = None,
        batch_tokens: int | None = None,
    ) -> Self:
        """Open a checkpoint.

        Args:
            path_or_name: a local folder or a Hub name.
            task: a key of `backends.HEAD_OF_TASK`; needed only where a checkpoint has two heads.
            device: ``auto`` takes the first of cuda, npu, xpu, mps and cpu that is there.
            dtype: ``fp32`` (the default), ``bf16`` or ``fp16``.
            backend: ``auto``, the fastest for many inputs, ``light``, the soonest with a first answer,
                ``openvino``, ``onnx`` or ``torch``; see `choose_backend.open_backend`.
            labels: names for the head's outputs in their order, for checkpoints that say only ``LABEL_0``.
            max_length: most tokens of one input, special ones included; None takes the checkpoint's.
            batch_tokens: most tokens of a batch, padding included; None takes what suits the device.

        Raises:
            UserError: if the checkpoint, the device or the backend cannot be used.
        """
        how = BackendConfig(backend=backend, device=device, dtype=dtype or "fp32")
        opened = open_backend(path_or_name, task=task, how=how)
        return cls(
            tokenizer=DebertaV3Tokenizer.from_pretrained(path_or_name),
            backend=opened,
            labels=labels,
            max_length=max_length,
            batch_tokens=batch_tokens,
            place=str(path_or_name),
        )

    @property
    def nli_columns(self) -> NLIColumns:
        """Which output is entailment, and so on; a `UserError` if the labels are not known by name."""
        return nli_columns(self.labels, place=self.engine.place)

    @property
    def is_multi_label(self) -> bool:
        """Whether several labels of the head may hold at once."""
        return self.engine.backend.config.get("problem_type") == "multi_label_classification"

    @overload
    def nli(self, pairs: tuple[str, str]) -> dict[str, float]: ...
    @overload
    def nli(self, pairs: list[tuple[str, str]]) -> list[dict[str, float]]: ...
    def nli(self, pairs: tuple[str, str] | list[tuple[str, str]]) -> Any:
        """Say whether premises entail hypotheses.

        Args:
            pairs: ``(premise, hypothesis)``, or a list of such.

        Returns:
            Probabilities under ``entailment``, ``neutral``, ``contradiction`` (or ``entailment``,
            ``not_entailment``), in this order whatever the order of the head.

        Raises:
            UserError: if the head's labels are not known by name.
        """
        self.engine.require("nli")
        columns = self.nli_columns
        if not isinstance(pairs, list):
            return self.nli([pairs])[0]
        checked = [check_pair(pair, what=f"pair {number}") for number, pair in enumerate(pairs)]
        return [answers.nli_probabilities(row, columns) for row in self.engine.sequences(checked)]

    @overload
    def classify(self, texts: Text) -> Classification: ...
    @overload
    def classify(self, texts: list[Text] | list[str] | list[tuple[str, str]]) -> list[Classification]: ...
    def classify(self, texts: Text | list[Text] | list[str] | list[tuple[str, str]]) -> Any:
        """Classify texts or pairs by the head's own labels.

        Args:
            texts: a text, a pair ``(first, second)``, or a list of such.
        """
        self.engine.require("classify")
        if not isinstance(texts, list):
            return self.classify([texts])[0]
        checked: list[Text] = []
        for number, text in enumerate(texts):
            check = check_pair if isinstance(text, tuple | list) else check_text
            checked.append(check(text, what=f"text {number}"))
        return [
            answers.classification(row, self.labels, is_multi_label=self.is_multi_label)
            for row in self.engine.sequences(checked)
        ]

    @overload
    def zero_shot(
        self, texts: str, labels: list[str], *, multi_label: bool = ..., template: str = ...
    ) -> ZeroShot: ...
    @overload
    def zero_shot(
        self,
        texts: list[str],
        labels: list[str] | list[list[str]],
        *,
        multi_label: bool = ...,
        template: str = ...,
    ) -> list[ZeroShot]: ...
    def zero_shot(
        self,
        texts: str | list[str],
        labels: list[str] | list[list[str]],
        *,
        multi_label: bool = False,
        template: str = TEMPLATE,
    ) -> Any:
        """Rank labels that the model was never trained on, by entailment.

        All labels of all texts share batches, and each different text is tokenized once.

        Args:
            texts: a text, or a list.
            labels: the candidate labels; for a list of texts also a list of labels for each.
            multi_label: whether several labels may hold; each is then scored for itself.
            template: the hypothesis, with one ``{}`` for the label.

        Raises:
            UserError: if the head is not an NLI head whose labels are known by name.
        """
        self.engine.require("zero-shot")
        columns = self.nli_columns
        if template.count("{}") != 1:
            raise UserError(f"the template must hold {{}} once, where the label goes; got {template!r}.")
        if not isinstance(texts, list):
            return self.zero_shot([texts], labels, multi_label=multi_label, template=template)[0]
        checked = check_texts(texts, what="text")
        candidates = labels_per_text(labels, num_texts=len(checked))
        logits = self.engine.sequences(
            [
                (text, template.replace("{}", label))
                for text, own in zip(checked, candidates, strict=True)
                for label in own
            ]
        )
        return [
            answers.zero_shot(rows, columns, text=text, labels=own, multi_label=multi_label)
            for text, own, rows in zip(checked, candidates, _parts(logits, candidates), strict=True)
        ]

    @overload
    def rerank(self, query: str, texts: list[str]) -> list[Ranked]: ...
    @overload
    def rerank(self, query: list[str], texts: list[list[str]]) -> list[list[Ranked]]: ...
    def rerank(self, query: str | list[str], texts: list[str] | list[list[str]]) -> Any:
        """Rank texts by how well they answer a query, best first.

        A head with one output is a trained ranker: it reads ``(query, text)``, and its sigmoid is the score.
        An NLI head reads the text as premise and the query as hypothesis; entailment is the score.

        Args:
            query: a query, or a list of queries.
            texts: the texts; for a list of queries a list of them for each.

        Raises:
            UserError: if the head is neither.
        """
        self.engine.require("rerank")
        if not isinstance(query, list):
            return self.rerank([query], [texts])[0]  # type: ignore[list-item]
        queries = check_texts(query, what="query")
        if len(texts) != len(queries) or not all(isinstance(group, list) for group in texts):
            raise UserError(
                f"need one list of texts for each of the {len(queries)} queries; got {shortened(texts)}."
            )
        groups = [check_texts(group, what=f"query {number}, text") for number, group in enumerate(texts)]
        pairs = [(one, text) for one, group in zip(queries, groups, strict=True) for text in group]
        if len(self.labels) == 1:
            scores = answers.sigmoid(self.engine.sequences(pairs)).reshape(-1)
        else:
            columns = self.nli_columns
            logits = self.engine.sequences([(text, one) for one, text in pairs])
            scores = answers.entailment_scores(logits, columns) if pairs else np.empty(0)
        return [
            answers.ranking(own, group) for group, own in zip(groups, _parts(scores, groups), strict=True)
        ]

    @overload
    def choose(self, context: str, choices: list[str]) -> Chosen: ...
    @overload
    def choose(self, context: list[str], choices: list[list[str]]) -> list[Chosen]: ...
    def choose(self, context: str | list[str], choices: list[str] | list[list[str]]) -> Any:
        """Choose which of several texts goes with a context or answers a question.

        Every choice is read with the context as one pair, as in training; a question about a passage stands
        before the choice: `data.choices` forms such pairs from rows.

        Args:
            context: a context or question, or a list of them.
            choices: the texts to choose from; for a list of contexts a list of them for each.
        """
        self.engine.require("choice")
        if not isinstance(context, list):
            return self.choose([context], [choices])[0]  # type: ignore[list-item]
        contexts = check_texts(context, what="context")
        is_grouped = all(isinstance(group, list) and group for group in choices)
        if len(choices) != len(contexts) or not is_grouped:
            raise UserError(
                f"need a list of choices, not empty, for each of {len(contexts)} contexts; "
                f"got {shortened(choices)}."
            )
        groups = [
            check_texts(group, what=f"context {number}, choice") for number, group in enumerate(choices)
        ]
        pairs = [(one, choice) for one, group in zip(contexts, groups, strict=True) for choice in group]
        logits = self.engine.sequences(pairs).reshape(-1)
        return [answers.chosen(own, group) for group, own in zip(groups, _parts(logits, groups), strict=True)]

    @overload
    def ner(self, texts: str, *, aggregation: str = ...) -> list[Entity]: ...
    @overload
    def ner(self, texts: list[str], *, aggregation: str = ...) -> list[list[Entity]]: ...
    def ner(self, texts: str | list[str], *, aggregation: str = "first") -> Any:
        """Find named entities, with the places of their characters; long texts are read in windows.

        Args:
            texts: a text, or a list.
            aggregation: see `entities.AGGREGATIONS`.
        """
        self.engine.require("ner")
        check_aggregation(aggregation)
        if not isinstance(texts, list):
            return self.ner([texts], aggregation=aggregation)[0]
        tagged = [
            TaggedText(text, split_words(text), offsets, answers.softmax(logits))
            for text, offsets, logits in self.engine.tokens(check_texts(texts, what="text"))
        ]
        return [find_entities(one, self.labels, aggregation=aggregation) for one in tagged]

    def tag(self, word_lists: list[list[str]], *, aggregation: str = "first") -> list[list[WordTag]]:
        """Tag given words, one tag for each, as CoNLL files have them.

        Args:
            word_lists: the words of each text; they are read with single spaces between them.
            aggregation: ``first``, ``average`` or ``max``.
        """
        self.engine.require("ner")
        joined = [join_words(words) for words in word_lists]
        texts = check_texts([text for text, _ in joined], what="text")
        return [
            tag_words(
                TaggedText(text, spans, offsets, answers.softmax(logits)),
                self.labels,
                aggregation=aggregation,
            )
            for (_, spans), (text, offsets, logits) in zip(joined, self.engine.tokens(texts), strict=True)
        ]

    def qa(
        self,
        question: str | list[str],
        context: str | list[str],
        *,
        n_best: int = 1,
        null_threshold: float | None = 0.0,
        max_answer_tokens: int = 30,
        overlap: int = WINDOW_OVERLAP,
    ) -> Any:
        """Find the answer to a question in a context of any length.

        Args:
            question: a question, or a list.
            context: where to look; for a list of questions one context for all, or one for each.
            n_best: how many candidates to return.
            null_threshold: by how many logits "no answer" must lead the best span to win; None always
                answers, which suits models trained without unanswerable questions (SQuAD 1.1).
            max_answer_tokens: most tokens of an answer.
            overlap: tokens that the windows of a long context share.

        Returns:
            An `Answer`, or a list of them.
        """
        self.engine.require("qa")
        if n_best < 1 or max_answer_tokens < 1 or overlap < 0:
            found = f"{n_best}, {max_answer_tokens} and {overlap}"
            raise UserError(
                f"n_best and max_answer_tokens must be at least 1, overlap at least 0; got {found}."
            )
        questions = check_texts(question if isinstance(question, list) else [question], what="question")
        contexts = context if isinstance(context, list) else [context] * len(questions)
        if len(contexts) != len(questions):
            raise UserError(
                f"got {len(questions)} questions and {len(contexts)} contexts; need one for each."
            )
        decodings = self.engine.spans(
            questions,
            check_texts(contexts, what="context"),
            n_best=n_best,
            max_answer_tokens=max_answer_tokens,
            overlap=overlap,
        )
        result: list[Answer] = [
            answers.answer(decoding, text, null_threshold=null_threshold)
            for decoding, text in zip(decodings, contexts, strict=True)
        ]
        return result if isinstance(question, list) else result[0]

    @overload
    def fill_mask(self, texts: str, *, top_k: int = ...) -> list[list[Filled]]: ...
    @overload
    def fill_mask(self, texts: list[str], *, top_k: int = ...) -> list[list[list[Filled]]]: ...
    def fill_mask(self, texts: str | list[str], *, top_k: int = 5) -> Any:
        """Find the words behind ``[MASK]``.

        Args:
            texts: a text with at least one ``[MASK]``, or a list of such.
            top_k: how many candidates for each mask.

        Returns:
            For each text a list of candidates, best first, for each of its masks.
        """
        self.engine.require("fill-mask")
        if not isinstance(texts, list):
            return self.fill_mask([texts], top_k=top_k)[0]
        vocabulary = self.engine.inputs.vocabulary
        result: list[list[list[Filled]]] = [[] for _ in texts]
        for place, (text, masks, _), logits in self.engine.masks(check_texts(texts, what="text")):
            result[place] = [
                answers.fill(row, vocabulary, top_k=top_k, before=text[:start], after=text[end:])
                for (start, end), row in zip(masks, logits, strict=True)
            ]
        return result

    @overload
    def rtd(self, texts: str) -> list[SuspectWord]: ...
    @overload
    def rtd(self, texts: list[str]) -> list[list[SuspectWord]]: ...
    def rtd(self, texts: str | list[str]) -> Any:
        """Say of every word how likely it stands where another one should (replaced token detection).

        Args:
            texts: a text, or a list; long ones are read in windows.

        Returns:
            For each text all its words in order.
        """
        self.engine.require("rtd")
        if not isinstance(texts, list):
            return self.rtd([texts])[0]
        return [
            answers.suspect_words(
                answers.sigmoid(logits), offsets=offsets, words=split_words(text), text=text
            )
            for text, offsets, logits in self.engine.tokens(check_texts(texts, what="text"))
        ]


def _parts(rows: answers.FloatArray, groups: Sequence[Sequence[str]]) -> list[answers.FloatArray]:
    """Split rows into as many parts as there are groups, each as long as its group."""
    ends = np.cumsum([len(group) for group in groups])
    return [rows[end - len(group) : end] for group, end in zip(groups, ends, strict=True)]
