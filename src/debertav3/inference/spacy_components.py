"""spaCy pipeline components: ``nlp.add_pipe("debertav3_ner")`` and ``nlp.add_pipe("debertav3_textcat")``.

spaCy finds them by the entry points in ``pyproject.toml`` (group ``spacy_factories``) and imports this module
when one of them is added to a pipeline.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..errors import MissingExtraError, UserError
from .entities import Entity
from .predictor import TEMPLATE, Predictor

try:
    from spacy.language import Language
    from spacy.tokens import Doc, Span, SpanGroup
    from spacy.util import filter_spans, minibatch
except ImportError as error:
    raise MissingExtraError(feature="a spaCy component", package="spacy", extra="spacy") from error

logger = logging.getLogger(__name__)

SPANS_KEY = "debertav3"
"""Entities with their scores are in ``doc.spans`` under this key, unless the pipeline's config names another;
``attrs["scores"]`` has one for each span."""


class _Component:
    """What both components share: documents go through the predictor in batches, and nothing is stored.

    A saved pipeline holds the model's name, not its weights: ``spacy.load`` opens the model again.
    """

    def __call__(self, doc: Doc) -> Doc:
        """Annotate one document."""
        return next(self.pipe([doc], batch_size=1))

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 256) -> Iterator[Doc]:
        """Annotate documents, ``batch_size`` of them at a time; empty ones are passed on as they are."""
        for docs in minibatch(stream, batch_size):
            batch = list(docs)
            self._annotate([doc for doc in batch if doc.text.strip()])
            yield from batch

    def _annotate(self, docs: list[Doc]) -> None:
        raise NotImplementedError

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Store nothing: the pipeline's config names the model."""

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> "_Component":
        """Read nothing."""
        return self


class NERComponent(_Component):
    """Adds entities to ``doc.ents``, and all that it finds with their scores to ``doc.spans``.

    Args:
        predictor: a token classification model.
        aggregation: see `entities.AGGREGATIONS`.
        min_score: entities below this probability are dropped.
        overwrite: whether they replace those of earlier components that they overlap with; otherwise
            the earlier ones stay, as with spaCy's ``entity_ruler``.
        spans_key: their key in ``doc.spans``; spans that are there already stay.
    """

    def __init__(
        self, predictor: Predictor, *, aggregation: str, min_score: float, overwrite: bool, spans_key: str
    ) -> None:
        self.predictor, self.aggregation, self.min_score = predictor, aggregation, min_score
        self.overwrite, self.spans_key = overwrite, spans_key

    def _annotate(self, docs: list[Doc]) -> None:
        found = self.predictor.ner([doc.text for doc in docs], aggregation=self.aggregation)
        for doc, entities in zip(docs, found, strict=True):
            kept = [entity for entity in entities if entity["score"] >= self.min_score]
            self._write(doc, kept)

    def _write(self, doc: Doc, entities: list[Entity]) -> None:
        """Entities as spans of spaCy's tokens; one that ends inside a token takes the whole token."""
        score_of: dict[Span, float] = {}
        for entity in entities:
            span = doc.char_span(
                entity["start"], entity["end"], label=entity["entity_group"], alignment_mode="expand"
            )
            if span is not None:
                score_of[span] = max(entity["score"], score_of.get(span, 0.0))
        spans = filter_spans(score_of)
        if len(spans) < len(entities):
            lost = len(entities) - len(spans)
            logger.warning("%d entities share a token of spaCy with another one and were dropped", lost)
        doc.set_ents(_merged(spans, doc.ents) if self.overwrite else _merged(doc.ents, spans))
        self._add_scored(doc, {span: score_of[span] for span in spans})

    def _add_scored(self, doc: Doc, score_of: dict[Span, float]) -> None:
        """Spans and scores behind those under the key; spans of other components have no score (None)."""
        known = list(doc.spans[self.spans_key]) if self.spans_key in doc.spans else []
        scores: list[float | None] = [None] * len(known)
        if known:
            given = doc.spans[self.spans_key].attrs.get("scores", ())
            scores = list(given) if len(given) == len(known) else scores
        added = [span for span in score_of if span not in known]
        scores += [score_of[span] for span in added]
        doc.spans[self.spans_key] = SpanGroup(
            doc, name=self.spans_key, spans=known + added, attrs={"scores": scores}
        )


