"""Answers in a text: SQuAD 1.1 and 2.0, official JSON or rows as on the Hub.

Scores are those of SQuAD's ``evaluate-v2.0.py``, to the last digit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

from ..errors import UserError
from ..heads import SPANS, HeadName
from .columns import QUESTION_CONTEXT_COLUMNS, names_of_texts, said_texts, texts_in
from .example import Example
from .metrics import MetricName, answer_f1, exact_match
from .read_options import Said
from .rows import Row, shortened
from .scorers import AnswerScorer, Scorer
from .squad_answers import ANSWERS, Answer, answers_in
from .summary import Summary
from .tables import Reading
from .task import Task
from .understanding import shown_row

ANSWERED, UNANSWERED = "answered", "unanswered"
MOST_MOVED = 3
"""By how many characters an answer may be beside its ``answer_start``, as some tools export it."""


@dataclass(frozen=True, slots=True)
class Gold:
    """The accepted answers of a question."""

    answers: tuple[str, ...]
    """Empty: the context has no answer."""
    start: int | None
    """First character of the first answer; None without one."""


@dataclass(frozen=True, kw_only=True)
class SpanTask(Task):
    """Find the answer to a question in a context, or say that there is none."""

    name: str
    has_unanswerable: bool
    metrics: tuple[MetricName, ...]
    """Of 100; the first is F1 of words, with the best threshold where there may be no answer."""
    head: HeadName = SPANS

    needs: str = "question, context and answers"
    columns: tuple[tuple[str, ...], ...] = QUESTION_CONTEXT_COLUMNS
    answers_column: str = ANSWERS
    is_asked: bool = False
    """Whether the user has named the columns of the texts."""
    is_label_asked: bool = False
    """Likewise that of the answers."""

    def with_said(self, said: Said) -> Self:
        """See `Task.with_said`."""
        if said.label_map:
            raise UserError(
                f"task {self.name} finds answers in texts, which have no labels that --labels could name. "
                "Leave it out."
            )
        columns = said_texts(said, num_texts=2, task=self.name)
        return replace(
            self,
            columns=self.columns if columns is None else (columns,),
            answers_column=said.label or self.answers_column,
            is_asked=columns is not None,
            is_label_asked=said.label is not None,
        )

    def examples(self, reading: Reading) -> Iterator[Example]:
        """Read official SQuAD JSON, or rows as on the Hub (``question``, ``context``, ``answers``)."""
        repaired = 0
        for row in reading:
            try:
                names = names_of_texts(row, self.columns, is_said=self.is_asked)
                pair = texts_in(row, names)
                if pair is None:
                    reading.num_empty += 1
                    continue
                given = answers_in(row, self.answers_column, is_said=self.is_label_asked)
                reading.use(("question", "context"), names)
                if given is None or not (given[1] or self.has_unanswerable):
                    reading.num_unlabelled += 1
                    continue
                example, has_moved = _example(row, pair, given[1])
            except UserError as error:
                reading.skip(error)
                continue
            reading.use(("answers",), given[:1])
            reading.note_numbers()
            repaired += has_moved
            yield example
        if repaired:
            reading.note(
                f"{repaired:,} questions have an answer that begins up to {MOST_MOVED} characters beside its "
                "answer_start; it was moved to where the context has it"
            )

    def belongs_to(self, example: Example) -> tuple[str, ...]:
        """The context, which answers its other questions too."""
        return example.texts[1:]

    def counted(self, example: Example) -> tuple[str, ...]:
        """Whether the question has an answer."""
        return (ANSWERED if example.extra.answers else UNANSWERED,)

    def label_kind(self, found: Summary) -> str:
        """How many questions have an answer."""
        having, lacking = (found.labels[name] for name in (ANSWERED, UNANSWERED))
        return f"answers: {having:,} questions have one, {lacking:,} have none"

    def shown(self, example: Example) -> str:
        """Question and context, and the answer."""
        return shown_row(example.texts, example.label or "(no answer)")

    def choose_labels(self, found: Summary, *, source: str) -> tuple[str, ...]:
        """None: the head names a first and a last token."""
        if not found.labels[ANSWERED]:
            raise UserError(f"{source}: no question has an answer; need some to train.")
        return ()

    def scorer(self, labels: Sequence[str]) -> Scorer:
        """SQuAD's."""
        return AnswerScorer()

    def gold(self, example: Example) -> list[str]:
        """Return the accepted answers, the empty one for none."""
        return list(example.extra.answers) or [""]

    def own_scores(
        self, examples: Sequence[Example], answers: Sequence[str], *, leads: Sequence[float] | None = None
    ) -> dict[str, float]:
        """Return the official scores of one answer for each example, the metrics by their names.

        Args:
            examples: questions.
            answers: "" for no answer.
            leads: by how many logits "no answer" leads; for the best threshold.
        """
        golds = [example.extra for example in examples]
        if self.has_unanswerable and leads is not None:
            found = official_scores(golds, answers, no_answer_scores=leads, threshold=0.0)
        else:
            found = official_scores(golds, answers)
        found = {"exact_match": found.pop("exact"), **found}
        return found if self.has_unanswerable else self.own(found)

    def baseline(
        self, train: Sequence[Example], dev: Sequence[Example], *, labels: Sequence[str]
    ) -> dict[str, float]:
        """Never an answer, or always the whole context where there must be one."""
        answers = ["" if self.has_unanswerable else example.texts[1] for example in dev]
        found = self.own_scores(dev, answers)
        return {"exact_match": found["exact_match"], self.best_metric: found["f1"]}


