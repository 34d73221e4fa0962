"""``report.html`` of a pre-training run: one file, nothing from outside, for a person to read."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import DivergedError
from ..files import write_text
from ..json_types import JsonMapping, JsonObject
from ..runs import page
from ..runs.plots import curves
from ..runs.record import read_record
from ..runs.settings import current_names
from .settings import PretrainConfig
from .verdict import RunVerdict, judge

log = logging.getLogger(__name__)

Rows = Sequence[JsonMapping]


@dataclass(frozen=True)
class _Curves:
    """One plot: what its lines are called in the log and on the page, and how to read it."""

    title: str
    lines: tuple[tuple[str, str], ...]
    reading: str


_PLOTS = (
    _Curves(
        "Generator loss",
        (("mlm_loss", "training"), ("heldout_mlm_loss", "held-out")),
        "Nats per masked token. Falls quickly to about 7, where it only knows which words are frequent, "
        "rests there, then falls steadily.",
    ),
    _Curves(
        "Generator accuracy",
        (("generator_accuracy", "training"), ("heldout_generator_accuracy", "held-out")),
        "Share of masked tokens whose likeliest guess is right.",
    ),
    _Curves(
        "Discriminator loss",
        (("rtd_loss", "training"), ("heldout_rtd_loss", "held-out")),
        "Nats per token. Not comparable over time: the generator's replacements get harder to tell.",
    ),
    _Curves(
        "Detection on held-out text",
        (
            ("heldout_rtd_f1", "F1"),
            ("heldout_rtd_precision", "precision"),
            ("heldout_rtd_recall", "recall"),
        ),
        "Of replaced tokens. F1 is zero while the discriminator says original everywhere, then rises "
        "and keeps rising.",
    ),
    _Curves(
        "Accuracy against saying original everywhere",
        (
            ("heldout_rtd_accuracy", "discriminator"),
            ("heldout_rtd_accuracy_all_original", "original everywhere"),
        ),
        "The gap between the lines is what the discriminator has learnt.",
    ),
    _Curves(
        "Replaced tokens",
        (("replaced_rate", "training"), ("heldout_replaced_rate", "held-out")),
        "Share of all tokens. Begins at the masked share and falls as the generator guesses more of them "
        "right.",
    ),
    _Curves(
        "Average cosine inside the embedding tables",
        (
            ("heldout_cosine_generator", "generator"),
            ("heldout_cosine_discriminator", "discriminator"),
            ("heldout_cosine_delta", "difference (delta)"),
        ),
        "Of two words drawn at random. What is high has little room left to tell words apart.",
    ),
    _Curves(
        "Gradient norm",
        (
            ("generator_gradient_norm", "generator"),
            ("discriminator_gradient_norm", "discriminator"),
            ("joint_gradient_norm", "both"),
        ),
        "Before clipping, logarithmic. The discriminator's is the weight of its loss times its own.",
    ),
    _Curves("Update norm", (("update_norm", "all weights"),), "How far one step moved the weights."),
    _Curves("Learning rate", (("learning_rate", "generator"),), "Up over the warm-up, then down to zero."),
    _Curves("Speed", (("tokens_per_second", "tokens per second"),), "Over all processes."),
    _Curves(
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


def write_report(
    out: Path, *, broken: Sequence[str] = (), failure: DivergedError | None = None
) -> RunVerdict:
    """Judge a run, and write ``report.html`` from ``metrics.jsonl`` and ``run.json`` if matplotlib is there.

    Args:
        out: the run's folder.
        broken: see `verdict.judge`.
        failure: what ended the run before its time.
    """
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    run = read_record(out)
    run["config"] = current_names(PretrainConfig, run["config"])
    verdict = judge(rows, run, broken=broken)
    if failure is not None:
        verdict = RunVerdict(kind="diverged", reasons=(f"{str(failure)[0].upper()}{str(failure)[1:]}.",))
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        log.warning("no report.html: matplotlib is not installed (pip install 'debertav3[pretrain]')")
    else:
        write_text(out / "report.html", render(rows, run, verdict, name=out.resolve().name))
    return verdict


def render(rows: Rows, run: JsonMapping, verdict: RunVerdict, *, name: str) -> str:
    """The page.

    Args:
        rows: of ``metrics.jsonl``.
        run: ``run.json``.
        verdict: from `judge`.
        name: of the run.
    """
    config = run["config"]
    title = f"{name}: pre-training, {config['size']}, {_objective(config)}"
    figures = "".join(figure for plot in _PLOTS if (figure := _figure(plot, rows)))
    return page.page(
        title,
        [
            page.paragraph(_sentence(rows, run)),
            page.paragraph(str(verdict), is_warning=verdict.kind != "trained"),
            _headline(rows),
            page.heading("Curves"),
            f'<div class="figures">{figures}</div>',
            page.heading("Validation"),
            _validation(rows),
            page.heading("Settings"),
            _settings(run),
        ],
    )


def _objective(config: JsonMapping) -> str:
    if config["objective"] == "mlm":
        return "masked words"
    return f"replaced token detection, {config['sharing'].upper()}"


def _sentence(rows: Rows, run: JsonMapping) -> str:
    config, done = run["config"], max((row["step"] for row in rows), default=0)
    seen = done * config["batch_size"] * config["max_length"]
    start = f", continued from {run['start']}" if run.get("start") else ""
    return (
        f"{done:,} of {config['max_steps']:,} steps{start}; {seen / 1e6:,.1f} million tokens read, "
        f"{seen / max(1, run['tokens']):.1f} times the {run['tokens'] / 1e6:,.1f} million of the data."
    )


def _headline(rows: Rows) -> str:
    last: JsonObject = {}
    for row in rows:
        last.update({key: value for key, value in row.items() if value is not None})
    shown = (
        ("heldout_mlm_loss", "held-out generator loss"),
        ("heldout_generator_accuracy", "held-out generator accuracy"),
        ("heldout_rtd_f1", "held-out F1 of detection"),
        ("tokens_per_second", "tokens per second, at last"),
        ("hours_left", "hours left"),
    )
    return page.numbers([(name, _number(last[key])) for key, name in shown if key in last])


def _validation(rows: Rows) -> str:
    """Figures on held-out text: at most a dozen lines, the last among them."""
    found = [row for row in rows if any(key in row for key, _ in _VALIDATED)]
    if not found:
        return page.paragraph("There was no held-out text, or no validation yet.")
    every = -(-len(found) // _MOST_ROWS)
    columns = [(key, name) for key, name in _VALIDATED if any(key in row for row in found)]
    header = ["step", *(name for _, name in columns)]
    cells = [
        [f"{row['step']:,}", *(_number(row.get(key)) for key, _ in columns)]
        for row in found[(len(found) - 1) % every :: every]
    ]
    return page.table(header, cells, as_cards=True)


def _settings(run: JsonMapping) -> str:
    data, versions = run["data"], run["versions"]
    facts = {
        "data": Path(data["folder"]).name,
        "fingerprint of the data": data["fingerprint"],
        **run["config"],
        **{f"version of {name}": version for name, version in versions.items()},
    }
    lines = page.table([], [[_words(k), _value(v)] for k, v in facts.items()], text_columns=(1,))
    return f"<details><summary>All of them</summary>{lines}</details>"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _value(value: object) -> str:
    return "left to the size" if value is None else str(value)


def _number(value: float | int | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 10 else f"{value:.3f}"


def _figure(plot: _Curves, rows: Rows) -> str | None:
    """A plot as an SVG element with its title and how to read it; None if nothing of it was logged."""
    lines = {
        label: [(row["step"], row[key]) for row in rows if row.get(key) is not None]
        for key, label in plot.lines
    }
    if not any(lines.values()):
        return None
    svg = curves(lines, is_logarithmic=plot.title == _LOGARITHMIC)
    return page.figure(svg, plot.reading, title=plot.title)
