"""How a model card says to use the model: lines that run as they stand where the folder is."""

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..heads import BY_NAME, MULTIPLE_CHOICE, SPANS, TOKENS
from ..json_types import JsonMapping
from ..tasks.labels import NLI_LABELS, TWO_WAY_LABELS
from ..tasks.ranking import RankingTask
from ..tasks.text import TextTask

if TYPE_CHECKING:
    from ..tasks.example import Example
    from ..tasks.task import Task

OURS = "deberta-v2"
"""What config.json calls DeBERTa v2 and v3, the family that ``Predictor`` opens."""
HEADING = "## How to use it"
_FIRST, _SECOND = "A man sleeps on a bench.", "Somebody sleeps."
_QUERY, _TEXTS = "Who sleeps?", ("The shop is shut.", "A man sleeps on a bench.")
_CONTEXT, _CHOICES = "The man lay down on the bench and closed his eyes.", ("He sleeps.", "He swims.")
_NAMES = "Anna sings in Oslo ."
_THRESHOLD_PLACES = 4
_MOST_SHOWN = 200
"""Characters of a row that a card may quote."""


def how_to_use(
    report: JsonMapping,
    record: JsonMapping,
    task: "Task",
    *,
    examples: Sequence["Example"],
    name: str,
    family: str,
) -> list[str]:
    """Return the paragraphs under the heading.

    Args:
        report: the content of ``metrics.json``.
        record: the content of ``run.json``.
        task: decides what is asked.
        examples: rows of its data; the first short one is the input that the lines show.
        name: the folder that the lines open.
        family: ``model_type`` of the model.
    """
    settings, shown = record["config"], _shown(task, examples)
    if family != OURS:
        threshold = _null_threshold(report) if task.name == "squad2" else None
        lines = _with_transformers(task, settings, shown, name=name, threshold=threshold)
        return [_python(lines)]
    paragraphs = [_python(_with_predictor(report, record, task, shown, name=name))]
    if task.name == "squad2":
        paragraphs += _threshold_advice(report, settings, name=name)
    elif command := _of_files(record["labels"], task, name=name):
        paragraphs += [
            "To predict a file of rows, and evaluate it if it has labels:",
            f"```\n{command}\n```",
        ]
    return [
        *paragraphs,
        f"It also opens with `transformers.{BY_NAME[task.head].auto_classes[0]}.from_pretrained`.",
    ]


def name_repository(card: str, *, folder: str, repository: str) -> str:
    """Name a repository where a card names the folder: title, results, and the lines that open the model.

    Args:
        card: from :func:`debertav3.finetuning.card.model_card`, possibly edited since.
        folder: the name that it was made with.
        repository: ``OWNER/NAME``.
    """
    title = repository.rpartition("/")[2]
    before, heading, usage = card.partition(f"\n{HEADING}\n")
    before = before.replace(f"\n- name: {folder}\n", f"\n- name: {title}\n", 1)
    before = before.replace(f"\n# {folder}\n", f"\n# {title}\n", 1)
    for opening in (_opening, _option):
        usage = usage.replace(opening(folder), opening(repository))
    return before + heading + usage


def _shown(task: "Task", examples: Sequence["Example"]) -> tuple[str, ...]:
    """The texts of the input to show: of the first row that is short enough, else ours.

    For a ranking a query and two texts, for tagging the words as one text, for choices a context and them.
    """
    if isinstance(task, RankingTask):
        short = [one.texts for one in examples if _is_short(one.texts)][:2]
        return (*short[0], short[1][1]) if len(short) == 2 else (_QUERY, *_TEXTS)
    short = [one.texts for one in examples if _is_short(one.texts)][:1]
    if task.head == TOKENS:
        return (" ".join(short[0]),) if short else (_NAMES,)
    if short:
        return tuple(short[0])
    if task.head == MULTIPLE_CHOICE:
        return (_CONTEXT, *_CHOICES)
    if task.head == SPANS:
        return (_QUERY, _FIRST)
    return (_FIRST, _SECOND) if _is_pair(task) else (_FIRST,)


def _is_short(texts: Sequence[str]) -> bool:
    return sum(map(len, texts)) <= _MOST_SHOWN


def _quoted(value: str | Sequence[str]) -> str:
    """A text or a list of texts as Python and JSON both write it."""
    return json.dumps(value, ensure_ascii=False)


