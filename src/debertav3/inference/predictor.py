"""``Predictor``: text in, answers out. The one user API of inference; imports neither torch nor transformers.

Every method takes one input or a batch, and gives one answer or a list in the same order. A batch is a list
or any other sequence: a tuple, a generator, a numpy array, a pandas Series, a column of ``datasets``. A tuple
of two texts is one pair, where a method takes pairs.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self, overload

import numpy as np

from ..checkpoint.folder import Checkpoint
from ..data.probabilities import Probabilities
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
from .inputs import (
    WINDOW_OVERLAP,
    Text,
    batch_of,
    check_pair,
    check_text,
    check_texts,
    groups_of,
    labels_per_text,
    shortened,
)
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
        checkpoint: what the tokenizer and the backend are of; None if there is no folder.
        probabilities: temperature and thresholds; None takes the logits as they are.
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
        checkpoint: Checkpoint | None = None,
        probabilities: Probabilities | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.probabilities = probabilities or Probabilities()
        self.engine = Engine(
            temperature=self.probabilities.temperature,
            tokenizer=tokenizer,
            backend=backend,
            max_length=max_length,
            batch_tokens=batch_tokens,
            show_progress=show_progress,
            place="this checkpoint" if checkpoint is None else checkpoint.name,
        )
        own = label_names(backend.config)
        self.labels = own if labels is None else given_labels(labels, have=own)

    @classmethod
    def from_pretrained(
        cls,
        checkpoint: str | Path | Checkpoint,
        *,
        task: str | None = None,
        device: str = "auto",
        dtype: str | None = None,
        backend: str = "auto",
        labels: Sequence[str] | None = None,
        max_length: int | None = None,
        batch_tokens: int | None = None,
        calibrated: bool = True,
    ) -> Self:
        """Open a checkpoint.

        Args:
            checkpoint: a local folder, a Hub name, or an opened checkpoint.
            task: one that a head of ``heads.py`` answers; needed only where a checkpoint has two heads.
            device: ``auto`` takes the first of cuda, npu, xpu, mps and cpu that is there.
            dtype: ``fp32`` (the default), ``bf16`` or ``fp16``.
            backend: ``auto``, the fastest for many inputs, ``light``, the soonest with a first answer,
                ``openvino``, ``onnx`` or ``torch``; see `choose_backend.open_backend`.
            labels: names for the head's outputs in their order, for checkpoints that say only ``LABEL_0``.
            max_length: most tokens of one input, special ones included; None takes the checkpoint's.
            batch_tokens: most tokens of a batch, padding included; None takes what suits the device.
            calibrated: use the temperature and thresholds that fine-tuning fitted, if it did; off, the
                probabilities are those of the logits, as with transformers.

        Raises:
            UserError: if the checkpoint, the device or the backend cannot be used.
        """
        how = BackendConfig(backend=backend, device=device, dtype=dtype or "fp32")
        checkpoint = Checkpoint.open(checkpoint)
        opened = open_backend(checkpoint, task=task, how=how)
        return cls(
            tokenizer=checkpoint.tokenizer,
            backend=opened,
            labels=labels,
            max_length=max_length,
            batch_tokens=batch_tokens,
            checkpoint=checkpoint,
            probabilities=checkpoint.probabilities if calibrated else None,
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
    def nli(self, pairs: Iterable[tuple[str, str]]) -> list[dict[str, float]]: ...
    def nli(self, pairs: tuple[str, str] | Iterable[tuple[str, str]]) -> Any:
        """Say whether premises entail hypotheses.

        Args:
            pairs: ``(premise, hypothesis)``, or a batch of such.

        Returns:
            Probabilities under ``entailment``, ``neutral``, ``contradiction`` (or ``entailment``,
            ``not_entailment``), in this order whatever the order of the head.

        Raises:
            UserError: if the head's labels are not known by name.
        """
        self.engine.require("nli")
        columns = self.nli_columns
        batch = batch_of(pairs, what="pair", pairs=True)
        if batch is None:
            return self.nli([pairs])[0]  # type: ignore[list-item]
        checked = [check_pair(pair, what=f"pair {number}") for number, pair in enumerate(batch)]
        return [answers.nli_probabilities(row, columns) for row in self.engine.sequences(checked)]

    @overload
    def classify(self, texts: Text) -> Classification: ...  # type: ignore[overload-overlap]
    @overload
    def classify(self, texts: Iterable[Text]) -> list[Classification]: ...
    def classify(self, texts: Text | Iterable[Text]) -> Any:
        """Classify texts or pairs by the head's own labels.

        Args:
            texts: a text, a pair ``(first, second)``, or a batch of either.
        """
        self.engine.require("classify")
        batch = batch_of(texts, what="text", pairs=True)
        if batch is None:
            return self.classify([texts])[0]  # type: ignore[list-item]
        checked: list[Text] = []
        for number, text in enumerate(batch):
            check = check_pair if isinstance(text, tuple | list) else check_text
            checked.append(check(text, what=f"text {number}"))
        return [
            answers.classification(row, self.labels, is_multi_label=self.is_multi_label)
            for row in self.engine.sequences(checked)
        ]

    @overload
    def zero_shot(  # type: ignore[overload-overlap]
        self, texts: str, labels: Iterable[str], *, multi_label: bool = ..., template: str = ...
    ) -> ZeroShot: ...
    @overload
    def zero_shot(
        self,
        texts: Iterable[str],
        labels: Iterable[str] | Iterable[Iterable[str]],
        *,
        multi_label: bool = ...,
        template: str = ...,
    ) -> list[ZeroShot]: ...
    def zero_shot(
        self,
        texts: str | Iterable[str],
        labels: Iterable[str] | Iterable[Iterable[str]],
        *,
        multi_label: bool = False,
        template: str = TEMPLATE,
    ) -> Any:
        """Rank labels that the model was never trained on, by entailment.

        All labels of all texts share batches, and each different text is tokenized once.

        Args:
            texts: a text, or a batch.
            labels: the candidate labels; for a batch of texts also a list of labels for each.
            multi_label: whether several labels may hold; each is then scored for itself.
            template: the hypothesis, with one ``{}`` for the label.

        Raises:
            UserError: if the head is not an NLI head whose labels are known by name.
        """
        self.engine.require("zero-shot")
        columns = self.nli_columns
        if template.count("{}") != 1:
            raise UserError(f"the template must hold {{}} once, where the label goes; got {template!r}.")
        batch = batch_of(texts, what="text")
        if batch is None:
            return self.zero_shot([texts], labels, multi_label=multi_label, template=template)[0]  # type: ignore[list-item]
        checked = check_texts(batch, what="text")
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
    def rerank(self, query: str, texts: Iterable[str]) -> list[Ranked]: ...  # type: ignore[overload-overlap]
    @overload
    def rerank(self, query: Iterable[str], texts: Iterable[Iterable[str]]) -> list[list[Ranked]]: ...
    def rerank(self, query: str | Iterable[str], texts: Iterable[str] | Iterable[Iterable[str]]) -> Any:
        """Rank texts by how well they answer a query, best first.

        A head with one output is a trained ranker: it reads ``(query, text)``, and its sigmoid is the score.
        An NLI head reads the text as premise and the query as hypothesis; entailment is the score.

        Args:
            query: a query, or a batch of queries.
            texts: the texts; for a batch of queries a list of them for each.

        Raises:
            UserError: if the head is neither.
        """
        self.engine.require("rerank")
        batch = batch_of(query, what="query")
        if batch is None:
            return self.rerank([query], [texts])[0]  # type: ignore[list-item]
        queries = check_texts(batch, what="query")
        given = groups_of(texts, count=len(queries), what="text", each="queries")
        groups = [check_texts(group, what=f"query {number}, text") for number, group in enumerate(given)]
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
    def choose(self, context: str, choices: Iterable[str]) -> Chosen: ...  # type: ignore[overload-overlap]
    @overload
    def choose(self, context: Iterable[str], choices: Iterable[Iterable[str]]) -> list[Chosen]: ...
    def choose(self, context: str | Iterable[str], choices: Iterable[str] | Iterable[Iterable[str]]) -> Any:
        """Choose which of several texts goes with a context or answers a question.

        Every choice is read with the context as one pair, as in training; a question about a passage stands
        before the choice: `tasks.choice` forms such pairs from rows.

        Args:
            context: a context or question, or a batch of them.
            choices: the texts to choose from; for a batch of contexts a list of them for each.
        """
        self.engine.require("choice")
        batch = batch_of(context, what="context")
        if batch is None:
            return self.choose([context], [choices])[0]  # type: ignore[list-item]
        contexts = check_texts(batch, what="context")
        given = groups_of(choices, count=len(contexts), what="choice", each="contexts")
        if not all(given):
            raise UserError(f"a list of choices is empty in {shortened(given)}. Give each context some.")
        groups = [check_texts(group, what=f"context {number}, choice") for number, group in enumerate(given)]
        pairs = [(one, choice) for one, group in zip(contexts, groups, strict=True) for choice in group]
        logits = self.engine.sequences(pairs).reshape(-1)
        return [answers.chosen(own, group) for group, own in zip(groups, _parts(logits, groups), strict=True)]

    @overload
    def ner(self, texts: str, *, aggregation: str = ...) -> list[Entity]: ...  # type: ignore[overload-overlap]
    @overload
    def ner(self, texts: Iterable[str], *, aggregation: str = ...) -> list[list[Entity]]: ...
    def ner(self, texts: str | Iterable[str], *, aggregation: str = "first") -> Any:
        """Find named entities, with the places of their characters; long texts are read in windows.

        Args:
            texts: a text, or a batch.
            aggregation: see `entities.AGGREGATIONS`.
        """
        self.engine.require("ner")
        check_aggregation(aggregation)
        batch = batch_of(texts, what="text")
        if batch is None:
            return self.ner([texts], aggregation=aggregation)[0]  # type: ignore[list-item]
        tagged = [
            TaggedText(text, split_words(text), offsets, answers.softmax(logits))
            for text, offsets, logits in self.engine.tokens(check_texts(batch, what="text"))
        ]
        return [find_entities(one, self.labels, aggregation=aggregation) for one in tagged]

    def tag(self, word_lists: Iterable[Iterable[str]], *, aggregation: str = "first") -> list[list[WordTag]]:
        """Tag given words, one tag for each, as CoNLL files have them.

        Args:
            word_lists: the words of each text; they are read with single spaces between them.
            aggregation: ``first``, ``average`` or ``max``.
        """
        self.engine.require("ner")
        batch = batch_of(word_lists, what="list of words")
        if batch is None:
            raise UserError(f"tag needs lists of words; got {shortened(word_lists)}. For texts use ner.")
        groups = groups_of(batch, count=len(batch), what="word", each="texts")
        joined = [
            join_words(check_texts(words, what=f"text {number}, word")) for number, words in enumerate(groups)
        ]
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
        question: str | Iterable[str],
        context: str | Iterable[str],
        *,
        n_best: int = 1,
        null_threshold: float | None = 0.0,
        max_answer_tokens: int = 30,
        overlap: int = WINDOW_OVERLAP,
    ) -> Any:
        """Find the answer to a question in a context of any length.

        Args:
            question: a question, or a batch.
            context: where to look; for a batch of questions one context for all, or one for each.
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
        batch = batch_of(question, what="question")
        questions = check_texts([question] if batch is None else batch, what="question")
        contexts = batch_of(context, what="context")
        if contexts is None:
            contexts = [context] * len(questions)
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
        return result[0] if batch is None else result

    @overload
    def fill_mask(self, texts: str, *, top_k: int = ...) -> list[list[Filled]]: ...  # type: ignore[overload-overlap]
    @overload
    def fill_mask(self, texts: Iterable[str], *, top_k: int = ...) -> list[list[list[Filled]]]: ...
    def fill_mask(self, texts: str | Iterable[str], *, top_k: int = 5) -> Any:
        """Find the words behind ``[MASK]``.

        Args:
            texts: a text with at least one ``[MASK]``, or a batch of such.
            top_k: how many candidates for each mask.

        Returns:
            For each text a list of candidates, best first, for each of its masks.
        """
        self.engine.require("fill-mask")
        batch = batch_of(texts, what="text")
        if batch is None:
            return self.fill_mask([texts], top_k=top_k)[0]  # type: ignore[list-item]
        vocabulary = self.engine.inputs.vocabulary
        result: list[list[list[Filled]]] = [[] for _ in batch]
        for place, (text, masks, _), logits in self.engine.masks(check_texts(batch, what="text")):
            result[place] = [
                answers.fill(row, vocabulary, top_k=top_k, before=text[:start], after=text[end:])
                for (start, end), row in zip(masks, logits, strict=True)
            ]
        return result

    @overload
    def rtd(self, texts: str) -> list[SuspectWord]: ...  # type: ignore[overload-overlap]
    @overload
    def rtd(self, texts: Iterable[str]) -> list[list[SuspectWord]]: ...
    def rtd(self, texts: str | Iterable[str]) -> Any:
        """Say of every word how likely it stands where another one should (replaced token detection).

        Args:
            texts: a text, or a batch; long ones are read in windows.

        Returns:
            For each text all its words in order.
        """
        self.engine.require("rtd")
        batch = batch_of(texts, what="text")
        if batch is None:
            return self.rtd([texts])[0]  # type: ignore[list-item]
        return [
            answers.suspect_words(
                answers.sigmoid(logits), offsets=offsets, words=split_words(text), text=text
            )
            for text, offsets, logits in self.engine.tokens(check_texts(batch, what="text"))
        ]


def _parts(rows: answers.FloatArray, groups: Sequence[Sequence[str]]) -> list[answers.FloatArray]:
    """Split rows into as many parts as there are groups, each as long as its group."""
    ends = np.cumsum([len(group) for group in groups])
    return [rows[end - len(group) : end] for group, end in zip(groups, ends, strict=True)]
