"""How a model card says to use the model: lines that run as they stand where the folder is."""

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..tasks.labels import NLI_LABELS, TWO_WAY_LABELS
from ..tasks.ranking import RankingTask
from ..tasks.text import TextTask

if TYPE_CHECKING:
    from ..tasks.task import Head, Task

OURS = "deberta-v2"
"""What config.json calls DeBERTa v2 and v3, the family that ``Predictor`` opens."""
HEADING = "## How to use it"
_AUTO: "dict[Head, str]" = {
    "sequence-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "question-answering": "AutoModelForQuestionAnswering",
    "multiple-choice": "AutoModelForMultipleChoice",
}
_FIRST, _SECOND = "A man sleeps on a bench.", "Somebody sleeps."
_QUERY, _TEXTS = "Who sleeps?", ("The shop is shut.", "A man sleeps on a bench.")
_CONTEXT, _CHOICES = "The man lay down on the bench and closed his eyes.", ("He sleeps.", "He swims.")
_NAMES = "Anna sings in Oslo ."
_THRESHOLD_PLACES = 4


def how_to_use(
    report: Mapping[str, Any], record: Mapping[str, Any], task: "Task", *, name: str, family: str
) -> list[str]:
    """Return the paragraphs under the heading.

    Args:
        report: the content of ``metrics.json``.
        record: the content of ``run.json``.
        task: decides what is asked.
        name: the folder that the lines open.
        family: ``model_type`` of the model.
    """
    settings = record["config"]
    if family != OURS:
        threshold = _null_threshold(report) if task.name == "squad2" else None
        lines = _with_transformers(task, settings, name=name, threshold=threshold)
        return [_python(lines)]
    paragraphs = [_python(_with_predictor(report, record, task, name=name))]
    if task.name == "squad2":
        paragraphs += _threshold_advice(report, settings, name=name)
    return [*paragraphs, f"It also opens with `transformers.{_AUTO[task.head]}.from_pretrained`."]


