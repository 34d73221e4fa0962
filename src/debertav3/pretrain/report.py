"""``report.html`` of a pre-training run: one file, nothing from outside, for a person to read."""

import html
import io
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files import write_text
from .verdict import DivergedError, Verdict, judge

log = logging.getLogger(__name__)

Rows = Sequence[Mapping[str, Any]]
_COLOURS = ("#0b5cad", "#b25b00", "#2a7d4f")
_STYLE = """
:root { color-scheme: light; --line: #d8dde3; --soft: #f4f6f8; --ink: #1c2733; --dim: #4a5866; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem; color: var(--ink); background: #fff;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; }
h2 { font-size: 1.25rem; margin: 2.25rem 0 .75rem; border-bottom: 1px solid var(--line); }
p { margin: .25rem 0 1rem; color: var(--dim); }
.warning { border-left: 4px solid #b25b00; padding-left: .75rem; color: var(--ink); }
.numbers { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1rem 0; }
.numbers div { background: var(--soft); border-radius: .5rem; padding: .6rem 1rem; flex: 1 1 9rem; }
.numbers b { display: block; font-size: 1.4rem; font-variant-numeric: tabular-nums; }
.numbers span { font-size: .85rem; color: var(--dim); }
.figures { display: grid; gap: 1.5rem 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(21rem, 100%), 1fr)); }
figure { margin: 0; }
figure b { display: block; }
figure svg { width: 100%; height: auto; }
figcaption { font-size: .9rem; color: var(--dim); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; }
th { background: var(--soft); font-weight: 600; }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 8rem; }
.settings td { text-align: left; white-space: normal; }
summary { cursor: pointer; color: #0b5cad; margin: .75rem 0; }
@media (max-width: 44rem) { body { padding: 1rem; } th, td { padding: .3rem .45rem; } }
"""


@dataclass(frozen=True)
class _Plot:
    """One plot: what its lines are called in the log and on the page, and how to read it."""

    title: str
    lines: tuple[tuple[str, str], ...]
    reading: str


_PLOTS = (
    _Plot(
        "Generator loss",
        (("mlm_loss", "training"), ("heldout_mlm_loss", "held-out")),
        "Nats per masked token. Falls quickly to about 7, where it only knows which words are frequent, "
        "rests there, then falls steadily.",
    ),
    _Plot(
        "Generator accuracy",
        (("generator_accuracy", "training"), ("heldout_generator_accuracy", "held-out")),
        "Share of masked tokens whose likeliest guess is right.",
    ),
    _Plot(
        "Discriminator loss",
        (("rtd_loss", "training"), ("heldout_rtd_loss", "held-out")),
        "Nats per token. Not comparable over time: the generator's replacements get harder to tell.",
    ),
    _Plot(
        "Detection on held-out text",
        (
            ("heldout_rtd_f1", "F1"),
            ("heldout_rtd_precision", "precision"),
            ("heldout_rtd_recall", "recall"),
        ),
        "Of replaced tokens. F1 is zero while the discriminator says original everywhere, then rises "
        "and goes on rising.",
    ),
    _Plot(
        "Accuracy against saying original everywhere",
        (
            ("heldout_rtd_accuracy", "discriminator"),
            ("heldout_rtd_accuracy_all_original", "original everywhere"),
        ),
        "The gap between the lines is what the discriminator has learnt.",
    ),
    _Plot(
        "Replaced tokens",
        (("replaced_rate", "training"), ("heldout_replaced_rate", "held-out")),
        "Share of all tokens. Begins at the masked share and falls as the generator guesses more of them "
        "right.",
    ),
    _Plot(
        "Average cosine inside the embedding tables",
        (
            ("heldout_cosine_generator", "generator"),
            ("heldout_cosine_discriminator", "discriminator"),
            ("heldout_cosine_delta", "difference (delta)"),
        ),
        "Of two words drawn at random. What is high has little room left to tell words apart.",
    ),
    _Plot(
        "Gradient norm",
        (
            ("generator_gradient_norm", "generator"),
            ("discriminator_gradient_norm", "discriminator"),
            ("joint_gradient_norm", "both"),
        ),
        "Before clipping, logarithmic. The discriminator's is the weight of its loss times its own.",
    ),
    _Plot("Update norm", (("update_norm", "all weights"),), "How far one step moved the weights."),
    _Plot("Learning rate", (("learning_rate", "generator"),), "Up over the warm-up, then down to zero."),
    _Plot("Speed", (("tokens_per_second", "tokens per second"),), "Over all processes."),
    _Plot(
        "Utilisation",
        (("model_flops_utilisation", "share"),),
        "Needed operations over what this device's matrix products can do, as measured at the start.",
    ),
)
_LOGARITHMIC = "Gradient norm"
_VALIDATED = (
    ("heldout_mlm_loss", "generator loss"),
    ("heldout_generator_accuracy", "generator accuracy"),
    ("heldout_replaced_rate", "replaced"),
    ("heldout_rtd_loss", "discriminator loss"),
    ("heldout_rtd_precision", "precision"),
    ("heldout_rtd_recall", "recall"),
    ("heldout_rtd_f1", "F1"),
)
_MOST_ROWS = 12


