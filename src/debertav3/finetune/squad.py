"""Answers in a text: SQuAD 1.1 and 2.0, in windows over long contexts, cut from the original text.

The official repository has no SQuAD task; this follows the windows of BERT (``data/spans.py``) and scores as
SQuAD's ``evaluate-v2.0.py`` does, to the last digit.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.fields import text_in
from ..data.jsonl import read_lines
from ..data.scores import answer_f1, exact_match
from ..data.spans import SpanDecoding, Window, answer_positions, decode_spans
from ..errors import UserError
from .fields import kept_examples
from .outcomes import Outcome
from .rows import Row, read_rows, suffix_of
from .task import Example, Head, Task

if TYPE_CHECKING:
    from .batches import EncodedDataset
    from .config import FinetuneConfig
    from .losses import LossFunction
    from .sift import Divergence

_ENCODE_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Gold:
    """The accepted answers of a question."""

    id: str
    answers: tuple[str, ...]
    """Empty: the context has no answer."""
    start: int | None
    """First character of the first answer; None without one."""


@dataclass(frozen=True, slots=True)
class WindowOrigin:
    """Where a window comes from."""

    example: int
    window: Window
    offsets: list[tuple[int, int]]
    """Characters of every token of the whole context."""
    null: int
    """Place of [CLS], which stands for "no answer"."""


@dataclass(frozen=True, kw_only=True)
class SpanTask(Task):
    """Find the answer to a question in a context, or say that there is none."""

    name: str
    has_unanswerable: bool
    head: Head = "question-answering"

    @property
    def best_metric(self) -> str:
        """F1 of words; with the best threshold where there may be no answer."""
        return "best_f1" if self.has_unanswerable else "f1"

    def read(self, source: str) -> list[Example]:
        """Read official SQuAD JSON, or rows as on the Hub (``question``, ``context``, ``answers``)."""
        is_official = suffix_of(source) == ".json"
        questions = _official_questions(source) if is_official else _row_questions(source)
        examples, passed_over = [], 0
        for example in questions:
            if not example.extra.answers and not self.has_unanswerable:
                passed_over += 1
                continue
            examples.append(example)
        return kept_examples(examples, passed_over, source=source, needs="question, context and answers")

    def choose_labels(self, examples: Sequence[Example], *, source: str) -> tuple[str, ...]:
        """None: the head names a first and a last token."""
        if not any(example.extra.answers for example in examples):
            raise UserError(f"{source}: no question has an answer; need some to train.")
        return ()

    def encode(
        self, examples: Sequence[Example], tokenizer: Any, *, labels: Sequence[str], config: "FinetuneConfig"
    ) -> "EncodedDataset":
        """Lay every question out over windows of its context; labels are places of answers or [CLS]."""
        from .baselines import PairLayout
        from .batches import EncodedDataset

        layout = PairLayout.of(tokenizer)
        features, origins = [], []
        for number, (question, context, offsets) in enumerate(_encoded_pairs(examples, tokenizer)):
            gold: Gold = examples[number].extra
            windows = layout.windows(
                question, context, max_length=config.data.max_length, overlap=config.data.window_overlap
            )
            for window in windows:
                null = len(window.input_ids) - 1 if layout.has_cls_last else 0
                places = (null, null)
                if gold.start is not None:
                    end = gold.start + len(gold.answers[0])
                    found = answer_positions(window, offsets, start=gold.start, end=end)
                    places = found if found != (0, 0) else places
                feature = {"input_ids": window.input_ids, "labels": places}
                if layout.types is not None:
                    feature["token_type_ids"] = window.token_type_ids
                features.append(feature)
                origins.append(WindowOrigin(number, window, offsets, null))
        return EncodedDataset(features, origins=origins, examples=examples)

    def loss(
        self, examples: Sequence[Example], *, labels: Sequence[str], config: "FinetuneConfig"
    ) -> "LossFunction":
        """Cross entropy of first and last token."""
        from . import losses

        return losses.span_loss

    @property
    def divergence(self) -> "Divergence":
        """Between distributions over first and over last tokens."""
        from . import sift

        return sift.span_divergence

    def decode(self, predictions: Any, dataset: "EncodedDataset") -> list[SpanDecoding]:
        """The best spans of every example, over all its windows."""
        starts, ends = (np.array(part) for part in predictions[:2])
        rows: list[list[int]] = [[] for _ in dataset.examples]
        for row, origin in enumerate(dataset.origins):
            rows[origin.example].append(row)
            # The first token is never the context's, so it can hold what [CLS] says where that stands last.
            starts[row, 0], ends[row, 0] = starts[row, origin.null], ends[row, origin.null]
        decoded = []
        for example, mine in zip(dataset.examples, rows, strict=True):
            mine.sort(key=lambda row: dataset.origins[row].window.first)
            decoded.append(
                decode_spans(
                    [dataset.origins[row].window for row in mine],
                    [starts[row] for row in mine],
                    [ends[row] for row in mine],
                    offsets=dataset.origins[mine[0]].offsets,
                    text=example.texts[1],
                )
            )
        return decoded

    def score(
        self, predictions: Any, dataset: "EncodedDataset", *, labels: Sequence[str]
    ) -> dict[str, float]:
        """Exact match and F1 of 100 as the official script, and the best threshold for "no answer"."""
        golds = [example.extra for example in dataset.examples]
        answers, leads = {}, {}
        for gold, example, decoding in zip(
            golds, dataset.examples, self.decode(predictions, dataset), strict=True
        ):
            best = decoding.spans[0] if decoding.spans else None
            answers[gold.id] = example.texts[1][best.start : best.end] if best else ""
            leads[gold.id] = decoding.null_logit - best.logit if best else 0.0
        if not self.has_unanswerable:
            return {
                key: value for key, value in official_scores(golds, answers).items() if key in ("exact", "f1")
            }
        return official_scores(golds, answers, no_answer_scores=leads, threshold=0.0)

    def outcomes(
        self, predictions: Any, dataset: "EncodedDataset", *, labels: Sequence[str]
    ) -> list[Outcome]:
        """The best answer, or "" for none where that is likelier, with its probability."""
        sizes = {origin.example: len(origin.offsets) for origin in dataset.origins}
        found = []
        for number, decoding in enumerate(self.decode(predictions, dataset)):
            example = dataset.examples[number]
            threshold = 0.0 if self.has_unanswerable else None
            answer, confidence = "", decoding.null_probability
            if decoding.has_answer(threshold):
                best = decoding.spans[0]
                answer, confidence = example.texts[1][best.start : best.end], best.probability
            gold: Gold = example.extra
            found.append(
                Outcome(
                    example=number,
                    gold=gold.answers[0] if gold.answers else "(no answer)",
                    predicted=answer or "(no answer)",
                    is_right=exact_match(answer, gold.answers) == 1,
                    confidence=confidence,
                    badness=1 - answer_f1(answer, gold.answers),
                    tokens=sizes[number],
                )
            )
        return found

    def baseline(
        self, train: Sequence[Example], dev: "EncodedDataset", *, labels: Sequence[str]
    ) -> dict[str, float]:
        """Never an answer, or always the whole context where there must be one."""
        golds = [example.extra for example in dev.examples]
        answers = {
            gold.id: "" if self.has_unanswerable else example.texts[1]
            for gold, example in zip(golds, dev.examples, strict=True)
        }
        scores = official_scores(golds, answers)
        return {"exact": scores["exact"], self.best_metric: scores["f1"]}


def official_scores(
    golds: Sequence[Gold],
    answers: Mapping[str, str],
    *,
    no_answer_scores: Mapping[str, float] | None = None,
    threshold: float = 1.0,
) -> dict[str, float]:
    """Score answers as the official ``evaluate-v2.0.py`` does, in its words; all scores are of 100.

    Args:
        golds: questions with their accepted answers.
        answers: by question; "" for no answer.
        no_answer_scores: by question, higher where an answer is less likely; None for none.
        threshold: above it an answer is taken back.
    """
    exact = {gold.id: exact_match(answers[gold.id], gold.answers) for gold in golds}
    overlap = {gold.id: answer_f1(answers[gold.id], gold.answers) for gold in golds}
    doubts = no_answer_scores or dict.fromkeys(exact, 0.0)

    def kept(scores: Mapping[str, float]) -> list[float]:
        return [float(not gold.answers) if doubts[gold.id] > threshold else scores[gold.id] for gold in golds]

    columns = {"exact": kept(exact), "f1": kept(overlap)}
    result: dict[str, float] = {name: 100.0 * sum(values) / len(golds) for name, values in columns.items()}
    result["total"] = len(golds)
    for prefix, has_answer in (("HasAns", True), ("NoAns", False)):
        chosen = [index for index, gold in enumerate(golds) if bool(gold.answers) is has_answer]
        if chosen:
            for name, values in columns.items():
                result[f"{prefix}_{name}"] = 100.0 * sum(values[index] for index in chosen) / len(chosen)
            result[f"{prefix}_total"] = len(chosen)
    if no_answer_scores is not None:
        for name, scores in (("exact", exact), ("f1", overlap)):
            best, where = _best_threshold(golds, answers, scores, no_answer_scores)
            result |= {f"best_{name}": best, f"best_{name}_thresh": where}
    return result


def _best_threshold(
    golds: Sequence[Gold],
    answers: Mapping[str, str],
    scores: Mapping[str, float],
    doubts: Mapping[str, float],
) -> tuple[float, float]:
    """Sweep over the doubts from "never an answer" on; return the best score of 100 and where it is."""
    current = best = float(sum(not gold.answers for gold in golds))
    where = 0.0
    for gold in sorted(golds, key=lambda gold: doubts[gold.id]):
        if gold.answers:
            current += scores[gold.id]
        elif answers[gold.id]:
            current -= 1
        if current > best:
            best, where = current, doubts[gold.id]
    return 100.0 * best / len(golds), where


def _encoded_pairs(
    examples: Sequence[Example], tokenizer: Any
) -> Iterator[tuple[list[int], list[int], list[tuple[int, int]]]]:
    """Ids of each question, ids of its context, and the characters of the context's tokens."""
    from tqdm.auto import tqdm

    contexts: dict[str, tuple[list[int], list[tuple[int, int]]]] = {}
    with tqdm(total=len(examples), desc="encode", unit="row", leave=False) as bar:
        for start in range(0, len(examples), _ENCODE_AT_ONCE):
            part = examples[start : start + _ENCODE_AT_ONCE]
            new = list(
                dict.fromkeys(example.texts[1] for example in part if example.texts[1] not in contexts)
            )
            if new:
                encoded = tokenizer(new, add_special_tokens=False, return_offsets_mapping=True)
                for text, ids, offsets in zip(
                    new, encoded["input_ids"], encoded["offset_mapping"], strict=True
                ):
                    contexts[text] = list(ids), [(int(first), int(end)) for first, end in offsets]
            questions = tokenizer([example.texts[0] for example in part], add_special_tokens=False)[
                "input_ids"
            ]
            for question, example in zip(questions, part, strict=True):
                yield list(question), *contexts[example.texts[1]]
            bar.update(len(part))