def name_repository(card: str, *, folder: str, repository: str) -> str:
    """Name a repository where a card names the folder: title, results, and the lines that open the model.

    Args:
        card: from :func:`debertav3.finetune.card.model_card`, possibly edited since.
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


def _opening(name: str) -> str:
    return f"from_pretrained({json.dumps(name, ensure_ascii=False)}"


def _option(name: str) -> str:
    return f"--model {shlex.quote(name)} "


def _python(lines: Sequence[str]) -> str:
    return "\n".join(["```python", *lines, "```"])


def _with_predictor(
    report: Mapping[str, Any], record: Mapping[str, Any], task: "Task", *, name: str
) -> list[str]:
    """Lines for a DeBERTa v2 or v3 with one of the heads that ``Predictor`` knows."""
    settings, options = record["config"], ""
    if task.head == "question-answering":
        options = f", max_length={settings['max_length']}"  # a threshold is for windows of one size
        threshold = _null_threshold(report) if task.name == "squad2" else None
        asked = (
            f"qa({_QUERY!r}, {_FIRST!r}, null_threshold={threshold}, overlap={settings['window_overlap']})"
        )
    elif task.head == "token-classification":
        asked = f"ner({_NAMES!r})"
    elif task.head == "multiple-choice":
        asked = f"choose({_CONTEXT!r}, {list(_CHOICES)!r})"
    elif isinstance(task, RankingTask):
        asked = f"rerank({_QUERY!r}, {list(_TEXTS)!r})"
    else:
        asked = f"{_method(record['labels'], task)}({_text(task)})"
    return [
        "from debertav3 import Predictor",
        "",
        f"predictor = Predictor.{_opening(name)}{options})",
        f"print(predictor.{asked})".replace("'", '"'),
    ]


def _method(labels: Sequence[str], task: "Task") -> str:
    """``nli`` for a pair and its labels, by name, ``classify`` for anything else."""
    is_nli = set(labels) in (set(NLI_LABELS), set(TWO_WAY_LABELS))
    return "nli" if is_nli and _is_pair(task) else "classify"


def _is_pair(task: "Task") -> bool:
    return isinstance(task, TextTask) and len(task.columns) > 1


def _text(task: "Task") -> str:
    return repr((_FIRST, _SECOND)) if _is_pair(task) else repr(_FIRST)


def _with_transformers(
    task: "Task", settings: Mapping[str, Any], *, name: str, threshold: float | None
) -> list[str]:
    """Lines for any other family or head, with nothing but transformers."""
    head, cut = task.head, f'truncation=True, max_length={settings["max_length"]}, return_tensors="pt"'
    lines = [
        "import torch",
        f"from transformers import {_AUTO[head]}, AutoTokenizer",
        "",
        f"tokenizer = AutoTokenizer.{_opening(name)})",
        f"model = {_AUTO[head]}.{_opening(name)}).eval()",
    ]
    if head == "multiple-choice":
        lines += _choosing(cut)
    elif head == "question-answering":
        lines += _answering(cut, threshold)
    elif head == "token-classification":
        lines += _tagging(cut)
    elif isinstance(task, RankingTask):
        lines += _ranking(cut)
    else:
        lines += _classifying(cut, task)
    return lines


_LOGITS = ["with torch.inference_mode():", "    logits = model(**inputs).logits[0]"]


def _classifying(cut: str, task: "Task") -> list[str]:
    target = task.target if isinstance(task, TextTask) else "one-label"
    text = f'"{_FIRST}", "{_SECOND}"' if _is_pair(task) else f'"{_FIRST}"'
    if target == "number":
        shown = ["print(logits.item())"]
    else:
        function = "sigmoid" if target == "several-labels" else "softmax"
        shown = [
            f"probabilities = logits.{function}({'' if function == 'sigmoid' else '-1'}).tolist()",
            "print({model.config.id2label[place]: share for place, share in enumerate(probabilities)})",
        ]
    return [f"inputs = tokenizer({text}, {cut})", *_LOGITS, *shown]


def _ranking(cut: str) -> list[str]:
    return [
        f'query = "{_QUERY}"',
        f"texts = {json.dumps(list(_TEXTS))}",
        f"inputs = tokenizer([query] * len(texts), texts, padding=True, {cut})",
        "with torch.inference_mode():",
        "    scores = model(**inputs).logits[:, 0].sigmoid().tolist()",
        "print(sorted(zip(scores, texts), reverse=True))",
    ]


def _tagging(cut: str) -> list[str]:
    return [
        f'words = "{_NAMES}".split()',
        f"inputs = tokenizer(words, is_split_into_words=True, {cut})",
        *_LOGITS,
        "owners = inputs.word_ids(0)  # the first token of a word speaks for it",
        "tags = [model.config.id2label[place] for place in logits.argmax(-1).tolist()]",
        "print([(word, tags[owners.index(number)]) for number, word in enumerate(words)])",
    ]


def _choosing(cut: str) -> list[str]:
    return [
        f'context = "{_CONTEXT}"',
        f"choices = {json.dumps(list(_CHOICES))}",
        f"inputs = tokenizer([context] * len(choices), choices, padding=True, {cut})",
        "inputs = {key: value[None] for key, value in inputs.items()}  # one question: (1, choices, tokens)",
        *_LOGITS,
        "print(choices[int(logits.argmax())])",
    ]


def _answering(cut: str, threshold: float | None) -> list[str]:
    shown = "print(context[offsets[first][0] : offsets[last][1]])"
    lines = [
        f'question, context = "{_QUERY}", "{_FIRST}"',
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
        'cls = inputs["input_ids"][0].tolist().index(tokenizer.cls_token_id)  # the place of "no answer"',
        f"if scores[cls, cls] - spans.max() > {threshold}:",
        '    print("no answer")',
        "else:",
        f"    {shown}",
    ]


def _null_threshold(report: Mapping[str, Any]) -> float:
    """The best threshold on the first dev set for ``null_threshold``; 0, which suits most, without one.

    Both are the logits by which "no answer" leads the best span, and above which there is none. It is rounded
    up, since the answer that it is taken from still counts.
    """
    scores = next(iter(report["dev"].values()), None)
    if scores is None or _is_never_best(scores):
        return 0.0
    scale = 10**_THRESHOLD_PLACES
    return math.ceil(scores["best_f1_thresh"] * scale) / scale


def _is_never_best(scores: Mapping[str, Any]) -> bool:
    """Whether no threshold does better than never an answer, which the official script writes as 0."""
    never = 100.0 * scores.get("NoAns_total", 0) / scores["total"]
    return bool(scores["best_f1_thresh"] == 0 and scores["best_f1"] == never)


def _threshold_advice(report: Mapping[str, Any], settings: Mapping[str, Any], *, name: str) -> list[str]:
    """The command with the best threshold; nothing without a dev set."""
    scores = next(iter(report["dev"].values()), None)
    if scores is None:
        return []
    if _is_never_best(scores):
        return ["On the first dev set no `--null-threshold` does better than never giving an answer."]
    command = (
        f"debertav3 predict qa {_option(name)}--input questions.jsonl --output answers.jsonl "
        f"--null-threshold {_null_threshold(report)} --max-length {settings['max_length']}"
    )
    return [
        f'The threshold for "no answer" with the best F1 on the first dev set, {scores["best_f1"]:.2f} '
        f"instead of {scores['f1']:.2f} with 0, is of logits and for inputs of that length:",
        f"```\n{command}\n```",
    ]