def _of_files(labels: Sequence[str], task: "Task", *, name: str) -> str | None:
    """The command that answers a file; None for questions, whose threshold has its own."""
    if task.head == SPANS:
        return None
    rows = "rows.csv"
    if task.head == TOKENS:
        method, rows = "ner", "rows.jsonl"
    elif task.head == MULTIPLE_CHOICE:
        method, rows = "choice", "rows.jsonl"
    else:
        method = "rerank" if isinstance(task, RankingTask) else _method(labels, task)
    return (
        f"debertav3 predict {method} {_option(name)}--data {rows} --out answers{rows[4:]} "
        "--metrics metrics.json"
    )


def _opening(name: str) -> str:
    return f"from_pretrained({json.dumps(name, ensure_ascii=False)}"


def _option(name: str) -> str:
    return f"--model {shlex.quote(name)} "


def _python(lines: Sequence[str]) -> str:
    return "\n".join(["```python", *lines, "```"])


def _with_predictor(
    report: JsonMapping, record: JsonMapping, task: "Task", shown: tuple[str, ...], *, name: str
) -> list[str]:
    """Lines for a DeBERTa v2 or v3 with one of the heads that ``Predictor`` knows."""
    settings, options = record["config"], ""
    if task.head == SPANS:
        options = f", max_length={settings['max_length']}"  # a threshold is for windows of one size
        threshold = _null_threshold(report) if task.name == "squad2" else None
        question, context = map(_quoted, shown)
        overlap = settings["window_overlap"]
        asked = f"qa({question}, {context}, null_threshold={threshold}, overlap={overlap})"
    elif task.head == TOKENS:
        asked = f"ner({_quoted(shown[0])})"
    elif task.head == MULTIPLE_CHOICE:
        asked = f"choose({_quoted(shown[0])}, {_quoted(shown[1:])})"
    elif isinstance(task, RankingTask):
        asked = f"rerank({_quoted(shown[0])}, {_quoted(shown[1:])})"
    else:
        text = f"({_quoted(shown[0])}, {_quoted(shown[1])})" if _is_pair(task) else _quoted(shown[0])
        asked = f"{_method(record['labels'], task)}({text})"
    return [
        "from debertav3 import Predictor",
        "",
        f"predictor = Predictor.{_opening(name)}{options})",
        f"print(predictor.{asked})",
    ]


def _method(labels: Sequence[str], task: "Task") -> str:
    """``nli`` for a pair and its labels, by name, ``classify`` for anything else."""
    is_nli = set(labels) in (set(NLI_LABELS), set(TWO_WAY_LABELS))
    return "nli" if is_nli and _is_pair(task) else "classify"


def _is_pair(task: "Task") -> bool:
    return isinstance(task, TextTask) and len(task.columns[0]) > 1


def _with_transformers(
    task: "Task",
    settings: Mapping[str, object],
    shown: tuple[str, ...],
    *,
    name: str,
    threshold: float | None,
) -> list[str]:
    """Lines for any other family or head, with nothing but transformers."""
    head, cut = task.head, f'truncation=True, max_length={settings["max_length"]}, return_tensors="pt"'
    auto_class = BY_NAME[head].auto_classes[0]
    lines = [
        "import torch",
        f"from transformers import {auto_class}, AutoTokenizer",
        "",
        f"tokenizer = AutoTokenizer.{_opening(name)})",
        f"model = {auto_class}.{_opening(name)}).eval()",
    ]
    if head == MULTIPLE_CHOICE:
        lines += _choosing(cut, shown)
    elif head == SPANS:
        lines += _answering(cut, shown, threshold)
    elif head == TOKENS:
        lines += _tagging(cut, shown)
    elif isinstance(task, RankingTask):
        lines += _ranking(cut, shown)
    else:
        lines += _classifying(cut, shown, task)
    return lines


_LOGITS = ["with torch.inference_mode():", "    logits = model(**inputs).logits[0]"]


def _classifying(cut: str, texts: tuple[str, ...], task: "Task") -> list[str]:
    target = task.target if isinstance(task, TextTask) else "one-label"
    text = ", ".join(map(_quoted, texts[:2] if _is_pair(task) else texts[:1]))
    if target == "number":
        shown = ["print(logits.item())"]
    else:
        function = "sigmoid" if target == "several-labels" else "softmax"
        shown = [
            f"probabilities = logits.{function}({'' if function == 'sigmoid' else '-1'}).tolist()",
            "print({model.config.id2label[place]: share for place, share in enumerate(probabilities)})",
        ]
    return [f"inputs = tokenizer({text}, {cut})", *_LOGITS, *shown]


