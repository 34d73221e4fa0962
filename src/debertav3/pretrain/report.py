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
from .phases import Phase
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
    needs: tuple[str, ...] = ()
    """Drawn only where one of these was logged; none: where any line was."""


_PLOTS = (
    _Curves(
        "Generator loss",
        (("mlm_loss", "training"), ("heldout_mlm_loss", "held-out")),
        "Nats per masked token. Falls quickly to about 7, when the model knows only word "
        "frequencies, stays there, then falls steadily.",
    ),
    _Curves(
        "Generator accuracy",
        (("generator_accuracy", "training"), ("heldout_generator_accuracy", "held-out")),
        "Share of masked tokens whose most likely prediction is correct.",
    ),
    _Curves(
        "Discriminator loss",
        (("rtd_loss", "training"), ("heldout_rtd_loss", "held-out")),
        "Nats per token. Not comparable over time: the generator's replacements become harder to detect.",
    ),
    _Curves(
        "Detection on held-out text",
        (
            ("heldout_rtd_f1", "F1"),
            ("heldout_rtd_precision", "precision"),
            ("heldout_rtd_recall", "recall"),
        ),
        "Of replaced tokens. F1 is zero while the discriminator predicts original "
        "everywhere, then rises steadily.",
    ),
    _Curves(
        "Accuracy, compared with predicting original everywhere",
        (
            ("heldout_rtd_accuracy", "discriminator"),
            ("heldout_rtd_accuracy_all_original", "original everywhere"),
        ),
        "The gap between the lines is what the discriminator has learned.",
    ),
    _Curves(
        "Replaced tokens",
        (("replaced_rate", "training"), ("heldout_replaced_rate", "held-out")),
        "Share of all tokens. Starts at the mask rate and falls as the generator predicts "
        "more of them correctly.",
    ),
    _Curves(
        "Average cosine inside the embedding tables",
        (
            ("heldout_cosine_generator", "generator"),
            ("heldout_cosine_discriminator", "discriminator"),
            ("heldout_cosine_delta", "difference (delta)"),
        ),
        "Of two random words. A high value leaves little room to tell words apart.",
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
    _Curves(
        "Learning rate",
        (("learning_rate", "generator"),),
        "Rises during warm-up, then follows the schedule: linear, cosine, or constant with a "
        "decay at the end.",
    ),
    _Curves("Mask rate", (("mask_prob", "share"),), "Share of the tokens that the generator must predict."),
    _Curves(
        "Averaged weights, generator loss",
        (
            ("heldout_mlm_loss", "the weights"),
            ("heldout_ema_mlm_loss", "moving average (EMA)"),
            ("heldout_mean_mlm_loss", "mean of the last points"),
        ),
        "On held-out text. The averages are exported next to the weights; fine-tune the one "
        "with the lowest loss.",
        needs=("heldout_ema_mlm_loss", "heldout_mean_mlm_loss"),
    ),
    _Curves(
        "Averaged weights, discriminator loss",
        (
            ("heldout_rtd_loss", "the weights"),
            ("heldout_ema_rtd_loss", "moving average (EMA)"),
            ("heldout_mean_rtd_loss", "mean of the last points"),
        ),
        "On held-out text, each discriminator against its own generator, so lower is not always better.",
        needs=("heldout_ema_rtd_loss", "heldout_mean_rtd_loss"),
    ),
    _Curves("Speed", (("tokens_per_second", "tokens per second"),), "Over all processes."),
    _Curves(
        "Utilization",
        (("model_flops_utilisation", "share"),),
        "Operations needed, as a share of this device's matmul rate, measured at the start.",
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
            *_probes(rows),
            *_phases(run),
            page.heading("Settings"),
            _settings(run),
        ],
    )


def _objective(config: JsonMapping) -> str:
    if config["objective"] == "mlm":
        return "masked language modelling"
    return f"replaced token detection, {config['sharing'].upper()}"


def _sentence(rows: Rows, run: JsonMapping) -> str:
    config, done = run["config"], max((row["step"] for row in rows), default=0)
    seen = PretrainConfig.of(**config).plan.tokens(done)
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
        ("heldout_rtd_f1", "held-out detection F1"),
        ("tokens_per_second", "tokens per second, at the end"),
        ("hours_left", "hours left"),
    )
    return page.numbers([(name, _number(last[key])) for key, name in shown if key in last])