def _merged(first: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """All of the first, and those of the others that share no token with them."""
    taken = {token.i for span in first for token in span}
    return [*first, *(span for span in others if taken.isdisjoint(token.i for token in span))]


class TextCatComponent(_Component):
    """Adds to ``doc.cats`` the classifier's probability of each label, or of each zero-shot label.

    Args:
        predictor: a classifier, or an NLI model where ``labels`` are given.
        labels: candidate labels for zero-shot classification; None takes the classifier's own.
        template: the hypothesis of zero-shot classification.
        multi_label: whether several zero-shot labels may hold.
    """

    def __init__(
        self, predictor: Predictor, *, labels: list[str] | None, template: str, multi_label: bool
    ) -> None:
        self.predictor, self.labels = predictor, labels
        self.template, self.multi_label = template, multi_label
        if labels is None and len(predictor.labels) == 1:
            raise UserError("debertav3_textcat needs a classifier; this model predicts one number.")

    def _annotate(self, docs: list[Doc]) -> None:
        texts = [doc.text for doc in docs]
        if self.labels is None:
            for doc, answer in zip(docs, self.predictor.classify(texts), strict=True):
                doc.cats.update(answer["scores"])
            return
        ranked = self.predictor.zero_shot(
            texts, self.labels, multi_label=self.multi_label, template=self.template
        )
        for doc, one in zip(docs, ranked, strict=True):
            doc.cats.update(zip(one["labels"], one["scores"], strict=True))


_OPENING = {"model": "", "backend": "auto", "device": "auto"}


@Language.factory(
    "debertav3_ner",
    assigns=["doc.ents", "token.ent_iob", "token.ent_type"],
    default_config={
        **_OPENING,
        "aggregation": "first",
        "min_score": 0.0,
        "overwrite": False,
        "spans_key": SPANS_KEY,
    },
)
def make_ner(
    nlp: Language,
    name: str,
    model: str,
    backend: str,
    device: str,
    aggregation: str,
    min_score: float,
    overwrite: bool,
    spans_key: str,
) -> NERComponent:
    """Entities of a token classification checkpoint: ``nlp.add_pipe(name, config={"model": FOLDER})``."""
    predictor = _open(name, model, task="ner", backend=backend, device=device)
    return NERComponent(
        predictor,
        aggregation=aggregation,
        min_score=min_score,
        overwrite=overwrite,
        spans_key=spans_key,
    )


@Language.factory(
    "debertav3_textcat",
    assigns=["doc.cats"],
    default_config={**_OPENING, "labels": None, "template": TEMPLATE, "multi_label": False},
)
def make_textcat(
    nlp: Language,
    name: str,
    model: str,
    backend: str,
    device: str,
    labels: list[str] | None,
    template: str,
    multi_label: bool,
) -> TextCatComponent:
    """Labels of a classifier, or of an NLI model and ``labels``: ``config={"model": FOLDER}``."""
    task = "classify" if labels is None else "zero-shot"
    predictor = _open(name, model, task=task, backend=backend, device=device)
    return TextCatComponent(predictor, labels=labels, template=template, multi_label=multi_label)


def _open(name: str, model: str, *, task: str, backend: str, device: str) -> Predictor:
    if not model:
        raise UserError(
            f'{name} needs a model: nlp.add_pipe("{name}", config={{"model": "a folder or a Hub name"}})'
        )
    return Predictor.from_pretrained(model, task=task, backend=backend, device=device)