def _ranking(cut: str, texts: tuple[str, ...]) -> list[str]:
    return [
        f"query = {_quoted(texts[0])}",
        f"texts = {_quoted(texts[1:])}",
        f"inputs = tokenizer([query] * len(texts), texts, padding=True, {cut})",
        "with torch.inference_mode():",
        "    scores = model(**inputs).logits[:, 0].sigmoid().tolist()",
        "print(sorted(zip(scores, texts), reverse=True))",
    ]


def _tagging(cut: str, texts: tuple[str, ...]) -> list[str]:
    return [
        f"words = {_quoted(texts[0])}.split()",
        f"inputs = tokenizer(words, is_split_into_words=True, {cut})",
        *_LOGITS,
        "owners = inputs.word_ids(0)  # a word gets the tag of its first token",
        "tags = [model.config.id2label[place] for place in logits.argmax(-1).tolist()]",
        "print([(word, tags[owners.index(number)]) for number, word in enumerate(words)])",
    ]


def _choosing(cut: str, texts: tuple[str, ...]) -> list[str]:
    return [
        f"context = {_quoted(texts[0])}",
        f"choices = {_quoted(texts[1:])}",
        f"inputs = tokenizer([context] * len(choices), choices, padding=True, {cut})",
        "inputs = {key: value[None] for key, value in inputs.items()}  # one question: (1, choices, tokens)",
        *_LOGITS,
        "print(choices[int(logits.argmax())])",
    ]


def _answering(cut: str, texts: tuple[str, ...], threshold: float | None) -> list[str]:
    shown = "print(context[offsets[first][0] : offsets[last][1]])"
    lines = [
        f"question, context = {_quoted(texts[0])}, {_quoted(texts[1])}",
        f"inputs = tokenizer(question, context, return_offsets_mapping=True, {cut})",
        'offsets = inputs.pop("offset_mapping")[0].tolist()',
        "with torch.inference_mode():",
        "    output = model(**inputs)",
        "scores = output.start_logits[0][:, None] + output.end_logits[0]  # (first token, last token)",
        "is_context = torch.tensor([part == 1 for part in inputs.sequence_ids(0)])",
        "allowed = (is_context[:, None] & is_context).triu().tril(29)  # up to 30 tokens of the context",
        'spans = scores.masked_fill(~allowed, float("-inf"))',
        "first, last = divmod(int(spans.argmax()), len(spans))",
    ]
    if threshold is None:
        return [*lines, shown]
    return [
        *lines,
        'cls = inputs["input_ids"][0].tolist().index(tokenizer.cls_token_id)  # the position of "no answer"',
        f"if scores[cls, cls] - spans.max() > {threshold}:",
        '    print("no answer")',
        "else:",
        f"    {shown}",
    ]


def _null_threshold(report: JsonMapping) -> float:
    """The best threshold on the first dev set for ``null_threshold``; 0, which suits most, without one.

    Both are the logits by which "no answer" leads the best span, and above which there is none. It is rounded
    up, since the answer that it is taken from still counts.
    """
    scores = next(iter(report["dev"].values()), None)
    if scores is None or _is_never_best(scores):
        return 0.0
    scale = 10**_THRESHOLD_PLACES
    return math.ceil(scores["best_f1_thresh"] * scale) / scale


def _is_never_best(scores: JsonMapping) -> bool:
    """Whether no threshold does better than never an answer, which the official script writes as 0."""
    never = 100.0 * scores.get("NoAns_total", 0) / scores["total"]
    return bool(scores["best_f1_thresh"] == 0 and scores["best_f1"] == never)


def _threshold_advice(report: JsonMapping, settings: JsonMapping, *, name: str) -> list[str]:
    """The command with the best threshold; nothing without a dev set."""
    scores = next(iter(report["dev"].values()), None)
    if scores is None:
        return []
    if _is_never_best(scores):
        return ["On the first dev set, no `--null-threshold` is better than never giving an answer."]
    command = (
        f"debertav3 predict qa {_option(name)}--data questions.jsonl --out answers.jsonl "
        f"--null-threshold {_null_threshold(report)} --max-length {settings['max_length']}"
    )
    return [
        f'The threshold for "no answer" with the best F1 on the first dev set, {scores["best_f1"]:.2f} '
        f"instead of {scores['f1']:.2f} with 0, applies to logits and to inputs of that length:",
        f"```\n{command}\n```",
    ]