def _validation(rows: Rows) -> str:
    """Figures on held-out text: at most a dozen lines, the last among them."""
    found = [row for row in rows if any(key in row for key, _ in _VALIDATED)]
    if not found:
        return page.paragraph("There is no held-out text, or no validation has run yet.")
    every = -(-len(found) // _MOST_ROWS)
    columns = [(key, name) for key, name in _VALIDATED if any(key in row for row in found)]
    header = ["step", *(name for _, name in columns)]
    cells = [
        [f"{row['step']:,}", *(_number(row.get(key)) for key, _ in columns)]
        for row in found[(len(found) - 1) % every :: every]
    ]
    return page.table(header, cells, as_cards=True)


_PROBES = (("linear", "linear"), ("finetuned", "fine-tuned"), ("commonest", "always the most common label"))


def _probes(rows: Rows) -> list[str]:
    """What the encoder was worth over time; nothing without probes."""
    keys = sorted({key for row in rows for key in row if key.startswith("probe_")} - {"probe_seconds"})
    if not keys:
        return []
    lines = [
        (
            f"probe_{kind}_{key.removeprefix('probe_commonest_')}",
            f"{key.removeprefix('probe_commonest_')}: {name}",
        )
        for key in keys
        if key.startswith("probe_commonest_")
        for kind, name in _PROBES
    ]
    pairs = [(key, key.removeprefix("probe_pairs_")) for key in keys if key.startswith("probe_pairs_")]
    plots = (
        _Curves(
            "Labelled rows",
            tuple(lines),
            "Accuracy of a linear map on frozen features, and of a copy after a short fine-tuning.",
        ),
        _Curves(
            "Minimal pairs",
            tuple(pairs),
            "Share of pairs whose good sentence is more likely for the generator; 0.5 is chance.",
        ),
    )
    figures = "".join(figure for plot in plots if (figure := _figure(plot, rows)))
    seconds = [row["probe_seconds"] for row in rows if row.get("probe_seconds") is not None]
    cost = (
        f"{len(seconds)} probes on copies of the networks, which do not affect the run, took "
        f"{sum(seconds):,.0f} seconds together."
    )
    return [page.heading("Probes"), page.paragraph(cost), f'<div class="figures">{figures}</div>']


def _phases(run: JsonMapping) -> list[str]:
    """A row for each phase; nothing for a run without."""
    config = PretrainConfig.of(**run["config"])
    if not config.phases:
        return []
    plan = config.plan
    cells = [
        [
            str(number),
            f"{phase.first_step + 1:,} to {phase.last_step:,}",
            ", ".join(_sources(phase)) or "as the run",
            f"{phase.batch_size:,}",
            f"{phase.max_length:,}",
            _rates(plan.mask_prob(phase.first_step), plan.mask_prob(phase.last_step - 1)),
        ]
        for number, phase in enumerate(plan.phases, start=1)
    ]
    header = ["phase", "steps", "data", "windows per step", "tokens per window", "mask rate"]
    return [page.heading("Phases"), page.table(header, cells, text_columns=(2,), as_cards=True)]


def _sources(phase: Phase) -> list[str]:
    names = [Path(name).name for name in phase.data]
    weights = phase.weights
    return [f"{name} ({weight:g})" for name, weight in zip(names, weights, strict=True)] if weights else names


def _rates(first: float, last: float) -> str:
    return f"{first:.3g}" if first == last else f"{first:.3g} to {last:.3g}"


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
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "chosen by size" if value is None else str(value)


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
    wanted = plot.needs or [key for key, _ in plot.lines]
    if not any(row.get(key) is not None for row in rows for key in wanted):
        return None
    svg = curves(lines, is_logarithmic=plot.title == _LOGARITHMIC)
    return page.figure(svg, plot.reading, title=plot.title)
