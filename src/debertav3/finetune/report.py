"""``report.html``: one file, nothing from outside, for a person who wants to know how a training went."""

import html
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import plots
from .outcomes import Outcome
from .verdict import EXPLANATION, baselines, metric_of, verdict

if TYPE_CHECKING:
    from .preparation import Data

WORST_SHOWN = 25
_TEXT_SHOWN = 600
_CONFUSED_SHOWN = 15
_STYLE = """
:root { color-scheme: light; --line: #d8dde3; --soft: #f4f6f8; --ink: #1c2733; --dim: #4a5866; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem; color: var(--ink); background: #fff;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.25rem 0 .75rem; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
.figures { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); }
figure { margin: 0; }
figure svg { width: 100%; height: auto; }
figcaption { font-size: .9rem; color: var(--dim); }
.scroll { overflow-x: auto; margin: .5rem 0 1.25rem; }
table { border-collapse: collapse; min-width: 18rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: top; white-space: nowrap; }
th { background: var(--soft); font-weight: 600; }
th:first-child, td:first-child, td.text, th.text { text-align: left; }
td:first-child, td.text { white-space: normal; overflow-wrap: anywhere; }
td.text { min-width: 8rem; }
.numbers { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1rem 0; }
.numbers div { background: var(--soft); border-radius: .5rem; padding: .6rem 1rem; min-width: 8rem; }
.numbers b { display: block; font-size: 1.4rem; }
.numbers span { font-size: .85rem; color: var(--dim); }
pre { background: var(--soft); padding: .75rem; white-space: pre-wrap; overflow-wrap: anywhere;
  font-size: .85rem; }
@media (max-width: 44rem) {
  body { padding: 1rem; }
  th, td { padding: .3rem .4rem; font-size: .9rem; }
  td:first-child { min-width: 6rem; }
  .cards table, .cards tbody, .cards tr, .cards td { display: block; min-width: 0; text-align: left;
    white-space: normal; }
  .cards thead { display: none; }
  .cards tr { border: 1px solid var(--line); border-radius: .5rem; margin: .75rem 0; padding: .25rem 0; }
  .cards td { border: 0; padding: .2rem .75rem; overflow-wrap: anywhere; }
  .cards td::before { content: attr(data-name) ": "; color: var(--dim); font-size: .85rem; }
}
.warning { border-left: 4px solid #b25b00; padding-left: .75rem; margin: .5rem 0; overflow-wrap: anywhere; }
"""