def _official_questions(source: str) -> Iterator[Example]:
    try:
        content = json.loads(b"".join(read_lines(source)).decode("utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{source} is not valid JSON: {error}") from error
    try:
        for article in content["data"]:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    yield _example(
                        f"{source} question {question['id']}",
                        question=question["question"],
                        context=paragraph["context"],
                        id=str(question["id"]),
                        texts=[answer["text"] for answer in question["answers"]],
                        starts=[answer["answer_start"] for answer in question["answers"]],
                    )
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{source} is not in SQuAD's format: {type(error).__name__} {error}. Need data, paragraphs, qas."
        ) from error


def _row_questions(source: str) -> Iterator[Example]:
    for number, row in enumerate(read_rows(source)):
        answers = row.fields.get("answers") or {"text": [], "answer_start": []}
        if not isinstance(answers, dict) or not {"text", "answer_start"} <= set(answers):
            raise UserError(f"{row.place}: answers must have text and answer_start, got {answers!r}.")
        yield _example(
            row.place,
            question=text_in(row, ("question",)),
            context=text_in(row, ("context",)),
            id=str(row.fields.get("id", number)),
            texts=answers["text"],
            starts=answers["answer_start"],
        )


def _example(place: str, *, question: str, context: str, id: str, texts: Any, starts: Any) -> Example:
    pair = tuple(text_in(Row(place, {"text": text}), ("text",)) for text in (question, context))
    answers = _answers(place, texts, starts)
    for text, start in answers:
        if context[start : start + len(text)] != text:
            raise UserError(
                f"{place}: the context does not have {text!r} at character {start}; correct answer_start."
            )
    gold = Gold(id, tuple(text for text, _ in answers), answers[0][1] if answers else None)
    return Example(texts=pair, label=answers[0][0] if answers else "", extra=gold)


def _answers(place: str, texts: Any, starts: Any) -> list[tuple[str, int]]:
    """The answers of a question and where they begin, checked; no entries where there is none."""
    if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
        raise UserError(
            f"{place}: text and answer_start must be lists of the same length (both [] for no answer), "
            f"got {texts!r} and {starts!r}."
        )
    for text, start in zip(texts, starts, strict=True):
        if not isinstance(text, str) or not text:
            raise UserError(f"{place}: an answer must be a text that is not empty, got {text!r}.")
        if not isinstance(start, int) or isinstance(start, bool) or start < 0:
            raise UserError(
                f"{place}: answer_start must be a number of characters, 0 or more, got {start!r}."
            )
    return list(zip(texts, starts, strict=True))


SPAN_TASKS = (SpanTask(name="squad1", has_unanswerable=False), SpanTask(name="squad2", has_unanswerable=True))