def write_report(out: Path, *, broken: Sequence[str] = (), failure: DivergedError | None = None) -> Verdict:
    """Judge a run, and write ``report.html`` from ``metrics.jsonl`` and ``run.json`` if matplotlib is there.

    Args:
        out: the run's folder.
        broken: see `verdict.judge`.
        failure: what ended the run before its time.
    """
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    run = json.loads((out / "run.json").read_text(encoding="utf-8"))
    verdict = judge(rows, run, broken=broken)
    if failure is not None:
        verdict = Verdict(kind="diverged", reasons=(f"{str(failure)[0].upper()}{str(failure)[1:]}.",))
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        log.warning("no report.html: matplotlib is not installed (pip install 'debertav3[pretrain]')")
    else:
        write_text(out / "report.html", render(rows, run, verdict, name=out.resolve().name))
    return verdict


def render(rows: Rows, run: Mapping[str, Any], verdict: Verdict, *, name: str) -> str:
    """The page.

    Args:
        rows: of ``metrics.jsonl``.
        run: ``run.json``.
        verdict: from `judge`.
        name: of the run.
    """
    config = run["config"]
    title = f"{name}: pre-training, {config['size']}, {_objective(config)}"
    mark = "" if verdict.kind == "trained" else ' class="warning"'
    figures = "".join(figure for plot in _PLOTS if (figure := _figure(plot, rows)))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{_text(title)}</h1><p>{_text(_sentence(rows, run))}</p>"
        f"<p{mark}>{_text(str(verdict))}</p>{_headline(rows)}"
        f'<h2>Curves</h2><div class="figures">{figures}</div>'
        f"<h2>Validation</h2>{_validation(rows)}"
        f"<h2>Settings</h2>{_settings(run)}</body></html>\n"
    )


def _objective(config: Mapping[str, Any]) -> str:
    if config["objective"] == "mlm":
        return "masked words"
    return f"replaced token detection, {config['sharing'].upper()}"


def _sentence(rows: Rows, run: Mapping[str, Any]) -> str:
    config, done = run["config"], max((row["step"] for row in rows), default=0)
    seen = done * config["global_batch"] * config["length"]
    start = f", continued from {run['start']}" if run.get("start") else ""
    return (
        f"{done:,} of {config['steps']:,} steps{start}; {seen / 1e6:,.1f} million tokens read, "
        f"{seen / max(1, run['tokens']):.1f} times the {run['tokens'] / 1e6:,.1f} million of the data."
    )


def _headline(rows: Rows) -> str:
    last: dict[str, Any] = {}
    for row in rows:
        last.update({key: value for key, value in row.items() if value is not None})
    shown = (
        ("heldout_mlm_loss", "held-out generator loss"),
        ("heldout_generator_accuracy", "held-out generator accuracy"),
        ("heldout_rtd_f1", "held-out F1 of detection"),
        ("tokens_per_second", "tokens per second, at last"),
        ("hours_left", "hours left"),
    )
    boxes = [
        f"<div><b>{_number(last[key])}</b><span>{name}</span></div>" for key, name in shown if key in last
    ]
    return f'<div class="numbers">{"".join(boxes)}</div>'


def _validation(rows: Rows) -> str:
    """Figures on held-out text: at most a dozen lines, the last among them."""
    found = [row for row in rows if any(key in row for key, _ in _VALIDATED)]
    if not found:
        return "<p>There was no held-out text, or no validation yet.</p>"
    every = -(-len(found) // _MOST_ROWS)
    columns = [(key, name) for key, name in _VALIDATED if any(key in row for row in found)]
    head = "".join(f"<th>{name}</th>" for name in ("step", *(name for _, name in columns)))
    body = "".join(
        f"<tr><td>{row['step']:,}</td>"
        + "".join(f"<td>{_number(row.get(key))}</td>" for key, _ in columns)
        + "</tr>"
        for row in found[(len(found) - 1) % every :: every]
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _settings(run: Mapping[str, Any]) -> str:
    data, versions = run["data"], run["versions"]
    facts = {
        "data": Path(data["folder"]).name,
        "fingerprint of the data": data["fingerprint"],
        **run["config"],
        **{f"version of {name}": version for name, version in versions.items()},
    }
    lines = "".join(
        f"<tr><td>{_text(_words(k))}</td><td>{_text(_value(v))}</td></tr>" for k, v in facts.items()
    )
    return f'<details><summary>All of them</summary><table class="settings">{lines}</table></details>'


def _words(name: str) -> str:
    return name.replace("_", " ")


def _value(value: Any) -> str:
    return "left to the size" if value is None else str(value)


def _text(value: str) -> str:
    return html.escape(value)


def _number(value: float | int | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 10 else f"{value:.3f}"


def _figure(plot: _Plot, rows: Rows) -> str | None:
    """A plot as an SVG element with its title and how to read it; None if nothing of it was logged."""
    import matplotlib
    from matplotlib.figure import Figure

    lines = {}
    for key, label in plot.lines:
        if points := [(row["step"], row[key]) for row in rows if row.get(key) is not None]:
            lines[label] = points
    if not lines:
        return None
    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "report",
        "font.size": 12,
        "font.family": "sans-serif",
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(5.2, 3.0), layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        for colour, (label, points) in zip(_COLOURS, lines.items(), strict=False):
            few: dict[str, Any] = {"marker": "o", "markersize": 4} if len(points) < 30 else {}
            axes.plot(*zip(*points, strict=True), label=label, color=colour, linewidth=1.6, **few)
        if plot.title == _LOGARITHMIC:
            axes.set_yscale("log")
        axes.set_xlabel("step")
        axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
        axes.locator_params(axis="x", nbins=5)
        axes.grid(alpha=0.25)
        if len(lines) > 1:
            axes.legend(frameon=False, fontsize=10)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    return (
        f"<figure><b>{_text(plot.title)}</b>{svg[svg.index('<svg') :]}"
        f"<figcaption>{_text(plot.reading)}</figcaption></figure>"
    )