def official_scores(
    golds: Sequence[Gold],
    answers: Sequence[str],
    *,
    no_answer_scores: Sequence[float] | None = None,
    threshold: float = 1.0,
) -> dict[str, float]:
    """Score answers as the official ``evaluate-v2.0.py`` does, in its words; all scores are of 100.

    The official script finds answers by the questions' ids. Here the order counts, so that questions without
    an id, or with the same one, are scored too.

    Args:
        golds: questions with their accepted answers.
        answers: one for each question; "" for no answer.
        no_answer_scores: one for each question, higher if an answer is less likely; None for none.
        threshold: questions with a higher score are taken as unanswered.
    """
    exact = [exact_match(answer, gold.answers) for gold, answer in zip(golds, answers, strict=True)]
    overlap = [answer_f1(answer, gold.answers) for gold, answer in zip(golds, answers, strict=True)]
    doubts = no_answer_scores or [0.0] * len(golds)

    def kept(scores: Sequence[float]) -> list[float]:
        return [
            float(not gold.answers) if doubt > threshold else score
            for gold, doubt, score in zip(golds, doubts, scores, strict=True)
        ]

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
    answers: Sequence[str],
    scores: Sequence[float],
    doubts: Sequence[float],
) -> tuple[float, float]:
    """Sweep over the doubts from "never an answer" on; return the best score of 100 and where it is."""
    current = best = float(sum(not gold.answers for gold in golds))
    where = 0.0
    for index in sorted(range(len(golds)), key=lambda index: doubts[index]):
        if golds[index].answers:
            current += scores[index]
        elif answers[index]:
            current -= 1
        if current > best:
            best, where = current, doubts[index]
    return 100.0 * best / len(golds), where


def _example(row: Row, pair: tuple[str, ...], given: Sequence[Answer]) -> tuple[Example, bool]:
    """A question with its answers; and whether an answer was moved."""
    context = pair[1]
    placed = [(one.text, _place_of(context, one, place=row.place)) for one in given]
    trimmed = [(text.strip(), start + len(text) - len(text.lstrip())) for text, start in placed]
    gold = Gold(tuple(text for text, _ in trimmed), trimmed[0][1] if trimmed else None)
    label = trimmed[0][0] if trimmed else ""
    has_moved = any(one.start not in (None, start) for one, (_, start) in zip(given, placed, strict=True))
    return Example(texts=pair, label=label, extra=gold, place=row.place), has_moved


def _place_of(context: str, answer: Answer, *, place: str) -> int:
    """Where an answer is: at ``answer_start``, or nearest to it by at most `MOST_MOVED` characters.

    An answer without ``answer_start`` is where the context has it, once.

    Raises:
        UserError: if it is not there.
    """
    text, start = answer
    if start is None:
        count = context.count(text)
        if count == 1:
            return context.index(text)
        raise UserError(
            f"{place}: the context has {shortened(text)} {count} times; say which with answer_start, "
            "the number of its first character, or leave such rows out with --skip-bad."
        )
    for distance in range(MOST_MOVED + 1):
        for found in dict.fromkeys((start + distance, start - distance)):
            if found >= 0 and context[found : found + len(text)] == text:
                return found
    raise UserError(
        f"{place}: the context does not have {shortened(text)} at character {start}, nor within {MOST_MOVED} "
        "of it; correct answer_start, or leave such rows out with --skip-bad."
    )


SPAN_TASKS = (
    SpanTask(name="squad1", has_unanswerable=False, metrics=("f1", "exact_match")),
    SpanTask(name="squad2", has_unanswerable=True, metrics=("best_f1", "f1", "exact_match")),
)