def render(
    report: Mapping[str, Any],
    record: Mapping[str, Any],
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
    title = record["out"]
    about = f"{record['config']['model']}, trained on task {record['config']['task']}"
    body = [f"<h1>{_text(title)}</h1>", f"<p>{_text(about)}</p>", _headline(report)]
    for source, scores in report["dev"].items():
        line, is_well = verdict(source, scores, metric_of(report), record["labels"])
        mark = "" if is_well else ' class="warning"'
        body.append(f"<p{mark}>{_text(line)}.</p>")
    body += [f'<p class="warning">{_text(line)}</p>' for line in report.get("data", {}).get("warnings", [])]
    body += ["<h2>Training</h2>", _curves(report["history"])]
    for source, scores in report["dev"].items():
        body += [f"<h2>{_text(source)}</h2>", _dev(scores, record["labels"])]
        body += [_errors(worst_of[source], data.dev[source])]
    body += ["<h2>To repeat the run</h2>", f"<pre>{_text(record['command'])}</pre>", _settings(record)]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _text(value: Any) -> str:
    return html.escape(str(value))


def _number(value: Any) -> str:
    """A score with four places, a count without, a list with commas."""
    if isinstance(value, list | tuple):
        return ", ".join(map(_number, value))
    return f"{value:.4f}" if isinstance(value, float) else _text(value)


def _table(
    header: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    text_columns: Sequence[int] = (),
    kind: str = "scroll",
) -> str:
    """A table.

    Args:
        header: names of the columns; none for a list of names and values.
        rows: cells.
        text_columns: which hold running text; the others hold numbers or short words.
        kind: ``scroll``, or ``scroll cards`` where a narrow screen gets a card for each row.
    """

    def cells(row: Sequence[Any]) -> str:
        found = []
        for place, value in enumerate(row):
            mark = ' class="text"' if place in text_columns else ""
            name = f' data-name="{_text(header[place])}"' if "cards" in kind else ""
            found.append(f"<td{mark}{name}>{_number(value)}</td>")
        return "".join(found)

    marks = [' class="text"' if place in text_columns else "" for place in range(len(header))]
    names = "".join(f"<th{mark}>{_text(name)}</th>" for mark, name in zip(marks, header, strict=True))
    head = f"<thead><tr>{names}</tr></thead>" if header else ""
    body = "".join(f"<tr>{cells(row)}</tr>" for row in rows)
    return f'<div class="{kind}"><table>{head}<tbody>{body}</tbody></table></div>'


def _headline(report: Mapping[str, Any]) -> str:
    train = report["train"]
    figures = [("training examples", f"{train['examples']:,}"), ("steps", f"{train['steps']:,}")]
    figures += [
        ("minutes", f"{train['seconds'] / 60:.1f}"),
        ("examples per second", f"{train['examples_per_second']:.1f}"),
    ]
    if train["skipped_steps"]:
        figures.append(("steps skipped: no finite gradient", str(train["skipped_steps"])))
    for scores in list(report["dev"].values())[:1]:
        figures = [(f"dev {name}", f"{scores[name]:.4f}") for name in scores["majority_baseline"]] + figures
    boxes = "".join(f"<div><b>{_text(value)}</b><span>{_text(name)}</span></div>" for name, value in figures)
    return f'<div class="numbers">{boxes}</div>'


def _dev(scores: Mapping[str, Any], labels: Sequence[str]) -> str:
    """Scores beside the baseline, and whatever tables and plots the task has."""
    others = baselines(scores)
    plain = [name for name, value in scores.items() if isinstance(value, int | float)]
    rows = [[name, scores[name], *(base.get(name, "") for base in others.values())] for name in plain]
    parts = [_table(["", "this model", *others], rows), f"<p>{_text(EXPLANATION)}</p>"]
    if "per_label" in scores:
        columns = ["precision", "recall", "f1"]
        by_label = [
            [name, *(values[column] for column in columns), round(values["support"])]
            for name, values in scores["per_label"].items()
        ]
        parts += ["<h3>By label</h3>", _table(["", *columns, "examples"], by_label)]
    lengths = [
        [f"{row['tokens_from']}-{row['tokens_to']}", row["examples"], row.get("right", row.get("mean_error"))]
        for row in scores["by_length"]
    ]
    kind = "share right" if any("right" in row for row in scores["by_length"]) else "mean error"
    parts += ["<h3>By length</h3>", _table(["tokens", "examples", kind], lengths)]
    figures = []
    if "confusion" in scores:
        table = scores["confusion"]
        names = list(labels) if len(labels) == len(table) else [str(n + 1) for n in range(len(table))]
        figures.append(_figure(plots.confusion(table, names), "Rows: true; columns: predicted. Counts."))
        if len(names) > plots.MOST_COUNTS:
            parts += ["<h3>Most often confused</h3>", _confused(table, names)]
    if scores["calibration"] is not None:
        error = scores["calibration"]["ece"]
        caption = f"Confidence against accuracy; expected calibration error {error:.4f}."
        figures.append(_figure(plots.reliability(scores["calibration"]["bins"]), caption))
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
    return _table(["right label", "given label", "examples"], rows, text_columns=(1,))


def _errors(errors: Sequence[Outcome], examples: Sequence[Any]) -> str:
    if not errors:
        return "<h3>Worst errors</h3><p>None.</p>"
    rows = []
    for one in errors:
        texts = [
            text if len(text) <= _TEXT_SHOWN else text[:_TEXT_SHOWN] + " ..."
            for text in _readable(examples[one.example])
        ]
        rows.append([one.example + 1, " / ".join(texts), one.gold, one.predicted])
    header = ["row", "text", "right answer", "given answer"]
    if any(one.confidence is not None for one in errors):
        header.append("confidence")
        rows = [
            [*row, "" if one.confidence is None else f"{one.confidence:.2f}"]
            for row, one in zip(rows, errors, strict=True)
        ]
    return "<h3>Worst errors</h3>" + _table(header, rows, text_columns=(1, 2, 3), kind="scroll cards")


def _readable(example: Any) -> Sequence[str]:
    """The texts of an example; the words of a tagged sentence as one text."""
    return (
        [" ".join(example.texts)]
        if isinstance(example.label, tuple) and len(example.label) == len(example.texts)
        else example.texts
    )


def _settings(record: Mapping[str, Any]) -> str:
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
            "<h3>Data</h3>",
            _table(["file", "rows", "SHA-256"], files, text_columns=(2,), kind="scroll cards"),
            "<h3>Versions</h3>",
            _table([], list(versions.items()), text_columns=(1,)),
            "<h3>Settings</h3>",
            _table([], settings, text_columns=(1,)),
        ]
    )


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{_text(caption)}</figcaption></figure>"


def _curves(history: Sequence[Mapping[str, Any]]) -> str:
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
            figures.append(_figure(plots.curves(lines), caption))
    names = {key for entry in history for key in entry if key.startswith("eval_")}
    shown = sorted(
        key for key in names if not key.endswith(("loss", "runtime", "per_second", "total", "thresh"))
    )
    if shown:
        lines = {key.removeprefix("eval_"): _points(history, key) for key in shown}
        figures.append(_figure(plots.curves(lines), "Scores on the first dev set"))
    return f'<div class="figures">{"".join(figures)}</div>'


def _points(history: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    """Steps and values; a value that is not finite, as of a skipped step, has no place in a plot."""
    return [(entry["step"], entry[name]) for entry in history if name in entry and math.isfinite(entry[name])]
