"""``Predictor``: the Python API for prediction. Imports neither torch nor transformers.

Every method takes one input or a batch, and returns one answer or a list in the same order. A batch is a list
or any other sequence: a tuple, a generator, a numpy array, a pandas Series, a column of ``datasets``. A tuple
of two texts is one pair, in methods that take pairs.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar, overload

from ..checkpoint.folder import Checkpoint
from ..data.probabilities import Probabilities
from ..errors import UserError
from ..tokenization import DebertaV3Tokenizer
from .answers import Answer, Chosen, Classification, Filled, Ranked, SuspectWord, ZeroShotScores
from .backends.choose import AUTO, BackendConfig, open_backend
from .backends.deferred import DeferredBackend
from .backends.fastest import Auto
from .backends.protocol import Backend
from .engine import Engine, Steps
from .entities import Entity, WordTag
from .inputs import WINDOW_OVERLAP, Text, batch_of, groups_of, shortened
from .output_labels import NLIColumns, given_labels, label_names
from .task_steps import TEMPLATE, TaskSteps

if TYPE_CHECKING:
    import torch

One = TypeVar("One")


class Predictor:
    """A checkpoint that is loaded for prediction.

    Args:
        tokenizer: the checkpoint's tokenizer.
        backend: what computes the logits.
        labels: names of the head's outputs, in order, instead of the checkpoint's own.
        max_length: maximum tokens per input; None: the checkpoint's.
        batch_tokens: maximum tokens per batch, including padding; None: the backend's default.
        show_progress: show a progress bar on stderr; None: on terminals, for many inputs.
        checkpoint: where the tokenizer and the backend come from; None if there is no folder.
        probabilities: temperature and thresholds; None: use the logits as they are.
        auto: may change the backend before large inputs; None: keep it.
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
        auto: Auto | None = None,
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
            auto=auto,
        )
        own = label_names(backend.config)
        self.labels = own if labels is None else given_labels(labels, have=own)
        fitted = self.probabilities.thresholds  # by the checkpoint's names; an output keeps its threshold
        renamed = {new: fitted[old] for old, new in zip(own, self.labels, strict=True) if old in fitted}
        self.probabilities = replace(self.probabilities, thresholds=renamed)
        self.steps = TaskSteps(self.engine, self.labels)

    @classmethod
    def from_pretrained(
        cls,
        checkpoint: str | Path | Checkpoint,
        *,
        task: str | None = None,
        device: "str | torch.device" = "auto",
        dtype: str | None = None,
        backend: str = "auto",
        labels: Sequence[str] | None = None,
        max_length: int | None = None,
        batch_tokens: int | None = None,
        calibrated: bool = True,
        deferred: bool = False,
    ) -> Self:
        """Load a checkpoint.

        Args:
            checkpoint: a local folder, a Hub name, or an opened checkpoint.
            task: a task of a head in ``heads.py``; required only if the checkpoint has two heads.
            device: ``auto``: the first available of cuda, npu, xpu, mps and cpu; or a `torch.device`.
            dtype: ``fp32`` (the default), ``bf16`` or ``fp16``.
            backend: ``auto``, the fastest on this machine (measured before large inputs), ``light``, the one
                with the fastest first answer, ``native``, ``openvino``, ``onnx`` or ``torch``: see
                `backends.choose.ways`.
            labels: names of the head's outputs, in order, for checkpoints with only ``LABEL_0`` and so on.
            max_length: maximum tokens per input, including special tokens; None: the checkpoint's.
            batch_tokens: maximum tokens per batch, including padding; None: chosen by device.
            calibrated: apply the temperature and thresholds that fine-tuning fitted, if any; if False,
                probabilities come straight from the logits, as in transformers.
            deferred: load the weights with the first batch; labels, lengths and task are still checked at
                once.

        Raises:
            UserError: if the checkpoint, the device or the backend cannot be used.
        """
        how = BackendConfig(backend=backend, device=str(device), dtype=dtype or "fp32")
        checkpoint = Checkpoint.open(checkpoint)
        opening = DeferredBackend if deferred else open_backend
        opened = opening(checkpoint, task=task, how=how)
        return cls(
            tokenizer=checkpoint.tokenizer,
            backend=opened,
            labels=labels,
            max_length=max_length,
            batch_tokens=batch_tokens,
            checkpoint=checkpoint,
            probabilities=checkpoint.probabilities if calibrated else None,
            auto=Auto(checkpoint, task, how) if backend == AUTO else None,
        )

    @property
    def nli_columns(self) -> NLIColumns:
        """The output index of each NLI label; a `UserError` if the labels have no known names."""
        return self.steps.nli_columns

    @property
    def is_multi_label(self) -> bool:
        """Whether several labels of the head may apply at once."""
        return self.steps.is_multi_label

    @overload
    def nli(self, pairs: tuple[str, str]) -> dict[str, float]: ...
    @overload
    def nli(self, pairs: Iterable[tuple[str, str]]) -> list[dict[str, float]]: ...
    def nli(
        self, pairs: tuple[str, str] | Iterable[tuple[str, str]]
    ) -> dict[str, float] | list[dict[str, float]]:
        """Classify whether premises entail hypotheses.

        Args:
            pairs: ``(premise, hypothesis)``, or a batch of pairs.

        Returns:
            Probabilities under ``entailment``, ``neutral``, ``contradiction`` (or ``entailment``,
            ``not_entailment``), in this order whatever the order of the head.

        Raises:
            UserError: if the head's labels have no known names.
        """
        batch = batch_of(pairs, what="pair", pairs=True)
        return self._answer(self.steps.nli, pairs, batch)

    @overload
    def classify(self, texts: Text) -> Classification: ...  # type: ignore[overload-overlap]
    @overload
    def classify(self, texts: Iterable[Text]) -> list[Classification]: ...
    def classify(self, texts: Text | Iterable[Text]) -> Classification | list[Classification]:
        """Classify texts or pairs with the head's own labels.

        Args:
            texts: a text, a pair ``(first, second)``, or a batch of either.
        """
        batch = batch_of(texts, what="text", pairs=True)
        return self._answer(self.steps.classify, texts, batch)

    @overload
    def zero_shot(  # type: ignore[overload-overlap]
        self, texts: str, labels: Iterable[str], *, multi_label: bool = ..., template: str = ...
    ) -> ZeroShotScores: ...
    @overload
    def zero_shot(
        self,
        texts: Iterable[str],
        labels: Iterable[str] | Iterable[Iterable[str]],
        *,
        multi_label: bool = ...,
        template: str = ...,
    ) -> list[ZeroShotScores]: ...
    def zero_shot(
        self,
        texts: str | Iterable[str],
        labels: Iterable[str] | Iterable[Iterable[str]],
        *,
        multi_label: bool = False,
        template: str = TEMPLATE,
    ) -> ZeroShotScores | list[ZeroShotScores]:
        """Rank arbitrary labels for texts, by entailment.

        All labels of all texts share batches, and each different text is tokenized once.

        Args:
            texts: a text, or a batch.
            labels: the candidate labels; for a batch of texts, optionally one list of labels per text.
            multi_label: whether several labels may apply; each is then scored independently.
            template: the hypothesis, with one ``{}`` for the label.

        Raises:
            UserError: unless the head is an NLI head with known label names.
        """
        batch = batch_of(texts, what="text")
        return self._answer(
            self.steps.zero_shot, texts, batch, labels, multi_label=multi_label, template=template
        )

    @overload
    def rerank(self, query: str, texts: Iterable[str]) -> list[Ranked]: ...  # type: ignore[overload-overlap]
    @overload
    def rerank(self, query: Iterable[str], texts: Iterable[Iterable[str]]) -> list[list[Ranked]]: ...
    def rerank(
        self, query: str | Iterable[str], texts: Iterable[str] | Iterable[Iterable[str]]
    ) -> list[Ranked] | list[list[Ranked]]:
        """Rank texts by how well they answer a query, best first.

        A head with one output is a trained ranker: it reads ``(query, text)``, and its sigmoid is the score.
        So is one with two labels, such as ``relevant`` and ``not_relevant``: the probability of the
        positive one is the score.
        An NLI head reads the text as premise and the query as hypothesis; entailment is the score.

        Args:
            query: a query, or a batch of queries.
            texts: the texts; for a batch of queries, one list per query.

        Raises:
            UserError: if the head is none of these.
        """
        batch = batch_of(query, what="query")
        return self._answer(self.steps.rerank, query, batch, texts if batch is not None else [texts])

    @overload
    def choose(self, context: str, choices: Iterable[str]) -> Chosen: ...  # type: ignore[overload-overlap]
    @overload
    def choose(self, context: Iterable[str], choices: Iterable[Iterable[str]]) -> list[Chosen]: ...
    def choose(
        self, context: str | Iterable[str], choices: Iterable[str] | Iterable[Iterable[str]]
    ) -> Chosen | list[Chosen]:
        """Choose the text that best fits a context or answers a question.

        Every choice forms a pair with the context, as in training; a question about a passage precedes
        the choice: `tasks.choice` forms such pairs from rows.

        Args:
            context: a context or question, or a batch of them.
            choices: the texts to choose from; for a batch of contexts, one list per context.
        """
        batch = batch_of(context, what="context")
        return self._answer(self.steps.choose, context, batch, choices if batch is not None else [choices])

    @overload
    def ner(self, texts: str, *, aggregation: str = ...) -> list[Entity]: ...  # type: ignore[overload-overlap]
    @overload
    def ner(self, texts: Iterable[str], *, aggregation: str = ...) -> list[list[Entity]]: ...
    def ner(
        self, texts: str | Iterable[str], *, aggregation: str = "first"
    ) -> list[Entity] | list[list[Entity]]:
        """Find named entities and their character offsets; long texts are read in windows.

        Args:
            texts: a text, or a batch.
            aggregation: see `entities.AGGREGATIONS`.
        """
        batch = batch_of(texts, what="text")
        return self._answer(self.steps.ner, texts, batch, aggregation=aggregation)

    def tag(self, word_lists: Iterable[Iterable[str]], *, aggregation: str = "first") -> list[list[WordTag]]:
        """Tag given words, with one tag per word, as in CoNLL files.

        Args:
            word_lists: the words of each text; they are joined with single spaces.
            aggregation: ``first``, ``average`` or ``max``.
        """
        batch = batch_of(word_lists, what="list of words")
        if batch is None:
            raise UserError(f"tag needs lists of words; got {shortened(word_lists)}. For texts use ner.")
        groups = groups_of(batch, count=len(batch), what="word", each="texts")
        return self.engine.run(self.steps.tag(groups, aggregation=aggregation))

    @overload
    def qa(  # type: ignore[overload-overlap]
        self,
        question: str,
        context: str,
        *,
        n_best: int = ...,
        null_threshold: float | None = ...,
        max_answer_tokens: int = ...,
        overlap: int = ...,
    ) -> Answer: ...
    @overload
    def qa(
        self,
        question: Iterable[str],
        context: str | Iterable[str],
        *,
        n_best: int = ...,
        null_threshold: float | None = ...,
        max_answer_tokens: int = ...,
        overlap: int = ...,
    ) -> list[Answer]: ...
    def qa(
        self,
        question: str | Iterable[str],
        context: str | Iterable[str],
        *,
        n_best: int = 1,
        null_threshold: float | None = 0.0,
        max_answer_tokens: int = 30,
        overlap: int = WINDOW_OVERLAP,
    ) -> Answer | list[Answer]:
        """Find the answer to a question in a context of any length.

        Args:
            question: a question, or a batch.
            context: the text to search; for a batch of questions, one context for all, or one per question.
            n_best: how many candidates to return.
            null_threshold: "no answer" wins if its logit exceeds that of the best span by more than this;
                None always answers, which suits models trained without unanswerable questions (SQuAD 1.1).
            max_answer_tokens: maximum tokens in an answer.
            overlap: tokens that the windows of a long context share.

        Returns:
            An `Answer`, or a list of them.
        """
        batch = batch_of(question, what="question")
        contexts = batch_of(context, what="context")
        if contexts is None:
            contexts = [context] * (1 if batch is None else len(batch))
        return self._answer(
            self.steps.qa,
            question,
            batch,
            contexts,
            n_best=n_best,
            null_threshold=null_threshold,
            max_answer_tokens=max_answer_tokens,
            overlap=overlap,
        )

    @overload
    def fill_mask(self, texts: str, *, top_k: int = ...) -> list[list[Filled]]: ...  # type: ignore[overload-overlap]
    @overload
    def fill_mask(self, texts: Iterable[str], *, top_k: int = ...) -> list[list[list[Filled]]]: ...
    def fill_mask(
        self, texts: str | Iterable[str], *, top_k: int = 5
    ) -> list[list[Filled]] | list[list[list[Filled]]]:
        """Predict the words for ``[MASK]``.

        Args:
            texts: a text with at least one ``[MASK]``, or a batch of such texts.
            top_k: candidates per mask.

        Returns:
            For each text, a list of candidates for each of its masks, best first.
        """
        return self._answer(self.steps.fill_mask, texts, batch_of(texts, what="text"), top_k=top_k)

    @overload
    def rtd(self, texts: str) -> list[SuspectWord]: ...  # type: ignore[overload-overlap]
    @overload
    def rtd(self, texts: Iterable[str]) -> list[list[SuspectWord]]: ...
    def rtd(self, texts: str | Iterable[str]) -> list[SuspectWord] | list[list[SuspectWord]]:
        """Compute for every word the probability that it was replaced (replaced token detection).

        Args:
            texts: a text, or a batch; long ones are read in windows.

        Returns:
            For each text, all its words in order.
        """
        return self._answer(self.steps.rtd, texts, batch_of(texts, what="text"))

    def _answer(
        self,
        task: Callable[..., Steps[list[One]]],
        one: object,
        batch: Sequence[object] | None,
        *others: object,
        **options: object,
    ) -> One | list[One]:
        """Answer a batch, or ``one`` input where there is none."""
        if batch is None:
            return self.engine.run(task([one], *others, **options))[0]
        return self.engine.run(task(batch, *others, **options))
