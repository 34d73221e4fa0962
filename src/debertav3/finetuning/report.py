"""``report.html``: one file, nothing from outside, for a person who wants to know how a training went."""

import html
import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

from ..json_types import JsonMapping
from ..runs import page, plots
from ..tasks.example import Example
from .calibration import in_words
from .outcomes import Outcome
from .score_verdict import EXPLANATION, baselines, metric_of, verdict

if TYPE_CHECKING:
    from .preparation import Data

WORST_SHOWN = 25
_TEXT_SHOWN = 600
_CONFUSED_SHOWN = 15


def render(
    report: JsonMapping,
    record: JsonMapping,
    data: "Data",
    worst_of: Mapping[str, Sequence[Outcome]],
) -> str:
    """Return the page.

    Args:
        report: the content of ``metrics.json``.
        record: the content of ``run.json``.
        data: for the texts of errors.
        worst_of: for each dev set the errors to show, worst first.
    """
    about = f"{record['config']['model']}, trained on task {record['config']['task']}"
    parts = [page.paragraph(about), _headline(report)]
    for source, scores in report["dev"].items():
        line, is_well = verdict(source, scores, metric_of(report), record["labels"])
        parts.append(page.paragraph(f"{line}.", is_warning=not is_well))
    parts += [page.paragraph(line, is_warning=True) for line in report.get("data", {}).get("warnings", [])]
    parts += [page.heading("Training"), _curves(report["history"])]
    for source, scores in report["dev"].items():
        parts += [page.heading(source), _dev(scores, record["labels"])]
        parts += [_errors(worst_of[source], data.dev[source])]
    parts += [
        page.heading("Command to repeat the run"),
        f"<pre>{html.escape(record['command'])}</pre>",
        _settings(record),
    ]
    return page.page(record["out"], parts)


def _command(record: JsonMapping) -> str:
    return f"<pre>{html.escape(record['command'])}</pre>"


def _number(value: object) -> str:
    """A score with four decimals, a count without, a list with commas."""
    if isinstance(value, list | tuple):
        return ", ".join(map(_number, value))
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _table(
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    text_columns: Sequence[int] = (),
    as_cards: bool = False,
) -> str:
    cells = [[_number(value) for value in row] for row in rows]
    return page.table(header, cells, text_columns=text_columns, as_cards=as_cards)


def _headline(report: JsonMapping) -> str:
    train = report["train"]
    figures = [("training examples", f"{train['examples']:,}"), ("steps", f"{train['steps']:,}")]
    figures += [
        ("minutes", f"{train['seconds'] / 60:.1f}"),
        ("examples per second", f"{train['examples_per_second']:.1f}"),
    ]
    if train["skipped_steps"]:
        figures.append(("skipped steps (gradient not finite)", str(train["skipped_steps"])))
    for scores in list(report["dev"].values())[:1]:
        figures = [(f"dev {name}", f"{scores[name]:.4f}") for name in scores["majority_baseline"]] + figures
    return page.numbers(figures)


def _dev(scores: JsonMapping, labels: Sequence[str]) -> str:
    """Scores beside the baseline, and whatever tables and plots the task has."""
    others = baselines(scores)
    plain = [name for name, value in scores.items() if isinstance(value, int | float)]
    rows = [[name, scores[name], *(base.get(name, "") for base in others.values())] for name in plain]
    parts = [_table(["", "this model", *others], rows), page.paragraph(EXPLANATION)]
    if "per_label" in scores:
        columns = ["precision", "recall", "f1"]
        by_label = [
            [name, *(values[column] for column in columns), round(values["support"])]
            for name, values in scores["per_label"].items()
        ]
        parts += [page.heading("By label", level=3), _table(["", *columns, "examples"], by_label)]
    lengths = [
        [f"{row['tokens_from']}-{row['tokens_to']}", row["examples"], row.get("right", row.get("mean_error"))]
        for row in scores["by_length"]
    ]
    kind = "accuracy" if any("right" in row for row in scores["by_length"]) else "mean error"
    parts += [page.heading("By length", level=3), _table(["tokens", "examples", kind], lengths)]
    figures = []
    if "confusion" in scores:
        table = scores["confusion"]
        names = list(labels) if len(labels) == len(table) else [str(n + 1) for n in range(len(table))]
        figures.append(
            page.figure(plots.confusion(table, names), "Rows: gold labels; columns: predictions. Counts.")
        )
        if len(names) > plots.MOST_COUNTS:
            parts += [page.heading("Most often confused", level=3), _confused(table, names)]
    if scores["calibration"] is not None:
        error = scores["calibration"]["ece"]
        caption = f"Confidence against accuracy; expected calibration error {error:.4f}."
        figures.append(page.figure(plots.reliability(scores["calibration"]["bins"]), caption))
    if sentence := in_words(scores.get("probabilities", {})):
        parts.append(page.paragraph(sentence))
    return "\n".join([*parts, f'<div class="figures">{"".join(figures)}</div>'])


def _confused(table: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    pairs = [
        (count, names[right], names[given])
        for right, row in enumerate(table)
        for given, count in enumerate(row)
        if right != given and count
    ]
    pairs.sort(key=lambda pair: -pair[0])
    rows = [[right, given, count] for count, right, given in pairs[:_CONFUSED_SHOWN]]
    return _table(["correct label", "predicted label", "examples"], rows, text_columns=(1,))


def _errors(errors: Sequence[Outcome], examples: Sequence[Example]) -> str:
    if not errors:
        return page.heading("Worst errors", level=3) + page.paragraph("None.")
    rows = []
    for one in errors:
        texts = [
            text if len(text) <= _TEXT_SHOWN else text[:_TEXT_SHOWN] + " ..."
            for text in _readable(examples[one.example])
        ]
        place = PurePath(examples[one.example].place).name or one.example + 1
        rows.append([place, " / ".join(texts), one.gold, one.predicted])
    header = ["from", "text", "correct answer", "predicted answer"]
    if any(one.confidence is not None for one in errors):
        header.append("confidence")
        rows = [
            [*row, "" if one.confidence is None else f"{one.confidence:.2f}"]
            for row, one in zip(rows, errors, strict=True)
        ]
    return page.heading("Worst errors", level=3) + _table(header, rows, text_columns=(1, 2, 3), as_cards=True)


def _readable(example: Example) -> Sequence[str]:
    """The texts of an example; the words of a tagged sentence as one text."""
    return (
        [" ".join(example.texts)]
        if isinstance(example.label, tuple) and len(example.label) == len(example.texts)
        else example.texts
    )


def _settings(record: JsonMapping) -> str:
    files = [[path, facts["rows"], facts["sha256"] or ""] for path, facts in record["data"].items()]
    versions = {
        **record["versions"],
        "commit": record["git_commit"],
        "device": record["device"],
        "threads": record["threads"],
    }
    settings = [
        [name, f"{value:g}" if isinstance(value, float) else value]
        for name, value in record["config"].items()
        if value is not None
    ]
    return "\n".join(
        [
            page.heading("Data", level=3),
            _table(["file", "rows", "SHA-256"], files, text_columns=(2,), as_cards=True),
            page.heading("Versions", level=3),
            _table([], list(versions.items()), text_columns=(1,)),
            page.heading("Settings", level=3),
            _table([], settings, text_columns=(1,)),
        ]
    )


def _curves(history: Sequence[Mapping[str, object]]) -> str:
    """Loss, learning rate and gradient norm by step, and the dev scores."""
    figures = []
    for name, caption in (
        ("loss", "Training loss"),
        ("learning_rate", "Learning rate"),
        ("grad_norm", "Gradient norm"),
    ):
        lines = {"": _points(history, name)}
        if name == "loss":
            lines["dev"] = _points(history, "eval_loss")
            caption += ", and the loss on the first dev set" if lines["dev"] else ""
        if lines[""]:
            figures.append(page.figure(plots.curves(lines), caption))
    names = {key for entry in history for key in entry if key.startswith("eval_")}
    shown = sorted(
        key for key in names if not key.endswith(("loss", "runtime", "per_second", "total", "thresh"))
    )
    if shown:
        lines = {key.removeprefix("eval_"): _points(history, key) for key in shown}
        figures.append(page.figure(plots.curves(lines), "Scores on the first dev set"))
    return f'<div class="figures">{"".join(figures)}</div>'


def _points(history: Sequence[JsonMapping], name: str) -> list[tuple[float, float]]:
    """Steps and values; a value that is not finite, as of a skipped step, has no place in a plot."""
    return [(entry["step"], entry[name]) for entry in history if name in entry and math.isfinite(entry[name])]
